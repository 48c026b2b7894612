//! The account: every message received has exactly one outcome, and at the end the two sides balance.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicU64, Ordering};

use crate::metrics::WorkerMetrics;

/// What became of a message that was received.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Its handler succeeded and SQS confirmed the delete.
    Deleted,
    /// Its handler failed; it comes back after a delay, or goes to the dead-letter queue.
    Retried,
    /// It was given back untouched, or cancelled at the end of the grace: visible at once, or with the one before it in
    /// its FIFO group.
    Released,
    /// Its lease ended before the delete: SQS hands it out again, whatever its handler did.
    LostLease,
}

impl Outcome {
    /// As the account names it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Deleted => "deleted",
            Self::Retried => "retried",
            Self::Released => "released",
            Self::LostLease => "lost_lease",
        }
    }
}

/// Running totals. Written from every task, read by the metrics and at the end.
#[derive(Debug)]
pub(crate) struct Ledger {
    received: AtomicU64,
    outcomes: [AtomicU64; 4],
    metrics: WorkerMetrics,
}

impl Ledger {
    pub(crate) fn new(metrics: WorkerMetrics) -> Self {
        Self { received: AtomicU64::new(0), outcomes: Default::default(), metrics }
    }

    pub(crate) fn receive(&self, messages: u64) {
        self.received.fetch_add(messages, Ordering::Relaxed);
        self.metrics.received.inc_by(messages);
        self.metrics.in_flight.add(i64::try_from(messages).unwrap_or(i64::MAX));
    }

    pub(crate) fn settle(&self, outcome: Outcome) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.metrics.in_flight.dec();
        match outcome {
            Outcome::Deleted => self.metrics.deleted.inc(),
            Outcome::Retried => self.metrics.retried.inc(),
            Outcome::Released => self.metrics.released.inc(),
            Outcome::LostLease => self.metrics.lost_lease.inc(),
        }
    }

    /// The account at the end: what has no outcome by now has lost its lease with the process.
    pub(crate) fn close(&self) -> Account {
        let mut account = self.account();
        account.lost_lease += account.held();
        account
    }

    pub(crate) fn account(&self) -> Account {
        let of = |outcome: Outcome| self.outcomes[outcome as usize].load(Ordering::Relaxed);
        Account {
            // outcomes first: a message settled between the reads must not make them exceed what was received
            deleted: of(Outcome::Deleted),
            retried: of(Outcome::Retried),
            released: of(Outcome::Released),
            lost_lease: of(Outcome::LostLease),
            received: self.received.load(Ordering::Relaxed),
        }
    }
}

/// What became of everything that was received. Shown as in the last line of the log:
/// `received=… deleted=… retried=… released=… lost_lease=…`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Messages received, redeliveries included.
    pub received: u64,
    /// Handled, and the delete confirmed.
    pub deleted: u64,
    /// Failed, and due again after a delay.
    pub retried: u64,
    /// Given back unhandled.
    pub released: u64,
    /// Their lease ended first.
    pub lost_lease: u64,
}

impl Account {
    /// Messages still held: zero at the end of a run.
    pub fn held(&self) -> u64 {
        self.received.saturating_sub(self.deleted + self.retried + self.released + self.lost_lease)
    }

    /// Whether every message received has its outcome.
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
