//! What became of every line: the account at the end, the progress on the way, and the line to resume from.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lifeline_service::{SUMMARY, Summary};

/// How often progress is said by count: after a crash at most this many messages are repeated, and those in the air.
const SAID_EVERY: u64 = 1000;

/// Counts of a running service. Cheap to clone; clones share everything. Reading them costs an atomic load each.
#[derive(Debug, Clone)]
pub struct Progress {
    ledger: Arc<Ledger>,
}

#[derive(Debug)]
struct Ledger {
    read: AtomicU64,
    published: AtomicU64,
    rejected: AtomicU64,
    blank: AtomicU64,
    open: Mutex<Open>,
}

/// The lines from the first one whose fate is not known for good, and whether each one's is.
#[derive(Debug)]
struct Open {
    first: u64,
    known: VecDeque<bool>,
    said: u64,
}

impl Progress {
    /// Nothing yet; the first line will be `from`.
    pub(crate) fn new(from: u64) -> Self {
        let open = Open { first: from, known: VecDeque::new(), said: from };
        let zero = || AtomicU64::new(0);
        let ledger = Ledger {
            read: zero(),
            published: zero(),
            rejected: zero(),
            blank: zero(),
            open: Mutex::new(open),
        };
        Self { ledger: Arc::new(ledger) }
    }

    /// Lines read, or events generated.
    pub fn read(&self) -> u64 {
        self.ledger.read.load(Ordering::Relaxed)
    }

    /// Messages that SNS confirmed.
    pub fn published(&self) -> u64 {
        self.ledger.published.load(Ordering::Relaxed)
    }

    /// Lines that were no messages, messages that were refused, and those given up unconfirmed.
    pub fn rejected(&self) -> u64 {
        self.ledger.rejected.load(Ordering::Relaxed)
    }

    /// Lines without anything in them.
    pub fn blank(&self) -> u64 {
        self.ledger.blank.load(Ordering::Relaxed)
    }

    /// The first line whose fate is not known for good: begin there (`FROM`) and nothing is lost.
    pub fn from(&self) -> u64 {
        self.open(|open| open.first)
    }

    /// Line `number` was read. In order, each once.
    pub(crate) fn begin(&self, number: u64) {
        self.ledger.read.fetch_add(1, Ordering::Relaxed);
        self.open(|open| {
            debug_assert_eq!(number, open.first + open.known.len() as u64);
            open.known.push_back(false);
        });
    }

    pub(crate) fn blank_line(&self, number: u64) {
        self.ledger.blank.fetch_add(1, Ordering::Relaxed);
        self.settle(number);
    }

    pub(crate) fn confirm(&self, number: u64) {
        self.ledger.published.fetch_add(1, Ordering::Relaxed);
        self.settle(number);
    }

    /// `for_good`: it would be rejected again.
    pub(crate) fn reject(&self, number: u64, for_good: bool) {
        self.ledger.rejected.fetch_add(1, Ordering::Relaxed);
        if for_good {
            self.settle(number);
        }
    }

    /// A line of the log, if there is news.
    pub(crate) fn say(&self) {
        let news = self.open(|open| std::mem::replace(&mut open.said, open.first) != open.first);
        if news {
            self.log();
        }
    }

    fn log(&self) {
        let (read, published, rejected, blank) =
            (self.read(), self.published(), self.rejected(), self.blank());
        tracing::info!(target: "producer", read, published, rejected, blank, from = self.from(), "progress");
    }

    fn settle(&self, number: u64) {
        let due = self.open(|open| {
            let at = number.checked_sub(open.first).and_then(|at| usize::try_from(at).ok());
            if let Some(known) = at.and_then(|at| open.known.get_mut(at)) {
                *known = true;
            }
            while open.known.front() == Some(&true) {
                open.known.pop_front();
                open.first += 1;
            }
            open.first - open.said >= SAID_EVERY
        });
        if due {
            self.say();
        }
    }

    fn open<T>(&self, look: impl FnOnce(&mut Open) -> T) -> T {
        look(&mut self.ledger.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn account(&self, input_failed: bool) -> Account {
        Account {
            read: self.read(),
            published: self.published(),
            rejected: self.rejected(),
            blank: self.blank(),
            from: self.from(),
            input_failed,
        }
    }
}

/// How a service ended: `read = published + rejected + blank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "say it, and end with its exit code"]
pub struct Account {
    /// Lines read, or events generated.
    pub read: u64,
    /// Messages that SNS confirmed.
    pub published: u64,
    /// Lines that were no messages, messages that were refused, and those given up unconfirmed.
    pub rejected: u64,
    /// Lines without anything in them.
    pub blank: u64,
    /// Where to begin (`FROM`) to publish the rest.
    pub from: u64,
    /// The input ended by an error.
    pub input_failed: bool,
}

impl Account {
    /// Whether every line is accounted for.
    pub fn balances(&self) -> bool {
        self.read == self.published + self.rejected + self.blank
    }
}

impl Summary for Account {
    /// The line to resume from comes first: the summary is the last line of a process.
    fn log(&self) {
        let Self { read, published, rejected, blank, from, .. } = *self;
        tracing::info!(target: "producer", read, published, rejected, blank, from, "progress");
        tracing::info!(name: SUMMARY, target: "producer", read, published, rejected, blank, "drained");
    }

    /// 0: nothing lost. 1: some input was rejected or could not be read.
    fn exit_code(&self) -> u8 {
        u8::from(self.rejected > 0 || self.input_failed || !self.balances())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resuming_begins_at_the_first_line_whose_fate_is_unknown() {
        let progress = Progress::new(10);
        (10..16).for_each(|n| progress.begin(n));
        progress.confirm(11);
        progress.confirm(12);
        assert_eq!(progress.from(), 10, "10 is still out");
        progress.confirm(10);
        assert_eq!(progress.from(), 13);
        progress.reject(13, false);
        progress.blank_line(14);
        assert_eq!(progress.from(), 13, "given up is not settled: a second run may do it");
        progress.reject(15, true);
        let account = progress.account(false);
        assert!(account.balances());
        assert_eq!((account.read, account.published, account.rejected, account.blank), (6, 3, 2, 1));
        assert_eq!(account.exit_code(), 1);
    }

    #[test]
    fn an_account_with_nothing_lost_ends_with_0() {
        let progress = Progress::new(1);
        (1..=3).for_each(|n| progress.begin(n));
        (1..=2).for_each(|n| progress.confirm(n));
        progress.blank_line(3);
        let account = progress.account(false);
        assert_eq!((account.from, account.exit_code()), (4, 0));
        assert_eq!(progress.account(true).exit_code(), 1);
    }
}
