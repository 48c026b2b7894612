//! What tests hold: a queue and a topic that can be filled, looked into and waited for without a client.

use std::{collections::BTreeMap, future::Future, sync::Arc};

use crate::{
    call::Call,
    emulator::Emulator,
    model::{
        arn::Scope,
        delivery::{Body, Notification},
        message::{Message, State},
        queue as model,
        settings::Settings,
        topic as topics,
        world::How,
    },
    request::{ACCOUNT, REGION},
};

/// A queue of an emulator. Its methods do not count as calls and meet no faults.
#[derive(Debug, Clone)]
pub struct Queue {
    emulator: Emulator,
    name: String,
    arn: String,
}

/// A topic of an emulator. Its methods do not count as calls and meet no faults.
#[derive(Debug, Clone)]
pub struct Topic {
    emulator: Emulator,
    arn: String,
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

fn scope() -> Scope {
    Scope::new(ACCOUNT, REGION)
}

impl Queue {
    pub(crate) fn of(emulator: &Emulator, name: &str) -> Self {
        let arn = scope().queue_arn(name);
        let now = emulator.service.clock.now();
        let mut world = emulator.service.world();
        if !world.queues.contains_key(&arn) {
            let number = world.random.u64();
            let settings = Settings::new(name.ends_with(".fifo"));
            world.queues.insert(arn.clone(), model::Queue::new(scope(), name, number, settings, now));
        }
        drop(world);
        Self { emulator: emulator.clone(), name: name.into(), arn }
    }

    fn with<T>(&self, look: impl FnOnce(&mut model::Queue) -> T) -> Option<T> {
        let now = self.emulator.service.clock.now();
        let mut world = self.emulator.service.world();
        world.run_move_tasks(now);
        let queue = world.queues.get_mut(&self.arn)?;
        queue.advance(now);
        Some(look(queue))
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{ACCOUNT}/{}", self.emulator.base_url(), self.name)
    }

    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Sets an attribute, as `SetQueueAttributes` does.
    ///
    /// # Panics
    ///
    /// When SQS would refuse it.
    #[must_use]
    #[allow(clippy::panic, reason = "for tests: the message says what SQS refuses")]
    pub fn attribute(self, name: &str, value: &str) -> Self {
        let now = self.emulator.service.clock.now();
        let changes = BTreeMap::from([(name.into(), value.into())]);
        let set = self
            .with(|queue| queue.settings.with(&changes).map(|settings| queue.set_settings(settings, now)));
        if let Some(Err(error)) = set {
            panic!("queue {}: {}", self.name, error.message);
        }
        self
    }

    /// How long a received message is invisible, in seconds; 30 without this.
    #[must_use]
    pub fn visibility_timeout(self, seconds: u64) -> Self {
        self.attribute("VisibilityTimeout", &seconds.to_string())
    }

    /// Adds a dead-letter queue, `NAME-dlq`, for messages that were received so often.
    #[must_use]
    pub fn max_receives(self, receives: u32) -> Self {
        let target = self.dead_letter_name();
        let target = self.emulator.queue(&target);
        let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{receives}}}"#, target.arn);
        self.attribute("RedrivePolicy", &policy)
    }

    fn dead_letter_name(&self) -> String {
        match self.name.strip_suffix(".fifo") {
            Some(base) => format!("{base}-dlq.fifo"),
            None => format!("{}-dlq", self.name),
        }
    }

    /// Puts a message into the queue. In a FIFO queue it is of the group `default`.
    pub fn send(&self, body: &str) {
        self.put(body, None);
    }

    /// Puts a message of a group into the queue.
    pub fn send_to_group(&self, group: &str, body: &str) {
        self.put(body, Some(group));
    }

    fn put(&self, body: &str, group: Option<&str>) {
        let now = self.emulator.service.clock.now();
        let mut world = self.emulator.service.world();
        let id = world.random.uuid();
        let sequence = world.next_sequence();
        if let Some(queue) = world.queues.get_mut(&self.arn) {
            queue.advance(now);
            let mut message = Message::new(id.clone(), body.into(), Arc::default(), ACCOUNT.into(), now);
            if queue.settings.fifo {
                message.group = Some(group.unwrap_or("default").into());
                message.deduplication = Some(id.into());
                message.sequence = Some(sequence);
            } else {
                message.group = group.map(Arc::from);
            }
            let delay = queue.settings.delay;
            queue.put(message, delay, now);
        }
        drop(world);
        self.emulator.service.touch();
    }

    /// All messages in the order in which they came; empty if the queue is gone.
    #[must_use]
    pub fn messages(&self) -> Vec<StoredMessage> {
        let present = |message: &Message| StoredMessage {
            id: message.id.clone(),
            body: message.body.to_string(),
            receive_count: message.receives,
            group: message.group.as_ref().map(ToString::to_string),
            place: match message.state {
                State::Visible => Place::Visible,
                State::Delayed { .. } => Place::Delayed,
                State::InFlight { .. } => Place::InFlight,
            },
        };
        let all =
            self.with(|queue| queue.in_order().into_iter().map(|(_, message)| present(message)).collect());
        all.unwrap_or_default()
    }

    /// The bodies of all messages, in the order in which they came.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.messages().into_iter().map(|message| message.body).collect()
    }

    /// How many messages it holds, visible or not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.with(|queue| queue.messages.len()).unwrap_or_default()
    }

    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bodies that were deleted, in that order.
    #[must_use]
    pub fn deleted(&self) -> Vec<String> {
        self.settled_as(How::Deleted)
    }

    /// The messages in its dead-letter queue.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<StoredMessage> {
        let target = self.with(|queue| queue.settings.redrive.as_ref().map(|policy| policy.target.clone()));
        let Some(Some(target)) = target else { return Vec::new() };
        let name = target.rsplit(':').next().unwrap_or_default().to_string();
        Self { emulator: self.emulator.clone(), name, arn: target }.messages()
    }

    fn settled_as(&self, how: How) -> Vec<String> {
        let world = self.emulator.service.world();
        let of_this = world.journal.iter().filter(|settled| settled.queue == self.arn && settled.how == how);
        of_this.map(|settled| settled.body.to_string()).collect()
    }

    /// Completes when no message is visible, delayed or in flight.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let queue = self.clone();
        async move {
            let arn = queue.arn.clone();
            let emulator = queue.emulator.clone();
            emulator.until(&arn, || queue.is_empty()).await;
        }
    }

    /// Completes when `done` holds for the queue; it is asked after every call and every timer.
    pub async fn wait_for(&self, mut done: impl FnMut(&Self) -> bool) {
        self.emulator.until(&self.arn, || done(self)).await;
    }

    /// Deletes the queue, as an operator might while a consumer runs.
    pub fn delete(&self) {
        let mut world = self.emulator.service.world();
        if let Some(queue) = world.queues.remove(&self.arn) {
            queue.arrival.notify_waiters();
        }
        drop(world);
        self.emulator.service.touch();
    }
}

impl Topic {
    pub(crate) fn of(emulator: &Emulator, name: &str) -> Self {
        let arn = scope().topic_arn(name);
        let mut world = emulator.service.world();
        if !world.topics.contains_key(&arn) {
            world.topics.insert(arn.clone(), topics::Topic::new(scope(), name, name.ends_with(".fifo")));
        }
        drop(world);
        Self { emulator: emulator.clone(), arn }
    }

    /// Its ARN.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Subscribes a queue and lets the topic into it by the queue's policy.
    #[must_use]
    pub fn subscribed_by(self, queue: &Queue) -> Self {
        self.subscribe(queue, false)
    }

    /// As [`Topic::subscribed_by`], with raw delivery.
    #[must_use]
    pub fn subscribed_raw_by(self, queue: &Queue) -> Self {
        self.subscribe(queue, true)
    }

    fn subscribe(self, queue: &Queue, raw: bool) -> Self {
        let mut world = self.emulator.service.world();
        if let Some(found) = world.queues.get_mut(&queue.arn) {
            let policy = found.settings.get("Policy").unwrap_or_default();
            if let Ok(Some(policy)) = lifeline_policy::with_topic(policy, &queue.arn, &self.arn) {
                found.put_attribute("Policy", Some(policy));
            }
        }
        let call = self.call();
        let attributes =
            if raw { serde_json::json!({"RawMessageDelivery": "true"}) } else { serde_json::json!({}) };
        let request = serde_json::json!({
            "TopicArn": self.arn, "Protocol": "sqs", "Endpoint": queue.arn, "Attributes": attributes,
        });
        let subscribed = serde_json::from_value(request)
            .map(|request| crate::sns::subscriptions::subscribe(&mut world, &call, request));
        debug_assert!(matches!(subscribed, Ok(Ok(_))), "{subscribed:?}");
        drop(world);
        self
    }

    fn call(&self) -> Call {
        Call {
            scope: scope(),
            now: self.emulator.service.clock.now(),
            host: self.emulator.base_url(),
            path: "/".into(),
            trace_header: None,
        }
    }

    /// Publishes a message, without a client.
    pub fn publish(&self, body: &str) {
        let call = self.call();
        let mut world = self.emulator.service.world();
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
        self.emulator.service.touch();
    }
}
