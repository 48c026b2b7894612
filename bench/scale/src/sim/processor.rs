//! Processor time: so many cores, work in the order of its coming.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::Time;

pub(super) struct Processor {
    /// When each core is free.
    cores: BinaryHeap<Reverse<Time>>,
    pub(super) busy: Time,
}

impl Processor {
    pub(super) fn new(cores: usize) -> Self {
        Self { cores: (0..cores.max(1)).map(|_| Reverse(0)).collect(), busy: 0 }
    }

    /// When work that comes now is done.
    pub(super) fn work(&mut self, now: Time, cost: Time) -> Time {
        self.busy += cost;
        let Reverse(free) = self.cores.pop().unwrap_or(Reverse(now));
        let done = free.max(now) + cost;
        self.cores.push(Reverse(done));
        done
    }
}
