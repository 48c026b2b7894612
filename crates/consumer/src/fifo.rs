//! FIFO groups: one message after another within a group, groups in parallel.
//!
//! When one is not deleted, the rest of its group that is here is released, to be visible together with it, so that nothing
//! overtakes it. That costs the rest a receive that no handler saw. So the rest goes on here when the one before it was on
//! its own last receive: SQS will not hand that out again, but moves it to the dead-letter queue. Since SQS hands a group out
//! in order, the receive count of a message is never above that of one before it: a message on its last receive is always
//! handled, and none becomes a dead letter whose handler never began.
//!
//! Unless its process ends while it waits for one before it. So messages are received one at a time while one is about to have
//! its last receive: then nothing is received together with it, and waits.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{Attempt, Runner};
use crate::delivery::Settled;
use crate::queue_watch::KnownQueue;
use crate::summary::Outcome;

/// How long after it is visible again a message is expected back: then another consumer has it.
const EXPECTED: Duration = Duration::from_secs(30);

/// A message that waits for its turn, and where its outcome is told.
pub(crate) struct Waiting {
    pub(crate) attempt: Attempt,
    pub(crate) outcome: oneshot::Receiver<Settled>,
}

/// The groups of a FIFO queue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Groups {
    runner: Runner,
    queue: KnownQueue,
    draining: CancellationToken,
    tasks: TaskTracker,
    waiting: Arc<Mutex<HashMap<String, VecDeque<Waiting>>>>,
    near_the_end: Arc<NearTheEnd>,
}

/// Messages whose next receive is their last.
#[derive(Default)]
struct NearTheEnd {
    /// That came back before, and are here.
    here: AtomicUsize,
    /// Until when one is expected back.
    until: Mutex<Option<Instant>>,
}

impl Groups {
    pub(crate) fn new(
        runner: Runner,
        queue: KnownQueue,
        draining: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self { runner, queue, draining, tasks, waiting: Arc::default(), near_the_end: Arc::default() }
    }

    /// Whether one message at a time should be received, lest one waits here on its last receive.
    pub(crate) fn one_at_a_time(&self) -> bool {
        self.queue.is_last_receive(1)
            || self.near_the_end.here.load(Ordering::Acquire) > 0
            || locked(&self.near_the_end.until).is_some_and(|until| Instant::now() < until)
    }

    /// Starts a message when all before it in its group are done.
    pub(crate) fn join(&self, group: String, next: Waiting) {
        let mut waiting = locked(&self.waiting);
        match waiting.get_mut(&group) {
            Some(others) => others.push_back(next),
            None => {
                waiting.insert(group.clone(), VecDeque::from([next]));
                drop(waiting);
                self.tasks.spawn(self.clone().work_off(group));
            }
        }
    }

    async fn work_off(self, group: String) {
        while let Some(Waiting { attempt, outcome }) = self.next_of(&group) {
            let receives = attempt.ticket.identity().receive_count;
            let last = self.queue.is_last_receive(receives);
            let near_the_end = !last && self.queue.is_last_receive(receives + 1);
            if self.draining.is_cancelled() && !last {
                attempt.ticket.release(None);
                continue;
            }
            // one that never failed is rarely about to
            let here = usize::from(near_the_end && receives > 1);
            self.near_the_end.here.fetch_add(here, Ordering::AcqRel);
            self.runner.start(attempt);
            let settled = outcome.await.ok();
            // only when the delete is confirmed, or the message is a dead letter, may the next one start
            if last || settled.is_some_and(|settled| settled.outcome == Outcome::Deleted) {
                self.near_the_end.here.fetch_sub(here, Ordering::AcqRel);
                continue;
            }
            let visible_at = settled.and_then(|settled| settled.visible_at);
            if near_the_end {
                let until = visible_at.unwrap_or_else(Instant::now) + EXPECTED;
                let mut expected = locked(&self.near_the_end.until);
                *expected = (*expected).max(Some(until));
            }
            self.near_the_end.here.fetch_sub(here, Ordering::AcqRel);
            while let Some(rest) = self.next_of(&group) {
                rest.attempt.ticket.release(visible_at);
            }
            return;
        }
    }

    /// The next of a group; the group is forgotten with its last.
    fn next_of(&self, group: &str) -> Option<Waiting> {
        let mut waiting = locked(&self.waiting);
        let next = waiting.get_mut(group).and_then(VecDeque::pop_front);
        if next.is_none() {
            waiting.remove(group);
        }
        next
    }
}

/// Nothing under these locks can panic half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
