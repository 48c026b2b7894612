//! The record of calls: what was asked, when, beside how many others, and how it ended.

use serde_json::Value;
use tokio::time::Instant;

use crate::action::Action;

/// One call, as [`crate::Emulator::log`] has it.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Call {
    /// The action.
    pub action: Action,
    /// When its last byte was read.
    pub at: Instant,
    /// How many calls of this action were unanswered then, this one included.
    pub concurrent: usize,
    /// The parameters, in the JSON protocol's form.
    pub request: Value,
    /// What it asks for, one by one: the entries of a batch, or the call itself.
    pub entries: Vec<Entry>,
    /// The access key that signed it; empty when unsigned.
    pub access_key: String,
    /// Which connection it came by; calls that reuse one have the same number. 0 without a socket.
    pub connection: u64,
    /// How it ended; `Pending` until it did.
    pub outcome: Outcome,
}

/// How a call ended, as far as the emulator knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered yet, or held by a fault.
    Pending,
    /// Answered with this HTTP status.
    Answered(u16),
    /// Ended by a fault, or by the client going away.
    Broken,
}

/// An entry of a batch, or a single call seen as one.
#[derive(Debug, Clone, Default)]
#[non_exhaustive]
pub struct Entry {
    /// The entry's id in its batch; empty for a single call.
    pub id: String,
    /// The body of the message that it sends or publishes, or that its receipt is for; empty if that is gone.
    pub body: String,
    /// The message's id, where a receipt names it.
    pub message_id: String,
    /// The receipt handle, if it has one.
    pub receipt: String,
    /// Everything, as sent.
    pub value: Value,
}

impl Call {
    /// The queue's name, when the call names one by its URL or name.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        let named = self.request["QueueUrl"].as_str().or_else(|| self.request["QueueName"].as_str())?;
        named.rsplit('/').next()
    }

    /// The topic's ARN, when the call names one.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.request["TopicArn"].as_str()
    }

    /// The bodies of its entries, in order.
    #[must_use]
    pub fn bodies(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.body.as_str()).collect()
    }
}

/// Calls counted by action and, where a test asks for it, kept.
#[derive(Debug)]
pub(crate) struct Log {
    keep: bool,
    calls: Vec<Call>,
    counts: Vec<u64>,
    open: Vec<usize>,
}

impl Log {
    pub(crate) fn new(keep: bool) -> Self {
        let actions = Action::ALL.len();
        Self { keep, calls: Vec::new(), counts: vec![0; actions], open: vec![0; actions] }
    }

    /// Counts a call that begins; how many of its action are unanswered with it.
    pub(crate) fn begin(&mut self, action: Action) -> usize {
        self.counts[action as usize] += 1;
        self.open[action as usize] += 1;
        self.open[action as usize]
    }

    /// Keeps a call; its place, by which it is ended.
    pub(crate) fn keep(&mut self, call: Call) -> Option<usize> {
        self.keep.then(|| {
            self.calls.push(call);
            self.calls.len() - 1
        })
    }

    pub(crate) fn end(&mut self, action: Action, place: Option<usize>, outcome: Outcome) {
        self.open[action as usize] -= 1;
        if let Some(call) = place.and_then(|place| self.calls.get_mut(place)) {
            call.outcome = outcome;
        }
    }

    /// How many calls there were, of one action or of all.
    pub(crate) fn count(&self, action: Option<Action>) -> u64 {
        action.map_or_else(|| self.counts.iter().sum(), |action| self.counts[action as usize])
    }

    /// How many calls are unanswered now.
    pub(crate) fn open(&self, action: Option<Action>) -> usize {
        action.map_or_else(|| self.open.iter().sum(), |action| self.open[action as usize])
    }

    pub(crate) fn calls(&self, action: Option<Action>) -> Vec<Call> {
        let fits = |call: &&Call| action.is_none_or(|action| call.action == action);
        self.calls.iter().filter(fits).cloned().collect()
    }

    /// The last calls, for the text of a failed assertion.
    pub(crate) fn tail(&self, most: usize) -> Vec<String> {
        let tail = self.calls.iter().rev().take(most).rev();
        tail.map(|call| format!("{:?} {:?}", call.action, call.outcome)).collect()
    }
}
