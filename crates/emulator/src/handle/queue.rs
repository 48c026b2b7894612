//! A queue that a test holds.

use std::{collections::BTreeMap, future::Future, sync::Arc, time::Duration};

use super::{Counts, History, Message, StoredMessage, scope};
use crate::{
    model::{history, message, queue as model, settings::Settings},
    request::ACCOUNT,
    service::Service,
};

/// A queue of an emulator. Its methods do not count as calls and meet no faults.
#[derive(Debug, Clone)]
pub struct Queue {
    service: Arc<Service>,
    name: String,
    arn: String,
}

impl Queue {
    pub(crate) fn create(service: &Arc<Service>, name: &str) -> Self {
        let queue = Self::named(service, name);
        let now = service.clock.now();
        let mut world = service.world();
        if !world.queues.contains_key(&queue.arn) {
            let number = world.random.u64();
            let settings = Settings::new(name.ends_with(".fifo"));
            world.add_queue(model::Queue::new(scope(), name, number, settings, now));
        }
        drop(world);
        service.touch();
        queue
    }

    pub(crate) fn named(service: &Arc<Service>, name: &str) -> Self {
        Self { service: Arc::clone(service), name: name.into(), arn: scope().queue_arn(name) }
    }

    fn with<T>(&self, look: impl FnOnce(&mut model::Queue) -> T) -> Option<T> {
        let now = self.service.clock.now();
        let mut world = self.service.world();
        world.run_move_tasks(now);
        let queue = world.queues.get_mut(&self.arn)?;
        queue.advance(now);
        Some(look(queue))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its URL.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{ACCOUNT}/{}", self.service.url(), self.name)
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
    pub fn attribute(self, name: &str, value: &str) -> Self {
        self.set_attribute(name, value);
        self
    }

    /// Sets an attribute, as `SetQueueAttributes` does; an empty policy removes it.
    ///
    /// # Panics
    ///
    /// When SQS would refuse it.
    #[allow(clippy::panic, reason = "for tests: the message says what SQS refuses")]
    pub fn set_attribute(&self, name: &str, value: &str) {
        let now = self.service.clock.now();
        let changes = BTreeMap::from([(name.into(), value.into())]);
        let set = self
            .with(|queue| queue.settings.with(&changes).map(|settings| queue.set_settings(settings, now)));
        if let Some(Err(error)) = set {
            panic!("queue {}: {}", self.name, error.message);
        }
    }

    /// An attribute that was set, such as `Policy` or `RedrivePolicy`.
    #[must_use]
    pub fn get_attribute(&self, name: &str) -> Option<String> {
        self.with(|queue| queue.settings.get(name).map(String::from))?
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
        self.dead_letters_to(&target, receives)
    }

    /// As [`Queue::max_receives`], with a dead-letter queue of this name, created if it does not exist.
    #[must_use]
    pub fn dead_letters_to(self, name: &str, receives: u32) -> Self {
        let target = Self::create(&self.service, name);
        let policy = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":{receives}}}"#, target.arn);
        self.attribute("RedrivePolicy", &policy)
    }

    fn dead_letter_name(&self) -> String {
        match self.name.strip_suffix(".fifo") {
            Some(base) => format!("{base}-dlq.fifo"),
            None => format!("{}-dlq", self.name),
        }
    }

    /// Puts a message into the queue, whatever its size; returns its id.
    pub fn send(&self, message: impl Into<Message>) -> String {
        let message = message.into();
        let now = self.service.clock.now();
        let mut world = self.service.world();
        let id = world.random.uuid();
        let sequence = world.next_sequence();
        if let Some(queue) = world.queues.get_mut(&self.arn) {
            queue.advance(now);
            let attributes = Arc::new(message.attributes);
            let mut put =
                message::Message::new(id.clone(), message.body.into(), attributes, ACCOUNT.into(), now);
            put.group = message.group.map(Arc::from);
            if queue.settings.fifo {
                put.group.get_or_insert_with(|| "default".into());
                put.deduplication = Some(message.deduplication.unwrap_or_else(|| id.clone()).into());
                put.sequence = Some(sequence);
            }
            put.receives = message.receives;
            put.trace_header = message.trace_header;
            let delay = message.delay.map_or(queue.settings.delay, |delay| delay.as_secs());
            let key = queue.put(put, delay, now);
            if let Some(stored) = queue.messages.get_mut(&key) {
                stored.receives_here = message.receives;
            }
        }
        drop(world);
        self.service.touch();
        id
    }

    /// Puts many messages into the queue.
    pub fn send_all<M: Into<Message>>(&self, messages: impl IntoIterator<Item = M>) {
        for message in messages {
            self.send(message);
        }
    }

    /// Puts a message of a group into the queue.
    pub fn send_to_group(&self, group: &str, body: &str) {
        self.send(Message::new(body).group(group));
    }

    /// All messages in the order in which they came; empty if the queue is gone.
    #[must_use]
    pub fn messages(&self) -> Vec<StoredMessage> {
        let all = self.with(|queue| {
            queue.in_order().into_iter().map(|(_, message)| StoredMessage::of(message)).collect()
        });
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

    /// How many messages it holds, by where they stand.
    #[must_use]
    pub fn counts(&self) -> Counts {
        let counts = self.with(|queue| queue.counts());
        counts
            .map(|counts| Counts {
                visible: counts.visible,
                in_flight: counts.in_flight,
                delayed: counts.delayed,
            })
            .unwrap_or_default()
    }

    /// Whether it holds no message.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The bodies that were deleted, in that order; empty without [`crate::Builder::journal`].
    #[must_use]
    pub fn deleted(&self) -> Vec<String> {
        let bodies = |queue: &mut model::Queue| {
            queue.journal.all_deleted().map(|history| history.body.to_string()).collect()
        };
        self.with(bodies).unwrap_or_default()
    }

    /// What became of every message that it ever held, in the order in which they came; empty without
    /// [`crate::Builder::journal`].
    #[must_use]
    pub fn histories(&self) -> Vec<History> {
        let clock = &self.service.clock;
        let of = |history: &history::History| History::of(history, clock);
        self.with(|queue| queue.journal.all().map(of).collect()).unwrap_or_default()
    }

    /// What became of the last message with this body.
    ///
    /// # Panics
    ///
    /// When there never was one.
    #[must_use]
    #[track_caller]
    #[allow(clippy::panic, reason = "for tests: nothing to look at is a failed test")]
    pub fn history(&self, body: &str) -> History {
        let found = self.histories().into_iter().rev().find(|history| history.body == body);
        found.unwrap_or_else(|| panic!("queue {} never held {body:?}", self.name))
    }

    /// How often the last message with this body was received.
    ///
    /// # Panics
    ///
    /// When there never was one.
    #[must_use]
    #[track_caller]
    pub fn receives(&self, body: &str) -> usize {
        self.history(body).received.len()
    }

    /// Another consumer takes every message in flight whose body fits, for this long. Its receipts are older ones then: a FIFO
    /// queue refuses them, a standard queue does not, as on AWS. Returns how many.
    pub fn steal(&self, fits: impl Fn(&str) -> bool, lease: Duration) -> usize {
        self.break_leases(fits, Some(lease.as_secs()))
    }

    /// Makes every message in flight whose body fits visible at once, as SQS may. Returns how many.
    pub fn redeliver(&self, fits: impl Fn(&str) -> bool) -> usize {
        self.break_leases(fits, None)
    }

    fn break_leases(&self, fits: impl Fn(&str) -> bool, thief: Option<u64>) -> usize {
        let now = self.service.clock.now();
        let broken = self.with(|queue| queue.break_leases(fits, thief, now));
        self.service.touch();
        broken.unwrap_or_default()
    }

    /// The messages in its dead-letter queue.
    #[must_use]
    pub fn dead_letters(&self) -> Vec<StoredMessage> {
        let target = self.with(|queue| queue.settings.redrive.as_ref().map(|policy| policy.target.clone()));
        let Some(Some(target)) = target else { return Vec::new() };
        let name = target.rsplit(':').next().unwrap_or_default();
        Self::named(&self.service, name).messages()
    }

    /// Completes when no message is visible, delayed or in flight.
    pub fn settled(&self) -> impl Future<Output = ()> + Send + 'static {
        let queue = self.clone();
        async move {
            queue.service.until(&queue.arn, || queue.is_empty()).await;
        }
    }

    /// Completes when `done` holds for the queue; it is asked after every call and every timer.
    pub async fn wait_for(&self, mut done: impl FnMut(&Self) -> bool) {
        self.service.until(&self.arn, || done(self)).await;
    }

    /// Deletes the queue, as an operator might while a consumer runs.
    pub fn delete(&self) {
        let mut world = self.service.world();
        if let Some(queue) = world.queues.remove(&self.arn) {
            queue.arrival.notify_waiters();
        }
        drop(world);
        self.service.touch();
    }
}
