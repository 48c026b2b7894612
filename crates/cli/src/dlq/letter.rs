//! A dead letter: what SQS hands out, what was published, and why it is here.

use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::Message as SqsMessage;
use lifeline_messaging::envelope::{Envelope, Received};
use lifeline_messaging::message::Message;
use serde_json::{Value, json};

use crate::{age, attributes};

/// The attribute in which a consumer's copy of a rejected message has the reason.
const REASON: &str = "rejected-reason";

/// A dead letter.
#[derive(Debug, Clone)]
pub(super) struct Letter {
    /// What SQS handed out, for a copy of it.
    pub(super) entry: SqsMessage,
    /// SQS's id, which is what commands take.
    pub(super) id: String,
    /// What a delete or a change of visibility needs.
    pub(super) receipt: String,
    /// How often it was received, this time included.
    pub(super) receive_count: u32,
    /// Why it is here.
    pub(super) reason: String,
    /// As a handler sees it; what cannot be read has its body as it is.
    pub(super) message: Message,
}

impl Letter {
    /// A message of the dead-letter queue of a queue with this `maxReceiveCount`. `None` without a receipt handle.
    pub(super) fn of(entry: SqsMessage, max_receives: u32) -> Option<Self> {
        let received = Received::open(entry.clone(), Envelope::Detect)?;
        let (unreadable, message) = match received.message {
            Ok(message) => (None, message),
            Err(error) => (Some(error), Message::new(entry.body.clone().unwrap_or_default())),
        };
        let reason = match (message.attribute(REASON), unreadable) {
            (Some(reason), _) => reason.to_owned(),
            (None, Some(error)) => error.to_string(),
            (None, None) => format!("moved by SQS after {max_receives} receives"),
        };
        Some(Self {
            id: received.sqs_message_id,
            receipt: received.receipt,
            receive_count: received.receive_count,
            reason,
            message,
            entry,
        })
    }

    /// How long ago it was published.
    pub(super) fn age(&self, now: SystemTime) -> Option<Duration> {
        Some(now.duration_since(self.message.published_at?).unwrap_or_default())
    }

    pub(super) fn json(&self, now: SystemTime) -> Value {
        let message = &self.message;
        json!({
            "id": self.id,
            "message_id": message.id,
            "published_at": message.published_at.map(age::timestamp),
            "age_seconds": self.age(now).map(|age| age.as_secs()),
            "receive_count": self.receive_count,
            "reason": self.reason,
            "group": message.group,
            "topic_arn": message.topic_arn,
            "attributes": attributes::as_json(message),
            "body": message.body,
        })
    }
}
