//! A message in a queue, and where it stands: visible, delayed or in flight.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::attribute::{self, Attributes};
use crate::clock::Time;

/// What the model keeps beside a body: ids, places in order and timers. An estimate, for the memory limit.
const OVERHEAD: usize = 500;

/// A message's place in the order of everything that was ever sent to its queue.
pub(crate) type Key = u64;

/// A message in a queue.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Message {
    pub(crate) id: String,
    pub(crate) body: Arc<str>,
    pub(crate) attributes: Arc<Attributes>,
    pub(crate) sender: Arc<str>,
    pub(crate) sent: Time,
    /// From when its retention counts; later than `sent` in a FIFO dead-letter queue.
    pub(crate) enqueued: Time,
    pub(crate) trace_header: Option<String>,
    pub(crate) group: Option<Arc<str>>,
    pub(crate) deduplication: Option<Arc<str>>,
    pub(crate) sequence: Option<String>,
    /// The ARN of the queue that it was moved from as a dead letter.
    pub(crate) dead_letter_source: Option<String>,
    /// `ApproximateReceiveCount`: goes on counting in a dead-letter queue.
    pub(crate) receives: u32,
    /// Receives from this queue, which its redrive policy counts.
    pub(crate) receives_here: u32,
    pub(crate) first_received: Option<Time>,
    pub(crate) received: Option<Time>,
    /// How many receipts were issued for it here; the last is the number of the latest.
    pub(crate) receipts: u32,
    pub(crate) state: State,
}

/// Where a message stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum State {
    Visible,
    Delayed { until: Time },
    InFlight { until: Time },
}

impl State {
    /// When it becomes visible by itself.
    pub(crate) fn until(self) -> Option<Time> {
        match self {
            Self::Visible => None,
            Self::Delayed { until } | Self::InFlight { until } => Some(until),
        }
    }
}

impl Message {
    pub(crate) fn new(
        id: String,
        body: Arc<str>,
        attributes: Arc<Attributes>,
        sender: Arc<str>,
        now: Time,
    ) -> Self {
        Self {
            id,
            body,
            attributes,
            sender,
            sent: now,
            enqueued: now,
            trace_header: None,
            group: None,
            deduplication: None,
            sequence: None,
            dead_letter_source: None,
            receives: 0,
            receives_here: 0,
            first_received: None,
            received: None,
            receipts: 0,
            state: State::Visible,
        }
    }

    /// Bytes of body and attributes, as the limits count them.
    pub(crate) fn size(&self) -> usize {
        self.body.len() + attribute::size(&self.attributes)
    }

    /// An estimate of the memory that it takes.
    pub(crate) fn footprint(&self) -> usize {
        self.size() + OVERHEAD
    }
}
