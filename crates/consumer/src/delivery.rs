//! One message in our hands, from the receive to its outcome.
//!
//! A [`Held`] is settled exactly once: [`Held::settle`] consumes it, and one that is dropped instead (its task was
//! aborted) is accounted as a lost lease, which is what it is to SQS. So the account balances whatever happens.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lifeline_messaging::span::{Facts, Operation, Span};
use lifeline_messaging::trace::{TraceContext, TraceId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::lease::{Lease, LeaseKey};
use crate::shared::Shared;
use crate::summary::Outcome;

/// A received message without its contents: what is needed to bring it to its outcome.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) id: String,
    pub(crate) trace: Option<TraceId>,
    /// From the receive to the outcome.
    pub(crate) span: Span,
    pub(crate) receive_count: u32,
    pub(crate) lease: Arc<Lease>,
    /// Failed attempts to delete it or to change its visibility.
    pub(crate) attempts: u32,
    /// When it is due again, once that is decided.
    pub(crate) back_at: Option<Instant>,
    published_at: Option<SystemTime>,
    key: Option<LeaseKey>,
    shared: Arc<Shared>,
    told: Option<oneshot::Sender<Told>>,
    settled: bool,
    _room: OwnedSemaphorePermit,
}

impl Held {
    pub(crate) fn new(
        shared: Arc<Shared>,
        message: Identity,
        lease: Arc<Lease>,
        key: LeaseKey,
        room: OwnedSemaphorePermit,
    ) -> Self {
        let Identity { id, trace, receive_count, published_at } = message;
        let span = Span::under(Operation::Process, trace);
        Self {
            id,
            trace: span.context().or(trace).map(TraceContext::trace_id),
            span,
            receive_count,
            lease,
            attempts: 0,
            back_at: None,
            published_at,
            key: Some(key),
            shared,
            told: None,
            settled: false,
            _room: room,
        }
    }

    /// Where the outcome is told too, for a group that must not go on before it.
    pub(crate) fn tell(&mut self) -> oneshot::Receiver<Told> {
        let (told, outcome) = oneshot::channel();
        self.told = Some(told);
        outcome
    }

    /// Ends the extensions: what follows sets the visibility itself.
    pub(crate) fn leave_table(&mut self) {
        if let Some(key) = self.key.take() {
            self.shared.leases.remove(&key);
        }
    }

    /// Brings the message to its outcome and gives its room back.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.conclude(outcome);
    }

    fn conclude(&mut self, outcome: Outcome) {
        self.settled = true;
        self.leave_table();
        if outcome == Outcome::Deleted
            && let Some(age) = self.published_at.and_then(|t| t.elapsed().ok())
        {
            self.shared.metrics.end_to_end_seconds.observe(age.as_secs_f64());
        }
        self.span.end(|| self.facts(outcome));
        self.shared.ledger.settle(outcome);
        if let Some(told) = self.told.take() {
            told.send(Told { outcome, back_at: self.back_at }).ok();
        }
    }

    fn facts(&self, outcome: Outcome) -> Facts<'_> {
        let failure = match outcome {
            Outcome::Deleted | Outcome::Released => None,
            Outcome::Retried => Some("the handler failed".to_owned()),
            Outcome::LostLease => Some("the lease was lost".to_owned()),
        };
        Facts {
            operation: Operation::Process,
            destination: self.shared.spec.queue.name(),
            message_id: Some(&self.id),
            receive_count: Some(self.receive_count),
            outcome: outcome.name(),
            failure,
        }
    }

    /// How long the lease still runs.
    pub(crate) fn remaining(&self) -> Duration {
        self.lease.expires_at().saturating_duration_since(Instant::now())
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if !self.settled {
            self.conclude(Outcome::LostLease);
        }
    }
}

/// What a group is told of the message that it waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Told {
    pub(crate) outcome: Outcome,
    pub(crate) back_at: Option<Instant>,
}

/// What a message is called in the log.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) receive_count: u32,
    pub(crate) published_at: Option<SystemTime>,
}
