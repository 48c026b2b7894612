//! What happens when: the earliest first, and of one moment in the order in which it was planned.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Time;

pub(super) struct Agenda<E> {
    pub(super) now: Time,
    planned: u64,
    heap: BinaryHeap<Reverse<Entry<E>>>,
}

struct Entry<E> {
    at: Time,
    number: u64,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        (self.at, self.number) == (other.at, other.number)
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        (self.at, self.number).cmp(&(other.at, other.number))
    }
}

impl<E> Agenda<E> {
    pub(super) fn new() -> Self {
        Self { now: 0, planned: 0, heap: BinaryHeap::new() }
    }

    /// Plans `event`; what is past happens next.
    pub(super) fn at(&mut self, at: Time, event: E) {
        self.planned += 1;
        self.heap.push(Reverse(Entry { at: at.max(self.now), number: self.planned, event }));
    }

    pub(super) fn next(&mut self) -> Option<E> {
        let Reverse(entry) = self.heap.pop()?;
        self.now = entry.at;
        Some(entry.event)
    }
}
