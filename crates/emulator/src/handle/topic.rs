//! A topic that a test holds.

use std::sync::Arc;

use super::{Published, Queue, scope};
use crate::{
    call::Call,
    model::{
        notification::{Body, Notification},
        topic,
    },
    service::Service,
};

/// A topic of an emulator. Its methods do not count as calls and meet no faults.
#[derive(Debug, Clone)]
pub struct Topic {
    service: Arc<Service>,
    arn: String,
}

impl Topic {
    pub(crate) fn create(service: &Arc<Service>, name: &str) -> Self {
        let arn = scope().topic_arn(name);
        let mut world = service.world();
        if !world.topics.contains_key(&arn) {
            world.topics.insert(arn.clone(), topic::Topic::new(scope(), name, name.ends_with(".fifo")));
        }
        drop(world);
        Self { service: Arc::clone(service), arn }
    }

    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Sets an attribute, such as `MaximumMessageSize`, as `SetTopicAttributes` does.
    ///
    /// # Panics
    ///
    /// When SNS would refuse it.
    #[allow(clippy::panic, reason = "for tests: the message says what SNS refuses")]
    pub fn set_attribute(&self, name: &str, value: &str) {
        let mut world = self.service.world();
        if let Some(Err(error)) = world.topics.get_mut(&self.arn).map(|topic| topic.set(name, value, false)) {
            panic!("topic {}: {}", self.arn, error.message);
        }
    }

    /// Subscribes a queue and lets the topic into it by the queue's policy.
    #[must_use]
    pub fn subscribed_by(self, queue: &Queue) -> Self {
        self.subscribe(queue, false);
        self
    }

    /// As [`Topic::subscribed_by`], with raw delivery.
    #[must_use]
    pub fn subscribed_raw_by(self, queue: &Queue) -> Self {
        self.subscribe(queue, true);
        self
    }

    /// Subscribes a queue, raw or not, and lets the topic into it by the queue's policy.
    pub fn subscribe(&self, queue: &Queue, raw: bool) {
        let mut world = self.service.world();
        if let Some(found) = world.queues.get_mut(queue.arn()) {
            let policy = found.settings.get("Policy").unwrap_or_default();
            if let Ok(Some(policy)) = lifeline_policy::with_topic(policy, queue.arn(), &self.arn) {
                found.put_attribute("Policy", Some(policy));
            }
        }
        let call = self.call();
        let attributes =
            if raw { serde_json::json!({"RawMessageDelivery": "true"}) } else { serde_json::json!({}) };
        let request = serde_json::json!({
            "TopicArn": self.arn, "Protocol": "sqs", "Endpoint": queue.arn(), "Attributes": attributes,
        });
        let subscribed = serde_json::from_value(request)
            .map(|request| crate::sns::subscriptions::subscribe(&mut world, &call, request));
        debug_assert!(matches!(subscribed, Ok(Ok(_))), "{subscribed:?}");
        drop(world);
        self.service.touch();
    }

    fn call(&self) -> Call {
        Call {
            scope: scope(),
            now: self.service.clock.now(),
            host: self.service.url().into(),
            path: "/".into(),
            access_key: String::new(),
            trace_header: None,
        }
    }

    /// Publishes a message, without a client.
    pub fn publish(&self, body: &str) {
        let call = self.call();
        let mut world = self.service.world();
        let fifo = self.arn.ends_with(".fifo");
        let id = world.random.uuid();
        let notification = Notification {
            id: id.clone(),
            subject: None,
            body: Body::Text(body.into()),
            attributes: Arc::default(),
            group: fifo.then(|| "default".into()),
            deduplication: fifo.then(|| id.into()),
            sequence: fifo.then(|| world.next_sequence()),
            trace_header: None,
        };
        world.fan_out(&self.arn, &notification, call.now, &call.host);
        drop(world);
        self.service.touch();
    }

    /// Everything that it accepted, in order; empty without [`crate::Builder::journal`].
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        let world = self.service.world();
        let published =
            world.topics.get(&self.arn).map(|topic| topic.published.as_slice()).unwrap_or_default();
        let clock = &self.service.clock;
        published.iter().map(|(time, notification)| Published::of(*time, notification, clock)).collect()
    }

    /// The messages that it accepted, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.published().into_iter().map(|published| published.message).collect()
    }

    /// Deletes the topic and its subscriptions, as an operator might while a producer runs.
    pub fn delete(&self) {
        let call = self.call();
        let mut world = self.service.world();
        let request = serde_json::from_value(serde_json::json!({"TopicArn": self.arn}));
        let deleted = request.map(|request| crate::sns::topics::delete(&mut world, &call, request));
        debug_assert!(matches!(deleted, Ok(Ok(_))), "{deleted:?}");
        drop(world);
        self.service.touch();
    }
}
