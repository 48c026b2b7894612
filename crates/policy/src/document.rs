//! A policy as a typed document. Reading it is as strict as AWS is about what it stores.

use serde_json::{Map, Value};

/// A text that AWS would not accept as a policy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a valid policy: {0}")]
pub struct Malformed(pub(crate) String);

/// A resource policy.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Policy {
    /// Whether `${…}` is a variable: from version 2012-10-17 on.
    pub(crate) variables: bool,
    pub(crate) statements: Vec<Statement>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Statement {
    pub(crate) sid: Option<String>,
    pub(crate) effect: Effect,
    pub(crate) principal: Element<Principals>,
    pub(crate) action: Element<Vec<String>>,
    /// SQS and KMS require it; a statement without it is kept, and matches nothing for certain.
    pub(crate) resource: Option<Element<Vec<String>>>,
    pub(crate) conditions: Vec<Condition>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Effect {
    Allow,
    Deny,
}

/// `Action` or `NotAction`, and likewise for principals and resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Element<T> {
    Is(T),
    IsNot(T),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Principals {
    Everyone,
    /// The kind (`AWS`, `Service`, `Federated`, `CanonicalUser`) and the name.
    Listed(Vec<(String, String)>),
}

/// One key of one operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Condition {
    pub(crate) operator: String,
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

impl Policy {
    /// Reads a policy. The empty text is the policy of a queue that has none: it allows nothing.
    ///
    /// # Errors
    /// [`Malformed`], which names the statement and the element.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let value = serde_json::from_str(text).map_err(|error| Malformed(error.to_string()))?;
        Self::from_value(&value)
    }

    /// Reads a policy from JSON.
    ///
    /// # Errors
    /// [`Malformed`].
    pub fn from_value(policy: &Value) -> Result<Self, Malformed> {
        let policy = policy.as_object().ok_or_else(|| Malformed("it is not a JSON object".to_owned()))?;
        only(policy, "the policy", &["Version", "Id", "Statement"])?;
        let variables = match policy.get("Version").map(Value::as_str) {
            None | Some(Some("2008-10-17")) => false,
            Some(Some("2012-10-17")) => true,
            _ => return Err(Malformed("Version is neither 2012-10-17 nor 2008-10-17".to_owned())),
        };
        let statements = match policy.get("Statement") {
            Some(Value::Array(statements)) => statements.iter().enumerate(),
            Some(single @ Value::Object(_)) => std::slice::from_ref(single).iter().enumerate(),
            _ => return Err(Malformed("Statement is missing, or not an object or a list".to_owned())),
        };
        let statements = statements.map(|(i, value)| {
            Statement::read(value).map_err(|Malformed(why)| Malformed(format!("statement {}: {why}", i + 1)))
        });
        Ok(Self { variables, statements: statements.collect::<Result<_, _>>()? })
    }
}

impl Statement {
    fn read(value: &Value) -> Result<Self, Malformed> {
        let map = value.as_object().ok_or_else(|| Malformed("it is not an object".to_owned()))?;
        const ELEMENTS: &[&str] = &[
            "Sid",
            "Effect",
            "Principal",
            "NotPrincipal",
            "Action",
            "NotAction",
            "Resource",
            "NotResource",
            "Condition",
        ];
        only(map, "it", ELEMENTS)?;
        let sid = match map.get("Sid") {
            None => None,
            Some(Value::String(sid)) => Some(sid.clone()),
            Some(_) => return Err(Malformed("Sid is not a string".to_owned())),
        };
        let effect = match map.get("Effect").and_then(Value::as_str) {
            Some("Allow") => Effect::Allow,
            Some("Deny") => Effect::Deny,
            _ => return Err(Malformed("Effect is neither Allow nor Deny".to_owned())),
        };
        let principal = element(map, "Principal", "NotPrincipal", principals)?
            .ok_or_else(|| Malformed("a resource policy needs a Principal".to_owned()))?;
        let action = element(map, "Action", "NotAction", strings)?
            .ok_or_else(|| Malformed("Action is missing".to_owned()))?;
        let resource = element(map, "Resource", "NotResource", strings)?;
        Ok(Self { sid, effect, principal, action, resource, conditions: conditions(map.get("Condition"))? })
    }
}

fn only(map: &Map<String, Value>, what: &str, known: &[&str]) -> Result<(), Malformed> {
    match map.keys().find(|key| !known.contains(&key.as_str())) {
        Some(key) => Err(Malformed(format!("{what} has an unknown element {key}"))),
        None => Ok(()),
    }
}

fn element<T>(
    map: &Map<String, Value>,
    is: &str,
    is_not: &str,
    read: impl Fn(&str, &Value) -> Result<T, Malformed>,
) -> Result<Option<Element<T>>, Malformed> {
    match (map.get(is), map.get(is_not)) {
        (Some(_), Some(_)) => Err(Malformed(format!("it has both {is} and {is_not}"))),
        (Some(value), None) => Ok(Some(Element::Is(read(is, value)?))),
        (None, Some(value)) => Ok(Some(Element::IsNot(read(is_not, value)?))),
        (None, None) => Ok(None),
    }
}

/// A string or a list of strings, not empty.
fn strings(name: &str, value: &Value) -> Result<Vec<String>, Malformed> {
    let wrong = || Malformed(format!("{name} is not a string or a list of strings"));
    match value {
        Value::String(one) => Ok(vec![one.clone()]),
        Value::Array(items) if !items.is_empty() => {
            items.iter().map(|item| item.as_str().map(str::to_owned).ok_or_else(wrong)).collect()
        }
        _ => Err(wrong()),
    }
}

fn principals(name: &str, value: &Value) -> Result<Principals, Malformed> {
    match value {
        Value::String(everyone) if everyone == "*" => Ok(Principals::Everyone),
        Value::Object(kinds) if !kinds.is_empty() => {
            only(kinds, name, &["AWS", "Service", "Federated", "CanonicalUser"])?;
            let mut listed = Vec::new();
            for (kind, names) in kinds {
                listed.extend(strings(kind, names)?.into_iter().map(|name| (kind.clone(), name)));
            }
            Ok(Principals::Listed(listed))
        }
        _ => Err(Malformed(format!("{name} is neither \"*\" nor an object of principals"))),
    }
}

fn conditions(value: Option<&Value>) -> Result<Vec<Condition>, Malformed> {
    let wrong = |what: String| Malformed(format!("{what} is not an object"));
    let Some(value) = value else { return Ok(Vec::new()) };
    let mut conditions = Vec::new();
    for (operator, keys) in value.as_object().ok_or_else(|| wrong("Condition".to_owned()))? {
        for (key, values) in keys.as_object().ok_or_else(|| wrong(format!("Condition {operator}")))? {
            let values = scalars(values).ok_or_else(|| {
                Malformed(format!("the value of {key} in {operator} is not a string, number or boolean"))
            })?;
            conditions.push(Condition { operator: operator.clone(), key: key.clone(), values });
        }
    }
    Ok(conditions)
}

/// Condition values: numbers and booleans stand for their text.
fn scalars(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::Array(items) => items.iter().map(scalar).collect(),
        single => Some(vec![scalar(single)?]),
    }
}

fn scalar(value: &Value) -> Option<String> {
    match value {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        Value::Null | Value::Array(_) | Value::Object(_) => None,
    }
}
