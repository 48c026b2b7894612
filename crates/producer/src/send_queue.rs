//! The messages that wait to be sent, and which may go next.
//!
//! One line of messages that are ready; after it, for FIFO topics, the messages that wait for an earlier one of their
//! group, the failed ones whose time has not come, and the parts of batches that failed entirely. A group has at most one
//! message outside of its own line, be it ready, in flight or waiting for another attempt: SNS may accept the second entry
//! of a batch and not the first, so that two of a group in one batch could swap.
//!
//! Parts and ready messages take turns, so that neither keeps the other waiting.
//!
//! No clock and no I/O: times come in as arguments.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use tokio::time::Instant;

use crate::entry::Entry;
use crate::limits::MAX_ENTRIES;

/// The messages that one call takes.
pub(crate) type Batch = Vec<Entry>;

/// Part of a batch, to be sent by itself.
struct Part {
    batch: Batch,
    due: Instant,
}

/// What a batch may have.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Bounds {
    /// The topic's maximum, for a message and for a batch.
    pub(crate) limit: usize,
    /// Bytes of a batch of several messages: less than the limit on a slow link.
    pub(crate) fill: usize,
}

pub(crate) struct SendQueue {
    fifo: bool,
    linger: Duration,
    ready: VecDeque<Entry>,
    ready_bytes: usize,
    /// FIFO: the messages after the one of their group that is ready, in flight or delayed.
    groups: HashMap<String, VecDeque<Entry>>,
    /// Failed messages, by when they may go again; the number tells those of one moment apart.
    delayed: BTreeMap<u64, Entry>,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    delays: u64,
    /// Parts of batches that failed entirely: each goes as it is, to find the failing message.
    parts: VecDeque<Part>,
    /// The last batch was a part: ready messages go next.
    part_was_last: bool,
    len: usize,
}

impl SendQueue {
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
            part_was_last: false,
            len: 0,
        }
    }

    /// Messages in here, without those in flight.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// A new message, at the end of the line or of its group's.
    pub(crate) fn push(&mut self, entry: Entry) {
        self.len += 1;
        if self.fifo
            && let Some(group) = &entry.outgoing.group
        {
            if let Some(line) = self.groups.get_mut(group) {
                return line.push_back(entry);
            }
            self.groups.insert(group.clone(), VecDeque::new());
        }
        self.ready_bytes += entry.size();
        self.ready.push_back(entry);
    }

    /// Messages of a call that failed: first in line, in their order.
    pub(crate) fn put_back(&mut self, batch: Batch) {
        for entry in batch.into_iter().rev() {
            self.len += 1;
            self.ready_bytes += entry.size();
            self.ready.push_front(entry);
        }
    }

    /// A message that failed, to be sent again at `due`. Its group waits with it.
    pub(crate) fn delay(&mut self, entry: Entry, due: Instant) {
        self.len += 1;
        self.delays += 1;
        self.due.push(Reverse((due, self.delays)));
        self.delayed.insert(self.delays, entry);
    }

    /// A batch that failed entirely: its halves, each to be sent by itself from `due` on. A single message stays one.
    pub(crate) fn split(&mut self, mut batch: Batch, due: Instant) {
        self.len += batch.len();
        let rest = batch.split_off(batch.len().div_ceil(2));
        for part in [batch, rest] {
            if !part.is_empty() {
                self.parts.push_back(Part { batch: part, due });
            }
        }
    }

    /// Ends the lingering of the messages in line.
    pub(crate) fn hurry(&mut self, now: Instant) {
        for entry in &mut self.ready {
            entry.waits_since = now.checked_sub(self.linger).unwrap_or(entry.waits_since);
        }
    }

    /// All messages in here, to be changed.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Entry> {
        let parts = self.parts.iter_mut().flat_map(|part| &mut part.batch);
        let groups = self.groups.values_mut().flatten();
        self.ready.iter_mut().chain(parts).chain(self.delayed.values_mut()).chain(groups)
    }

    /// Whether all that is left are parts.
    pub(crate) fn has_only_parts(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty() && self.groups.values().all(VecDeque::is_empty)
    }

    /// A message of this group has its result: the next one of the group is ready.
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

    /// When a batch may go: `None` while nothing is ready, now when one is full, else when the first in line has
    /// lingered. `flush` ends all lingering.
    pub(crate) fn next_at(&self, bounds: Bounds, now: Instant, flush: bool) -> Option<Instant> {
        [self.part_at(), self.ready_at(bounds, now, flush)].into_iter().flatten().min()
    }

    fn part_at(&self) -> Option<Instant> {
        self.parts.iter().map(|part| part.due).min()
    }

    fn ready_at(&self, bounds: Bounds, now: Instant, flush: bool) -> Option<Instant> {
        let first = self.ready.front()?;
        let full = self.ready.len() >= MAX_ENTRIES || self.ready_bytes >= bounds.fill.min(bounds.limit);
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
            if let Some(mut entry) = self.delayed.remove(&number) {
                entry.waits_since = now;
                self.ready_bytes += entry.size();
                self.ready.push_back(entry);
            }
        }
    }

    /// Takes the next batch, which [`next_at`](Self::next_at) said is due: at most ten messages, within the bounds. Messages
    /// larger than the limit come out as the second part, unsent.
    pub(crate) fn take(&mut self, bounds: Bounds, now: Instant, flush: bool) -> (Batch, Batch) {
        let ready = self.ready_at(bounds, now, flush).is_some_and(|at| at <= now);
        let part = self.parts.iter().position(|part| part.due <= now);
        if let Some(part) = part
            && !(self.part_was_last && ready)
            && let Some(Part { batch, .. }) = self.parts.remove(part)
        {
            self.part_was_last = true;
            self.len -= batch.len();
            return (batch, Vec::new());
        }
        self.part_was_last = false;
        let (mut batch, mut too_large, mut bytes) = (Vec::with_capacity(MAX_ENTRIES), Vec::new(), 0);
        let fill = bounds.fill.min(bounds.limit);
        while let Some(entry) = self.ready.front() {
            let size = entry.size();
            let fits = size > bounds.limit || batch.is_empty() || bytes + size <= fill;
            if batch.len() == MAX_ENTRIES || !fits {
                break;
            }
            let Some(entry) = self.ready.pop_front() else { break };
            self.ready_bytes -= size;
            self.len -= 1;
            if size > bounds.limit {
                too_large.push(entry);
            } else {
                bytes += size;
                batch.push(entry);
            }
        }
        (batch, too_large)
    }

    /// Takes out what is past its deadline, and says when the next one of the rest is.
    pub(crate) fn expired(&mut self, now: Instant) -> (Vec<Entry>, Option<Instant>) {
        let late = |entry: &Entry| entry.deadline.is_some_and(|deadline| deadline <= now);
        let (mut waiting, mut first) = (Vec::new(), Vec::new());
        for line in self.groups.values_mut() {
            drain(line, late, &mut waiting);
        }
        drain(&mut self.ready, late, &mut first);
        for part in &mut self.parts {
            first.extend(part.batch.extract_if(.., |entry| late(entry)));
        }
        self.parts.retain(|part| !part.batch.is_empty());
        first.extend(self.delayed.extract_if(.., |_, entry| late(entry)).map(|(_, entry)| entry));
        self.due.retain(|Reverse((_, number))| self.delayed.contains_key(number));
        self.ready_bytes = self.ready.iter().map(Entry::size).sum();
        for entry in &first {
            self.release(entry.outgoing.group.as_deref());
        }
        let mut expired = waiting;
        expired.append(&mut first);
        self.len -= expired.len();
        let next = self.iter().filter_map(|entry| entry.deadline).min();
        (expired, next)
    }

    /// Everything, in no order.
    pub(crate) fn drain(&mut self) -> Vec<Entry> {
        let mut all: Vec<Entry> = self.parts.drain(..).flat_map(|part| part.batch).collect();
        all.extend(self.ready.drain(..));
        all.extend(std::mem::take(&mut self.delayed).into_values());
        all.extend(self.groups.drain().flat_map(|(_, line)| line));
        (self.len, self.ready_bytes) = (0, 0);
        self.due.clear();
        all
    }

    fn iter(&self) -> impl Iterator<Item = &Entry> {
        let parts = self.parts.iter().flat_map(|part| &part.batch);
        self.ready.iter().chain(parts).chain(self.delayed.values()).chain(self.groups.values().flatten())
    }
}

fn drain(line: &mut VecDeque<Entry>, late: impl Fn(&Entry) -> bool, into: &mut Vec<Entry>) {
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
    use crate::entry::Reply;
    use crate::message::{NewMessage, Outgoing};
    use std::sync::Arc;

    const LINGER: Duration = Duration::from_millis(5);
    const LIMIT: Bounds = Bounds { limit: 262_144, fill: 1 << 20 };

    fn entry(message: NewMessage) -> Entry {
        let fifo = false;
        let outgoing = Outgoing::new(message, fifo, &DeduplicationIds::new()).unwrap();
        let reply = Reply::One(tokio::sync::oneshot::channel().0);
        Entry::new(Arc::new(outgoing), reply, None, Instant::now(), None)
    }

    fn plain(body: &str) -> Entry {
        entry(NewMessage::new(body))
    }

    fn grouped(body: &str, group: &str) -> Entry {
        entry(NewMessage::new(body).group(group))
    }

    fn bodies(batch: &[Entry]) -> Vec<&str> {
        batch.iter().map(|entry| entry.outgoing.body.as_str()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_lone_message_waits_no_longer_than_linger_and_a_full_batch_not_at_all() {
        let now = Instant::now();
        let mut queue = SendQueue::new(false, LINGER);
        assert_eq!(queue.next_at(LIMIT, now, false), None);
        queue.push(plain("1"));
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
        assert_eq!(queue.next_at(LIMIT, now, true), Some(now), "a flush does not linger");
        (2..=10).for_each(|n| queue.push(plain(&n.to_string())));
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now));
        queue.push(plain("11"));
        assert_eq!(queue.take(LIMIT, Instant::now(), true).0.len(), 10);
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
    }

    #[tokio::test(start_paused = true)]
    async fn batches_fill_by_bytes_and_what_is_too_large_alone_does_not_block() {
        let now = Instant::now();
        let mut queue = SendQueue::new(false, LINGER);
        for size in [100_000, 100_000, 100_000, 300_000, 10] {
            queue.push(plain(&"x".repeat(size)));
        }
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now), "full by bytes");
        let (batch, too_large) = queue.take(LIMIT, Instant::now(), true);
        assert_eq!((batch.len(), too_large.len()), (2, 0));
        let (batch, too_large) = queue.take(LIMIT, Instant::now(), true);
        assert_eq!((batch.len(), too_large.len()), (2, 1));
        assert_eq!((queue.len(), queue.ready_bytes), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_of_a_group_is_out_at_a_time_and_other_groups_go_on() {
        let mut queue = SendQueue::new(true, LINGER);
        for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a3", "a")] {
            queue.push(grouped(body, group));
        }
        let (mut batch, _) = queue.take(LIMIT, Instant::now(), true);
        assert_eq!(bodies(&batch), ["a1", "b1"]);
        let a1 = batch.remove(0);
        queue.delay(a1, Instant::now() + Duration::from_secs(1));
        queue.release(Some("b"));
        queue.push(grouped("b2", "b"));
        assert_eq!(
            bodies(&queue.take(LIMIT, Instant::now(), true).0),
            ["b2"],
            "a waits for its failed first"
        );
        tokio::time::advance(Duration::from_secs(1)).await;
        queue.wake_delayed(Instant::now());
        assert_eq!(bodies(&queue.take(LIMIT, Instant::now(), true).0), ["a1"]);
        queue.release(Some("a"));
        assert_eq!(bodies(&queue.take(LIMIT, Instant::now(), true).0), ["a2"]);
        queue.release(Some("a"));
        queue.release(Some("b"));
        assert_eq!(bodies(&queue.take(LIMIT, Instant::now(), true).0), ["a3"]);
        queue.release(Some("a"));
        assert_eq!((queue.len(), queue.groups.len()), (0, 0), "no group outlives its messages");
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_failed_together_go_together_again() {
        let begun = Instant::now();
        let mut queue = SendQueue::new(false, LINGER);
        (0..3).for_each(|n| queue.delay(plain(&n.to_string()), begun + Duration::from_millis(100 + n)));
        tokio::time::advance(Duration::from_millis(100)).await;
        let now = Instant::now();
        queue.wake_delayed(now);
        assert_eq!(queue.next_at(LIMIT, now, false), Some(now + LINGER));
        tokio::time::advance(LINGER).await;
        queue.wake_delayed(Instant::now());
        assert_eq!(bodies(&queue.take(LIMIT, Instant::now(), true).0), ["0", "1", "2"]);
        assert_eq!(queue.len(), 0);
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_goes_first_and_in_order() {
        let mut queue = SendQueue::new(false, LINGER);
        (0..12).for_each(|n| queue.push(plain(&n.to_string())));
        let (batch, _) = queue.take(LIMIT, Instant::now(), true);
        queue.put_back(batch);
        assert_eq!(
            bodies(&queue.take(LIMIT, Instant::now(), true).0),
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9"]
        );
    }

    #[tokio::test(start_paused = true)]
    async fn halves_of_a_batch_are_not_mixed_with_others_and_take_turns_with_them() {
        let now = Instant::now();
        let mut queue = SendQueue::new(false, LINGER);
        (0..5).for_each(|n| queue.push(plain(&n.to_string())));
        let (batch, _) = queue.take(LIMIT, now, true);
        queue.split(batch, now);
        queue.push(plain("new"));
        assert_eq!(queue.len(), 6);
        assert_eq!(bodies(&queue.take(LIMIT, now, true).0), ["0", "1", "2"]);
        assert_eq!(bodies(&queue.take(LIMIT, now, true).0), ["new"], "others do not wait");
        queue.push(plain("newer"));
        assert_eq!(bodies(&queue.take(LIMIT, now, true).0), ["3", "4"], "nor do the halves");
        let (last, _) = queue.take(LIMIT, now, true);
        assert_eq!((bodies(&last), queue.len()), (vec!["newer"], 0));
        queue.split(last, now + LINGER);
        assert_eq!(queue.next_at(LIMIT, now, true), Some(now + LINGER), "one message stays one part");
        assert!(queue.take(LIMIT, now, true).0.is_empty() && queue.has_only_parts());
    }

    #[tokio::test(start_paused = true)]
    async fn on_a_slow_link_batches_are_smaller_and_a_large_message_goes_alone() {
        let now = Instant::now();
        let bounds = Bounds { fill: 16 << 10, ..LIMIT };
        let mut queue = SendQueue::new(false, LINGER);
        for size in [10_000, 10_000, 200_000, 10] {
            queue.push(plain(&"x".repeat(size)));
        }
        for entries in [1, 1, 1, 1] {
            assert_eq!(queue.next_at(bounds, now, true), Some(now));
            assert_eq!(queue.take(bounds, now, true).0.len(), entries);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_past_its_deadline_leaves_wherever_it_waits() {
        let now = Instant::now();
        let with_deadline =
            |entry: Entry, after: u64| Entry { deadline: Some(now + Duration::from_secs(after)), ..entry };
        let mut queue = SendQueue::new(true, LINGER);
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
        assert_eq!(
            bodies(&queue.take(LIMIT, Instant::now(), true).0),
            ["b1", "a3"],
            "the group of an expired one goes on"
        );
    }
}
