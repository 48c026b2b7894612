//! FIFO groups: one message after another within a group, groups in parallel.
//!
//! When one fails, the rest of its group that is here is released, to be visible together with it, so that nothing
//! overtakes it. Each time the rest is received again it costs those messages a receive. So while a group is blocked by a
//! failed message, receives ask for one message: SQS then keeps the rest of the group for itself.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::attempt::{Attempt, Runner, longest_retry_delay};
use crate::delivery::Settled;
use crate::queue_watch::KnownQueue;
use crate::summary::Outcome;

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
    /// Groups with a message that failed and will be redelivered, and until when that is to be expected.
    blocked: Arc<Mutex<HashMap<String, Instant>>>,
}

impl Groups {
    pub(crate) fn new(
        runner: Runner,
        queue: KnownQueue,
        draining: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        Self { runner, queue, draining, tasks, waiting: Arc::default(), blocked: Arc::default() }
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
            if self.draining.is_cancelled() {
                attempt.ticket.release(None);
                continue;
            }
            let receive_count = attempt.ticket.identity().receive_count;
            self.runner.start(attempt);
            let settled = outcome.await.ok();
            let outcome = settled.map(|settled| settled.outcome);
            self.note(&group, outcome == Some(Outcome::Retried), receive_count);
            // only when the delete is confirmed may the next one start
            if outcome != Some(Outcome::Deleted) {
                let visible_at = settled.and_then(|settled| settled.visible_at);
                while let Some(rest) = self.next_of(&group) {
                    rest.attempt.ticket.release(visible_at);
                }
                return;
            }
        }
    }

    /// Whether a group waits for a message that failed.
    pub(crate) fn is_blocked(&self) -> bool {
        let mut blocked = locked(&self.blocked);
        let now = Instant::now();
        blocked.retain(|_, until| *until > now);
        !blocked.is_empty()
    }

    fn note(&self, group: &str, failed: bool, receive_count: u32) {
        let Some(queue) = self.queue.get() else { return };
        let last = queue.redrive.as_ref().map(|redrive| redrive.max_receives);
        let mut blocked = locked(&self.blocked);
        // after its last receive it is not redelivered, and its group goes on
        if failed && last.is_none_or(|last| receive_count < last) {
            let until = Instant::now() + longest_retry_delay(receive_count) * 2 + queue.visibility;
            blocked.insert(group.to_owned(), until);
        } else {
            blocked.remove(group);
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
