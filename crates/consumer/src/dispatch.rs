//! The intake: what a receive brought gets its lease and its place, and starts.
//!
//! Messages of a standard queue start at once. Those of a FIFO queue start one after another within their group,
//! groups in parallel; when one fails, the rest of its group that is here goes back untouched, to be visible with it, so that
//! nothing overtakes it. Each time the rest comes along it is received once more, and would follow the poison into the dead-letter
//! queue without ever having been handled. So while a group is in trouble, receives ask for one message: SQS then
//! keeps the rest of its group for itself.

use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use lifeline_messaging::envelope::{Received, Unreadable};
use lifeline_messaging::message::Message;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::attempt::{Job, Work, longest_retry_delay};
use crate::delivery::{Held, Identity};
use crate::lease::Lease;
use crate::shared::Shared;
use crate::summary::Outcome;
use crate::visibility::Change;

/// Where pollers bring what they received. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Intake {
    shared: Arc<Shared>,
    work: Arc<dyn Work>,
    groups: Arc<Mutex<HashMap<String, VecDeque<Job>>>>,
    /// Groups with a message that failed and will come back, and until when that is to be expected.
    troubled: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Intake {
    pub(crate) fn new(shared: Arc<Shared>, work: Arc<dyn Work>) -> Self {
        Self { shared, work, groups: Arc::default(), troubled: Arc::default() }
    }

    /// Takes one receive's messages; `room` has a permit for each of them, what is left of it is given back.
    pub(crate) fn accept(
        &self,
        mut entries: Vec<Received>,
        mut room: OwnedSemaphorePermit,
        received_at: Instant,
        visibility: Duration,
    ) {
        self.shared.metrics.oldest_age.set(oldest_age(&entries));
        if entries.is_empty() {
            return;
        }
        self.shared.ledger.receive(u64::try_from(entries.len()).unwrap_or(0));
        // the receipt, of some 300 bytes, is the lease's from now on
        let lease = |entry: &mut Received| {
            Arc::new(Lease::new(std::mem::take(&mut entry.receipt), received_at, visibility))
        };
        let leases: Vec<_> = entries.iter_mut().map(lease).collect();
        let keys = self.shared.leases.insert(leases.iter().map(Arc::clone));
        for ((entry, lease), key) in entries.into_iter().zip(leases).zip(keys) {
            // SQS never answers with more than was asked for; should it, the message is held without a permit's count
            let permit = room.split(1).unwrap_or_else(|| {
                Arc::new(tokio::sync::Semaphore::new(1))
                    .try_acquire_owned()
                    .expect("a new semaphore has its permit")
            });
            let identity = identity(&entry);
            let group = entry.group;
            let held = Held::new(Arc::clone(&self.shared), identity, lease, key, permit);
            if self.shared.is_draining() {
                self.release(held);
                continue;
            }
            let job = Job { held, message: entry.message };
            match group.filter(|_| self.shared.spec.queue.is_fifo()) {
                Some(group) => self.queue_in_group(group, job),
                None => job.start(&self.work, &self.shared),
            }
        }
    }

    fn release(&self, held: Held) {
        self.change(Change::release(held));
    }

    fn change(&self, change: Change) {
        self.shared.changes.send(change).ok();
    }

    fn queue_in_group(&self, group: String, job: Job) {
        let mut groups = self.groups.lock().expect("no panic while it is held");
        match groups.get_mut(&group) {
            Some(waiting) => waiting.push_back(job),
            None => {
                groups.insert(group.clone(), VecDeque::from([job]));
                drop(groups);
                tokio::spawn(self.clone().work_off(group));
            }
        }
    }

    async fn work_off(self, group: String) {
        loop {
            let Some(mut job) = self.next_of(&group) else { return };
            if self.shared.is_draining() {
                self.release(job.held);
                continue;
            }
            let outcome = job.held.tell();
            let receive_count = job.held.receive_count;
            job.start(&self.work, &self.shared);
            let told = outcome.await.ok();
            let outcome = told.map(|told| told.outcome);
            self.note_trouble(&group, outcome == Some(Outcome::Retried), receive_count);
            // only when the delete is confirmed may the next one start
            if outcome != Some(Outcome::Deleted) {
                while let Some(rest) = self.next_of(&group) {
                    match told.and_then(|told| told.back_at) {
                        Some(back_at) => self.change(Change::follow(rest.held, back_at)),
                        None => self.release(rest.held),
                    }
                }
                return;
            }
        }
    }

    /// Whether a group of this FIFO queue waits for a message that failed.
    pub(crate) fn is_troubled(&self) -> bool {
        let mut troubled = self.troubled.lock().expect("no panic while it is held");
        let now = Instant::now();
        troubled.retain(|_, until| *until > now);
        !troubled.is_empty()
    }

    fn note_trouble(&self, group: &str, failed: bool, receive_count: u32) {
        let (visibility, last) = match self.shared.queue.borrow().as_ref() {
            Some(queue) => (queue.visibility, queue.redrive.as_ref().map(|r| r.max_receives)),
            None => return,
        };
        let mut troubled = self.troubled.lock().expect("no panic while it is held");
        // after its last receive it does not come back, and its group goes on
        if failed && last.is_none_or(|last| receive_count < last) {
            let until = Instant::now() + longest_retry_delay(receive_count) * 2 + visibility;
            troubled.insert(group.to_owned(), until);
        } else {
            troubled.remove(group);
        }
    }

    /// The next of a group; the group is forgotten with its last.
    fn next_of(&self, group: &str) -> Option<Job> {
        let mut groups = self.groups.lock().expect("no panic while it is held");
        let next = groups.get_mut(group).and_then(VecDeque::pop_front);
        if next.is_none() {
            groups.remove(group);
        }
        next
    }
}

fn identity(entry: &Received) -> Identity {
    let message: Result<&Message, &Unreadable> = entry.message.as_ref();
    Identity {
        id: message.map_or_else(|_| entry.sqs_message_id.clone(), |m| m.id.clone()),
        trace: message.ok().and_then(|m| m.trace),
        receive_count: entry.receive_count,
        published_at: message.ok().and_then(|m| m.published_at),
    }
}

/// In seconds; 0 for an empty receive. Clocks that disagree make no negative age.
fn oldest_age(entries: &[Received]) -> f64 {
    let published = entries.iter().filter_map(|e| e.message.as_ref().ok()?.published_at);
    let now = SystemTime::now();
    published.map(|t| now.duration_since(t).unwrap_or_default().as_secs_f64()).fold(0.0, f64::max)
}
