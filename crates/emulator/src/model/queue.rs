//! A queue: its messages, who may see them next, and when that changes by itself.
//!
//! Synchronous and without a clock of its own: every call takes the time. [`Queue::advance`] applies what time has
//! done (delays and visibility timeouts that ended, messages past their retention) and comes first in every call.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    ops::Bound,
    sync::Arc,
};

use tokio::sync::Notify;

use super::{
    admission::{self, Admission},
    arn::Scope,
    attempts::Attempts,
    deduplication::{Deduplication, First, WINDOW},
    history::Journal,
    message::{Key, Message, State},
    order::Order,
    quota::Quota,
    settings::Settings,
};
use crate::clock::Time;

/// Most messages in flight.
pub(crate) const IN_FLIGHT_LIMIT: usize = 120_000;

/// A queue and its messages.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) arn: String,
    pub(crate) name: String,
    pub(crate) scope: Scope,
    /// Tells this queue from others and from deleted ones of the same name; part of its receipts.
    pub(crate) number: u64,
    pub(crate) created: Time,
    pub(crate) modified: Time,
    pub(crate) settings: Settings,
    pub(crate) tags: BTreeMap<String, String>,
    /// What was decided about topics, by ARN.
    pub(crate) admissions: HashMap<String, Admission>,
    pub(crate) purged: Option<Time>,
    pub(crate) deduplication: Deduplication,
    /// Whether deduplication counts within a group. Fixed when the queue is created: a later `DeduplicationScope`
    /// changes nothing, as recorded.
    pub(crate) deduplicates_by_group: bool,
    pub(crate) attempts: Attempts,
    pub(crate) journal: Journal,
    /// Where a store asks for it: what has changed.
    pub(crate) changed: Option<Changed>,
    pub(crate) quota: Quota,
    /// Wakes receives that wait: once for each message that became visible.
    pub(crate) arrival: Arc<Notify>,
    pub(crate) messages: HashMap<Key, Box<Message>>,
    pub(crate) order: Order,
    /// Hidden messages by the time at which they become visible.
    timers: BTreeSet<(Time, Key)>,
    /// All messages by the time from which their retention counts.
    ages: BTreeSet<(Time, Key)>,
    pub(crate) in_flight: usize,
    delayed: usize,
    next_key: Key,
    bytes: usize,
    /// Messages that were dropped because they were older than the retention period.
    pub(crate) expired: u64,
}

/// Messages that changed.
#[derive(Debug, Default)]
pub(crate) struct Changed {
    pub(crate) keys: BTreeSet<Key>,
    /// All messages were removed at once, before `keys` changed.
    pub(crate) cleared: bool,
}

/// `ApproximateNumberOfMessages`, `…NotVisible` and `…Delayed`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Counts {
    pub(crate) visible: usize,
    pub(crate) in_flight: usize,
    pub(crate) delayed: usize,
}

impl Queue {
    pub(crate) fn new(scope: Scope, name: &str, number: u64, settings: Settings, now: Time) -> Self {
        Self {
            arn: scope.queue_arn(name),
            name: name.into(),
            scope,
            number,
            created: now,
            modified: now,
            order: Order::new(settings.fifo),
            deduplicates_by_group: settings.deduplicate_by_group,
            settings,
            tags: BTreeMap::new(),
            admissions: HashMap::new(),
            purged: None,
            deduplication: Deduplication::default(),
            attempts: Attempts::default(),
            journal: Journal::default(),
            changed: None,
            quota: Quota::default(),
            arrival: Arc::new(Notify::new()),
            messages: HashMap::new(),
            timers: BTreeSet::new(),
            ages: BTreeSet::new(),
            in_flight: 0,
            delayed: 0,
            next_key: 1,
            bytes: 0,
            expired: 0,
        }
    }

    /// From now on changes are kept in `changed`.
    pub(crate) fn track_changes(&mut self) {
        self.changed = Some(Changed::default());
    }

    fn change(&mut self, key: Key) {
        if let Some(changed) = &mut self.changed {
            changed.keys.insert(key);
        }
    }

    /// Lets keys begin beyond those of an earlier run, so that no receipt of then is good for a message of now.
    pub(crate) fn begin_keys_at(&mut self, now: Time) {
        self.next_key = now.0.saturating_mul(1000);
    }

    /// Stores a message of an earlier run where it stood.
    pub(crate) fn bring_back(&mut self, key: Key, message: Message, now: Time) {
        if let Some(id) = &message.deduplication {
            let first = First { message_id: message.id.clone(), sequence: message.sequence.clone() };
            if self.settings.fifo && message.sent.plus_seconds(WINDOW) > now {
                self.remember(message.group.clone().as_ref(), &id.clone(), first, message.sent);
            }
        }
        self.journal.put(key, &message, now);
        self.insert(key, message);
    }

    /// Applies what happened by itself until `now`.
    pub(crate) fn advance(&mut self, now: Time) {
        while let Some(&(until, key)) = self.timers.first()
            && until <= now
        {
            self.set_state(key, State::Visible);
        }
        let retention = self.settings.retention;
        while let Some(&(enqueued, key)) = self.ages.first()
            && enqueued.plus_seconds(retention) <= now
        {
            self.remove(key);
            self.expired += 1;
        }
    }

    /// When something will happen by itself next; `None` if nothing will.
    pub(crate) fn next_event(&self) -> Option<Time> {
        self.timers.first().map(|(until, _)| *until)
    }

    /// Stores a message, visible after `delay` seconds. Order, deduplication and limits are the caller's.
    pub(crate) fn put(&mut self, mut message: Message, delay: u64, now: Time) -> Key {
        let key = self.next_key;
        self.next_key += 1;
        message.state = State::Visible;
        message.receives_here = 0;
        message.receipts = 0;
        self.journal.put(key, &message, now);
        self.insert(key, message);
        if delay > 0 {
            self.set_state(key, State::Delayed { until: now.plus_seconds(delay) });
        } else {
            self.arrival.notify_one();
        }
        key
    }

    /// Stores a message under a key of its own, in the state that it says: also how a store brings one back.
    pub(crate) fn insert(&mut self, key: Key, message: Message) {
        self.change(key);
        self.next_key = self.next_key.max(key + 1);
        self.bytes += message.footprint();
        self.ages.insert((message.enqueued, key));
        match message.state {
            State::Visible => {}
            State::Delayed { until } => {
                self.delayed += 1;
                self.timers.insert((until, key));
            }
            State::InFlight { until } => {
                self.in_flight += 1;
                self.timers.insert((until, key));
            }
        }
        let group = message.group.clone();
        let visible = message.state == State::Visible;
        self.messages.insert(key, Box::new(message));
        match &mut self.order {
            Order::Standard(keys) => {
                if visible {
                    keys.insert(key);
                }
            }
            Order::Fifo(groups) => {
                let group = group.unwrap_or_default();
                groups.add(&group, key);
                self.refresh(&group);
            }
        }
    }

    /// Changes where a message stands, with everything that follows from it.
    pub(crate) fn set_state(&mut self, key: Key, state: State) {
        self.change(key);
        let Some(message) = self.messages.get_mut(&key) else { return };
        let before = std::mem::replace(&mut message.state, state);
        let group = message.group.clone();
        if let Some(until) = before.until() {
            self.timers.remove(&(until, key));
        }
        if let Some(until) = state.until() {
            self.timers.insert((until, key));
            // A long poll sleeps until the first timer that it knew of.
            if self.timers.first() == Some(&(until, key)) {
                self.arrival.notify_waiters();
            }
        }
        let is = |state: State, flying: bool| match state {
            State::InFlight { .. } => flying,
            State::Delayed { .. } => !flying,
            State::Visible => false,
        };
        self.in_flight = self.in_flight + usize::from(is(state, true)) - usize::from(is(before, true));
        self.delayed = self.delayed + usize::from(is(state, false)) - usize::from(is(before, false));
        match &mut self.order {
            Order::Standard(keys) => {
                if state == State::Visible {
                    if keys.insert(key) {
                        self.arrival.notify_one();
                    }
                } else {
                    keys.remove(&key);
                }
            }
            Order::Fifo(_) => self.refresh(&group.unwrap_or_default()),
        }
    }

    /// Removes a message permanently.
    pub(crate) fn remove(&mut self, key: Key) -> Option<Message> {
        self.change(key);
        let message = *self.messages.remove(&key)?;
        self.bytes -= message.footprint();
        self.ages.remove(&(message.enqueued, key));
        if let Some(until) = message.state.until() {
            self.timers.remove(&(until, key));
        }
        match message.state {
            State::Visible => {}
            State::Delayed { .. } => self.delayed -= 1,
            State::InFlight { .. } => self.in_flight -= 1,
        }
        match &mut self.order {
            Order::Standard(keys) => {
                keys.remove(&key);
            }
            Order::Fifo(groups) => {
                let group = message.group.clone().unwrap_or_default();
                groups.remove(&group, key);
                self.refresh(&group);
            }
        }
        Some(message)
    }

    /// Looks again whether a FIFO group may be received from.
    pub(crate) fn refresh(&mut self, group: &Arc<str>) {
        let Order::Fifo(groups) = &mut self.order else { return };
        let messages = &self.messages;
        let visible = |key| messages.get(&key).is_some_and(|message| message.state == State::Visible);
        if groups.refresh(group, visible) {
            self.arrival.notify_one();
        }
    }

    /// Removes every message. Deduplication ids are forgotten too.
    pub(crate) fn clear(&mut self) {
        if let Some(changed) = &mut self.changed {
            *changed = Changed { keys: BTreeSet::new(), cleared: true };
        }
        self.messages.clear();
        self.timers.clear();
        self.ages.clear();
        self.deduplication.clear();
        self.attempts = Attempts::default();
        (self.in_flight, self.delayed, self.bytes) = (0, 0, 0);
        match &mut self.order {
            Order::Standard(keys) => keys.clear(),
            Order::Fifo(groups) => groups.clear(),
        }
    }

    /// Whether a message of `topic` may be delivered. Answers are kept until the queue's settings change.
    pub(crate) fn admits(&mut self, topic: &str) -> Admission {
        if let Some(known) = self.admissions.get(topic) {
            return known.clone();
        }
        let admission = admission::decide(&self.name, &self.arn, &self.settings, topic);
        self.admissions.insert(topic.into(), admission.clone());
        admission
    }

    /// Replaces the settings. A FIFO queue's delay also counts for what is delayed already.
    pub(crate) fn set_settings(&mut self, settings: Settings, now: Time) {
        let delay_changed = settings.delay != self.settings.delay;
        self.settings = settings;
        self.admissions.clear();
        self.modified = now;
        if self.settings.fifo && delay_changed {
            let delayed = |message: &Message| matches!(message.state, State::Delayed { .. });
            let mut keys: Vec<Key> =
                self.messages.iter().filter(|(_, message)| delayed(message)).map(|(key, _)| *key).collect();
            keys.sort_unstable();
            for key in keys {
                let until = self.messages[&key].enqueued.plus_seconds(self.settings.delay);
                let state = if until <= now { State::Visible } else { State::Delayed { until } };
                self.set_state(key, state);
            }
        }
    }

    /// Sets or removes one attribute that is known to be right and that no message depends on.
    pub(crate) fn put_attribute(&mut self, name: &str, value: Option<String>) {
        self.settings.put(name, value);
        self.admissions.clear();
    }

    /// The group that deduplication is limited to; `None` where its scope is the queue.
    fn deduplication_group<'a>(&self, group: Option<&'a Arc<str>>) -> Option<&'a Arc<str>> {
        group.filter(|_| self.deduplicates_by_group)
    }

    /// The first message with this deduplication id, if it is a duplicate.
    pub(crate) fn duplicate_of(
        &mut self,
        group: Option<&Arc<str>>,
        id: &Arc<str>,
        now: Time,
    ) -> Option<First> {
        let group = self.deduplication_group(group);
        self.deduplication.find(group, id, now).cloned()
    }

    pub(crate) fn remember(&mut self, group: Option<&Arc<str>>, id: &Arc<str>, first: First, now: Time) {
        let group = self.deduplication_group(group);
        self.deduplication.add(group, id, first, now);
    }

    pub(crate) fn counts(&self) -> Counts {
        let hidden = self.in_flight + self.delayed;
        Counts { visible: self.messages.len() - hidden, in_flight: self.in_flight, delayed: self.delayed }
    }

    /// An estimate of the memory that its messages take, in bytes.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The visible messages with a smaller key, in order, and where each was a dead letter from.
    pub(crate) fn visible_before(&self, end: Key) -> Vec<(Key, Option<String>)> {
        let visible = |(key, message): &(Key, &Message)| *key < end && message.state == State::Visible;
        let all = self.in_order().into_iter().filter(visible);
        all.map(|(key, message)| (key, message.dead_letter_source.clone())).collect()
    }

    /// The key that the next message will get.
    pub(crate) fn next_key(&self) -> Key {
        self.next_key
    }

    /// The messages after the one with this age and key, the oldest first. Costs nothing for those before it.
    pub(crate) fn by_age(&self, after: Option<(Time, Key)>) -> impl Iterator<Item = ((Time, Key), &Message)> {
        let start = after.map_or(Bound::Unbounded, Bound::Excluded);
        let found = |at: &(Time, Key)| Some((*at, &**self.messages.get(&at.1)?));
        self.ages.range((start, Bound::Unbounded)).filter_map(found)
    }

    /// All messages in the order in which they came.
    pub(crate) fn in_order(&self) -> Vec<(Key, &Message)> {
        let mut all: Vec<_> = self.messages.iter().map(|(key, message)| (*key, &**message)).collect();
        all.sort_unstable_by_key(|(key, _)| *key);
        all
    }
}
