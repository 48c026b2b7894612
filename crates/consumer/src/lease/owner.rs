//! The lease owner: the one task that owns every lease, every unsettled message, and all calls about them.
//!
//! It turns commands, landed calls and the passing of time into events for [`state`](super::state), and does what that
//! says: extensions, deletes and returns go to their batchers, the handler's view is written, the outcome is recorded.
//! It spawns nothing but its calls and locks nothing shared, so that it can run on a thread of its own. It lives behind a
//! mutex that its task locks for the whole run: a task that is started again after a panic finds everything as it was.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Pulse;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use super::handle::{Command, LeaseId, Leases, New};
use super::state::{Action, Event, Lease, Limits, Stop};
use super::view::View;
use crate::batch::batcher::{BatchCall, Batcher, Gather, InFlight, Landed};
use crate::batch::visibility::Seconds;
use crate::delivery::Delivery;
use crate::guarded;
use crate::queue_watch::KnownQueue;
use crate::summary::{Outcome, Tally};

/// How long a delete or a return waits for its batch to fill: long enough under load, too short to be felt.
const LINGER: Duration = Duration::from_millis(3);

/// The most calls of one kind in flight.
const MOST_IN_FLIGHT: usize = 64;

/// The most commands that are read before anything else gets its turn.
const AT_ONCE: usize = 256;

/// How often the pulse beats while nothing happens.
const BEAT: Duration = Duration::from_secs(5);

/// An extension as a batcher knows it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Extension {
    call: u32,
    asked: Instant,
    grant: Duration,
}

impl Seconds for Extension {
    fn seconds(&self) -> Duration {
        self.grant
    }
}

impl Seconds for Duration {
    fn seconds(&self) -> Duration {
        *self
    }
}

/// Owns all leases.
#[derive(Debug)]
pub(crate) struct Owner<D, R, E>
where
    D: BatchCall<Ask = ()>,
    R: BatchCall<Ask = Duration>,
    E: BatchCall<Ask = Extension>,
{
    leases: Leases,
    commands: mpsc::UnboundedReceiver<Command>,
    inbox: Vec<Command>,
    queue: KnownQueue,
    call_timeout: Duration,
    entries: HashMap<LeaseId, Entry, BuildHasherDefault<ById>>,
    due: BTreeSet<(Instant, LeaseId)>,
    deletes: Batcher<D, LeaseId>,
    returns: Batcher<R, LeaseId>,
    extensions: Batcher<E, LeaseId>,
    calls: JoinSet<(Kind, Landed)>,
    tally: Tally,
    finished: bool,
}

#[derive(Debug)]
struct Entry {
    lease: Lease,
    receipt: Arc<str>,
    view: Arc<View>,
    delivery: Delivery,
    due: Option<Instant>,
}

#[derive(Debug, Clone, Copy)]
enum Kind {
    Delete,
    Return,
    Extend,
}

impl<D, R, E> Owner<D, R, E>
where
    D: BatchCall<Ask = ()>,
    R: BatchCall<Ask = Duration>,
    E: BatchCall<Ask = Extension>,
{
    pub(crate) fn new(
        leases: Leases,
        commands: mpsc::UnboundedReceiver<Command>,
        queue: KnownQueue,
        call_timeout: Duration,
        tally: Tally,
        (delete, give_back, extend): (D, R, E),
    ) -> Self {
        let gather = |linger, longest_wait| Gather { linger, most_in_flight: MOST_IN_FLIGHT, longest_wait };
        Self {
            leases,
            commands,
            inbox: Vec::with_capacity(AT_ONCE),
            queue,
            call_timeout,
            entries: HashMap::default(),
            due: BTreeSet::new(),
            // a delete may be tried for as long as its lease is extended; 12 calls per minute at most while they fail
            deletes: Batcher::new(delete, gather(LINGER, Duration::from_secs(10))),
            // a return is given up after five tries, and a lease ends
            returns: Batcher::new(give_back, gather(LINGER, Duration::from_secs(2))),
            extensions: Batcher::new(extend, gather(Duration::ZERO, Duration::from_secs(1))),
            calls: JoinSet::new(),
            tally,
            finished: false,
        }
    }

    /// Runs until [`Leases::finish`].
    pub(crate) async fn run(&mut self, pulse: &Pulse) {
        while !self.finished {
            pulse.beat();
            let now = self.leases.clock().now();
            self.tick(now);
            self.launch(now);
            let wake = self.leases.clock().to_tokio(self.next_at(now)).min(Instant::now() + BEAT);
            tokio::select! {
                biased;
                landed = self.calls.join_next(), if !self.calls.is_empty() => {
                    // a call that panics lands too; one that is aborted ends with us
                    if let Some(Ok((kind, landed))) = landed {
                        self.landed(kind, landed);
                    }
                }
                received = self.commands.recv_many(&mut self.inbox, AT_ONCE) => {
                    if received == 0 {
                        return;
                    }
                    self.obey();
                }
                () = sleep_until(wake) => {}
            }
        }
    }

    fn limits(&self) -> Limits {
        Limits { visibility: self.queue.visibility(), call_timeout: self.call_timeout }
    }

    fn next_at(&self, now: Instant) -> Instant {
        let alone = self.leases.running() == 0;
        let due = self.due.first().map(|(at, _)| *at);
        let batches = [
            self.deletes.next_at(now, alone),
            self.returns.next_at(now, false),
            self.extensions.next_at(now, true),
        ];
        due.into_iter().chain(batches.into_iter().flatten()).min().unwrap_or(now + BEAT)
    }

    /// What is due at `now`, and what is due so soon after it that it goes into the same batch.
    fn tick(&mut self, now: Instant) {
        if self.due.first().is_none_or(|(at, _)| *at > now) {
            return;
        }
        let limits = self.limits();
        let until = now + limits.slack();
        let due: Vec<_> = self.due.iter().take_while(|(at, _)| *at <= until).map(|(_, id)| *id).collect();
        for id in due {
            self.event(id, Event::Tick, now, &limits);
        }
    }

    fn obey(&mut self) {
        let now = self.leases.clock().now();
        let limits = self.limits();
        // taken out first: a panic on the way loses one command, not the ones that were obeyed twice
        let mut inbox = std::mem::take(&mut self.inbox);
        for command in inbox.drain(..) {
            match command {
                Command::Hold(new) => new.into_iter().for_each(|new| self.hold(new)),
                Command::Handled(id) => self.event(id, Event::Handled, now, &limits),
                Command::Failed { id, delay, reason } => {
                    // what a handler returns after it was asked to stop is no failure of the message
                    if let Some(entry) = self.entries.get_mut(&id).filter(|e| !e.lease.is_asked_to_stop()) {
                        entry.delivery.failed(reason, now + delay);
                    }
                    self.event(id, Event::Failed { delay }, now, &limits);
                }
                Command::Released { id, visible_at } => {
                    self.event(id, Event::Released { visible_at }, now, &limits);
                }
                Command::Ended(id) => self.event(id, Event::Ended, now, &limits),
                Command::Shutdown => {
                    let all: Vec<_> = self.entries.keys().copied().collect();
                    all.into_iter().for_each(|id| self.event(id, Event::Stop, now, &limits));
                }
                Command::Finish(done) => {
                    self.finish();
                    done.send(()).ok();
                }
            }
        }
        self.inbox = inbox;
    }

    fn hold(&mut self, new: New) {
        let New { id, receipt, lease, view, delivery } = new;
        let mut entry = Entry { lease, receipt, view, delivery, due: None };
        schedule(&mut self.due, id, &mut entry);
        self.entries.insert(id, entry);
    }

    /// The only place where a lease is changed and its action is done.
    fn event(&mut self, id: LeaseId, event: Event, now: Instant, limits: &Limits) {
        // one that is settled takes no more events
        let Some(entry) = self.entries.get_mut(&id) else { return };
        let cut_off = entry.lease.is_asked_to_stop() && matches!(event, Event::Ended | Event::Failed { .. });
        let action = entry.lease.on(event, now, limits);
        if matches!(event, Event::Extended { .. }) {
            if let Some(until) = entry.lease.ours_until() {
                entry.view.keep(until);
            }
            if entry.lease.is_confirmed() {
                entry.view.confirm();
            }
        }
        schedule(&mut self.due, id, entry);
        match action {
            Action::Nothing => {}
            Action::Extend { call, grant } => {
                self.extensions.push(id, Extension { call, asked: now, grant }, 0, now);
            }
            Action::Tell(Stop::LostLease) => entry.view.lose(),
            Action::Tell(Stop::Shutdown) => entry.view.ask_to_stop(),
            Action::Delete { tries } => self.deletes.push(id, (), tries, now),
            Action::Return { delay, tries } => self.returns.push(id, delay, tries, now),
            Action::Settle(outcome) => self.settle(id, outcome),
        }
        if cut_off {
            self.tally.cancel(1);
        }
    }

    fn settle(&mut self, id: LeaseId, outcome: Outcome) {
        let Some(entry) = self.entries.remove(&id) else { return };
        if let Some(at) = entry.due {
            self.due.remove(&(at, id));
        }
        let identity = Arc::clone(&entry.delivery.identity);
        let handled = matches!(entry.lease, Lease::Deleting(..));
        let begun = entry.view.has_begun();
        if !begun {
            self.tally.without_handler();
        }
        match outcome {
            // a handler that asked for the delete goes on
            Outcome::Deleted => entry.view.delete(),
            _ => entry.view.lose(),
        }
        entry.delivery.settle(outcome);
        guarded::log(|| match (outcome, identity.trace) {
            (Outcome::Deleted, Some(trace_id)) => {
                tracing::info!(target: "consumer", message_id = %identity.id, %trace_id, "deleted");
            }
            (Outcome::Deleted, None) => {
                tracing::info!(target: "consumer", message_id = %identity.id, "deleted");
            }
            (Outcome::LostLease, _) if handled && self.queue.is_last_receive(identity.receive_count) => {
                tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                    "handled, but its delete was not confirmed in time, on the last receive; the message goes to the dead-letter queue");
            }
            (Outcome::LostLease, _) if handled => {
                tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                    "handled, but its delete was not confirmed in time; the message will be redelivered");
            }
            // each costs the message a receive
            (Outcome::Released, _) if !begun => {
                tracing::info!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                    "released before its handler began");
            }
            _ => {}
        });
    }

    fn launch(&mut self, now: Instant) {
        let limits = self.limits();
        let alone = self.leases.running() == 0;
        let entries = &mut self.entries;
        let mut over = Vec::new();
        let deletes = self.deletes.launch(now, alone, |id, ()| {
            let entry = entries.get_mut(&id)?;
            match entry.lease.on(Event::DeleteSent, now, &limits) {
                Action::Settle(outcome) => {
                    over.push((id, outcome));
                    None
                }
                _ => Some(Arc::clone(&entry.receipt)),
            }
        });
        let receipt = |id: LeaseId| self.entries.get(&id).map(|entry| Arc::clone(&entry.receipt));
        let returns = self.returns.launch(now, false, |id, _| receipt(id));
        let extensions = self.extensions.launch(now, true, |id, _| receipt(id));
        self.spawn(Kind::Delete, deletes);
        self.spawn(Kind::Return, returns);
        self.spawn(Kind::Extend, extensions);
        over.into_iter().for_each(|(id, outcome)| self.settle(id, outcome));
    }

    fn spawn(&mut self, kind: Kind, calls: Vec<InFlight>) {
        for call in calls {
            self.calls.spawn(async move { (kind, call.await) });
        }
    }

    fn landed(&mut self, kind: Kind, landed: Landed) {
        let now = self.leases.clock().now();
        let limits = self.limits();
        match kind {
            Kind::Delete => {
                for (id, (), verdict) in self.deletes.landed(landed, now) {
                    self.event(id, Event::Deleted(verdict), now, &limits);
                }
            }
            Kind::Return => {
                for (id, _, verdict) in self.returns.landed(landed, now) {
                    self.event(id, Event::Returned(verdict), now, &limits);
                }
            }
            Kind::Extend => {
                for (id, Extension { call, asked, grant }, verdict) in self.extensions.landed(landed, now) {
                    let event = Event::Extended { call, asked, granted: grant, verdict };
                    self.event(id, event, now, &limits);
                }
            }
        }
    }

    /// Whatever is left loses its lease with the worker.
    fn finish(&mut self) {
        self.finished = true;
        let left: Vec<_> = self.entries.keys().copied().collect();
        // a handler that blocks its thread cannot be dropped; the end of the process is what cancels it
        self.tally.cancel(u64::try_from(self.leases.running()).unwrap_or(u64::MAX));
        left.into_iter().for_each(|id| self.settle(id, Outcome::LostLease));
        self.calls.abort_all();
    }
}

impl<D, R, E> Drop for Owner<D, R, E>
where
    D: BatchCall<Ask = ()>,
    R: BatchCall<Ask = Duration>,
    E: BatchCall<Ask = Extension>,
{
    /// Nobody extends the leases any more: their handlers should stop.
    fn drop(&mut self) {
        self.entries.values().for_each(|entry| entry.view.lose());
    }
}

/// Puts the lease where its next tick is due.
fn schedule(due: &mut BTreeSet<(Instant, LeaseId)>, id: LeaseId, entry: &mut Entry) {
    let next = entry.lease.next_at();
    if next == entry.due {
        return;
    }
    if let Some(at) = entry.due {
        due.remove(&(at, id));
    }
    if let Some(at) = next {
        due.insert((at, id));
    }
    entry.due = next;
}

/// Lease ids are counted up: they need no hash.
#[derive(Debug, Default)]
struct ById(u64);

impl Hasher for ById {
    fn finish(&self) -> u64 {
        // the table takes its buckets from the low bits and its tags from the high ones
        self.0.wrapping_mul(0x9E37_79B9_7F4A_7C15)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, id: u64) {
        self.0 = id;
    }
}

#[cfg(test)]
mod tests;
