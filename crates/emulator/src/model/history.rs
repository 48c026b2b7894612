//! What became of messages, for tests that assert effects: kept after a message is gone, and only where it is asked for.

use std::{collections::BTreeMap, sync::Arc};

use super::message::{Key, Message};
use crate::clock::Time;

/// What one message went through in one queue.
#[derive(Debug, Clone)]
pub(crate) struct History {
    pub(crate) id: String,
    pub(crate) body: Arc<str>,
    pub(crate) sent: Time,
    pub(crate) received: Vec<Time>,
    /// Visibility timeouts that a caller set, in seconds.
    pub(crate) visibility: Vec<(Time, u64)>,
    pub(crate) deleted: Option<Time>,
    /// Deletes that succeeded and deleted nothing: of what was gone.
    pub(crate) stale_deletes: u32,
    pub(crate) dead_lettered: Option<Time>,
}

/// The histories of a queue's messages. Off, it keeps nothing.
#[derive(Debug, Default)]
pub(crate) struct Journal {
    on: bool,
    histories: BTreeMap<Key, History>,
    deleted: Vec<Key>,
}

impl Journal {
    pub(crate) fn new(on: bool) -> Self {
        Self { on, ..Self::default() }
    }

    pub(crate) fn put(&mut self, key: Key, message: &Message, now: Time) {
        if self.on {
            let history = History {
                id: message.id.clone(),
                body: Arc::clone(&message.body),
                sent: now,
                received: Vec::new(),
                visibility: Vec::new(),
                deleted: None,
                stale_deletes: 0,
                dead_lettered: None,
            };
            self.histories.insert(key, history);
        }
    }

    fn with(&mut self, key: Key, change: impl FnOnce(&mut History)) {
        if let Some(history) = self.histories.get_mut(&key) {
            change(history);
        }
    }

    pub(crate) fn received(&mut self, key: Key, now: Time) {
        self.with(key, |history| history.received.push(now));
    }

    pub(crate) fn visibility(&mut self, key: Key, seconds: u64, now: Time) {
        self.with(key, |history| history.visibility.push((now, seconds)));
    }

    pub(crate) fn deleted(&mut self, key: Key, now: Time) {
        if self.on {
            self.deleted.push(key);
        }
        self.with(key, |history| history.deleted = Some(now));
    }

    pub(crate) fn stale_delete(&mut self, key: Key) {
        self.with(key, |history| history.stale_deletes += 1);
    }

    pub(crate) fn dead_lettered(&mut self, key: Key, now: Time) {
        self.with(key, |history| history.dead_lettered = Some(now));
    }

    pub(crate) fn get(&self, key: Key) -> Option<&History> {
        self.histories.get(&key)
    }

    /// In the order in which the messages came.
    pub(crate) fn all(&self) -> impl Iterator<Item = &History> {
        self.histories.values()
    }

    /// In the order in which they were deleted.
    pub(crate) fn all_deleted(&self) -> impl Iterator<Item = &History> {
        self.deleted.iter().filter_map(|key| self.histories.get(key))
    }
}
