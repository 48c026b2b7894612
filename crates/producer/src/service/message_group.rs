//! `MESSAGE_GROUP`: which group a line belongs to.

use serde_json::Value;

/// Where a message's group comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Group {
    /// A JSON pointer (RFC 6901) into each message: `/customer/id`.
    Pointer(String),
    /// The same for all.
    Constant(String),
}

/// Why a message has no group.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoGroup {
    /// It is not JSON.
    #[error("no message group: it is not JSON ({0})")]
    NotJson(String),
    /// The pointer leads to nothing, or to something that is no name.
    #[error("no message group: {pointer} is {found}, not a text or a number")]
    NotAName {
        /// The pointer.
        pointer: String,
        /// What is there.
        found: &'static str,
    },
}

impl Group {
    /// Reads the setting: a pointer begins with `/`.
    pub fn parse(text: &str) -> Option<Self> {
        if text.starts_with('/') {
            return Some(Self::Pointer(text.to_owned()));
        }
        let constant = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        constant.then(|| Self::Constant(text.to_owned()))
    }

    /// The group of this message.
    ///
    /// # Errors
    /// [`NoGroup`].
    pub fn of(&self, body: &str) -> Result<String, NoGroup> {
        let pointer = match self {
            Self::Constant(group) => return Ok(group.clone()),
            Self::Pointer(pointer) => pointer,
        };
        let message: Value = serde_json::from_str(body).map_err(|e| NoGroup::NotJson(e.to_string()))?;
        let found = match message.pointer(pointer) {
            Some(Value::String(group)) => return Ok(group.clone()),
            Some(Value::Number(group)) => return Ok(group.to_string()),
            None => "not there",
            Some(Value::Null) => "null",
            Some(Value::Bool(_)) => "true or false",
            Some(Value::Array(_)) => "a list",
            Some(Value::Object(_)) => "an object",
        };
        Err(NoGroup::NotAName { pointer: pointer.clone(), found })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_the_group_and_says_why_not() {
        let group = Group::parse("/customer/id").unwrap();
        assert_eq!(group.of(r#"{"customer": {"id": "c-1"}}"#), Ok("c-1".to_owned()));
        assert_eq!(group.of(r#"{"customer": {"id": 7}}"#), Ok("7".to_owned()));
        assert!(matches!(group.of("plain"), Err(NoGroup::NotJson(_))));
        for (body, found) in [
            ("{}", "not there"),
            (r#"{"customer":{"id":null}}"#, "null"),
            (r#"{"customer":{"id":[]}}"#, "a list"),
        ] {
            let expected = NoGroup::NotAName { pointer: "/customer/id".to_owned(), found };
            assert_eq!(group.of(body), Err(expected));
        }
    }

    #[test]
    fn a_constant_is_the_group_of_every_message() {
        assert_eq!(Group::parse("all").unwrap().of("anything"), Ok("all".to_owned()));
        for bad in ["", "with space", "größe", &"x".repeat(129)] {
            assert_eq!(Group::parse(bad), None, "{bad}");
        }
    }
}
