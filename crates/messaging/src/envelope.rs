//! The envelope around a message: what SNS wraps around it, and what SQS adds.
//!
//! A subscription delivers a message either *wrapped* (the SQS body is a JSON notification that holds the
//! message, its attributes, its id) or *raw* (the SQS body is the message). Both kinds may share a queue while a
//! subscription is switched over, so by default each message is judged by itself: it is wrapped if it has the fields of a
//! notification, the ARN of an SNS topic among them, and carries no SQS message attributes. A wrapped delivery never
//! carries any, and a raw one of our producer always carries `traceparent`: a body that merely looks like a notification is
//! not unwrapped twice. [`Envelope`] fixes the form where that is not enough.
//!
//! Format: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html#http-notification-json>.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::LazyLock;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{Message as SqsMessage, MessageAttributeValue, MessageSystemAttributeName};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use memchr::memmem;
use serde::de::Visitor;
use serde::{Deserialize, Deserializer};

use crate::message::{Attribute, Message};
use crate::trace::{TRACEPARENT, TraceContext};

/// The system attributes that [`Received::open`] reads; a receive must ask for them.
pub const SYSTEM_ATTRIBUTES: [MessageSystemAttributeName; 7] = [
    MessageSystemAttributeName::ApproximateReceiveCount,
    MessageSystemAttributeName::ApproximateFirstReceiveTimestamp,
    MessageSystemAttributeName::SentTimestamp,
    MessageSystemAttributeName::MessageGroupId,
    MessageSystemAttributeName::SequenceNumber,
    MessageSystemAttributeName::DeadLetterQueueSourceArn,
    MessageSystemAttributeName::AwsTraceHeader,
];

/// What a queue's bodies are.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Envelope {
    /// Notifications of SNS, or messages: judged one by one.
    #[default]
    Detect,
    /// Messages: a body is handed on as it is, whatever it looks like.
    Raw,
    /// Notifications of SNS: a body that is none cannot be read, which is a failure of its message.
    Notification,
}

/// One entry of a receive's answer: the receipt, and the message if it could be read.
#[derive(Debug)]
pub struct Received {
    /// What a delete or a change of visibility needs.
    pub receipt: String,
    /// SQS's message id.
    pub sqs_message_id: String,
    /// How often the message was received, this time included.
    pub receive_count: u32,
    /// The message group, of FIFO queues.
    pub group: Option<String>,
    /// The message. One that cannot be read is a failure to retry and to dead-letter, never one to delete.
    pub message: Result<Message, Unreadable>,
}

/// Why a message could not be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// SQS sent no body.
    #[error("SQS delivered it without a body")]
    NoBody,
    /// A confirmation of SNS, which is for an operator and not for a handler.
    #[error(
        "it is no message but SNS's {kind} for {topic_arn}; confirm it with aws sns confirm-subscription and the body's Token, or delete it"
    )]
    Confirmation {
        /// `SubscriptionConfirmation` or `UnsubscribeConfirmation`.
        kind: String,
        /// The topic it is about.
        topic_arn: String,
    },
    /// The queue's bodies are said to be notifications, and this one is not.
    #[error("it is no notification of SNS, and ENVELOPE=notification says that it must be")]
    NotWrapped,
    /// An attribute that says it is binary is not base64.
    #[error("attribute {name} is not what its type says: {reason}")]
    Attribute {
        /// The attribute's name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
}

#[derive(Deserialize)]
struct Notification<'a> {
    #[serde(rename = "Type", borrow)]
    kind: Cow<'a, str>,
    // emulators leave some of them out
    #[serde(rename = "MessageId", borrow, default)]
    message_id: Option<Cow<'a, str>>,
    #[serde(rename = "TopicArn", borrow)]
    topic_arn: Cow<'a, str>,
    #[serde(rename = "Subject", borrow, default)]
    subject: Option<Cow<'a, str>>,
    #[serde(rename = "SequenceNumber", borrow, default)]
    sequence_number: Option<Cow<'a, str>>,
    #[serde(rename = "Message", borrow)]
    message: Cow<'a, str>,
    #[serde(rename = "Timestamp", borrow, default)]
    timestamp: Option<Cow<'a, str>>,
    #[serde(rename = "MessageAttributes", borrow, default)]
    attributes: Option<BTreeMap<String, NotificationAttribute<'a>>>,
}

#[derive(Deserialize)]
struct NotificationAttribute<'a> {
    #[serde(rename = "Type", borrow)]
    data_type: Cow<'a, str>,
    #[serde(rename = "Value", borrow, default, deserialize_with = "text_of_any")]
    value: Cow<'a, str>,
}

/// A text, or the text of a number or a boolean: SNS writes every value as a text, and not every emulator does.
fn text_of_any<'de: 'a, 'a, D: Deserializer<'de>>(from: D) -> Result<Cow<'a, str>, D::Error> {
    struct Text;

    impl<'de> Visitor<'de> for Text {
        type Value = Cow<'de, str>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a text, a number, a boolean or null")
        }

        fn visit_borrowed_str<E>(self, text: &'de str) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(text))
        }

        fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
            Ok(Cow::Owned(text.to_owned()))
        }

        fn visit_i64<E>(self, number: i64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }

        fn visit_u64<E>(self, number: u64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }

        fn visit_f64<E>(self, number: f64) -> Result<Self::Value, E> {
            Ok(Cow::Owned(number.to_string()))
        }

        fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
            Ok(Cow::Owned(value.to_string()))
        }

        fn visit_unit<E>(self) -> Result<Self::Value, E> {
            Ok(Cow::Borrowed(""))
        }
    }

    from.deserialize_any(Text)
}

impl Received {
    /// Opens one entry of a queue with such bodies. `None` if SQS sent no receipt handle: then there is nothing to act on.
    pub fn open(mut entry: SqsMessage, envelope: Envelope) -> Option<Self> {
        let receipt = entry.receipt_handle.take()?;
        let sqs_message_id = entry.message_id.take().unwrap_or_default();
        let system = System::of(entry.attributes.take().unwrap_or_default());
        let (receive_count, group) = (system.receive_count, system.group.clone());
        let message = read(entry, envelope, &sqs_message_id, system);
        Some(Self { receipt, sqs_message_id, receive_count, group, message })
    }
}

/// What SQS adds, as far as we ask for it.
#[derive(Default)]
struct System {
    receive_count: u32,
    first_received: Option<SystemTime>,
    sent: Option<SystemTime>,
    group: Option<String>,
    sequence_number: Option<String>,
    dead_letter_source: Option<String>,
    xray: Option<String>,
}

impl System {
    fn of(attributes: HashMap<MessageSystemAttributeName, String>) -> Self {
        let mut system = Self { receive_count: 1, ..Self::default() };
        // one pass: each look-up would hash a name
        for (name, value) in attributes {
            match name {
                MessageSystemAttributeName::ApproximateReceiveCount => {
                    system.receive_count = value.parse().unwrap_or(1);
                }
                MessageSystemAttributeName::ApproximateFirstReceiveTimestamp => {
                    system.first_received = milliseconds(&value);
                }
                MessageSystemAttributeName::SentTimestamp => system.sent = milliseconds(&value),
                MessageSystemAttributeName::MessageGroupId => system.group = Some(value),
                MessageSystemAttributeName::SequenceNumber => system.sequence_number = Some(value),
                MessageSystemAttributeName::DeadLetterQueueSourceArn => {
                    system.dead_letter_source = Some(value)
                }
                MessageSystemAttributeName::AwsTraceHeader => system.xray = Some(value),
                _ => {}
            }
        }
        system
    }
}

fn milliseconds(text: &str) -> Option<SystemTime> {
    SystemTime::UNIX_EPOCH.checked_add(Duration::from_millis(text.parse().ok()?))
}

fn read(
    entry: SqsMessage,
    envelope: Envelope,
    sqs_message_id: &str,
    system: System,
) -> Result<Message, Unreadable> {
    let body = entry.body.ok_or(Unreadable::NoBody)?;
    let raw_attributes = entry.message_attributes.unwrap_or_default();
    let wrapped = match envelope {
        Envelope::Detect if raw_attributes.is_empty() => notification(&body)?,
        Envelope::Detect | Envelope::Raw => None,
        Envelope::Notification => Some(notification(&body)?.ok_or(Unreadable::NotWrapped)?),
    };
    let message = Message {
        sqs_message_id: sqs_message_id.to_owned(),
        receive_count: system.receive_count,
        first_received_at: system.first_received,
        group: system.group,
        dead_letter_source: system.dead_letter_source,
        ..Message::default()
    };
    let mut message = match wrapped {
        Some(n) => Message {
            id: n.message_id.map_or_else(|| sqs_message_id.to_owned(), Cow::into_owned),
            topic_arn: Some(n.topic_arn.into_owned()),
            subject: n.subject.map(Cow::into_owned),
            published_at: n.timestamp.as_deref().and_then(timestamp).or(system.sent),
            sequence_number: n.sequence_number.map(Cow::into_owned).or(system.sequence_number),
            attributes: unwrapped_attributes(n.attributes.unwrap_or_default())?,
            body: n.message.into_owned(),
            ..message
        },
        None => Message {
            id: sqs_message_id.to_owned(),
            published_at: system.sent,
            sequence_number: system.sequence_number,
            attributes: raw(raw_attributes),
            body,
            ..message
        },
    };
    message.trace = trace_of(&message.attributes, system.xray.as_ref());
    Ok(message)
}

/// Prepared once: that costs more than to find it.
static TOPIC_ARN: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new("\"TopicArn\""));

/// The notification in a body, if it is one. Anything else is a raw message, whatever its format.
///
/// # Errors
/// SNS sent something else than a message.
fn notification(body: &str) -> Result<Option<Notification<'_>>, Unreadable> {
    // a mark of the byte order that some emulators' clients leave in
    let body = body.strip_prefix('\u{feff}').unwrap_or(body);
    // most raw bodies are told apart without parsing them
    if !body.trim_ascii_start().starts_with('{') || TOPIC_ARN.find(body.as_bytes()).is_none() {
        return Ok(None);
    }
    let Some(found) = serde_json::from_str::<Notification<'_>>(body).ok().filter(|n| is_topic(&n.topic_arn))
    else {
        return Ok(None);
    };
    match &*found.kind {
        "Notification" => Ok(Some(found)),
        "SubscriptionConfirmation" | "UnsubscribeConfirmation" => Err(Unreadable::Confirmation {
            kind: found.kind.into_owned(),
            topic_arn: found.topic_arn.into_owned(),
        }),
        _ => Ok(None),
    }
}

/// Whether a text is the ARN of an SNS topic, in any partition.
pub(crate) fn is_topic(arn: &str) -> bool {
    let mut parts = arn.splitn(6, ':');
    parts.next() == Some("arn")
        && parts.nth(1) == Some("sns")
        && parts.nth(2).is_some_and(|name| !name.is_empty() && !name.contains(':'))
}

/// A message as the notification that it came in, without its signature: what [`Envelope::Notification`] reads.
pub fn as_notification(message: &Message) -> String {
    let published = message.published_at.and_then(|at| DateTime::from(at).fmt(Format::DateTime).ok());
    let mut fields = serde_json::Map::new();
    for (name, value) in [
        ("Type", Some("Notification")),
        ("MessageId", Some(message.id.as_str())),
        ("TopicArn", message.topic_arn.as_deref()),
        ("Subject", message.subject.as_deref()),
        ("SequenceNumber", message.sequence_number.as_deref()),
        ("Message", Some(message.body.as_str())),
        ("Timestamp", published.as_deref()),
    ] {
        if let Some(value) = value {
            fields.insert(name.to_owned(), value.into());
        }
    }
    if !message.attributes.is_empty() {
        fields.insert("MessageAttributes".to_owned(), as_json(&message.attributes));
    }
    serde_json::Value::Object(fields).to_string()
}

/// Attributes in the form of a notification, as one JSON text: `{"NAME": {"Type": "String", "Value": "…"}}`.
pub fn attributes_as_json<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>) -> String {
    as_json(attributes).to_string()
}

fn as_json<'a>(attributes: impl IntoIterator<Item = (&'a String, &'a Attribute)>) -> serde_json::Value {
    let form = |(name, attribute): (&String, &Attribute)| {
        (name.clone(), serde_json::json!({"Type": attribute.data_type(), "Value": attribute.to_text()}))
    };
    serde_json::Value::Object(attributes.into_iter().map(form).collect())
}

fn unwrapped_attributes(
    wrapped: BTreeMap<String, NotificationAttribute<'_>>,
) -> Result<BTreeMap<String, Attribute>, Unreadable> {
    let open = |(name, a): (String, NotificationAttribute<'_>)| {
        let data_type = a.data_type.into_owned();
        let attribute = if data_type == "Binary" || data_type.starts_with("Binary.") {
            let value = aws_smithy_types::base64::decode(&*a.value)
                .map_err(|e| Unreadable::Attribute { name: name.clone(), reason: e.to_string() })?;
            Attribute::Binary { data_type, value }
        } else {
            Attribute::Text { data_type, value: a.value.into_owned() }
        };
        Ok((name, attribute))
    };
    wrapped.into_iter().map(open).collect()
}

fn raw(attributes: HashMap<String, MessageAttributeValue>) -> BTreeMap<String, Attribute> {
    let open = |(name, value): (String, MessageAttributeValue)| {
        let data_type = value.data_type;
        let attribute = match (value.string_value, value.binary_value) {
            (Some(value), _) => Attribute::Text { data_type, value },
            (None, binary) => {
                Attribute::Binary { data_type, value: binary.map(|b| b.into_inner()).unwrap_or_default() }
            }
        };
        (name, attribute)
    };
    attributes.into_iter().map(open).collect()
}

/// Our own attribute first; X-Ray's header where SNS added that (`Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1`), of
/// which the root alone is enough.
fn trace_of(attributes: &BTreeMap<String, Attribute>, xray: Option<&String>) -> Option<TraceContext> {
    if let Some(trace) = attributes.get(TRACEPARENT).and_then(Attribute::as_str).and_then(|t| t.parse().ok())
    {
        return Some(trace);
    }
    let field = |name: &str| {
        xray?.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let root = field("Root")?.strip_prefix("1-")?.replace('-', "");
    // a load balancer and API Gateway name the trace alone: a span of it begins here
    let parent = field("Parent").unwrap_or_else(|| format!("{:016x}", fastrand::u64(1..)));
    // `?`, or nothing, is undecided: what nobody has switched off is kept
    let sampled = field("Sampled").is_none_or(|sampled| sampled != "0");
    format!("00-{root}-{parent}-{:02x}", u8::from(sampled)).parse().ok()
}

fn timestamp(text: &str) -> Option<SystemTime> {
    DateTime::from_str(text, Format::DateTime).ok().and_then(|t| SystemTime::try_from(t).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const TRACE: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    fn entry(body: &str) -> aws_sdk_sqs::types::builders::MessageBuilder {
        SqsMessage::builder()
            .message_id("sqs-1")
            .receipt_handle("receipt")
            .body(body)
            .attributes(MessageSystemAttributeName::ApproximateReceiveCount, "3")
            .attributes(MessageSystemAttributeName::SentTimestamp, "1700000000123")
    }

    fn attribute(data_type: &str, value: &str) -> MessageAttributeValue {
        MessageAttributeValue::builder().data_type(data_type).string_value(value).build().unwrap()
    }

    fn wrapped(message: &str) -> String {
        serde_json::json!({
            "Type": "Notification", "MessageId": "sns-1", "TopicArn": "arn:aws:sns:us-east-1:000000000000:events",
            "Message": message, "Timestamp": "2026-11-22T13:00:00.500Z", "SignatureVersion": "1", "Signature": "x",
            "MessageAttributes": {
                "traceparent": {"Type": "String", "Value": TRACE},
                "count": {"Type": "Number", "Value": "7"},
                "blob": {"Type": "Binary", "Value": "AAH/"},
            },
        })
        .to_string()
    }

    fn open(entry: SqsMessage) -> Message {
        read_as(entry, Envelope::Detect).unwrap()
    }

    fn read_as(entry: SqsMessage, envelope: Envelope) -> Result<Message, Unreadable> {
        Received::open(entry, envelope).unwrap().message
    }

    #[test]
    fn raw_and_wrapped_hand_on_the_same_thing() {
        let unwrapped = open(entry(&wrapped("hello\t\"world\" 🦀")).build());
        let raw = open(
            entry("hello\t\"world\" 🦀")
                .message_attributes("traceparent", attribute("String", TRACE))
                .message_attributes("count", attribute("Number", "7"))
                .message_attributes(
                    "blob",
                    MessageAttributeValue::builder()
                        .data_type("Binary")
                        .binary_value(aws_sdk_sqs::primitives::Blob::new([0, 1, 255]))
                        .build()
                        .unwrap(),
                )
                .build(),
        );
        assert_eq!(unwrapped.body, raw.body);
        assert_eq!(unwrapped.attributes, raw.attributes);
        assert_eq!(unwrapped.trace, raw.trace);
        assert_eq!(unwrapped.trace.unwrap().to_string(), TRACE);
        assert_eq!((unwrapped.receive_count, raw.receive_count), (3, 3));
        assert_eq!((unwrapped.id.as_str(), raw.id.as_str()), ("sns-1", "sqs-1"));
        assert_eq!(
            unwrapped.published_at,
            Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_795_352_400_500))
        );
        assert_eq!(raw.published_at, Some(SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_123)));
    }

    #[test]
    fn a_raw_message_that_looks_like_a_notification_is_not_unwrapped() {
        let looks = wrapped("inner");
        let message =
            open(entry(&looks).message_attributes("traceparent", attribute("String", TRACE)).build());
        assert_eq!(message.body, looks);
    }

    #[test]
    fn json_that_is_no_notification_stays_as_it_is() {
        for body in [
            "{\"TopicArn\": 1}",
            "{\"Type\":\"Order\",\"TopicArn\":\"x\"}",
            "{\"Type\":\"Notification\",\"TopicArn\":\"my topic\",\"Message\":\"a user's own\"}",
            "{\"Type\":\"Notification\",\"TopicArn\":\"arn:aws:sqs:us-east-1:000000000000:q\",\"Message\":\"x\"}",
            "{\"Type\":\"Order\",\"TopicArn\":\"arn:aws:sns:us-east-1:000000000000:t\",\"Message\":\"x\"}",
            "[1]",
            "{",
            "",
            "{}",
        ] {
            assert_eq!(open(entry(body).build()).body, body);
        }
    }

    #[test]
    fn the_form_can_be_fixed() {
        let looks = wrapped("inner");
        assert_eq!(read_as(entry(&looks).build(), Envelope::Raw).unwrap().body, looks);
        assert_eq!(read_as(entry(&looks).build(), Envelope::Notification).unwrap().body, "inner");
        let with_attributes = entry(&looks).message_attributes("a", attribute("String", "b")).build();
        assert_eq!(read_as(with_attributes, Envelope::Notification).unwrap().body, "inner");
        assert_eq!(read_as(entry("plain").build(), Envelope::Notification), Err(Unreadable::NotWrapped));
    }

    #[test]
    fn what_sns_sends_besides_notifications_is_no_message() {
        for kind in ["SubscriptionConfirmation", "UnsubscribeConfirmation"] {
            let body =
                wrapped("You have chosen to subscribe").replace("\"Notification\"", &format!("{kind:?}"));
            let topic_arn = "arn:aws:sns:us-east-1:000000000000:events".to_owned();
            let expected = Unreadable::Confirmation { kind: kind.to_owned(), topic_arn };
            assert_eq!(read_as(entry(&body).build(), Envelope::Detect), Err(expected), "{kind}");
            assert_eq!(read_as(entry(&body).build(), Envelope::Raw).unwrap().body, body);
        }
    }

    #[test]
    fn subject_sequence_first_receive_and_dead_letter_source_are_handed_on() {
        use MessageSystemAttributeName as Name;
        let body = wrapped("x").replacen(
            '{',
            "{\"Subject\": \"ALARM\", \"SequenceNumber\": \"10000000000000003000\",",
            1,
        );
        let from = "arn:aws:sqs:us-east-1:000000000000:orders";
        let entry = |body: &str| {
            entry(body)
                .attributes(Name::ApproximateFirstReceiveTimestamp, "1700000000456")
                .attributes(Name::SequenceNumber, "18850000000000000000")
                .attributes(Name::DeadLetterQueueSourceArn, from)
                .build()
        };
        let (wrapped, raw) = (open(entry(&body)), open(entry("x")));
        assert_eq!((wrapped.subject.as_deref(), raw.subject), (Some("ALARM"), None));
        assert_eq!(wrapped.sequence_number.as_deref(), Some("10000000000000003000"), "the topic's own");
        assert_eq!(raw.sequence_number.as_deref(), Some("18850000000000000000"));
        for message in [&wrapped, &open(entry("x"))] {
            let first = SystemTime::UNIX_EPOCH + Duration::from_millis(1_700_000_000_456);
            assert_eq!(message.first_received_at, Some(first));
            assert_eq!(message.dead_letter_source.as_deref(), Some(from));
        }
    }

    #[test]
    fn what_emulators_leave_out_or_write_as_numbers_is_read() {
        let body = serde_json::json!({
            "Type": "Notification", "TopicArn": "arn:aws:sns:us-east-1:000000000000:events", "Message": "x", "Subject": null,
            "MessageAttributes": {
                "count": {"Type": "Number", "Value": 7}, "rate": {"Type": "Number", "Value": 0.5},
                "on": {"Type": "String", "Value": true}, "none": {"Type": "String", "Value": null},
            },
        });
        let message = open(entry(&format!("\u{feff}{body}")).build());
        assert_eq!((message.id.as_str(), message.body.as_str(), message.subject), ("sqs-1", "x", None));
        let value = |name: &str| message.attributes[name].as_str().unwrap().to_owned();
        assert_eq!([value("count"), value("rate"), value("on"), value("none")], ["7", "0.5", "true", ""]);
    }

    #[test]
    fn a_message_that_cannot_be_read_still_has_its_receipt() {
        let bad = wrapped("x").replace("AAH/", "!!");
        let received = Received::open(entry(&bad).build(), Envelope::Detect).unwrap();
        assert_eq!(received.receipt, "receipt");
        assert!(matches!(received.message, Err(Unreadable::Attribute { ref name, .. }) if name == "blob"));
        let empty = SqsMessage::builder().receipt_handle("receipt").build();
        assert_eq!(read_as(empty, Envelope::Detect), Err(Unreadable::NoBody));
        assert!(Received::open(SqsMessage::builder().body("x").build(), Envelope::Detect).is_none());
    }

    #[test]
    fn the_trace_of_xray_is_taken_where_there_is_no_other() {
        let xray = "Root=1-67891233-abcdef012345678912345678;Parent=463ac35c9f6413ad;Sampled=1";
        let message = open(entry("x").attributes(MessageSystemAttributeName::AwsTraceHeader, xray).build());
        assert_eq!(
            message.trace.unwrap().to_string(),
            "00-67891233abcdef012345678912345678-463ac35c9f6413ad-01"
        );
    }

    #[test]
    fn a_root_of_xray_is_a_trace_whatever_else_is_missing() {
        let root = "Root=1-67891233-abcdef012345678912345678";
        for (xray, parent, sampled) in [
            (root.to_owned(), None, "01"),
            (format!("{root};Sampled=1"), None, "01"),
            (format!("Self=1-67891234-12456789abcdef012345678;{root}"), None, "01"),
            (format!("{root};Sampled=0"), None, "00"),
            (format!("{root};Parent=463ac35c9f6413ad"), Some("463ac35c9f6413ad"), "01"),
            (
                format!("{root}; Parent=463ac35c9f6413ad;Sampled=?;Lineage=a:b"),
                Some("463ac35c9f6413ad"),
                "01",
            ),
            (format!("{root};Parent=463ac35c9f6413ad;Sampled=0"), Some("463ac35c9f6413ad"), "00"),
        ] {
            let message = entry("x").attributes(MessageSystemAttributeName::AwsTraceHeader, xray.clone());
            let trace = open(message.build()).trace.unwrap_or_else(|| panic!("{xray}")).to_string();
            let parts: Vec<_> = trace.split('-').collect();
            assert_eq!((parts[1], parts[3]), ("67891233abcdef012345678912345678", sampled), "{xray}");
            assert!(parent.is_none_or(|parent| parts[2] == parent), "{xray}: {trace}");
        }
    }

    proptest! {
        #[test]
        fn no_body_panics_or_loses_a_byte(body in any::<String>()) {
            prop_assert_eq!(&open(entry(&wrapped(&body)).build()).body, &body);
            prop_assert_eq!(&open(entry(&body).message_attributes("a", attribute("String", "b")).build()).body, &body);
        }
    }
}
