//! The envelope around a message: what SNS wraps around it, and what SQS adds.
//!
//! A subscription delivers a message either *wrapped* (the SQS body is a JSON notification that holds the
//! message, its attributes, its id) or *raw* (the SQS body is the message). Both kinds may share a queue while a
//! subscription is switched over, so each message is judged by itself: it is wrapped if it is a notification and
//! carries no SQS message attributes. A wrapped delivery never carries any, and a raw one of our producer always
//! carries `traceparent`: a body that merely looks like a notification is not unwrapped twice.
//!
//! Format: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-and-json-formats.html#http-notification-json>.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{Message as SqsMessage, MessageAttributeValue, MessageSystemAttributeName};
use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use memchr::memmem;
use serde::Deserialize;

use crate::message::{Attribute, Message};
use crate::trace::{TRACEPARENT, TraceContext};

/// The system attributes that [`Received::open`] reads; a receive must ask for them.
pub const SYSTEM_ATTRIBUTES: [MessageSystemAttributeName; 4] = [
    MessageSystemAttributeName::ApproximateReceiveCount,
    MessageSystemAttributeName::SentTimestamp,
    MessageSystemAttributeName::MessageGroupId,
    MessageSystemAttributeName::AwsTraceHeader,
];

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
    #[serde(rename = "MessageId", borrow)]
    message_id: Cow<'a, str>,
    #[serde(rename = "TopicArn", borrow)]
    topic_arn: Cow<'a, str>,
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
    #[serde(rename = "Value", borrow)]
    value: Cow<'a, str>,
}

impl Received {
    /// Opens one entry. `None` if SQS sent no receipt handle: then there is nothing to act on.
    pub fn open(mut entry: SqsMessage) -> Option<Self> {
        let receipt = entry.receipt_handle.take()?;
        let sqs_message_id = entry.message_id.take().unwrap_or_default();
        let system = System::of(entry.attributes.take().unwrap_or_default());
        let (receive_count, group) = (system.receive_count, system.group.clone());
        let message = read(entry, &sqs_message_id, system);
        Some(Self { receipt, sqs_message_id, receive_count, group, message })
    }
}

/// What SQS adds, as far as we ask for it.
struct System {
    receive_count: u32,
    sent: Option<SystemTime>,
    group: Option<String>,
    xray: Option<String>,
}

impl System {
    fn of(attributes: HashMap<MessageSystemAttributeName, String>) -> Self {
        let mut system = Self { receive_count: 1, sent: None, group: None, xray: None };
        // one pass: each look-up would hash a name
        for (name, value) in attributes {
            match name {
                MessageSystemAttributeName::ApproximateReceiveCount => {
                    system.receive_count = value.parse().unwrap_or(1);
                }
                MessageSystemAttributeName::SentTimestamp => {
                    let sent = value.parse().ok().map(Duration::from_millis);
                    system.sent = sent.map(|since| SystemTime::UNIX_EPOCH + since);
                }
                MessageSystemAttributeName::MessageGroupId => system.group = Some(value),
                MessageSystemAttributeName::AwsTraceHeader => system.xray = Some(value),
                _ => {}
            }
        }
        system
    }
}

fn read(entry: SqsMessage, sqs_message_id: &str, system: System) -> Result<Message, Unreadable> {
    let body = entry.body.ok_or(Unreadable::NoBody)?;
    let raw_attributes = entry.message_attributes.unwrap_or_default();
    let notification = if raw_attributes.is_empty() { notification(&body) } else { None };
    let (id, topic_arn, published_at, attributes, body) = match notification {
        Some(n) => (
            n.message_id.into_owned(),
            Some(n.topic_arn.into_owned()),
            n.timestamp.as_deref().and_then(timestamp),
            unwrapped_attributes(n.attributes.unwrap_or_default())?,
            n.message.into_owned(),
        ),
        None => (sqs_message_id.to_owned(), None, None, raw(raw_attributes), body),
    };
    let trace = trace_of(&attributes, system.xray.as_ref());
    Ok(Message {
        id,
        sqs_message_id: sqs_message_id.to_owned(),
        body,
        attributes,
        receive_count: system.receive_count,
        published_at: published_at.or(system.sent),
        group: system.group,
        topic_arn,
        trace,
    })
}

/// The notification in a body, if it is one. Anything else is a raw message, whatever its format.
fn notification(body: &str) -> Option<Notification<'_>> {
    // most raw bodies are told apart without parsing them
    if !body.trim_ascii_start().starts_with('{') || memmem::find(body.as_bytes(), b"\"TopicArn\"").is_none() {
        return None;
    }
    serde_json::from_str::<Notification<'_>>(body).ok().filter(|n| n.kind == "Notification")
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

/// Our own attribute first; X-Ray's header where SNS added that (`Root=1-<8 hex>-<24 hex>;Parent=<16 hex>;Sampled=1`).
fn trace_of(attributes: &BTreeMap<String, Attribute>, xray: Option<&String>) -> Option<TraceContext> {
    if let Some(trace) = attributes.get(TRACEPARENT).and_then(Attribute::as_str).and_then(|t| t.parse().ok())
    {
        return Some(trace);
    }
    let field = |name: &str| {
        xray?.split(';').find_map(|part| part.trim().strip_prefix(name)?.strip_prefix('=').map(str::to_owned))
    };
    let root = field("Root")?.strip_prefix("1-")?.replace('-', "");
    let parent = field("Parent")?;
    let sampled = field("Sampled").is_some_and(|s| s == "1");
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
        Received::open(entry).unwrap().message.unwrap()
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
        for body in ["{\"TopicArn\": 1}", "{\"Type\":\"Order\",\"TopicArn\":\"x\"}", "[1]", "{", "", "{}"] {
            assert_eq!(open(entry(body).build()).body, body);
        }
    }

    #[test]
    fn a_message_that_cannot_be_read_still_has_its_receipt() {
        let bad = wrapped("x").replace("AAH/", "!!");
        let received = Received::open(entry(&bad).build()).unwrap();
        assert_eq!(received.receipt, "receipt");
        assert!(matches!(received.message, Err(Unreadable::Attribute { ref name, .. }) if name == "blob"));
        let empty = SqsMessage::builder().receipt_handle("receipt").build();
        assert_eq!(Received::open(empty).unwrap().message, Err(Unreadable::NoBody));
        assert!(Received::open(SqsMessage::builder().body("x").build()).is_none());
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

    proptest! {
        #[test]
        fn no_body_panics_or_loses_a_byte(body in any::<String>()) {
            prop_assert_eq!(&open(entry(&wrapped(&body)).build()).body, &body);
            prop_assert_eq!(&open(entry(&body).message_attributes("a", attribute("String", "b")).build()).body, &body);
        }
    }
}
