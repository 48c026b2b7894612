//! A message to publish, and what SNS accepts of it. Everything that can be refused without a call is refused here, with
//! the figure and the limit: nothing is truncated or dropped.

use std::collections::BTreeMap;

use lifeline_messaging::message::Attribute;
use lifeline_messaging::span::{Operation, Span};
use lifeline_messaging::trace::{TRACEPARENT, TRACESTATE, TraceContext, TraceId};

use crate::deduplication::DeduplicationIds;
use crate::invalid_message::InvalidMessage;
use crate::limits::{MAX_ATTRIBUTES, MAX_ID, MAX_SUBJECT};

/// A message to publish: a body, and what goes with it.
///
/// ```
/// use lifeline_producer::NewMessage;
/// let message = NewMessage::new(r#"{"id": 7}"#).subject("order").attribute("kind", "order").group("c-1");
/// assert_eq!(message.body(), r#"{"id": 7}"#);
/// ```
#[derive(Debug, Clone, PartialEq)]
#[must_use = "nothing happens until it is published"]
pub struct NewMessage {
    body: String,
    subject: Option<String>,
    attributes: BTreeMap<String, Attribute>,
    group: Option<String>,
    deduplication_id: Option<String>,
}

impl NewMessage {
    /// A message with this body, byte for byte. SNS accepts 1 byte up to the topic's maximum, attributes included, of
    /// UTF-8 within XML 1.0's range.
    pub fn new(body: impl Into<String>) -> Self {
        Self {
            body: body.into(),
            subject: None,
            attributes: BTreeMap::new(),
            group: None,
            deduplication_id: None,
        }
    }

    /// A message whose body is `value` as JSON.
    ///
    /// # Errors
    /// If `value` cannot be written as JSON: a map whose keys are not text, or a failing `Serialize`.
    pub fn json(value: &impl serde::Serialize) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::new)
    }

    /// The subject: 1 to 100 characters, without control characters.
    pub fn subject(mut self, subject: impl Into<String>) -> Self {
        self.subject = Some(subject.into());
        self
    }

    /// Adds an attribute, or replaces the one of that name. At most ten are accepted, `traceparent` included.
    pub fn attribute(mut self, name: impl Into<String>, value: impl Into<Attribute>) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// The message group, 1 to 128 characters. On a FIFO topic a group's messages are delivered in order; on a standard
    /// topic SQS uses it for fair queues.
    pub fn group(mut self, group: impl Into<String>) -> Self {
        self.group = Some(group.into());
        self
    }

    /// FIFO topics: messages with the same id within five minutes are delivered once. 1 to 128 characters. Without it each
    /// message gets its own id.
    pub fn deduplication_id(mut self, id: impl Into<String>) -> Self {
        self.deduplication_id = Some(id.into());
        self
    }

    /// Continues this trace instead of starting one. `None` changes nothing. A `tracestate` that belongs to it is an attribute of
    /// that name.
    pub fn continue_trace(self, trace: impl Into<Option<TraceContext>>) -> Self {
        match trace.into() {
            Some(trace) => self.attribute(TRACEPARENT, Attribute::string(trace.to_string())),
            None => self,
        }
    }

    /// The body.
    pub fn body(&self) -> &str {
        &self.body
    }
}

impl From<&str> for NewMessage {
    fn from(body: &str) -> Self {
        Self::new(body)
    }
}

impl From<String> for NewMessage {
    fn from(body: String) -> Self {
        Self::new(body)
    }
}

/// A message as it is sent, the same at every attempt.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub(crate) body: String,
    pub(crate) subject: Option<String>,
    pub(crate) attributes: BTreeMap<String, Attribute>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication_id: Option<String>,
    pub(crate) trace_id: Option<TraceId>,
    pub(crate) span: Span,
    /// Bytes that count against the topic's maximum: the body, and each attribute's name, type and value.
    pub(crate) size: usize,
}

impl Outgoing {
    /// Checks all but the size, whose limit is the topic's.
    pub(crate) fn new(
        message: NewMessage,
        fifo: bool,
        ids: &DeduplicationIds,
    ) -> Result<Self, Box<(InvalidMessage, NewMessage)>> {
        if let Err(invalid) = check(&message, fifo) {
            return Err(Box::new((invalid, message)));
        }
        let NewMessage { body, subject, mut attributes, group, deduplication_id } = message;
        let (trace_id, span) = trace(&mut attributes);
        let deduplication_id = if fifo { deduplication_id.or_else(|| Some(ids.next())) } else { None };
        let size =
            body.len() + attributes.iter().map(|(name, value)| name.len() + value.size()).sum::<usize>();
        Ok(Self { body, subject, attributes, group, deduplication_id, trace_id, span, size })
    }

    /// The message again, with the trace and the deduplication id that it was given.
    pub(crate) fn to_message(&self) -> NewMessage {
        NewMessage {
            body: self.body.clone(),
            subject: self.subject.clone(),
            attributes: self.attributes.clone(),
            group: self.group.clone(),
            deduplication_id: self.deduplication_id.clone(),
        }
    }
}

fn check(message: &NewMessage, fifo: bool) -> Result<(), InvalidMessage> {
    if message.body.is_empty() {
        return Err(InvalidMessage::Empty);
    }
    if let Some((at, character)) = outside_xml(&message.body) {
        return Err(InvalidMessage::Character { what: "the body".to_owned(), character, at });
    }
    if let Some(subject) = &message.subject {
        let characters = subject.chars().count();
        if !(1..=MAX_SUBJECT).contains(&characters) || subject.chars().any(char::is_control) {
            return Err(InvalidMessage::Subject { characters });
        }
    }
    let ours = usize::from(!message.attributes.contains_key(TRACEPARENT));
    let count = message.attributes.len() + ours;
    if count > MAX_ATTRIBUTES {
        return Err(InvalidMessage::Attributes { count });
    }
    for (name, value) in &message.attributes {
        check_attribute(name, value)?;
    }
    if fifo && message.group.is_none() {
        return Err(InvalidMessage::NoGroup);
    }
    if !fifo && message.deduplication_id.is_some() {
        return Err(InvalidMessage::NotFifo);
    }
    check_id("message group", message.group.as_deref())?;
    check_id("deduplication id", message.deduplication_id.as_deref())
}

/// Uses the caller's `traceparent` if there is one, even if it cannot be parsed; otherwise starts a new trace. If spans are
/// exported, the message carries the publish span's context.
fn trace(attributes: &mut BTreeMap<String, Attribute>) -> (Option<TraceId>, Span) {
    let Some(own) = attributes.get(TRACEPARENT) else {
        let (trace, span) = Span::root(Operation::Publish);
        carry(attributes, trace);
        return (Some(trace.trace_id()), span);
    };
    let Some(own) = own.as_str().and_then(|text| text.parse::<TraceContext>().ok()) else {
        return (None, Span::none());
    };
    let state = attributes.get(TRACESTATE).and_then(Attribute::as_str);
    let span = Span::under(Operation::Publish, Some(own), state);
    if let Some(trace) = span.context() {
        carry(attributes, trace);
    }
    (Some(own.trace_id()), span)
}

fn carry(attributes: &mut BTreeMap<String, Attribute>, trace: TraceContext) {
    attributes.insert(TRACEPARENT.to_owned(), Attribute::string(trace.to_string()));
}

fn check_attribute(name: &str, value: &Attribute) -> Result<(), InvalidMessage> {
    let refuse =
        |reason: &str| Err(InvalidMessage::Attribute { name: name.to_owned(), reason: reason.to_owned() });
    let legal = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.');
    if name.is_empty() || name.len() > 256 || !name.bytes().all(legal) {
        return refuse("its name must be 1 to 256 letters, digits, _, - and .");
    }
    if name.starts_with('.') || name.ends_with('.') || name.contains("..") {
        return refuse("its name must not begin or end with a dot, nor have two in a row");
    }
    let reserved = |prefix: &str| name.get(..prefix.len()).is_some_and(|p| p.eq_ignore_ascii_case(prefix));
    if reserved("aws.") || reserved("amazon.") {
        return refuse("names that begin with AWS. or Amazon. are reserved");
    }
    let logical = value.data_type().split('.').next();
    match (value, logical) {
        (Attribute::Text { .. }, Some("String" | "Number")) | (Attribute::Binary { .. }, Some("Binary")) => {}
        _ => {
            return refuse("its type must be String, Number or Binary, or one of these with a . and a label");
        }
    }
    match value {
        Attribute::Text { value, .. } if value.is_empty() => refuse("its value is empty"),
        Attribute::Binary { value, .. } if value.is_empty() => refuse("its value is empty"),
        Attribute::Text { value, .. } => match outside_xml(value) {
            Some((at, character)) => {
                Err(InvalidMessage::Character { what: format!("attribute {name}"), character, at })
            }
            None => Ok(()),
        },
        Attribute::Binary { .. } => Ok(()),
    }
}

fn check_id(what: &'static str, id: Option<&str>) -> Result<(), InvalidMessage> {
    match id {
        Some(id) if id.is_empty() || id.len() > MAX_ID || !id.bytes().all(|b| b.is_ascii_graphic()) => {
            Err(InvalidMessage::Id { what, bytes: id.len() })
        }
        _ => Ok(()),
    }
}

/// The first character outside of XML 1.0's range, with its byte offset: SNS accepts
/// `#x9 | #xA | #xD | #x20–#xD7FF | #xE000–#xFFFD | #x10000–#x10FFFF`.
fn outside_xml(text: &str) -> Option<(usize, char)> {
    let (words, rest) = text.as_bytes().as_chunks::<8>();
    let suspect = |word: &[u8; 8]| is_suspect(u64::from_ne_bytes(*word));
    let mut last = [b' '; 8];
    last[..rest.len()].copy_from_slice(rest);
    if !words.iter().any(suspect) && !suspect(&last) {
        return None;
    }
    text.char_indices().find(|&(_, c)| {
        matches!(c, '\0'..='\u{1f}' if !matches!(c, '\t' | '\n' | '\r'))
            || matches!(c, '\u{fffe}' | '\u{ffff}')
    })
}

/// Whether one of eight bytes may begin a character outside of XML's range: in UTF-8 all of them begin with a byte below 0x20,
/// or with EF BF; `str` rules surrogates out. Eight at once, since every byte of every message comes by here.
/// <https://graphics.stanford.edu/~seander/bithacks.html#HasLessInWord>
fn is_suspect(word: u64) -> bool {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    let below = |bytes: u64, limit: u64| bytes.wrapping_sub(EACH * limit) & !bytes & (EACH * 0x80);
    below(word, 0x20) | below(word ^ (EACH * 0xef), 1) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(message: NewMessage) -> Result<Outgoing, InvalidMessage> {
        Outgoing::new(message, false, &DeduplicationIds::new()).map_err(|error| error.0)
    }

    #[test]
    fn an_eleventh_attribute_is_refused_ours_included() {
        let with = |n: usize| {
            (0..n).fold(NewMessage::new("x"), |m, i| m.attribute(format!("a{i}"), Attribute::string("v")))
        };
        assert_eq!(check(with(9)).unwrap().attributes.len(), 10);
        assert_eq!(check(with(10)).unwrap_err(), InvalidMessage::Attributes { count: 11 });
        let own_trace = with(9).continue_trace(TraceContext::start());
        assert_eq!(
            check(own_trace).unwrap().attributes.len(),
            10,
            "the caller's own trace takes no second place"
        );
    }

    #[test]
    fn the_size_counts_body_and_names_types_and_values_of_attributes() {
        let outgoing =
            check(NewMessage::new("größer").attribute("kind", Attribute::string("order"))).unwrap();
        let trace = "traceparent".len() + "String".len() + 55;
        assert_eq!(outgoing.size, 8 + "kind".len() + "String".len() + "order".len() + trace);
    }

    #[test]
    fn a_subject_is_1_to_100_characters_on_one_line() {
        let with = |subject: &str| check(NewMessage::new("x").subject(subject));
        assert_eq!(with(&"ü".repeat(100)).unwrap().subject, Some("ü".repeat(100)));
        for bad in ["", &"x".repeat(101), "two\nlines", "tab\t"] {
            let characters = bad.chars().count();
            assert_eq!(with(bad).unwrap_err(), InvalidMessage::Subject { characters });
        }
    }

    #[test]
    fn a_message_that_was_prepared_is_returned_as_it_was_sent() {
        let message = NewMessage::json(&serde_json::json!({"id": 7})).unwrap().subject("s").group("g");
        let fifo = Outgoing::new(message, true, &DeduplicationIds::new()).unwrap();
        let again = fifo.to_message();
        assert_eq!((again.body(), again.subject.as_deref()), (r#"{"id":7}"#, Some("s")));
        assert_eq!(again.deduplication_id, fifo.deduplication_id, "a second try duplicates nothing");
        assert_eq!(again.attributes, fifo.attributes, "and is of the same trace");
    }

    #[test]
    fn the_callers_trace_is_carried_on() {
        let trace = TraceContext::start();
        let outgoing = check(NewMessage::new("x").continue_trace(trace)).unwrap();
        assert_eq!(outgoing.trace_id, Some(trace.trace_id()));
        assert_eq!(outgoing.attributes[TRACEPARENT], Attribute::string(trace.to_string()));
    }

    #[test]
    fn what_sns_does_not_take_is_refused_with_its_place() {
        assert_eq!(check(NewMessage::new("")).unwrap_err(), InvalidMessage::Empty);
        for bad in ['\0', '\u{8}', '\u{b}', '\u{1f}', '\u{fffe}', '\u{ffff}'] {
            let refusal = check(NewMessage::new(format!("é{bad}x"))).unwrap_err();
            assert_eq!(
                refusal,
                InvalidMessage::Character { what: "the body".to_owned(), character: bad, at: 2 }
            );
        }
        for valid in ["\t\r\n", "\u{7f}\u{85}", "\u{d7ff}\u{e000}\u{fffd}", "\u{10000}\u{10ffff}", "\u{feff}"]
        {
            assert!(check(NewMessage::new(valid)).is_ok(), "{valid:?}");
        }
    }

    #[test]
    fn attributes_that_sns_does_not_take_are_refused_by_name() {
        for (name, value) in [
            ("a b", Attribute::string("v")),
            ("", Attribute::string("v")),
            (".a", Attribute::string("v")),
            ("a..b", Attribute::string("v")),
            ("AWS.x", Attribute::string("v")),
            ("amazon.x", Attribute::string("v")),
            ("empty", Attribute::string("")),
            ("empty", Attribute::Binary { data_type: "Binary".to_owned(), value: Vec::new() }),
            ("mistyped", Attribute::Text { data_type: "Binary".to_owned(), value: "v".to_owned() }),
            ("unknown", Attribute::Text { data_type: "Date".to_owned(), value: "v".to_owned() }),
            ("untyped", Attribute::Text { data_type: String::new(), value: "v".to_owned() }),
        ] {
            let refusal = check(NewMessage::new("x").attribute(name, value)).unwrap_err();
            assert!(matches!(&refusal, InvalidMessage::Attribute { name: n, .. } if n == name), "{refusal}");
        }
    }

    #[test]
    fn a_fifo_message_needs_a_group_and_gets_a_deduplication_id_of_its_own() {
        let ids = DeduplicationIds::new();
        assert_eq!(Outgoing::new(NewMessage::new("x"), true, &ids).unwrap_err().0, InvalidMessage::NoGroup);
        let id = |m: NewMessage| Outgoing::new(m, true, &ids).unwrap().deduplication_id.unwrap();
        let same = || NewMessage::new("x").group("g");
        assert_ne!(id(same()), id(same()), "the same body twice is two messages");
        assert_eq!(id(same().deduplication_id("mine")), "mine");
        assert_eq!(check(same().deduplication_id("mine")).unwrap_err(), InvalidMessage::NotFifo);
        let array = Attribute::Text { data_type: "String.Array".to_owned(), value: "[1]".to_owned() };
        assert!(check(same().attribute("array", array)).is_ok());
        assert!(matches!(check(same().group("no spaces")), Err(InvalidMessage::Id { .. })));
        assert!(matches!(check(same().group("g".repeat(129))), Err(InvalidMessage::Id { bytes: 129, .. })));
    }

    proptest! {
        #[test]
        fn the_quick_look_agrees_with_the_definition(text in any::<String>()) {
            let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{d7ff}' | '\u{e000}'..='\u{fffd}' | '\u{10000}'..);
            prop_assert_eq!(outside_xml(&text), text.char_indices().find(|&(_, c)| !legal(c)));
        }
    }
}
