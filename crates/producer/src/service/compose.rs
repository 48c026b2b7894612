//! Makes a message of a line: its group, subject, attributes and deduplication id, from constants and JSON pointers.

use std::fmt::Write as _;

use lifeline_messaging::message::Attribute;
use sha2::{Digest, Sha256};

use crate::message::NewMessage;
use crate::service::json_pointer::{Found, JsonPointer, NotJson};

/// A value for every message: the same for all, or from each one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// From each message, which must be JSON.
    Pointer(JsonPointer),
    /// The same for all.
    Constant(String),
}

/// `ATTRIBUTES`: names, and where their values come from.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes(Vec<(String, JsonPointer)>);

/// `DEDUPLICATION`: where the deduplication ids of a FIFO topic come from.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Deduplication {
    /// Every message has its own: equal lines are different messages.
    #[default]
    Random,
    /// The line's number and content: a line that is read again within five minutes is the same message.
    Line,
    /// The content: equal lines are the same message.
    Content,
}

/// Why a line is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unusable {
    /// A pointer needs JSON.
    #[error("no {what}: {error}")]
    NotJson {
        /// `message group`, `subject`, `attribute x`.
        what: String,
        /// Where the JSON ends.
        error: NotJson,
    },
    /// A pointer leads to something else.
    #[error("no {what}: {pointer} is {found}, not {expected}")]
    NotText {
        /// `message group`, `subject`, `attribute x`.
        what: String,
        /// The pointer.
        pointer: String,
        /// What is there.
        found: &'static str,
        /// What should be there.
        expected: &'static str,
    },
}

/// How lines become messages.
#[derive(Debug, Clone, Default)]
pub(crate) struct Compose {
    pub(crate) group: Option<Source>,
    pub(crate) subject: Option<Source>,
    pub(crate) attributes: Attributes,
    pub(crate) deduplication: Deduplication,
}

impl Source {
    /// Reads `MESSAGE_GROUP`: a pointer begins with `/`; a constant has 1 to 128 characters of ASCII, without spaces.
    pub fn group(text: &str) -> Option<Self> {
        let constant = (1..=128).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_graphic());
        Self::pointer(text).or_else(|| constant.then(|| Self::Constant(text.to_owned())))
    }

    /// Reads `SUBJECT`: a pointer begins with `/`; a constant has 1 to 100 characters, without control characters.
    pub fn subject(text: &str) -> Option<Self> {
        let constant = (1..=100).contains(&text.chars().count()) && !text.chars().any(char::is_control);
        Self::pointer(text).or_else(|| constant.then(|| Self::Constant(text.to_owned())))
    }

    fn pointer(text: &str) -> Option<Self> {
        JsonPointer::parse(text).map(Self::Pointer)
    }

    fn of(&self, body: &str, what: &str) -> Result<String, Unusable> {
        let pointer = match self {
            Self::Constant(value) => return Ok(value.clone()),
            Self::Pointer(pointer) => pointer,
        };
        let found = match find(pointer, body, what)? {
            Found::Text(text) | Found::Number(text) => return Ok(text),
            Found::Missing => "not there",
            Found::Null => "null",
            Found::Bool(_) => "true or false",
            Found::Array(_) => "a list",
            Found::Object => "an object",
        };
        let (what, pointer) = (what.to_owned(), pointer.to_string());
        Err(Unusable::NotText { what, pointer, found, expected: "a text or a number" })
    }
}

impl Attributes {
    /// Reads `ATTRIBUTES`: `kind=/type,total=/order/total`.
    pub fn parse(text: &str) -> Option<Self> {
        let pair = |pair: &str| {
            let (name, pointer) = pair.trim().split_once('=')?;
            let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
            let named = !name.is_empty() && name.bytes().all(legal);
            named.then_some((name.to_owned(), JsonPointer::parse(pointer)?))
        };
        text.split(',').map(pair).collect::<Option<Vec<_>>>().map(Self)
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Null, an empty text and what is not there are no attribute, as `"exists": false` in a filter policy has it.
fn attribute(pointer: &JsonPointer, body: &str, name: &str) -> Result<Option<Attribute>, Unusable> {
    let what = format!("attribute {name}");
    let typed = |data_type: &str, value| Some(Attribute::Text { data_type: data_type.to_owned(), value });
    Ok(match find(pointer, body, &what)? {
        Found::Missing | Found::Null => None,
        Found::Text(text) if text.is_empty() => None,
        Found::Text(text) => typed("String", text),
        Found::Bool(value) => typed("String", value.to_string()),
        Found::Number(number) => typed("Number", number),
        Found::Array(json) => typed("String.Array", json),
        Found::Object => {
            let pointer = pointer.to_string();
            return Err(Unusable::NotText {
                what,
                pointer,
                found: "an object",
                expected: "a value or a list",
            });
        }
    })
}

fn find(pointer: &JsonPointer, body: &str, what: &str) -> Result<Found, Unusable> {
    pointer.find(body).map_err(|error| Unusable::NotJson { what: what.to_owned(), error })
}

impl Compose {
    /// The message of line `number`.
    pub(crate) fn message(&self, number: u64, body: String) -> Result<NewMessage, Unusable> {
        let group = self.group.as_ref().map(|group| group.of(&body, "message group")).transpose()?;
        let subject = self.subject.as_ref().map(|subject| subject.of(&body, "subject")).transpose()?;
        let mut attributes = Vec::with_capacity(self.attributes.len());
        for (name, pointer) in &self.attributes.0 {
            attributes.extend(attribute(pointer, &body, name)?.map(|value| (name.clone(), value)));
        }
        let id = match self.deduplication {
            Deduplication::Random => None,
            Deduplication::Line => Some(format!("{number}-{}", &hash(&body)[..32])),
            Deduplication::Content => Some(hash(&body)),
        };
        let mut message = NewMessage::new(body);
        for (name, value) in attributes {
            message = message.attribute(name, value);
        }
        if let Some(group) = group {
            message = message.group(group);
        }
        if let Some(subject) = subject {
            message = message.subject(subject);
        }
        if let Some(id) = id {
            message = message.deduplication_id(id);
        }
        Ok(message)
    }
}

/// SHA-256 in hexadecimal, as SNS's own content-based deduplication has it.
fn hash(body: &str) -> String {
    Sha256::digest(body).iter().fold(String::with_capacity(64), |mut text, byte| {
        // writing to a string does not fail
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pointer_finds_the_group_and_says_why_not() {
        let group = Source::group("/customer/id").unwrap();
        let of = |body: &str| group.of(body, "message group");
        assert_eq!(of(r#"{"customer": {"id": "c-1"}}"#), Ok("c-1".to_owned()));
        assert_eq!(
            of(r#"{"customer": {"id": 12345678901234567890123}}"#),
            Ok("12345678901234567890123".to_owned())
        );
        assert!(of("plain").unwrap_err().to_string().starts_with("no message group: it is not JSON ("));
        for (body, found) in [
            ("{}", "not there"),
            (r#"{"customer":{"id":null}}"#, "null"),
            (r#"{"customer":{"id":[]}}"#, "a list"),
        ] {
            let expected = format!("no message group: /customer/id is {found}, not a text or a number");
            assert_eq!(of(body).unwrap_err().to_string(), expected);
        }
    }

    #[test]
    fn a_constant_is_the_group_of_every_message() {
        assert_eq!(Source::group("all").unwrap().of("anything", ""), Ok("all".to_owned()));
        for bad in ["", "with space", "größe", &"x".repeat(129)] {
            assert_eq!(Source::group(bad), None, "{bad}");
        }
        assert_eq!(Source::subject("an order"), Some(Source::Constant("an order".to_owned())));
        assert_eq!(Source::subject("two\nlines"), None);
    }

    #[test]
    fn attributes_have_the_type_that_filter_policies_match() {
        let attributes =
            Attributes::parse("kind=/type, total=/total,tags=/tags,paid=/paid,none=/none,empty=/empty")
                .unwrap();
        let compose = Compose { attributes, ..Compose::default() };
        let body = r#"{"type": "order", "total": 12.50, "tags": ["a", "b"], "paid": true, "none": null, "empty": ""}"#;
        let text = |data_type: &str, value: &str| Attribute::Text {
            data_type: data_type.to_owned(),
            value: value.to_owned(),
        };
        let expected = NewMessage::new(body)
            .attribute("kind", "order")
            .attribute("total", text("Number", "12.50"))
            .attribute("tags", text("String.Array", r#"["a", "b"]"#))
            .attribute("paid", "true");
        assert_eq!(compose.message(1, body.to_owned()), Ok(expected));
        let error = compose.message(1, r#"{"type": {}}"#.to_owned()).unwrap_err().to_string();
        assert_eq!(error, "no attribute kind: /type is an object, not a value or a list");
        for bad in ["", "kind", "kind=type", "=/type", "a b=/type", "kind=/type,"] {
            assert_eq!(Attributes::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn deduplication_ids_are_the_same_for_the_same_line_or_the_same_content() {
        let id = |deduplication: Deduplication, number: u64, body: &str| {
            let compose = Compose { deduplication, ..Compose::default() };
            compose.message(number, body.to_owned()).unwrap()
        };
        use Deduplication::{Content, Line, Random};
        assert_eq!(id(Line, 7, "x"), id(Line, 7, "x"));
        assert_ne!(id(Line, 7, "x"), id(Line, 8, "x"));
        assert_ne!(id(Line, 7, "x"), id(Line, 7, "y"), "another file");
        assert_eq!(id(Content, 7, "x"), id(Content, 8, "x"));
        let sha = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881";
        assert_eq!(id(Content, 1, "x"), NewMessage::new("x").deduplication_id(sha));
        assert_eq!(id(Random, 1, "x"), NewMessage::new("x"));
    }
}
