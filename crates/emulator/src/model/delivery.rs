//! Delivery: a published message goes to the queues that subscribed, wrapped in SNS's envelope or raw; what cannot be
//! delivered goes to the subscription's dead-letter queue.

use std::{collections::BTreeMap, sync::Arc};

use serde::Serialize;
use sha2::{Digest, Sha256};

use super::{
    admission::Admission,
    attribute::{self, Value},
    deduplication::First,
    message::Message,
    notification::Notification,
    subscription::Subscription,
    world::World,
};
use crate::{clock::Time, error::AwsError};

/// Most attributes of a message in SQS: raw delivery of more fails.
const ATTRIBUTES: usize = 10;

/// SNS's envelope, in AWS's order of fields.
#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    r#type: &'a str,
    message_id: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<&'a str>,
    topic_arn: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a str>,
    message: &'a str,
    timestamp: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature_version: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    signature: Option<&'a str>,
    #[serde(rename = "SigningCertURL", skip_serializing_if = "Option::is_none")]
    signing_cert_url: Option<String>,
    #[serde(rename = "UnsubscribeURL")]
    unsubscribe_url: String,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<&'a str, EnvelopeAttribute<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct EnvelopeAttribute<'a> {
    r#type: &'a str,
    value: String,
}

/// Not a signature: nobody here holds AWS's key. A subscriber that verifies it must not accept it.
const SIGNATURE: &str = "bGlmZWxpbmUgZW11bGF0b3I6IG5vdCBzaWduZWQ=";

/// Why an SMS is not delivered: accounts begin in the sandbox, where numbers must be verified first.
const NO_SMS: &str = "the number is not verified in the SMS sandbox";

/// Where a topic's messages go, as the fan-out sees it.
struct Target<'a> {
    subscription: &'a Subscription,
    /// The region of the topic, for URLs in the envelope.
    region: &'a str,
    signature_version: &'a str,
    fifo_topic: bool,
}

fn envelope(target: &Target<'_>, notification: &Notification, body: &str, now: Time, host: &str) -> String {
    let attributes = notification.attributes.iter().map(|(name, attribute)| {
        let value = match &attribute.value {
            Value::Text(text) => text.clone(),
            Value::Binary(_) => attribute.raw().binary_value.unwrap_or_default(),
        };
        (name.as_str(), EnvelopeAttribute { r#type: &attribute.data_type, value })
    });
    // FIFO topics do not sign.
    let signed = !target.fifo_topic;
    let certificate = || {
        format!(
            "https://sns.{}.amazonaws.com/SimpleNotificationService-00000000000000000000000000000000.pem",
            target.region
        )
    };
    let envelope = Envelope {
        r#type: "Notification",
        message_id: &notification.id,
        sequence_number: notification.sequence.as_deref(),
        topic_arn: &target.subscription.topic,
        subject: notification.subject.as_deref(),
        message: body,
        timestamp: now.iso8601(),
        signature_version: signed.then_some(target.signature_version),
        signature: signed.then_some(SIGNATURE),
        signing_cert_url: signed.then(certificate),
        unsubscribe_url: format!("{host}/?Action=Unsubscribe&SubscriptionArn={}", target.subscription.arn),
        message_attributes: attributes.collect(),
    };
    serde_json::to_string(&envelope).unwrap_or_default()
}

/// The SHA-256 of a body: the deduplication id where the content decides.
pub(crate) fn content_hash(body: &str) -> Arc<str> {
    attribute::hex(&Sha256::digest(body.as_bytes())).into()
}

impl World {
    /// Delivers a notification to every subscriber whose filter policy accepts it.
    pub(crate) fn fan_out(&mut self, topic: &str, notification: &Notification, now: Time, host: &str) {
        let journal = self.rules.journal;
        let Some(found) = self.topics.get_mut(topic) else { return };
        if journal {
            found.published.push((now, notification.clone()));
        }
        let (arns, fifo_topic) = (found.subscriptions.clone(), found.fifo);
        let signature_version = found.signature_version().to_string();
        let region = Arc::clone(&found.scope.region);
        for arn in arns {
            let Some(subscription) = self.subscriptions.get(&arn) else { continue };
            let body = notification.body.of(&subscription.protocol);
            let wanted =
                |filter: &super::filter::FilterPolicy| filter.accepts(&notification.attributes, &body);
            if subscription.pending || !subscription.filter.as_ref().is_none_or(wanted) {
                continue;
            }
            let subscription = subscription.clone();
            let target = Target {
                subscription: &subscription,
                region: &region,
                signature_version: &signature_version,
                fifo_topic,
            };
            self.deliver(&target, notification, &body, now, host);
        }
    }

    fn deliver(
        &mut self,
        target: &Target<'_>,
        notification: &Notification,
        body: &Arc<str>,
        now: Time,
        host: &str,
    ) {
        let subscription = target.subscription;
        let (text, attributes) = if subscription.raw() {
            (Arc::clone(body), Arc::clone(&notification.attributes))
        } else {
            (envelope(target, notification, body, now, host).into(), Arc::default())
        };
        let sender: Arc<str> = "AIDAISDPBWEXAMPLESNS0".into();
        let mut message = Message::new(self.random.uuid(), text, attributes, sender, now);
        message.trace_header.clone_from(&notification.trace_header);
        let fifo_queue = subscription.endpoint.ends_with(".fifo");
        if fifo_queue || !target.fifo_topic {
            message.group.clone_from(&notification.group);
        }
        if target.fifo_topic && fifo_queue {
            let id = notification.deduplication.clone();
            message.deduplication = Some(id.unwrap_or_else(|| content_hash(body)));
        }
        let accepted = match subscription.protocol.as_str() {
            "sqs" => self.accept(&subscription.endpoint, &subscription.topic, message, now),
            _ => Err(Box::new((message, AwsError::new(403, "Sandbox", NO_SMS)))),
        };
        let Err(refused) = accepted else { return };
        let (message, error) = *refused;
        match subscription.dead_letter_queue() {
            Some(queue) => self.dead_letter(&queue, subscription, message, &error, now),
            None => tracing::warn!(
                topic = subscription.topic,
                endpoint = subscription.endpoint,
                message_id = notification.id,
                error = error.message,
                "SNS could not deliver to the subscriber; the message is dropped, as the subscription has no dead-letter queue"
            ),
        }
    }

    /// Puts a message into a queue as SNS does, or gives it back with what SQS answered.
    fn accept(
        &mut self,
        queue: &str,
        topic: &str,
        mut message: Message,
        now: Time,
    ) -> Result<(), Box<(Message, AwsError)>> {
        let refused = |code: &'static str, text: String| AwsError::new(403, code, text);
        let enforce = self.rules.enforce_policies;
        let Some(found) = self.queues.get_mut(queue) else {
            return Err(Box::new((message, crate::error::sqs::no_such_queue())));
        };
        found.advance(now);
        if enforce && let Admission::No(missing) = found.admits(topic) {
            return Err(Box::new((message, refused("AccessDenied", missing))));
        }
        let size = message.size();
        if size > found.settings.largest {
            let text =
                format!("Message of {size} bytes is longer than the queue's {}.", found.settings.largest);
            return Err(Box::new((message, refused("InvalidParameterValue", text))));
        }
        if message.attributes.len() > ATTRIBUTES {
            let text = format!("{} message attributes; SQS takes {ATTRIBUTES}.", message.attributes.len());
            return Err(Box::new((message, refused("InvalidParameterValue", text))));
        }
        if let Some(id) = message.deduplication.clone() {
            let group = message.group.clone();
            if found.duplicate_of(group.as_ref(), &id, now).is_some() {
                return Ok(());
            }
            let sequence = self.next_sequence();
            message.sequence = Some(sequence.clone());
            let first = First { message_id: message.id.clone(), sequence: Some(sequence) };
            if let Some(found) = self.queues.get_mut(queue) {
                found.remember(group.as_ref(), &id, first, now);
            }
        }
        if let Some(found) = self.queues.get_mut(queue) {
            let delay = found.settings.delay;
            found.put(message, delay, now);
        }
        Ok(())
    }

    /// Keeps what could not be delivered. AWS adds no reason to the message; the log has it.
    fn dead_letter(
        &mut self,
        queue: &str,
        subscription: &Subscription,
        mut message: Message,
        error: &AwsError,
        now: Time,
    ) {
        tracing::warn!(
            queue,
            error = error.message,
            "SNS could not deliver a message; it goes to the subscription's dead-letter queue"
        );
        let (sequence, enforce) = (self.next_sequence(), self.rules.enforce_policies);
        let Some(found) = self.queues.get_mut(queue) else {
            tracing::warn!(
                queue,
                "the dead-letter queue of the subscription does not exist; the message is dropped"
            );
            return;
        };
        if enforce && let Admission::No(missing) = found.admits(&subscription.topic) {
            tracing::warn!(
                queue,
                error = missing,
                "the policy of the subscription's dead-letter queue does not allow the topic; the message is dropped"
            );
            return;
        }
        if found.settings.fifo {
            message.sequence = Some(sequence);
        }
        found.put(message, 0, now);
    }
}
