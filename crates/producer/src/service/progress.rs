//! Counts what became of every line, and knows the line to resume from.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lifeline_service::SUMMARY;

use crate::service::state_file::StateFile;

/// How many results pass between two log lines of progress: after a crash at most this many messages are repeated, besides
/// those that were buffered, and those after a line whose result was still unknown.
const LOGGED_EVERY: u64 = 1000;

/// Counts of a running service. Cheap to clone; clones share everything. Reading them costs an atomic load each.
#[derive(Debug, Clone)]
pub struct Progress {
    counters: Arc<Counters>,
}

#[derive(Debug)]
struct Counters {
    read: AtomicU64,
    published: AtomicU64,
    rejected: AtomicU64,
    /// Of the rejected ones: given up unconfirmed, so that another run may publish them.
    unconfirmed: AtomicU64,
    blank: AtomicU64,
    open: Mutex<Open>,
    state: Option<StateFile>,
}

/// The lines from the first one without a final result, and whether each has one.
#[derive(Debug)]
struct Open {
    first: u64,
    known: VecDeque<bool>,
    logged: u64,
}

impl Progress {
    /// Nothing yet; the first line will be `from`. The line to resume from is kept in `state`.
    pub(crate) fn new(from: u64, state: Option<StateFile>) -> Self {
        let open = Open { first: from, known: VecDeque::new(), logged: from };
        let zero = || AtomicU64::new(0);
        let counters = Counters {
            read: zero(),
            published: zero(),
            rejected: zero(),
            unconfirmed: zero(),
            blank: zero(),
            open: Mutex::new(open),
            state,
        };
        Self { counters: Arc::new(counters) }
    }

    /// Lines read, or events generated.
    pub fn read(&self) -> u64 {
        self.counters.read.load(Ordering::Relaxed)
    }

    /// Messages that SNS confirmed.
    pub fn published(&self) -> u64 {
        self.counters.published.load(Ordering::Relaxed)
    }

    /// Lines that were not messages, messages that were invalid or rejected, and those given up unconfirmed.
    pub fn rejected(&self) -> u64 {
        self.counters.rejected.load(Ordering::Relaxed)
    }

    /// Lines without anything in them.
    pub fn blank(&self) -> u64 {
        self.counters.blank.load(Ordering::Relaxed)
    }

    /// The first line without a final result: begin there (`FROM`) and nothing is lost.
    pub fn from(&self) -> u64 {
        self.open(|open| open.first)
    }

    /// Line `number` was read. In order, each once.
    pub(crate) fn begin(&self, number: u64) {
        self.counters.read.fetch_add(1, Ordering::Relaxed);
        self.open(|open| {
            debug_assert_eq!(number, open.first + open.known.len() as u64);
            open.known.push_back(false);
        });
    }

    pub(crate) fn blank_line(&self, number: u64) {
        self.counters.blank.fetch_add(1, Ordering::Relaxed);
        self.settle(number);
    }

    pub(crate) fn confirm(&self, number: u64) {
        self.counters.published.fetch_add(1, Ordering::Relaxed);
        self.settle(number);
    }

    /// The line will never be published.
    pub(crate) fn reject(&self, number: u64) {
        self.counters.rejected.fetch_add(1, Ordering::Relaxed);
        self.settle(number);
    }

    /// The line was given up: another run may publish it.
    pub(crate) fn give_up(&self) {
        self.counters.rejected.fetch_add(1, Ordering::Relaxed);
        self.counters.unconfirmed.fetch_add(1, Ordering::Relaxed);
    }

    /// Logs the counts and keeps the line to resume from, if there is news.
    pub(crate) fn report(&self) {
        let (before, first) = self.open(|open| (std::mem::replace(&mut open.logged, open.first), open.first));
        if before != first {
            self.log();
            self.keep(first);
        }
    }

    fn log(&self) {
        let (read, published, rejected, blank) =
            (self.read(), self.published(), self.rejected(), self.blank());
        tracing::info!(target: "producer", read, published, rejected, blank, from = self.from(), "progress");
    }

    fn keep(&self, from: u64) {
        if let Some(Err(error)) = self.counters.state.as_ref().map(|state| state.write(from)) {
            tracing::error!(target: "producer", %error, from, "STATE_FILE cannot be written");
        }
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
            open.first - open.logged >= LOGGED_EVERY
        });
        if due {
            self.report();
        }
    }

    fn open<T>(&self, look: impl FnOnce(&mut Open) -> T) -> T {
        look(&mut self.counters.open.lock().unwrap_or_else(PoisonError::into_inner))
    }

    pub(crate) fn summary(&self, ended: Ended) -> Summary {
        self.keep(self.from());
        Summary {
            read: self.read(),
            published: self.published(),
            rejected: self.rejected(),
            unconfirmed: self.counters.unconfirmed.load(Ordering::Relaxed),
            blank: self.blank(),
            from: self.from(),
            ended,
        }
    }
}

/// How the input ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ended {
    /// It was read to its end, or `PUBLISH_COUNT` was reached.
    Finished {
        /// It can be read again from any line.
        resumable: bool,
    },
    /// Shutdown came first, and the rest of a finite input is left.
    Interrupted,
    /// Shutdown ended an input that has no end: everything that was read was handed over.
    Stopped,
    /// It could not be read.
    Failed,
}

/// What a producer did: `read = published + rejected + blank`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[must_use = "log it, and end with its exit code"]
#[non_exhaustive]
pub struct Summary {
    /// Lines read, or events generated.
    pub read: u64,
    /// Messages that SNS confirmed.
    pub published: u64,
    /// Lines that were not messages, messages that were invalid or rejected, and those given up unconfirmed.
    pub rejected: u64,
    /// Of the rejected ones: given up unconfirmed at the end of the grace period.
    pub unconfirmed: u64,
    /// Lines without anything in them.
    pub blank: u64,
    /// Where to begin (`FROM`) to publish the rest.
    pub from: u64,
    /// How the input ended.
    pub ended: Ended,
}

/// Exit code of a finite input that was interrupted.
const INTERRUPTED: u8 = 75;

impl Summary {
    /// Whether every line has one result.
    pub fn balances(&self) -> bool {
        self.read == self.published + self.rejected + self.blank
    }

    fn can_be_resumed(&self) -> bool {
        match self.ended {
            Ended::Interrupted => true,
            Ended::Finished { resumable } => resumable && self.unconfirmed > 0,
            Ended::Stopped | Ended::Failed => false,
        }
    }
}

impl lifeline_service::Summary for Summary {
    /// The line to resume from comes first: the summary is the last line of a process.
    fn log(&self) {
        let Self { read, published, rejected, blank, from, .. } = *self;
        if self.can_be_resumed() {
            tracing::info!(name: SUMMARY, target: "producer", "interrupted; resume with --from {from}");
        }
        tracing::info!(target: "producer", read, published, rejected, blank, from, "progress");
        tracing::info!(name: SUMMARY, target: "producer", read, published, rejected, blank, "drained");
    }

    /// 0: finished, nothing lost. 1: something was rejected, given up or could not be read. 75: interrupted, and a run that
    /// begins at `from` publishes all that is left.
    fn exit_code(&self) -> u8 {
        if self.ended == Ended::Failed || self.rejected > self.unconfirmed || !self.balances() {
            return 1;
        }
        if self.can_be_resumed() { INTERRUPTED } else { u8::from(self.unconfirmed > 0) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lifeline_service::Summary as _;

    const FILE: Ended = Ended::Finished { resumable: true };

    #[test]
    fn resuming_begins_at_the_first_line_without_a_final_result() {
        let progress = Progress::new(10, None);
        (10..16).for_each(|n| progress.begin(n));
        progress.confirm(11);
        progress.confirm(12);
        assert_eq!(progress.from(), 10, "10 is still out");
        progress.confirm(10);
        assert_eq!(progress.from(), 13);
        progress.give_up();
        progress.blank_line(14);
        assert_eq!(progress.from(), 13, "given up is not settled: a second run may publish it");
        progress.reject(15);
        let summary = progress.summary(FILE);
        assert!(summary.balances());
        assert_eq!((summary.read, summary.published, summary.rejected, summary.blank), (6, 3, 2, 1));
        assert_eq!(summary.exit_code(), 1);
    }

    #[test]
    fn the_exit_code_is_0_only_if_nothing_was_left_undone() {
        let progress = Progress::new(1, None);
        (1..=3).for_each(|n| progress.begin(n));
        (1..=2).for_each(|n| progress.confirm(n));
        progress.blank_line(3);
        let code = |ended: Ended| progress.summary(ended).exit_code();
        assert_eq!((progress.from(), code(FILE), code(Ended::Stopped)), (4, 0, 0));
        assert_eq!((code(Ended::Interrupted), code(Ended::Failed)), (75, 1));
        progress.begin(4);
        progress.give_up();
        assert_eq!((code(FILE), code(Ended::Interrupted)), (75, 75), "can be resumed");
        assert_eq!((code(Ended::Stopped), code(Ended::Finished { resumable: false })), (1, 1), "cannot");
        progress.begin(5);
        progress.reject(5);
        assert_eq!((code(FILE), code(Ended::Interrupted)), (1, 1), "something is lost");
    }
}
