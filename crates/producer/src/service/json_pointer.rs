//! JSON pointers (RFC 6901) into a message: they find the text of a value as it is written, so that a number keeps its
//! digits.

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt;

use serde_json::value::RawValue;

/// A pointer such as `/customer/id`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct JsonPointer {
    text: String,
    steps: Vec<String>,
}

/// A value that a pointer found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Found {
    Missing,
    Null,
    Bool(bool),
    /// With its digits as they are written.
    Number(String),
    Text(String),
    /// As JSON.
    Array(String),
    Object,
}

/// The message is not JSON.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("it is not JSON ({0})")]
pub struct NotJson(String);

impl JsonPointer {
    /// Reads a pointer, which begins with `/`.
    pub fn parse(text: &str) -> Option<Self> {
        let steps = text.strip_prefix('/')?.split('/');
        let steps = steps.map(|step| step.replace("~1", "/").replace("~0", "~")).collect();
        Some(Self { text: text.to_owned(), steps })
    }

    pub(crate) fn find(&self, body: &str) -> Result<Found, NotJson> {
        // the whole body is checked here; what follows looks at parts of it
        let mut at: &RawValue = serde_json::from_str(body).map_err(not_json)?;
        for step in &self.steps {
            let next = match at.get().as_bytes().first() {
                Some(b'{') => {
                    let mut members: HashMap<Cow<'_, str>, &RawValue> = read(at)?;
                    members.remove(step.as_str())
                }
                Some(b'[') => {
                    let elements: Vec<&RawValue> = read(at)?;
                    index(step).and_then(|index| elements.get(index).copied())
                }
                _ => None,
            };
            let Some(next) = next else { return Ok(Found::Missing) };
            at = next;
        }
        let text = at.get();
        Ok(match text.as_bytes().first() {
            Some(b'{') => Found::Object,
            Some(b'[') => Found::Array(text.to_owned()),
            Some(b'"') => Found::Text(read(at)?),
            Some(b'n') => Found::Null,
            Some(b't' | b'f') => Found::Bool(text == "true"),
            _ => Found::Number(text.to_owned()),
        })
    }
}

/// An array's index has no leading zeros.
fn index(step: &str) -> Option<usize> {
    let plain = step == "0" || !step.starts_with(['0', '+']);
    step.parse().ok().filter(|_| plain)
}

fn read<'a, T: serde::Deserialize<'a>>(value: &'a RawValue) -> Result<T, NotJson> {
    serde_json::from_str(value.get()).map_err(not_json)
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn not_json(error: serde_json::Error) -> NotJson {
    NotJson(error.to_string())
}

impl fmt::Display for JsonPointer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use serde_json::Value;

    fn find(pointer: &str, body: &str) -> Found {
        JsonPointer::parse(pointer).unwrap().find(body).unwrap()
    }

    #[test]
    fn numbers_keep_their_digits() {
        for number in ["12345678901234567890123", "1.10", "1e3", "-0", "0.1000", "9007199254740993"] {
            let body = format!(r#"{{"a": [{number}]}}"#);
            assert_eq!(find("/a/0", &body), Found::Number(number.to_owned()));
        }
    }

    #[test]
    fn values_of_every_kind_are_found() {
        let body = r#"{"t": "é\n", "n": null, "b": false, "l": [1, "x"], "o": {"": 1}, "a/b": 1, "m~n": 2, "d": 1, "d": 2}"#;
        for (pointer, found) in [
            ("/t", Found::Text("é\n".to_owned())),
            ("/n", Found::Null),
            ("/b", Found::Bool(false)),
            ("/l", Found::Array(r#"[1, "x"]"#.to_owned())),
            ("/l/1", Found::Text("x".to_owned())),
            ("/l/01", Found::Missing),
            ("/l/2", Found::Missing),
            ("/o", Found::Object),
            ("/o/", Found::Number("1".to_owned())),
            ("/a~1b", Found::Number("1".to_owned())),
            ("/m~0n", Found::Number("2".to_owned())),
            ("/d", Found::Number("2".to_owned())),
            ("/t/x", Found::Missing),
            ("/none", Found::Missing),
        ] {
            assert_eq!(find(pointer, body), found, "{pointer}");
        }
        for bad in ["plain", "", "{", "{} {}", r#"{"a": 1"#] {
            assert!(JsonPointer::parse("/a").unwrap().find(bad).is_err(), "{bad}");
        }
        assert_eq!(JsonPointer::parse("a"), None);
    }

    proptest! {
        #[test]
        fn pointers_find_what_serde_json_finds(keys in prop::collection::vec("[a-c~/0-2]{0,3}", 1..4), pointer in "(/[a-c~0-2]{0,3}){1,3}") {
            let mut value = Value::from(7);
            for key in keys.iter().rev() {
                value = serde_json::json!({key: value, "l": [value]});
            }
            let ours = find(&pointer, &value.to_string());
            let theirs = match value.pointer(&pointer) {
                None => Found::Missing,
                Some(Value::Number(number)) => Found::Number(number.to_string()),
                Some(Value::Object(_)) => Found::Object,
                Some(other) => Found::Array(other.to_string()),
            };
            prop_assert_eq!(ours, theirs);
        }
    }
}
