//! Outcomes: every message received has exactly one, and the summary at the end counts them.

use std::fmt::{self, Display};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::OutcomeMetrics;

/// What became of a message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Outcome {
    /// Its handler succeeded and SQS confirmed the delete.
    Deleted,
    /// Its handler failed; it is redelivered after a delay, or goes to the dead-letter queue.
    Retried,
    /// It was returned without a result: visible at once, or together with the one before it in its FIFO group.
    Released,
    /// Its lease ended before the delete: SQS hands it out again, whatever its handler did.
    LostLease,
}

impl Outcome {
    /// As the summary names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Retried => "retried",
            Self::Released => "released",
            Self::LostLease => "lost_lease",
        }
    }
}

/// Running totals. Cheap to clone; clones are one count.
#[derive(Debug, Clone)]
pub(crate) struct Tally(Arc<Counts>);

#[derive(Debug)]
struct Counts {
    received: AtomicU64,
    outcomes: [AtomicU64; 4],
    cancelled: AtomicU64,
    metrics: OutcomeMetrics,
}

impl Tally {
    pub(crate) fn new(metrics: OutcomeMetrics) -> Self {
        Self(Arc::new(Counts {
            received: AtomicU64::new(0),
            outcomes: Default::default(),
            cancelled: AtomicU64::new(0),
            metrics,
        }))
    }

    pub(crate) fn receive(&self, messages: u64) {
        self.0.received.fetch_add(messages, Ordering::Relaxed);
        self.0.metrics.received.inc_by(messages);
        self.0.metrics.in_flight.add(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        self.0.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.0.metrics.in_flight.dec();
        match outcome {
            Outcome::Deleted => self.0.metrics.deleted.inc(),
            Outcome::Retried => self.0.metrics.retried.inc(),
            Outcome::Released => self.0.metrics.released.inc(),
            Outcome::LostLease => self.0.metrics.lost_lease.inc(),
        }
    }

    /// A handler was cancelled at the shutdown deadline.
    pub(crate) fn cancel(&self, handlers: u64) {
        self.0.cancelled.fetch_add(handlers, Ordering::Relaxed);
    }

    /// A receive was spent on a message that no handler saw.
    pub(crate) fn without_handler(&self) {
        self.0.metrics.without_handler.inc();
    }

    pub(crate) fn cancelled(&self) -> u64 {
        self.0.cancelled.load(Ordering::Relaxed)
    }

    pub(crate) fn received(&self) -> u64 {
        self.0.received.load(Ordering::Relaxed)
    }

    /// As things stand.
    pub(crate) fn account(&self) -> Account {
        let of = |outcome: Outcome| self.0.outcomes[outcome as usize].load(Ordering::Relaxed);
        Account {
            // outcomes first: a message settled between the reads must not make them exceed what was received
            deleted: of(Outcome::Deleted),
            retried: of(Outcome::Retried),
            released: of(Outcome::Released),
            lost_lease: of(Outcome::LostLease),
            received: self.received(),
        }
    }
}

/// What became of everything that was received. Displayed as in the last line of the log:
/// `received=… deleted=… retried=… released=… lost_lease=…`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages received, redeliveries included.
    pub received: u64,
    /// Handled, and the delete confirmed.
    pub deleted: u64,
    /// Failed, and due again after a delay.
    pub retried: u64,
    /// Returned to the queue without a result.
    pub released: u64,
    /// Their lease ended first.
    pub lost_lease: u64,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Drained {
    /// What became of everything that was received.
    pub account: Account,
    /// Handlers that were cancelled at the shutdown deadline; their messages are counted above.
    pub cancelled: u64,
}

/// As its [`Account`].
impl Display for Drained {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.account.fmt(f)
    }
}

impl std::ops::Add for Account {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            deleted: self.deleted + other.deleted,
            retried: self.retried + other.retried,
            released: self.released + other.released,
            lost_lease: self.lost_lease + other.lost_lease,
        }
    }
}

impl Account {
    /// Messages without an outcome: in flight during a run, zero at its end. More than zero at the end is a defect of the
    /// worker, and is logged.
    pub fn in_flight(&self) -> u64 {
        self.received.saturating_sub(self.deleted + self.retried + self.released + self.lost_lease)
    }

    /// Whether every message received has exactly one outcome.
    pub fn balances(&self) -> bool {
        self.received == self.deleted + self.retried + self.released + self.lost_lease
    }
}

impl Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { received, deleted, retried, released, lost_lease } = self;
        write!(
            f,
            "received={received} deleted={deleted} retried={retried} released={released} lost_lease={lost_lease}"
        )
    }
}
