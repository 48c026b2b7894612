//! One message of the publisher, from its acceptance until its one result.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use lifeline_messaging::span::{Facts, Operation};
use lifeline_messaging::trace::TraceId;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio::time::Instant;

use crate::error::{PublishError, PublishErrorKind};
use crate::message::Outgoing;

/// SNS's confirmation that the topic has the message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Receipt {
    /// SNS's id, which a consumer of a wrapped delivery sees too.
    pub message_id: String,
    /// FIFO topics: its place in the order of its group.
    pub sequence_number: Option<String>,
    /// Bytes that counted against the topic's maximum: body and attributes.
    pub bytes: usize,
    /// The trace it carries, unless the caller's `traceparent` could not be parsed.
    pub trace_id: Option<TraceId>,
}

/// What the span of a message says of the call that published it.
#[derive(Debug)]
pub(crate) struct CallFacts {
    /// Its id at AWS.
    pub(crate) request_id: Option<String>,
    pub(crate) messages: usize,
}

/// A message's one result.
pub type Outcome = Result<Receipt, PublishError>;

/// Called with a message's tag and its result.
pub(crate) type OnResult = Arc<dyn Fn(u64, Outcome) + Send + Sync>;

/// Where the result goes.
pub(crate) enum Reply {
    One(oneshot::Sender<Outcome>),
    Tagged { tag: u64, on_result: OnResult },
}

impl Reply {
    pub(crate) fn send(self, outcome: Outcome) {
        match self {
            // a caller that dropped its future does not want the result
            Self::One(sender) => drop(sender.send(outcome)),
            // a caller's panic must not end the batcher, on which all others depend
            Self::Tagged { tag, on_result } => {
                if catch_unwind(AssertUnwindSafe(|| on_result(tag, outcome))).is_err() {
                    tracing::error!(tag, "the callback for published messages panicked");
                }
            }
        }
    }
}

/// What a message takes of the buffer: one message, and its bytes. Returned when dropped.
#[derive(Debug)]
pub(crate) struct Permits {
    pub(crate) _message: OwnedSemaphorePermit,
    pub(crate) _bytes: Option<OwnedSemaphorePermit>,
}

/// Held by the messages that a flush waits for; the flush ends when the last one is dropped.
pub(crate) type FlushGuard = mpsc::Sender<std::convert::Infallible>;

/// A message that was accepted.
pub(crate) struct Entry {
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) reply: Reply,
    pub(crate) permits: Option<Permits>,
    /// When it was offered: its deadline counts from then on.
    pub(crate) since: Instant,
    /// When it came in line: it lingers from then on.
    pub(crate) waits_since: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) tries: u32,
    pub(crate) last_failure: Option<Arc<str>>,
    /// A call that contained it was sent, and its response is not known.
    pub(crate) may_be_published: bool,
    pub(crate) refused: Option<Refused>,
    pub(crate) flushes: Vec<FlushGuard>,
}

/// Calls that contained the message and were refused, without a word about the message itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Refused {
    pub(crate) first: Instant,
    pub(crate) last: Instant,
    /// How often alone, while other calls succeeded.
    pub(crate) alone: u32,
}

impl Entry {
    pub(crate) fn new(
        outgoing: Arc<Outgoing>,
        reply: Reply,
        permits: Option<Permits>,
        since: Instant,
        deadline: Option<Instant>,
    ) -> Self {
        Self {
            outgoing,
            reply,
            permits,
            since,
            waits_since: Instant::now(),
            deadline,
            tries: 0,
            last_failure: None,
            may_be_published: false,
            refused: None,
            flushes: Vec::new(),
        }
    }

    pub(crate) fn size(&self) -> usize {
        self.outgoing.size
    }

    /// Ends it. The capacity is free before the caller gets the result, so that it can use it immediately.
    pub(crate) fn settle(self, outcome: Outcome) {
        self.settle_by(outcome, None);
    }

    fn settle_by(self, outcome: Outcome, call: Option<&CallFacts>) {
        self.outgoing.span.end(|| self.facts(&outcome, call));
        drop(self.permits);
        self.reply.send(outcome);
    }

    pub(crate) fn publish(self, message_id: String, sequence_number: Option<String>, call: &CallFacts) {
        let Outgoing { size, trace_id, .. } = *self.outgoing;
        self.settle_by(Ok(Receipt { message_id, sequence_number, bytes: size, trace_id }), Some(call));
    }

    pub(crate) fn reject(self, code: String, text: String) {
        let error = PublishError::rejected(code, text, self.tries, Arc::clone(&self.outgoing));
        self.settle(Err(error));
    }

    pub(crate) fn expire(self) {
        let after = self.deadline.map_or(Duration::ZERO, |deadline| deadline - self.since);
        let error = PublishError::timed_out(after, self.last(), self.tries, Arc::clone(&self.outgoing));
        let perhaps = self.may_be_published;
        self.settle(Err(error.published_perhaps(perhaps)));
    }

    pub(crate) fn abandon(self) {
        let error = PublishError::abandoned(self.last(), self.tries, Some(Arc::clone(&self.outgoing)));
        let perhaps = self.may_be_published;
        self.settle(Err(error.published_perhaps(perhaps)));
    }

    fn facts<'a>(&'a self, outcome: &'a Outcome, call: Option<&'a CallFacts>) -> Facts<'a> {
        let word = match outcome {
            Ok(_) => "published",
            Err(error) if error.is_final() => "rejected",
            Err(_) => "unknown",
        };
        let error = outcome.as_ref().err();
        let error_type = error.map(|error| match error.kind() {
            PublishErrorKind::Rejected => error.code().unwrap_or("rejected"),
            PublishErrorKind::Invalid => "invalid",
            PublishErrorKind::TimedOut => "timeout",
            PublishErrorKind::Abandoned | PublishErrorKind::Closed => "closed",
        });
        Facts {
            operation: Operation::Publish,
            destination: self.outgoing.span.destination(),
            message_id: outcome.as_ref().ok().map(|receipt| receipt.message_id.as_str()),
            receive_count: None,
            outcome: word,
            failure: error.map(ToString::to_string),
            error_type,
            queue_url: None,
            request_id: call.and_then(|call| call.request_id.as_deref()),
            batch_size: call.map(|call| call.messages),
        }
    }

    fn last(&self) -> String {
        match &self.last_failure {
            Some(failure) => failure.to_string(),
            None if self.tries == 0 => "not sent yet".to_owned(),
            None => "no response yet".to_owned(),
        }
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("size", &self.size())
            .field("tries", &self.tries)
            .finish_non_exhaustive()
    }
}
