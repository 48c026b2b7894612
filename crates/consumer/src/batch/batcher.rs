//! One kind of batch call to SQS: gathers entries, sends up to ten in a call, reads the verdict on each, and retries
//! what is not proven.
//!
//! Used by the lease owner three times: for deletes, for returns and for extensions. It reads no clock and spawns nothing:
//! the owner passes the time in and runs the calls. A batch that failed stays a batch. While a kind of call fails, one
//! batch at a time tries whether it works again, so that any number of messages in flight costs the same few calls.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::fmt::Debug;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lifeline_messaging::call::backoff::exponential;
use lifeline_messaging::call::evidence::Pace;
use lifeline_messaging::call::{CallError, Fault};
use tokio::time::Instant;

use super::{LARGEST, Verdict};

/// The first wait after a failed call is at most this.
const BASE: Duration = Duration::from_millis(100);

/// The longest wait for a peer that did not respond: each lost second is one of the lease.
const SOON: Duration = Duration::from_secs(2);

/// One kind of batch call to SQS.
pub(crate) trait BatchCall: Send + Sync + 'static {
    /// What is asked for one entry: nothing for a delete, a duration for a visibility.
    type Ask: Copy + Debug + Send + Sync + 'static;

    /// One verdict for each entry, in their order.
    fn call(
        &self,
        entries: &[(Arc<str>, Self::Ask)],
    ) -> impl Future<Output = Result<Vec<Verdict>, CallError>> + Send;
}

/// How a kind of call gathers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gather {
    /// How long an entry waits for its batch to fill.
    pub(crate) linger: Duration,
    /// The most calls in flight.
    pub(crate) most_in_flight: usize,
    /// The longest wait for a peer that asked for fewer calls, or that somebody has to repair.
    pub(crate) longest_wait: Duration,
}

/// Gathers the entries of one kind of call. `Id` names a lease.
pub(crate) struct Batcher<C: BatchCall, Id> {
    call: Arc<C>,
    gather: Gather,
    /// Entries that may leave, and since when the first of them waits.
    ready: VecDeque<(Id, C::Ask)>,
    waits_since: Option<Instant>,
    /// Entries that wait for their next try.
    later: BTreeMap<(Instant, u64), (Id, C::Ask)>,
    in_flight: HashMap<u64, Vec<(Id, C::Ask)>>,
    next_call: u64,
    next_later: u64,
    gate: Gate,
}

/// Lets calls through while they work, and one at a time while they fail.
#[derive(Debug, Default)]
struct Gate {
    failures: u32,
    pace: Option<Pace>,
    /// When the next call may leave, while they fail.
    opens_at: Option<Instant>,
    /// Calls before this one were sent before the last failure was known: one failure, not several.
    counts_from: u64,
}

/// A call on its way; completes with [`Landed`], also if it panics.
pub(crate) type InFlight = Pin<Box<dyn Future<Output = Landed> + Send>>;

/// A call that ended.
#[derive(Debug)]
pub(crate) struct Landed {
    call: u64,
    pub(crate) result: Result<Vec<Verdict>, CallError>,
}

impl<C: BatchCall, Id: Copy> Batcher<C, Id> {
    pub(crate) fn new(call: C, gather: Gather) -> Self {
        Self {
            call: Arc::new(call),
            gather,
            ready: VecDeque::new(),
            waits_since: None,
            later: BTreeMap::new(),
            in_flight: HashMap::new(),
            next_call: 0,
            next_later: 0,
            gate: Gate::default(),
        }
    }

    /// Adds an entry; one that was tried before waits longer each time.
    pub(crate) fn push(&mut self, id: Id, ask: C::Ask, tries: u32, now: Instant) {
        if tries == 0 || self.gate.failures > 0 {
            // while all calls fail, the gate does the waiting, and the batch stays together
            self.waits_since.get_or_insert(now);
            self.ready.push_back((id, ask));
        } else {
            // whole steps, so that entries which failed together are tried together
            let at = now + exponential(BASE, tries - 1, SOON);
            self.next_later += 1;
            self.later.insert((at, self.next_later), (id, ask));
        }
    }

    /// When a batch may leave: full, lingered, `alone` (no other entry can join it) or after the backoff; never while as
    /// many calls are in flight as may be. `None`: only something that lands changes that.
    pub(crate) fn next_at(&self, now: Instant, alone: bool) -> Option<Instant> {
        if self.in_flight.len() >= self.gather.most_in_flight {
            return None;
        }
        let full = self.ready.len() >= LARGEST;
        let ready =
            self.waits_since.map(|since| if full || alone { now } else { since + self.gather.linger });
        let later = self.later.keys().next().map(|(at, _)| *at);
        let next = ready.into_iter().chain(later).min()?;
        Some(self.gate.opens_at.map_or(next, |opens| opens.max(next)))
    }

    /// The calls that may leave now. `entry` is asked for the receipt of each entry at the last moment; one that it does
    /// not give is not sent.
    pub(crate) fn launch(
        &mut self,
        now: Instant,
        alone: bool,
        mut entry: impl FnMut(Id, C::Ask) -> Option<Arc<str>>,
    ) -> Vec<InFlight> {
        self.collect_due(now);
        let mut calls = Vec::new();
        while !self.ready.is_empty() && self.next_at(now, alone).is_some_and(|at| at <= now) {
            let count = self.ready.len().min(LARGEST);
            let (mut sent, mut asked) = (Vec::with_capacity(count), Vec::with_capacity(count));
            for (id, ask) in self.ready.drain(..count) {
                if let Some(receipt) = entry(id, ask) {
                    sent.push((id, ask));
                    asked.push((receipt, ask));
                }
            }
            self.waits_since = self.waits_since.filter(|_| !self.ready.is_empty());
            if sent.is_empty() {
                continue;
            }
            let number = self.next_call;
            self.next_call += 1;
            self.in_flight.insert(number, sent);
            calls.push(in_flight(Arc::clone(&self.call), number, asked));
            self.gate.left(now, self.gather.longest_wait);
        }
        calls
    }

    fn collect_due(&mut self, now: Instant) {
        while let Some(first) = self.later.first_entry() {
            if first.key().0 > now {
                return;
            }
            let item = first.remove();
            self.waits_since.get_or_insert(now);
            self.ready.push_back(item);
        }
    }

    /// The verdict on each entry of a call that ended.
    pub(crate) fn landed(&mut self, landed: Landed, now: Instant) -> Vec<(Id, C::Ask, Verdict)> {
        let Some(entries) = self.in_flight.remove(&landed.call) else { return Vec::new() };
        let verdicts = match &landed.result {
            // a response that proves nothing about anybody is no better than none
            Ok(verdicts) if verdicts.iter().all(|verdict| *verdict == Verdict::Unproven) => {
                self.failed(landed.call, Pace::Slower, now);
                &[][..]
            }
            Ok(verdicts) => {
                self.gate.worked();
                verdicts
            }
            Err(error) => {
                self.failed(landed.call, error.evidence().pace(), now);
                &[][..]
            }
        };
        let verdicts = verdicts.iter().copied().chain(std::iter::repeat(Verdict::Unproven));
        entries.into_iter().zip(verdicts).map(|((id, ask), verdict)| (id, ask, verdict)).collect()
    }

    fn failed(&mut self, call: u64, pace: Pace, now: Instant) {
        // calls that were in flight together are one failure, not several
        let counts = call >= self.gate.counts_from;
        self.gate.counts_from = self.next_call;
        self.gate.failed(counts, pace, now, self.gather.longest_wait);
    }
}

fn in_flight<C: BatchCall>(call: Arc<C>, number: u64, entries: Vec<(Arc<str>, C::Ask)>) -> InFlight {
    Box::pin(async move {
        let result = AssertUnwindSafe(call.call(&entries)).catch_unwind().await;
        let result = result.unwrap_or_else(|_| {
            Err(CallError::local("a batch call", Fault::Server, "it panicked; its effect is not known"))
        });
        Landed { call: number, result }
    })
}

impl Gate {
    fn left(&mut self, now: Instant, longest: Duration) {
        if self.failures > 0 {
            self.opens_at = Some(now + self.wait(longest));
        }
    }

    fn worked(&mut self) {
        self.failures = 0;
        self.pace = None;
        self.opens_at = None;
    }

    fn failed(&mut self, counts: bool, pace: Pace, now: Instant, longest: Duration) {
        self.failures += u32::from(counts);
        self.pace = self.pace.max(Some(pace));
        self.opens_at = self.opens_at.max(Some(now + self.wait(longest)));
    }

    /// Grows with each failure; half of it is drawn, so that several workers do not try together.
    fn wait(&self, longest: Duration) -> Duration {
        let cap = if self.pace == Some(Pace::Now) { SOON.min(longest) } else { longest };
        let bound = exponential(BASE, self.failures.saturating_sub(1), cap);
        let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
        Duration::from_millis(fastrand::u64(millis / 2..=millis))
    }
}

impl<C: BatchCall, Id: Debug> Debug for Batcher<C, Id> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Batcher")
            .field("ready", &self.ready)
            .field("later", &self.later)
            .field("in_flight", &self.in_flight)
            .field("gate", &self.gate)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
