//! Message move tasks: messages of a dead-letter queue go back to where they came from, or to another queue, at once
//! or at a rate.
//!
//! A task moves what stood in its queue when it was started, so it cannot loop over what arrives meanwhile. It has no
//! timer: it catches up whenever the model is asked something, by the time that has passed.

use super::message::Key;
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
    pub(crate) fn due(&self, now: Time) -> u64 {
        let elapsed = u64::try_from(now.since(self.started).as_millis()).unwrap_or(u64::MAX);
        self.rate.map_or(u64::MAX, |rate| (elapsed.saturating_mul(rate) / 1000).saturating_add(1))
    }

    pub(crate) fn fail(&mut self, reason: &'static str) {
        self.status = Status::Failed;
        self.failure = Some(reason);
    }
}
