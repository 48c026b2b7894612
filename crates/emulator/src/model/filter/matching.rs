//! Whether a message fits a filter policy.

use std::collections::HashMap;

use serde_json::Value;

use super::{
    policy::{Branch, FilterPolicy, Scope},
    rule::{Rule, fits_wildcard, is_in_network},
};
use crate::model::attribute::{self, Attributes};

/// One value that a message offers under a path.
#[derive(Debug, Clone)]
enum Candidate {
    /// From JSON: the type is known.
    Json(Value),
    /// The text of a `Number` attribute.
    Number(String),
}

impl FilterPolicy {
    /// Whether a message with these attributes and this body goes to the subscriber.
    pub(crate) fn accepts(&self, attributes: &Attributes, body: &str) -> bool {
        match self.scope {
            Scope::Attributes => {
                self.branches.iter().any(|branch| fits(branch, |path| of_attribute(attributes, path)))
            }
            Scope::Body => {
                let Ok(body @ Value::Object(_)) = serde_json::from_str(body) else { return false };
                self.branches.iter().any(|branch| {
                    let mut found = HashMap::new();
                    collect(&body, String::new(), branch, &mut found);
                    fits(branch, |path| found.get(path).cloned())
                })
            }
        }
    }
}

/// All paths must have a rule that one of their values fits. `None` is a path that the message does not have.
fn fits(branch: &Branch, values: impl Fn(&str) -> Option<Vec<Candidate>>) -> bool {
    branch.iter().all(|(path, rules)| {
        let values = values(path);
        rules.iter().any(|rule| match (rule, &values) {
            (Rule::Exists(wanted), values) => *wanted == values.is_some(),
            (rule, Some(values)) => values.iter().any(|value| value.fits(rule)),
            (_, None) => false,
        })
    })
}

fn of_attribute(attributes: &Attributes, name: &str) -> Option<Vec<Candidate>> {
    let attribute = attributes.get(name)?;
    let attribute::Value::Text(text) = &attribute.value else { return Some(Vec::new()) };
    Some(match attribute.data_type.as_str() {
        "String.Array" => match serde_json::from_str(text) {
            Ok(Value::Array(list)) => list.into_iter().map(Candidate::Json).collect(),
            Ok(other) => vec![Candidate::Json(other)],
            Err(_) => Vec::new(),
        },
        number if number.starts_with("Number") => vec![Candidate::Number(text.clone())],
        _ => vec![Candidate::Json(Value::String(text.clone()))],
    })
}

/// Gathers the body's values under the branch's paths. A key with a dot is the same as a nested key, and every member
/// of an array counts.
fn collect(value: &Value, path: String, branch: &Branch, found: &mut HashMap<String, Vec<Candidate>>) {
    let leads = |path: &str| path.is_empty() || branch.keys().any(|key| key.starts_with(path));
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                if leads(&path) {
                    collect(value, path, branch, found);
                }
            }
        }
        Value::Array(list) => {
            for value in list {
                collect(value, path.clone(), branch, found);
            }
        }
        simple => found.entry(path).or_default().push(Candidate::Json(simple.clone())),
    }
}

impl Candidate {
    fn number(&self) -> Option<f64> {
        match self {
            Self::Json(value) => value.as_f64(),
            Self::Number(text) => text.trim().parse().ok(),
        }
    }

    fn text(&self) -> Option<&str> {
        match self {
            Self::Json(value) => value.as_str(),
            Self::Number(text) => Some(text),
        }
    }

    fn equals(&self, wanted: &Value) -> bool {
        match (wanted, self) {
            (Value::Number(wanted), candidate) => {
                candidate.number().is_some_and(|n| Some(n) == wanted.as_f64())
            }
            (Value::String(wanted), candidate) => candidate.text() == Some(wanted),
            (wanted, Self::Json(value)) => value == wanted,
            _ => false,
        }
    }

    fn fits(&self, rule: &Rule) -> bool {
        if let Rule::Equals(wanted) = rule {
            return self.equals(wanted);
        }
        if matches!(self, Self::Json(Value::Null)) {
            return false;
        }
        let text = |test: &dyn Fn(&str) -> bool| self.text().is_some_and(test);
        match rule {
            Rule::Equals(wanted) => self.equals(wanted),
            Rule::Exists(wanted) => *wanted,
            Rule::AnythingBut(list) => !list.iter().any(|wanted| self.equals(wanted)),
            Rule::AnythingButPrefix(list) => {
                text(&|text| !list.iter().any(|prefix| text.starts_with(prefix.as_str())))
            }
            Rule::Prefix(prefix) => text(&|text| text.starts_with(prefix.as_str())),
            Rule::Suffix(suffix) => text(&|text| text.ends_with(suffix.as_str())),
            Rule::EqualsIgnoreCase(wanted) => text(&|text| text.to_lowercase() == wanted.to_lowercase()),
            Rule::Wildcard(pattern) => text(&|text| fits_wildcard(text, pattern)),
            Rule::Numeric(all) => self.number().is_some_and(|number| {
                all.iter().all(|(comparison, operand)| comparison.holds(number, *operand))
            }),
            Rule::Cidr(network, bits) => {
                text(&|text| text.parse().is_ok_and(|address| is_in_network(address, *network, *bits)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::attribute::Attribute;

    fn body(policy: &str, body: &str) -> bool {
        FilterPolicy::parse(policy, Scope::Body).unwrap().accepts(&Attributes::new(), body)
    }

    fn attribute(policy: &str, data_type: &str, value: &str) -> bool {
        let value = attribute::Value::Text(value.into());
        let attributes = Attributes::from([("a".into(), Attribute { data_type: data_type.into(), value })]);
        FilterPolicy::parse(policy, Scope::Attributes).unwrap().accepts(&attributes, "")
    }

    #[test]
    fn bodies_are_matched_through_objects_arrays_and_dotted_keys() {
        assert!(body(r#"{"object":{"key":["x"]}}"#, r#"{"object":{"key":"x"}}"#));
        assert!(body(r#"{"object.key":["x"]}"#, r#"{"object":{"key":"x"}}"#));
        assert!(body(r#"{"object":{"key":["x"]}}"#, r#"{"object.key":"x"}"#));
        assert!(body(r#"{"list":["b"]}"#, r#"{"list":["a","b"]}"#));
        assert!(body(r#"{"list":{"id":[2]}}"#, r#"{"list":[{"id":1},{"id":2}]}"#));
        assert!(body(r#"{"flag":[true],"none":[null]}"#, r#"{"flag":true,"none":null}"#));
        assert!(!body(r#"{"list":["b"]}"#, r#"{"list":[]}"#));
        assert!(!body(r#"{"a":["b"]}"#, "no JSON"));
        assert!(body(r#"{"a":[{"exists":false}]}"#, r#"{"b":1}"#));
    }

    #[test]
    fn or_is_one_branch_or_the_other() {
        let policy = r#"{"k":["1"],"$or":[{"a":["x"]},{"b":{"c":["y"]}}]}"#;
        assert!(body(policy, r#"{"k":"1","a":"x"}"#));
        assert!(body(policy, r#"{"k":"1","b":{"c":"y"}}"#));
        assert!(!body(policy, r#"{"k":"1","a":"y"}"#));
        assert!(!body(policy, r#"{"a":"x"}"#));
    }

    #[test]
    fn every_operator_decides() {
        for (rule, fits, does_not) in [
            (r#"{"prefix":"ab"}"#, "abc", "cab"),
            (r#"{"suffix":"ab"}"#, "cab", "abc"),
            (r#"{"equals-ignore-case":"Ab"}"#, "aB", "b"),
            (r#"{"wildcard":"a*c*"}"#, "abcd", "bcd"),
            (r#"{"anything-but":["a","b"]}"#, "c", "a"),
            (r#"{"anything-but":{"prefix":"a"}}"#, "b", "ab"),
            (r#"{"cidr":"10.0.0.0/24"}"#, "10.0.0.255", "10.0.1.1"),
            (r#"{"cidr":"2001:db8::/32"}"#, "2001:db8::1", "2001:db9::1"),
        ] {
            let policy = format!(r#"{{"a":[{rule}]}}"#);
            assert!(attribute(&policy, "String", fits), "{rule} {fits}");
            assert!(!attribute(&policy, "String", does_not), "{rule} {does_not}");
        }
        let range = r#"{"a":[{"numeric":[">",1,"<=",2]}]}"#;
        assert!(attribute(range, "Number", "2.0") && !attribute(range, "Number", "1"));
    }

    #[test]
    fn a_number_in_the_policy_is_no_text_and_arrays_are_taken_apart() {
        assert!(attribute(r#"{"a":[5]}"#, "Number", "5"));
        assert!(!attribute(r#"{"a":[5]}"#, "String", "5"));
        assert!(attribute(r#"{"a":["x",7]}"#, "String.Array", r#"["y",7]"#));
        assert!(!attribute(r#"{"a":["x"]}"#, "String.Array", r#"["y"]"#));
        assert!(attribute(r#"{"a":[{"exists":true}]}"#, "String", "x"));
        assert!(!attribute(r#"{"a":[{"exists":false}]}"#, "String", "x"));
    }
}
