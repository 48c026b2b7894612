//! A rejection: the copy of a message that will never work, in the dead-letter queue, before the original is deleted.
//!
//! It has the form in which the queue's messages come, so that whoever moves it back need do nothing else: the bare message, or a
//! notification where the worker takes only these. The original is deleted only after SQS has confirmed the copy. What ends the worker between the two leaves both.

use std::fmt;
use std::time::SystemTime;

use aws_sdk_sqs::primitives::{Blob, DateTime, DateTimeFormat};
use aws_sdk_sqs::types::MessageAttributeValue;
use lifeline_escape::Line;
use lifeline_health::Clock;
use lifeline_messaging::call::{CallError, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::{Envelope, as_notification, attributes_as_json};
use lifeline_messaging::message::{Attribute, Message};

use crate::queue_watch::KnownQueue;

/// Attributes of a message that SQS allows: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-message-metadata.html>.
const MAX_ATTRIBUTES: usize = 10;

/// Where copies go. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct DeadLetters {
    clients: Clients,
    queue: KnownQueue,
    envelope: Envelope,
    clock: Clock,
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum NoCopy {
    /// The queue has no dead-letter queue.
    NoQueue,
    Call(CallError),
}

impl fmt::Display for NoCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoQueue => f.write_str("the queue has no dead-letter queue"),
            Self::Call(error) => f.write_str(&lifeline_messaging::call::chain(error)),
        }
    }
}

impl DeadLetters {
    pub(crate) fn new(clients: Clients, queue: KnownQueue, envelope: Envelope, clock: Clock) -> Self {
        Self { clients, queue, envelope, clock }
    }

    /// Whether SQS moves a message that was received so often there, unless it is deleted.
    pub(crate) fn are_next(&self, receive_count: u32) -> bool {
        self.queue.is_last_receive(receive_count)
    }

    /// Puts a copy there; it is there when this returns `Ok`.
    ///
    /// # Cancel safety
    /// The copy may be there.
    pub(crate) async fn copy(&self, message: &Message, reason: &str) -> Result<(), NoCopy> {
        let (url, source) = self.queue.dead_letters().ok_or(NoCopy::NoQueue)?;
        let fifo = url.ends_with(".fifo");
        let reasons = reasons(message, reason, source, self.clock.calendar());
        let call = self.clients.sqs.send_message().queue_url(url);
        let mut call = if self.envelope == Envelope::Notification {
            call.message_body(as_notification(message)).set_message_attributes(Some(reasons.into()))
        } else {
            let all = own(message, &reasons).chain(reasons).collect();
            call.message_body(&message.body).set_message_attributes(Some(all))
        };
        if fifo {
            let group = message.group.as_deref().unwrap_or(&message.sqs_message_id);
            // rejected twice within five minutes, because the delete failed: one copy
            call = call.message_group_id(group).message_deduplication_id(&message.sqs_message_id);
        }
        let copied = bounded("SendMessage", self.clients.call_timeout, call.send()).await;
        copied.map(drop).map_err(NoCopy::Call)
    }
}

type Named = (String, MessageAttributeValue);

/// What is to be known about the rejection.
fn reasons(message: &Message, reason: &str, source: String, now: SystemTime) -> [Named; 4] {
    let now = DateTime::from(now).fmt(DateTimeFormat::DateTime).unwrap_or_default();
    let reason = if reason.is_empty() { "no reason given" } else { reason };
    [
        ("rejected-reason", "String", Line::new(reason).limit(1024).to_string()),
        ("rejected-source", "String", source),
        ("rejected-receive-count", "Number", message.receive_count.to_string()),
        ("rejected-at", "String", now),
    ]
    .map(|(name, data_type, value)| (name.to_owned(), text(data_type, value)))
}

/// The message's own attributes. Where SQS does not take so many, they are one, as JSON.
fn own(message: &Message, reasons: &[Named]) -> impl Iterator<Item = Named> + use<> {
    let own = message.attributes.iter().filter(|(name, _)| reasons.iter().all(|(reason, _)| reason != *name));
    let own: Vec<_> = own.collect();
    let own = if own.len() + reasons.len() <= MAX_ATTRIBUTES {
        own.into_iter().map(|(name, attribute)| (name.clone(), value(attribute))).collect()
    } else {
        vec![("attributes".to_owned(), text("String", attributes_as_json(own)))]
    };
    own.into_iter()
}

fn value(attribute: &Attribute) -> MessageAttributeValue {
    match attribute {
        Attribute::Text { data_type, value } => text(data_type, value.clone()),
        Attribute::Binary { data_type, value } => {
            let value = MessageAttributeValue::builder().binary_value(Blob::new(value.clone()));
            value.data_type(data_type).build().expect("the type is set")
        }
    }
}

fn text(data_type: &str, value: String) -> MessageAttributeValue {
    MessageAttributeValue::builder()
        .data_type(data_type)
        .string_value(value)
        .build()
        .expect("the type is set")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_copy_has_more_attributes_than_sqs_takes() {
        for (count, expected) in [(0, 4), (6, 10), (7, 5), (10, 5)] {
            let mut message = Message::default();
            message.attributes = (0..count).map(|n| (format!("a{n}"), Attribute::from(vec![n]))).collect();
            let reasons = reasons(&message, "it will never work", "arn".to_owned(), SystemTime::UNIX_EPOCH);
            let copied: Vec<_> = own(&message, &reasons).chain(reasons).collect();
            assert_eq!(copied.len(), expected, "{count}");
            let all = copied.iter().find(|(name, _)| name == "attributes").map(|(_, all)| all.string_value());
            let has_last = |all: &str| all.contains(&format!("\"a{}\":{{\"Type\":\"Binary\"", count - 1));
            assert_eq!(all.flatten().is_some_and(has_last), count > 6, "{count}");
        }
    }
}
