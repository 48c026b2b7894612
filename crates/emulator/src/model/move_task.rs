//! Message move tasks: messages of a dead-letter queue go back to where they came from, or to another queue, at once
//! or at a rate.
//!
//! A task moves what stood in its queue when it was started, so it cannot loop over what arrives meanwhile. It has no
//! timer: it catches up whenever the model is asked something, by the time that has passed.

use super::{message::Key, world::World};
use crate::clock::Time;

/// A move task.
#[derive(Debug, Clone)]
pub(crate) struct MoveTask {
    pub(crate) id: String,
    pub(crate) source: String,
    pub(crate) destination: Option<String>,
    /// Messages per second; `None`: as fast as possible.
    pub(crate) rate: Option<u64>,
    pub(crate) started: Time,
    pub(crate) status: Status,
    pub(crate) moved: u64,
    pub(crate) to_move: u64,
    pub(crate) failure: Option<&'static str>,
    /// Messages from this key on came after the start.
    pub(crate) end: Key,
}

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    Running,
    Completed,
    Cancelled,
    Failed,
}

impl Status {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Running => "RUNNING",
            Self::Completed => "COMPLETED",
            Self::Cancelled => "CANCELLED",
            Self::Failed => "FAILED",
        }
    }
}

impl MoveTask {
    /// The handle of a running task: base64 of JSON, as AWS's.
    pub(crate) fn handle(&self) -> String {
        use base64::{Engine, engine::general_purpose::STANDARD};
        STANDARD.encode(format!(r#"{{"taskId":"{}","sourceArn":"{}"}}"#, self.id, self.source))
    }

    /// When the next message is due, for a task with a rate.
    pub(crate) fn next_event(&self) -> Option<Time> {
        let rate = self.rate.filter(|_| self.status == Status::Running)?;
        Some(Time(self.started.0 + (self.moved * 1000).div_ceil(rate.max(1))))
    }

    /// How many messages may have been moved by now; the first goes at once.
    fn due(&self, now: Time) -> u64 {
        let elapsed = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.rate.map_or(u64::MAX, |rate| (elapsed.saturating_mul(rate) / 1000).saturating_add(1))
    }
}

impl World {
    /// Lets every running task catch up.
    pub(crate) fn run_move_tasks(&mut self, now: Time) {
        for place in 0..self.tasks.len() {
            if self.tasks[place].status == Status::Running {
                let mut task = self.tasks[place].clone();
                self.run_task(&mut task, now);
                self.tasks[place] = task;
            }
        }
    }

    fn run_task(&mut self, task: &mut MoveTask, now: Time) {
        let Some(source) = self.queues.get_mut(&task.source) else {
            return task.fail("AWS.SimpleQueueService.NonExistentQueue");
        };
        source.advance(now);
        let ready = source.visible_before(task.end);
        let due = task.due(now).saturating_sub(task.moved);
        let now_due = ready.len().min(usize::try_from(due).unwrap_or(usize::MAX));
        for (key, origin) in &ready[..now_due] {
            let Some(target) = task.destination.as_ref().or(origin.as_ref()) else {
                return task.fail("CouldNotDetermineMessageSource");
            };
            if !self.queues.contains_key(target) {
                return task.fail("AWS.SimpleQueueService.NonExistentQueue");
            }
            let taken = self.queues.get_mut(&task.source).and_then(|source| source.remove(*key));
            let sequence = self.next_sequence();
            if let (Some(mut message), Some(target)) = (taken, self.queues.get_mut(target)) {
                message.enqueued = now;
                if target.settings.fifo {
                    message.sequence = Some(sequence);
                }
                let delay = target.settings.delay;
                target.put(message, delay, now);
            }
            task.moved += 1;
        }
        if now_due == ready.len() {
            task.status = Status::Completed;
        }
    }
}

impl MoveTask {
    fn fail(&mut self, reason: &'static str) {
        self.status = Status::Failed;
        self.failure = Some(reason);
    }
}
