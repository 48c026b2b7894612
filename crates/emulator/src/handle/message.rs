//! Messages as tests write and see them.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use tokio::time::Instant;

use crate::{
    clock::{Clock, Time},
    model::{
        attribute::{Attribute, Attributes, Value},
        history,
        message::{self, State},
        notification::Notification,
    },
};

/// A message to be put into a queue.
///
/// ```
/// use lifeline_emulator::{Emulator, Message};
/// let queue = Emulator::new().queue("orders.fifo");
/// queue.send(Message::new("one").group("customer 7").attribute("kind", "order"));
/// ```
#[derive(Debug, Clone, Default)]
pub struct Message {
    pub(super) body: String,
    pub(super) attributes: Attributes,
    pub(super) delay: Option<Duration>,
    pub(super) group: Option<String>,
    pub(super) deduplication: Option<String>,
    pub(super) receives: u32,
    pub(super) trace_header: Option<String>,
}

impl Message {
    /// A message of this body, without attributes, delay or group.
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With a message attribute of type `String`.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        let attribute = Attribute { data_type: "String".into(), value: Value::Text(value.into()) };
        self.attributes.insert(name.into(), attribute);
        self
    }

    /// Hidden for this long, in whole seconds, after it is sent.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// In this message group. In a FIFO queue it is `default` without this.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.into());
        self
    }

    /// With this deduplication id. In a FIFO queue it is the message's own id without this.
    #[must_use]
    pub fn deduplication(mut self, id: &str) -> Self {
        self.deduplication = Some(id.into());
        self
    }

    /// As if it had been received this often before.
    #[must_use]
    pub fn received_before(mut self, times: u32) -> Self {
        self.receives = times;
        self
    }

    /// With this `AWSTraceHeader`.
    #[must_use]
    pub fn trace_header(mut self, header: &str) -> Self {
        self.trace_header = Some(header.into());
        self
    }
}

impl<S: Into<String>> From<S> for Message {
    fn from(body: S) -> Self {
        Self::new(body)
    }
}

/// A message as it stands in a queue.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct StoredMessage {
    /// SQS's id.
    pub id: String,
    /// The body; SNS's envelope unless delivery is raw.
    pub body: String,
    /// `ApproximateReceiveCount`.
    pub receive_count: u32,
    /// Message group.
    pub group: Option<String>,
    /// Where it stands.
    pub place: Place,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Place {
    /// The next receive may bring it.
    Visible,
    /// Hidden until its delay ends.
    Delayed,
    /// Received, and hidden until its visibility timeout ends.
    InFlight,
}

impl StoredMessage {
    pub(super) fn of(message: &message::Message) -> Self {
        Self {
            id: message.id.clone(),
            body: message.body.to_string(),
            receive_count: message.receives,
            group: text(message.group.as_ref()),
            place: match message.state {
                State::Visible => Place::Visible,
                State::Delayed { .. } => Place::Delayed,
                State::InFlight { .. } => Place::InFlight,
            },
        }
    }
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// The next receives may bring these.
    pub visible: usize,
    /// Received, and hidden until their visibility timeouts end.
    pub in_flight: usize,
    /// Hidden until their delays end.
    pub delayed: usize,
}

/// What a message went through in a queue, kept after it is gone.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct History {
    /// SQS's id.
    pub message_id: String,
    /// The body.
    pub body: String,
    /// When it came into the queue.
    pub sent: Instant,
    /// When it was received, each time.
    pub received: Vec<Instant>,
    /// Visibility timeouts that a caller set, and when; zero gives it back at once.
    pub visibility: Vec<(Instant, Duration)>,
    /// When it was deleted.
    pub deleted: Option<Instant>,
    /// Deletes that succeeded and deleted nothing: by a receipt that was taken from its owner, or of what was gone.
    pub stale_deletes: u32,
    /// When it was moved to the dead-letter queue.
    pub dead_lettered: Option<Instant>,
}

impl History {
    pub(super) fn of(history: &history::History, clock: &Clock) -> Self {
        let at = |time: &Time| clock.instant(*time);
        Self {
            message_id: history.id.clone(),
            body: history.body.to_string(),
            sent: at(&history.sent),
            received: history.received.iter().map(at).collect(),
            visibility: history
                .visibility
                .iter()
                .map(|(time, seconds)| (at(time), Duration::from_secs(*seconds)))
                .collect(),
            deleted: history.deleted.as_ref().map(at),
            stale_deletes: history.stale_deletes,
            dead_lettered: history.dead_lettered.as_ref().map(at),
        }
    }
}

/// A message that a topic accepted.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Published {
    /// The id that the publisher got.
    pub message_id: String,
    /// The message.
    pub message: String,
    /// The subject.
    pub subject: Option<String>,
    /// Message group.
    pub group: Option<String>,
    /// Deduplication id.
    pub deduplication: Option<String>,
    /// When it was accepted.
    pub at: Instant,
    attributes: BTreeMap<String, (String, String)>,
}

impl Published {
    pub(super) fn of(time: Time, notification: &Notification, clock: &Clock) -> Self {
        let attributes = notification.attributes.iter().map(|(name, attribute)| {
            let raw = attribute.raw();
            let value = raw.string_value.or(raw.binary_value).unwrap_or_default();
            (name.clone(), (attribute.data_type.clone(), value))
        });
        Self {
            message_id: notification.id.clone(),
            message: notification.body.of("sqs").to_string(),
            subject: notification.subject.clone(),
            group: text(notification.group.as_ref()),
            deduplication: text(notification.deduplication.as_ref()),
            at: clock.instant(time),
            attributes: attributes.collect(),
        }
    }

    /// An attribute's value: text, or bytes in base64.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(|(_, value)| value.as_str())
    }

    /// An attribute's type, such as `String` or `Number`.
    #[must_use]
    pub fn attribute_type(&self, name: &str) -> Option<&str> {
        self.attributes.get(name).map(|(data_type, _)| data_type.as_str())
    }

    /// How many attributes it has.
    #[must_use]
    pub fn attribute_count(&self) -> usize {
        self.attributes.len()
    }
}

fn text(text: Option<&Arc<str>>) -> Option<String> {
    text.map(ToString::to_string)
}
