//! Which visible message comes next: the oldest in a standard queue; in a FIFO queue the groups whose oldest message
//! is visible, each in its order.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use super::message::Key;

/// The order of a queue's messages.
#[derive(Debug)]
pub(crate) enum Order {
    Standard(BTreeSet<Key>),
    Fifo(Groups),
}

impl Order {
    pub(crate) fn new(fifo: bool) -> Self {
        if fifo { Self::Fifo(Groups::default()) } else { Self::Standard(BTreeSet::new()) }
    }
}

/// The message groups of a FIFO queue.
#[derive(Debug, Default)]
pub(crate) struct Groups {
    groups: HashMap<Arc<str>, Group>,
    /// Groups whose oldest message is visible, in the order in which they became so.
    ready: BTreeMap<Ticket, Arc<str>>,
    next: Ticket,
}

type Ticket = u64;

#[derive(Debug, Default)]
struct Group {
    /// Every message of the group, in flight or not.
    keys: BTreeSet<Key>,
    /// Its place in `ready`.
    ticket: Option<Ticket>,
}

impl Groups {
    pub(crate) fn add(&mut self, group: &Arc<str>, key: Key) {
        self.groups.entry(Arc::clone(group)).or_default().keys.insert(key);
    }

    pub(crate) fn remove(&mut self, group: &Arc<str>, key: Key) {
        let Some(found) = self.groups.get_mut(group) else { return };
        found.keys.remove(&key);
        if found.keys.is_empty() {
            self.hold(group);
            self.groups.remove(group);
        }
    }

    /// Looks again whether the group's oldest message is visible. A message that is in flight or delayed holds back
    /// all behind it. Says whether the group became ready.
    pub(crate) fn refresh(&mut self, group: &Arc<str>, visible: impl Fn(Key) -> bool) -> bool {
        let Some(found) = self.groups.get_mut(group) else { return false };
        if !found.keys.first().is_some_and(|first| visible(*first)) {
            self.hold(group);
            return false;
        }
        if found.ticket.is_some() {
            return false;
        }
        found.ticket = Some(self.next);
        self.ready.insert(self.next, Arc::clone(group));
        self.next += 1;
        true
    }

    /// The group to receive from next: the one that has been ready for the longest.
    pub(crate) fn next(&self) -> Option<&Arc<str>> {
        self.ready.first_key_value().map(|(_, group)| group)
    }

    /// The oldest messages of a group, as long as they are visible.
    pub(crate) fn visible(&self, group: &Arc<str>, visible: impl Fn(Key) -> bool, most: usize) -> Vec<Key> {
        let keys = self.groups.get(group).into_iter().flat_map(|group| group.keys.iter().copied());
        keys.take_while(|key| visible(*key)).take(most).collect()
    }

    /// Takes a group out of `ready`: its messages are handed out, or none is visible.
    pub(crate) fn hold(&mut self, group: &Arc<str>) {
        if let Some(ticket) = self.groups.get_mut(group).and_then(|found| found.ticket.take()) {
            self.ready.remove(&ticket);
        }
    }

    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }
}
