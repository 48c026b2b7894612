//! A filter policy, checked as SNS checks it and read into branches: one flat set of keys and rules for each way in
//! which `$or` can be taken.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::rule::Rule;

/// What a filter policy looks at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Scope {
    #[default]
    Attributes,
    Body,
}

impl Scope {
    pub(crate) fn parse(text: &str) -> Option<Self> {
        match text {
            "MessageAttributes" => Some(Self::Attributes),
            "MessageBody" => Some(Self::Body),
            _ => None,
        }
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Attributes => "MessageAttributes",
            Self::Body => "MessageBody",
        }
    }
}

/// Rules by path; the parts of a nested path are joined by dots.
pub(crate) type Branch = BTreeMap<String, Vec<Rule>>;

/// A filter policy that SNS accepts.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct FilterPolicy {
    pub(crate) scope: Scope,
    /// A message fits if all rules of one branch do.
    pub(crate) branches: Vec<Branch>,
}

/// The most keys of a policy, and the most combinations of its values.
const KEYS: usize = 5;
const COMBINATIONS: usize = 150;

impl FilterPolicy {
    /// Reads and checks a policy. The error is SNS's text after `Invalid parameter: `.
    pub(crate) fn parse(text: &str, scope: Scope) -> Result<Self, String> {
        let value: Value =
            serde_json::from_str(text).map_err(|_| "FilterPolicy: failed to parse JSON.".to_string())?;
        let Value::Object(object) = value else { return Err("FilterPolicy: failed to parse JSON.".into()) };
        if object.len() > KEYS {
            return Err(format!("FilterPolicy: Filter policy can not have more than {KEYS} keys"));
        }
        if combinations(&object, 1, 1, scope)? > COMBINATIONS {
            return Err("FilterPolicy: Filter policy is too complex".into());
        }
        let mut branches = vec![Branch::new()];
        flatten(&object, "", &mut branches).map_err(|reason| format!("FilterPolicy: {reason}"))?;
        Ok(Self { scope, branches })
    }
}

/// The number of combinations, as SNS counts: each list times its depth.
fn combinations(
    object: &Map<String, Value>,
    depth: usize,
    mut so_far: usize,
    scope: Scope,
) -> Result<usize, String> {
    for (key, value) in object {
        match value {
            Value::Object(nested) => so_far = combinations(nested, depth + 1, so_far, scope)?,
            Value::Array(list) if list.is_empty() => {
                return Err("FilterPolicy: Empty arrays are not allowed".into());
            }
            Value::Array(list) if key == "$or" => {
                let mut sum = 0;
                for choice in list {
                    let Value::Object(choice) = choice else {
                        return Err("FilterPolicy: \"$or\" must be an array of objects".into());
                    };
                    sum += combinations(choice, depth, so_far, scope)?;
                }
                so_far = sum;
            }
            Value::Array(list) => so_far = so_far.saturating_mul(list.len() * depth),
            _ => return Err(format!("FilterPolicy: \"{key}\" must be an object or an array")),
        }
    }
    if scope == Scope::Attributes && depth > 1 {
        return Err("Filter policy scope MessageAttributes does not support nested filter policy".into());
    }
    Ok(so_far)
}

fn flatten(object: &Map<String, Value>, parent: &str, branches: &mut Vec<Branch>) -> Result<(), String> {
    for (key, value) in object {
        let path = if parent.is_empty() { key.clone() } else { format!("{parent}.{key}") };
        match value {
            Value::Array(choices) if key == "$or" && choices.len() > 1 => {
                let mut taken = Vec::new();
                for choice in choices.iter().filter_map(Value::as_object) {
                    let mut branch = branches.clone();
                    flatten(choice, parent, &mut branch)?;
                    taken.extend(branch);
                }
                *branches = taken;
            }
            Value::Object(nested) => flatten(nested, &path, branches)?,
            Value::Array(list) => {
                let rules = list.iter().map(Rule::parse).collect::<Result<Vec<_>, _>>()?;
                for branch in branches.iter_mut() {
                    branch.insert(path.clone(), rules.clone());
                }
            }
            _ => {}
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str, scope: Scope) -> String {
        FilterPolicy::parse(text, scope).unwrap_err()
    }

    #[test]
    fn what_sns_refuses_is_refused_with_its_reason() {
        for (text, reason) in [
            ("nonsense", "failed to parse JSON"),
            (r#"{"a":"x"}"#, "\"a\" must be an object or an array"),
            (r#"{"a":[]}"#, "Empty arrays are not allowed"),
            (r#"{"a":[["x"]]}"#, "Match value must be String, number, true, false, or null"),
            (r#"{"a":[{"prefixx":"x"}]}"#, "Unrecognized match type prefixx"),
            (r#"{"a":[{"suffix":"x","prefix":"y"}]}"#, "Only one key allowed in match expression"),
            (r#"{"a":[{"suffix":1}]}"#, "suffix match pattern must be a string"),
            (r#"{"a":[{"exists":"no"}]}"#, "exists match pattern must be either true or false."),
            (r#"{"a":[{"anything-but":{"suffix":"x"}}]}"#, "Unsupported anything-but pattern: suffix"),
            (r#"{"a":[{"numeric":[]}]}"#, "Invalid member in numeric match: ]"),
            (r#"{"a":[{"numeric":["="]}]}"#, "Value of equals must be numeric"),
            (r#"{"a":[{"numeric":["<",100,">",10]}]}"#, "Too many elements in numeric expression"),
            (r#"{"a":[{"numeric":[">",3,"<",1]}]}"#, "Bottom must be less than top"),
            (r#"{"a":[{"numeric":[">",20,"<",30,"<",50]}]}"#, "Too many terms in numeric range expression"),
            (r#"{"a":[{"cidr":"bad"}]}"#, "Malformed CIDR, one '/' required"),
            (r#"{"a":[{"cidr":"xx.11.xx/8"}]}"#, "Nonstandard IP address: xx.11.xx"),
            (r#"{"a":[1],"b":[1],"c":[1],"d":[1],"e":[1],"f":[1]}"#, "more than 5 keys"),
        ] {
            let error = refused(text, Scope::Attributes);
            assert!(error.contains(reason), "{text}: {error}");
        }
        assert!(refused(r#"{"a":{"b":[1]}}"#, Scope::Attributes).contains("does not support nested"));
        assert!(FilterPolicy::parse(r#"{"a":{"b":[1]}}"#, Scope::Body).is_ok());
    }

    #[test]
    fn combinations_are_counted_by_depth() {
        let four = r#"["a","b","c","d"]"#;
        let complex = format!(r#"{{"a":{{"b":{{"c":{four}}}}},"d":{{"e":{four}}}}}"#);
        assert!(FilterPolicy::parse(&complex, Scope::Body).is_ok(), "4 × 3 × 4 × 2 = 96");
        let more = format!(r#"{{"a":{{"b":{{"c":{four}}}}},"d":{{"e":{four}}},"f":["1","2"]}}"#);
        assert!(refused(&more, Scope::Body).contains("too complex"));
    }
}
