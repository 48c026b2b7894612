//! A message that the publisher holds: from the moment it took room until its fate is told, once.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use lifeline_messaging::span::{Facts, Operation};
use lifeline_messaging::trace::TraceId;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::error::PublishError;
use crate::message::Outgoing;

/// SNS's word that it has the message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// SNS's id, which a consumer of a wrapped delivery sees too.
    pub message_id: String,
    /// FIFO topics: its place in the order of its group.
    pub sequence_number: Option<String>,
    /// Bytes that counted against the topic's maximum: body and attributes.
    pub bytes: usize,
    /// The trace it carries, unless the caller's `traceparent` was not understood.
    pub trace_id: Option<TraceId>,
}

/// A message's fate.
pub type Outcome = Result<Receipt, PublishError>;

/// Called with a message's tag and its fate.
pub(crate) type Tell = Arc<dyn Fn(u64, Outcome) + Send + Sync>;

/// Who hears of the fate.
pub(crate) enum Waiter {
    One(oneshot::Sender<Outcome>),
    Tagged { tag: u64, tell: Tell },
}

impl Waiter {
    fn tell(self, outcome: Outcome) {
        match self {
            // a caller that went away does not want to know
            Self::One(sender) => drop(sender.send(outcome)),
            // a caller's panic must not end the batcher, on which all others depend
            Self::Tagged { tag, tell } => {
                if catch_unwind(AssertUnwindSafe(|| tell(tag, outcome))).is_err() {
                    tracing::error!(tag, "the function that hears of published messages panicked");
                }
            }
        }
    }
}

/// The room that a message takes: a place in the buffer, and its bytes. Given back when dropped.
#[derive(Debug)]
pub(crate) struct Room {
    pub(crate) _place: OwnedSemaphorePermit,
    pub(crate) _bytes: OwnedSemaphorePermit,
}

/// A message on its way.
pub(crate) struct Held {
    pub(crate) outgoing: Arc<Outgoing>,
    pub(crate) waiter: Waiter,
    pub(crate) room: Option<Room>,
    /// When it came.
    pub(crate) since: Instant,
    /// When it came in line: it lingers from then on.
    pub(crate) waits_since: Instant,
    pub(crate) deadline: Option<Instant>,
    pub(crate) tries: u32,
    pub(crate) last_failure: Option<String>,
}

impl Held {
    pub(crate) fn size(&self) -> usize {
        self.outgoing.size
    }

    /// Ends it. The room is free before the waiter hears of it, so that it can use it at once.
    pub(crate) fn settle(self, outcome: Outcome) {
        self.outgoing.span.end(|| facts(&self.outgoing, &outcome));
        drop(self.room);
        self.waiter.tell(outcome);
    }

    pub(crate) fn publish(self, message_id: String, sequence_number: Option<String>) {
        let Outgoing { size, trace_id, .. } = *self.outgoing;
        self.settle(Ok(Receipt { message_id, sequence_number, bytes: size, trace_id }));
    }

    pub(crate) fn expire(self) {
        let after = self.deadline.map_or_else(Default::default, |deadline| deadline - self.since);
        let (tries, last) = (self.tries, self.last());
        self.settle(Err(PublishError::Expired { after, tries, last }));
    }

    pub(crate) fn abandon(self) {
        let (tries, last) = (self.tries, self.last());
        self.settle(Err(PublishError::Abandoned { tries, last }));
    }

    fn last(&self) -> String {
        self.last_failure.clone().unwrap_or_else(|| match self.tries {
            0 => "it was not sent yet".to_owned(),
            _ => "no answer yet".to_owned(),
        })
    }
}

fn facts<'a>(outgoing: &'a Outgoing, outcome: &'a Outcome) -> Facts<'a> {
    let (word, failure) = match outcome {
        Ok(_) => ("published", None),
        Err(error) if error.is_final() => ("rejected", Some(error.to_string())),
        Err(error) => ("unknown", Some(error.to_string())),
    };
    Facts {
        operation: Operation::Publish,
        destination: outgoing.span.destination(),
        message_id: outcome.as_ref().ok().map(|receipt| receipt.message_id.as_str()),
        receive_count: None,
        outcome: word,
        failure,
    }
}

impl fmt::Debug for Held {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Held").field("size", &self.size()).field("tries", &self.tries).finish_non_exhaustive()
    }
}
