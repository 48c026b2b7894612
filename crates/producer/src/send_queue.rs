//! What waits to be sent, and what may go next.
//!
//! One line of messages that are ready; behind it, for FIFO topics, the messages that wait for an earlier one of their
//! group, and the failed ones whose time has not come. A group has at most one message outside of its own line, be
//! it ready, in the air or waiting for another try: SNS may take the second entry of a batch and not the first, so
//! that two of a group in one batch could swap (AC-38).
//!
//! No clock and no I/O in here: times come in as arguments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Held;
use crate::limits::MAX_ENTRIES;

/// The messages that one call takes.
pub(crate) type Batch = Vec<Held>;

pub(crate) struct Queue {
    fifo: bool,
    linger: Duration,
    ready: VecDeque<Held>,
    ready_bytes: usize,
    /// FIFO: the messages behind the one of their group that is ready, in the air or delayed.
    groups: HashMap<String, VecDeque<Held>>,
    /// Failed ones by when they may go again; the number tells those of one moment apart.
    delayed: BTreeMap<u64, Held>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    delays: u64,
    /// Parts of a batch that was refused as a whole: each goes as it is, to find the offender.
    parts: VecDeque<Batch>,
    len: usize,
}

impl Queue {
    pub(crate) fn new(fifo: bool, linger: Duration) -> Self {
        Self {
            fifo,
            linger,
            ready: VecDeque::new(),
            ready_bytes: 0,
            groups: HashMap::new(),
            delayed: BTreeMap::new(),
            due: BinaryHeap::new(),
            delays: 0,
            parts: VecDeque::new(),
            len: 0,
        }
    }

    /// Messages in here, those of the air not counted.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A new message, at the end of the line or of its group's.
    pub(crate) fn push(&mut self, held: Held) {
        self.len += 1;
        if self.fifo
            && let Some(group) = &held.outgoing.group
        {
            if let Some(line) = self.groups.get_mut(group) {
                return line.push_back(held);
            }
            self.groups.insert(group.clone(), VecDeque::new());
        }
        self.ready_bytes += held.size();
        self.ready.push_back(held);
    }

    /// Messages that were in the air and are not published: first in line, in their order.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        for held in batch.into_iter().rev() {
            self.len += 1;
            self.ready_bytes += held.size();
            self.ready.push_front(held);
        }
    }

    /// A message that was in the air, to be sent again at `due`. Its group waits with it.
    pub(crate) fn delay(&mut self, held: Held, due: Instant) {
        self.len += 1;
        self.delays += 1;
        self.due.push(Reverse((due, self.delays)));
        self.delayed.insert(self.delays, held);
    }

    /// A batch that was refused as a whole: its halves, to be sent each by itself.
    pub(crate) fn split(&mut self, mut batch: Batch) {
        self.len += batch.len();
        let rest = batch.split_off(batch.len().div_ceil(2));
        self.parts.push_front(rest);
        self.parts.push_front(batch);
    }

    /// A message of this group left for good: the next one of the group is ready.
    pub(crate) fn release(&mut self, group: Option<&str>) {
        if !self.fifo {
            return;
        }
        let Some(group) = group else { return };
        match self.groups.get_mut(group).map(VecDeque::pop_front) {
            Some(Some(next)) => {
                self.ready_bytes += next.size();
                self.ready.push_back(next);
            }
            Some(None) => drop(self.groups.remove(group)),
            None => {}
        }
    }

    /// When a batch may go: `None` while nothing is ready, at once when one is full, else when the first in line has
    /// lingered. `flush` ends all lingering.
    pub(crate) fn next_at(&self, limit: usize, now: Instant, flush: bool) -> Option<Instant> {
        if !self.parts.is_empty() {
            return Some(now);
        }
        let first = self.ready.front()?;
        let full = self.ready.len() >= MAX_ENTRIES || self.ready_bytes >= limit;
        Some(if full || flush { now } else { first.waits_since + self.linger })
    }

    /// When the first of the delayed may go again.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Puts the delayed whose time has come back in line: at its end, lingering anew, for those that failed together
    /// wake one by one and should not go as a batch each.
    pub(crate) fn wake_delayed(&mut self, now: Instant) {
        while self.next_due().is_some_and(|at| at <= now) {
            let Some(Reverse((_, number))) = self.due.pop() else { return };
            if let Some(mut held) = self.delayed.remove(&number) {
                held.waits_since = now;
                self.ready_bytes += held.size();
                self.ready.push_back(held);
            }
        }
    }

    /// Takes the next batch, which [`next_at`](Self::next_at) said is due: at most ten messages and `limit` bytes.
    /// Those larger than `limit` by themselves come out as the second part, unsent.
    pub(crate) fn take(&mut self, limit: usize) -> (Batch, Batch) {
        if let Some(part) = self.parts.pop_front() {
            self.len -= part.len();
            return (part, Vec::new());
        }
        let (mut batch, mut too_large, mut bytes) = (Vec::with_capacity(MAX_ENTRIES), Vec::new(), 0);
        while let Some(held) = self.ready.front() {
            let size = held.size();
            let fits = size > limit || bytes + size <= limit;
            if batch.len() == MAX_ENTRIES || !fits {
                break;
            }
            let Some(held) = self.ready.pop_front() else { break };
            self.ready_bytes -= size;
            self.len -= 1;
            if size > limit {
                too_large.push(held);
            } else {
                bytes += size;
                batch.push(held);
            }
        }
        (batch, too_large)
    }

    /// Takes out what is past its deadline, and says when the next one of the rest is.
    pub(crate) fn expired(&mut self, now: Instant) -> (Vec<Held>, Option<Instant>) {
        let late = |held: &Held| held.deadline.is_some_and(|deadline| deadline <= now);
        let (mut waiting, mut first) = (Vec::new(), Vec::new());
        for line in self.groups.values_mut() {
            drain(line, late, &mut waiting);
        }
        drain(&mut self.ready, late, &mut first);
        for part in &mut self.parts {
            first.extend(part.extract_if(.., |held| late(held)));
        }
        self.parts.retain(|part| !part.is_empty());
        first.extend(self.delayed.extract_if(.., |_, held| late(held)).map(|(_, held)| held));
        self.due.retain(|Reverse((_, number))| self.delayed.contains_key(number));
        self.ready_bytes = self.ready.iter().map(Held::size).sum();
        for held in &first {
            self.release(held.outgoing.group.as_deref());
        }
        let mut expired = waiting;
        expired.append(&mut first);
        self.len -= expired.len();
        let next = self.iter().filter_map(|held| held.deadline).min();
        (expired, next)
    }

    /// Everything, in no order.
    pub(crate) fn drain(&mut self) -> Vec<Held> {
        let mut all: Vec<Held> = self.parts.drain(..).flatten().collect();
        all.extend(self.ready.drain(..));
        all.extend(std::mem::take(&mut self.delayed).into_values());
        all.extend(self.groups.drain().flat_map(|(_, line)| line));
        (self.len, self.ready_bytes) = (0, 0);
        self.due.clear();
        all
    }

    fn iter(&self) -> impl Iterator<Item = &Held> {
        let parts = self.parts.iter().flatten();
        self.ready.iter().chain(parts).chain(self.delayed.values()).chain(self.groups.values().flatten())
    }
}

fn drain(line: &mut VecDeque<Held>, late: impl Fn(&Held) -> bool, into: &mut Vec<Held>) {
    if line.iter().any(&late) {
        let (out, keep): (Vec<_>, Vec<_>) = line.drain(..).partition(late);
        into.extend(out);
        line.extend(keep);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::deduplication::DeduplicationIds;
    use crate::entry::Waiter;
    use crate::message::{Message, Outgoing};
    use std::sync::Arc;

    const LINGER: Duration = Duration::from_millis(5);
    const LIMIT: usize = 262_144;

    fn held(message: Message) -> Held {
        let fifo = false;
        let outgoing = Outgoing::new(message, fifo, &DeduplicationIds::new()).unwrap();
        Held {
            outgoing: Arc::new(outgoing),
            waiter: Waiter::One(tokio::sync::oneshot::channel().0),
            room: None,
            since: Instant::now(),
            waits_since: Instant::now(),
            deadline: None,
            tries: 0,
            last_failure: None,
        }
    }

    fn plain(body: &str) -> Held {
        held(Message::new(body))
    }

    fn grouped(body: &str, group: &str) -> Held {
        held(Message::new(body).group(group))
    }

    fn bodies(batch: &[Held]) -> Vec<&str> {
        batch.iter().map(|h| h.outgoing.body.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_message_waits_no_longer_than_linger_and_a_full_batch_not_at_all() {
        let now = Instant::now();
        let mut queue = Queue::new(false, LINGER);
        assert_eq!(queue.next_at(LIMIT, now, false), None);
        queue.push(plain("1"));
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
        assert_eq!(queue.next_at(LIMIT, now, true), Some(now), "a flush does not linger");
        (2..=10).for_each(|n| queue.push(plain(&n.to_string())));
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now));
        queue.push(plain("11"));
        assert_eq!(queue.take(LIMIT).0.len(), 10);
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_fill_by_bytes_and_what_is_too_large_alone_does_not_block() {
        let now = Instant::now();
        let mut queue = Queue::new(false, LINGER);
        for size in [100_000, 100_000, 100_000, 300_000, 10] {
            queue.push(plain(&"x".repeat(size)));
        }
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now), "full by bytes");
        let (batch, too_large) = queue.take(LIMIT);
        assert_eq!((batch.len(), too_large.len()), (2, 0));
        let (batch, too_large) = queue.take(LIMIT);
        assert_eq!((batch.len(), too_large.len()), (2, 1));
        assert_eq!((queue.len(), queue.ready_bytes), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_of_a_group_is_out_at_a_time_and_other_groups_go_on() {
        let mut queue = Queue::new(true, LINGER);
        for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
            queue.push(grouped(body, group));
        }
        let (mut batch, _) = queue.take(LIMIT);
        assert_eq!(bodies(&batch), ["a1", "b1"]);
        let a1 = batch.remove(0);
        queue.delay(a1, Instant::now() + Duration::from_secs(1));
        queue.release(Some("b"));
        queue.push(grouped("b2", "b"));
        assert_eq!(bodies(&queue.take(LIMIT).0), ["b2"], "a waits for its failed first");
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.wake_delayed(Instant::now());
        assert_eq!(bodies(&queue.take(LIMIT).0), ["a1"]);
        queue.release(Some("a"));
        assert_eq!(bodies(&queue.take(LIMIT).0), ["a2"]);
        queue.release(Some("a"));
        queue.release(Some("b"));
        assert_eq!(bodies(&queue.take(LIMIT).0), ["a3"]);
        queue.release(Some("a"));
        assert_eq!((queue.len(), queue.groups.len()), (0, 0), "no group outlives its messages");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_failed_together_go_together_again() {
        let begun = Instant::now();
        let mut queue = Queue::new(false, LINGER);
        (0..3).for_each(|n| queue.delay(plain(&n.to_string()), begun + Duration::from_millis(100 + n)));
        tokio::time::advance(Duration::from_millis(100)).await;
        let now = Instant::now();
        queue.wake_delayed(now);
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
        tokio::time::advance(LINGER).await;
        queue.wake_delayed(Instant::now());
        assert_eq!(bodies(&queue.take(LIMIT).0), ["0", "1", "2"]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_goes_first_and_in_order() {
        let mut queue = Queue::new(false, LINGER);
        (0..12).for_each(|n| queue.push(plain(&n.to_string())));
        let (batch, _) = queue.take(LIMIT);
        queue.put_back(batch);
        assert_eq!(bodies(&queue.take(LIMIT).0), ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_refused_batch_is_halved_and_its_halves_are_not_mixed_with_others() {
        let mut queue = Queue::new(false, LINGER);
        (0..5).for_each(|n| queue.push(plain(&n.to_string())));
        let (batch, _) = queue.take(LIMIT);
        queue.split(batch);
        queue.push(plain("new"));
        assert_eq!(queue.len(), 6);
        assert_eq!(bodies(&queue.take(LIMIT).0), ["0", "1", "2"]);
        assert_eq!(bodies(&queue.take(LIMIT).0), ["3", "4"]);
        assert_eq!(bodies(&queue.take(LIMIT).0), ["new"]);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_its_deadline_leaves_wherever_it_waits() {
        let now = Instant::now();
        let with_deadline =
            |held: Held, after: u64| Held { deadline: Some(now + Duration::from_secs(after)), ..held };
        let mut queue = Queue::new(true, LINGER);
        queue.push(with_deadline(grouped("a1", "a"), 1));
        queue.push(with_deadline(grouped("a2", "a"), 1));
        queue.push(with_deadline(grouped("a3", "a"), 2));
        queue.push(with_deadline(grouped("b1", "b"), 3));
        queue.delay(with_deadline(grouped("c1", "c"), 1), now + Duration::from_secs(9));
        tokio::time::advance(Duration::from_secs(1)).await;
        let (expired, next) = queue.expired(Instant::now());
        let mut gone = bodies(&expired);
        gone.sort_unstable();
        assert_eq!(gone, ["a1", "a2", "c1"]);
        assert_eq!(next, Some(now + Duration::from_secs(2)));
        assert_eq!((queue.len(), queue.next_due()), (2, None));
        assert_eq!(bodies(&queue.take(LIMIT).0), ["b1", "a3"], "the group of an expired one goes on");
    }
}
