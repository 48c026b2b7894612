//! A message as handlers see it, and its attributes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::SystemTime;

use crate::trace::TraceContext;

/// The attribute that marks a probe of `lifeline doctor`: a consumer deletes such a message without calling its handler.
pub const PROBE: &str = "lifeline-probe";

/// A message as a handler sees it, whichever way it came. `B` is its body: text, or what was read from it.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct Message<B = String> {
    /// SNS's message id, which the publisher logged, where the envelope tells it; else SQS's.
    pub id: String,
    /// SQS's message id: the same over redeliveries.
    pub sqs_message_id: String,
    /// The body as it was published.
    pub body: B,
    /// The attributes that were published with it, the trace included.
    pub attributes: BTreeMap<String, Attribute>,
    /// The subject that was published with it, where the envelope tells it: alarms and S3 events have one.
    pub subject: Option<String>,
    /// How often it was received, this time included: 1 or more.
    pub receive_count: u32,
    /// When it was received for the first time, by SQS's clock.
    pub first_received_at: Option<SystemTime>,
    /// When it was published (SNS's timestamp), or sent to the queue where that is not known.
    pub published_at: Option<SystemTime>,
    /// The message group, of FIFO and fair queues.
    pub group: Option<String>,
    /// Its place in the order of a FIFO topic, or of the queue where the envelope does not tell: a number of up to 20 digits
    /// that grows within a group.
    pub sequence_number: Option<String>,
    /// ARN of the queue that dead-lettered it, where this is a dead-letter queue.
    pub dead_letter_source: Option<String>,
    /// The topic it came through, where the envelope tells it.
    pub topic_arn: Option<String>,
    /// Its trace, where it has one.
    pub trace: Option<TraceContext>,
}

impl Message {
    /// A message with this body and nothing else.
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }
}

impl<B> Message<B> {
    /// The same message with another body.
    pub fn with_body<C>(&self, body: C) -> Message<C> {
        Message {
            id: self.id.clone(),
            sqs_message_id: self.sqs_message_id.clone(),
            body,
            attributes: self.attributes.clone(),
            subject: self.subject.clone(),
            receive_count: self.receive_count,
            first_received_at: self.first_received_at,
            published_at: self.published_at,
            group: self.group.clone(),
            sequence_number: self.sequence_number.clone(),
            dead_letter_source: self.dead_letter_source.clone(),
            topic_arn: self.topic_arn.clone(),
            trace: self.trace,
        }
    }

    /// The text of an attribute that has one.
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?.as_str()
    }
}

/// The value of a message attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Attribute {
    /// `String`, `Number`, `String.Array` and custom types of these: the type and its text.
    Text {
        /// The data type as it was published.
        data_type: String,
        /// The value as text.
        value: String,
    },
    /// `Binary` and custom types of it.
    Binary {
        /// The data type as it was published.
        data_type: String,
        /// The value's bytes.
        value: Vec<u8>,
    },
}

impl Attribute {
    /// A `String` attribute.
    pub fn string(value: impl Into<String>) -> Self {
        Self::Text { data_type: "String".to_owned(), value: value.into() }
    }

    /// The data type as it was published.
    pub fn data_type(&self) -> &str {
        match self {
            Self::Text { data_type, .. } | Self::Binary { data_type, .. } => data_type,
        }
    }

    /// The text of a textual attribute.
    pub fn as_str(&self) -> Option<&str> {
        match self {
            Self::Text { value, .. } => Some(value),
            Self::Binary { .. } => None,
        }
    }

    /// The value as SNS writes it into a notification: its text, or its bytes as base64.
    pub fn to_text(&self) -> Cow<'_, str> {
        match self {
            Self::Text { value, .. } => Cow::Borrowed(value),
            Self::Binary { value, .. } => Cow::Owned(aws_smithy_types::base64::encode(value)),
        }
    }

    /// Bytes that count against SNS's and SQS's limits: those of the type and of the value.
    pub fn size(&self) -> usize {
        match self {
            Self::Text { data_type, value } => data_type.len() + value.len(),
            Self::Binary { data_type, value } => data_type.len() + value.len(),
        }
    }
}

impl From<&str> for Attribute {
    fn from(value: &str) -> Self {
        Self::string(value)
    }
}

impl From<String> for Attribute {
    fn from(value: String) -> Self {
        Self::string(value)
    }
}

impl From<i64> for Attribute {
    fn from(value: i64) -> Self {
        Self::Text { data_type: "Number".to_owned(), value: value.to_string() }
    }
}

impl From<Vec<u8>> for Attribute {
    fn from(value: Vec<u8>) -> Self {
        Self::Binary { data_type: "Binary".to_owned(), value }
    }
}
