//! How the other parts reach the lease owner: [`Leases`] adds messages, and a [`Ticket`] reports how one ended.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::state::Lease;
use super::view::View;
use crate::clock::LeaseClock;
use crate::delivery::{Delivery, Hold, Identity};

/// Names a lease; never used twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LeaseId(pub(crate) u64);

/// A message for the owner.
#[derive(Debug)]
pub(crate) struct New {
    pub(crate) id: LeaseId,
    pub(crate) receipt: Arc<str>,
    pub(crate) lease: Lease,
    pub(crate) view: Arc<View>,
    pub(crate) delivery: Delivery,
}

/// What the owner is told.
#[derive(Debug)]
pub(crate) enum Command {
    Hold(Vec<New>),
    Handled(LeaseId),
    Failed {
        id: LeaseId,
        delay: Duration,
        reason: String,
    },
    Released {
        id: LeaseId,
        visible_at: Option<Instant>,
    },
    Ended(LeaseId),
    /// Ask all handlers to stop.
    Shutdown,
    /// Settle what is left as lost, and end.
    Finish(oneshot::Sender<()>),
}

/// The way to the owner. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Leases {
    commands: mpsc::UnboundedSender<Command>,
    clock: LeaseClock,
    next: Arc<AtomicU64>,
    running: Arc<AtomicUsize>,
}

impl Leases {
    /// A handle, and the end of it that the owner reads.
    pub(crate) fn new(clock: LeaseClock) -> (Self, mpsc::UnboundedReceiver<Command>) {
        // unbounded, for permits bound the messages and each sends three commands at most
        let (commands, inbox) = mpsc::unbounded_channel();
        (Self { commands, clock, next: Arc::default(), running: Arc::default() }, inbox)
    }

    pub(crate) fn clock(&self) -> &LeaseClock {
        &self.clock
    }

    /// Handlers at work now.
    pub(crate) fn running(&self) -> usize {
        self.running.load(Ordering::Acquire)
    }

    /// A lease for a message whose receive was sent at `asked` and read at `now`, and the ticket to report its end.
    pub(crate) fn prepare(
        &self,
        receipt: String,
        delivery: Delivery,
        asked: Instant,
        now: Instant,
        visibility: Duration,
    ) -> (New, Ticket) {
        let id = LeaseId(self.next.fetch_add(1, Ordering::Relaxed));
        let lease = Lease::received(asked, now, visibility);
        let until = lease.ours_until().unwrap_or(now);
        let view = Arc::new(View::new(self.clock.clone(), asked, until, lease.is_confirmed()));
        let ticket = Ticket {
            id,
            view: Arc::clone(&view),
            identity: Arc::clone(&delivery.identity),
            _hold: delivery.hold(),
            leases: self.clone(),
            running: false,
            reported: false,
        };
        (New { id, receipt: receipt.into(), lease, view, delivery }, ticket)
    }

    /// Hands what a receive brought to the owner.
    pub(crate) fn hold(&self, new: Vec<New>) {
        self.send(Command::Hold(new));
    }

    /// A handler that goes on asks for the delete.
    pub(crate) fn acknowledge(&self, id: LeaseId) {
        self.send(Command::Handled(id));
    }

    /// Asks all handlers to stop.
    pub(crate) fn shut_down(&self) {
        self.send(Command::Shutdown);
    }

    /// Completes when the owner has settled everything that is left.
    pub(crate) async fn finish(&self) {
        let (done, finished) = oneshot::channel();
        self.send(Command::Finish(done));
        finished.await.ok();
    }

    fn send(&self, command: Command) {
        // an owner that is gone has settled everything
        self.commands.send(command).ok();
    }
}

/// The duty to report how one message ended, exactly once; one that is dropped reports that it ended without a result.
#[derive(Debug)]
pub(crate) struct Ticket {
    id: LeaseId,
    view: Arc<View>,
    identity: Arc<Identity>,
    leases: Leases,
    running: bool,
    reported: bool,
    /// A message that is deleted while its handler runs is in flight until that has ended.
    _hold: Arc<Hold>,
}

impl Ticket {
    pub(crate) fn id(&self) -> LeaseId {
        self.id
    }

    pub(crate) fn view(&self) -> &Arc<View> {
        &self.view
    }

    pub(crate) fn identity(&self) -> &Arc<Identity> {
        &self.identity
    }

    /// A handler begins: deletes wait for it, to fill their batch.
    pub(crate) fn begin(&mut self) {
        if !std::mem::replace(&mut self.running, true) {
            self.leases.running.fetch_add(1, Ordering::AcqRel);
        }
    }

    /// The handler succeeded: delete the message.
    pub(crate) fn handled(mut self) {
        self.report(Command::Handled(self.id));
    }

    /// The handler failed: visible again after `delay`.
    pub(crate) fn failed(mut self, delay: Duration, reason: String) {
        self.report(Command::Failed { id: self.id, delay, reason });
    }

    /// No handler runs: visible at once, or together with the one before it in its group.
    pub(crate) fn release(mut self, visible_at: Option<Instant>) {
        self.report(Command::Released { id: self.id, visible_at });
    }

    fn report(&mut self, command: Command) {
        self.reported = true;
        // before the command: the owner waits for other deletes only while a handler runs
        if std::mem::replace(&mut self.running, false) {
            self.leases.running.fetch_sub(1, Ordering::AcqRel);
        }
        self.leases.send(command);
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        if !self.reported {
            self.report(Command::Ended(self.id));
        }
    }
}
