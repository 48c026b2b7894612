//! A delivery: one received message until its one outcome.
//!
//! [`Delivery::settle`] consumes it. One that is dropped instead is counted as a lost lease, which is what it is to SQS.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use lifeline_messaging::span::{Facts, Operation, Span};
use lifeline_messaging::trace::{TraceContext, TraceId};
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::Instant;

use crate::caution::Caution;
use crate::metrics::DeliveryMetrics;
use crate::queue_watch::KnownQueue;
use crate::summary::{Outcome, Tally};

/// What a message is called in the log.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) id: String,
    pub(crate) trace: Option<TraceId>,
    pub(crate) receive_count: u32,
    pub(crate) published_at: Option<SystemTime>,
}

/// The outcome of a message, for the one after it in its FIFO group.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Settled {
    pub(crate) outcome: Outcome,
    /// When a failed message is visible again.
    pub(crate) visible_at: Option<Instant>,
}

/// What all deliveries of a worker share.
#[derive(Debug, Clone)]
pub(crate) struct Books {
    pub(crate) tally: Tally,
    pub(crate) metrics: DeliveryMetrics,
    pub(crate) caution: Arc<Caution>,
    pub(crate) queue: Arc<SpanQueue>,
}

/// The queue, as spans have it.
#[derive(Debug)]
pub(crate) struct SpanQueue {
    pub(crate) name: String,
    pub(crate) known: KnownQueue,
}

/// A received message without its contents.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub(crate) identity: Arc<Identity>,
    /// From the receive to the outcome.
    span: Span,
    books: Books,
    visible_at: Option<Instant>,
    settled: bool,
    hold: Arc<Hold>,
}

/// What a message keeps until it has its outcome and its handler has ended, whichever is later.
#[derive(Debug)]
pub(crate) struct Hold {
    _permit: OwnedSemaphorePermit,
    /// Who waits for the outcome, and the outcome.
    next: Mutex<(Option<oneshot::Sender<Settled>>, Option<Settled>)>,
}

impl Hold {
    /// Nothing under this lock can panic half-way.
    fn next(&self) -> MutexGuard<'_, (Option<oneshot::Sender<Settled>>, Option<Settled>)> {
        self.next.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Hold {
    fn drop(&mut self) {
        let next = self.next.get_mut().unwrap_or_else(PoisonError::into_inner);
        if let (Some(next), Some(settled)) = (next.0.take(), next.1) {
            next.send(settled).ok();
        }
    }
}

impl Delivery {
    /// A message received in the trace `trace`, with its `tracestate`; its context for the handler is that of a new span, where spans are exported.
    pub(crate) fn new(
        books: Books,
        mut identity: Identity,
        trace: Option<TraceContext>,
        state: Option<&str>,
        permit: OwnedSemaphorePermit,
    ) -> (Self, Option<TraceContext>) {
        let span = Span::under(Operation::Process, trace, state);
        let context = span.context().or(trace);
        identity.trace = context.map(TraceContext::trace_id);
        let delivery = Self {
            identity: Arc::new(identity),
            span,
            books,
            visible_at: None,
            settled: false,
            hold: Arc::new(Hold { _permit: permit, next: Mutex::default() }),
        };
        (delivery, context)
    }

    /// Completes with the outcome, for a group that must not go on before it.
    pub(crate) fn outcome(&mut self) -> oneshot::Receiver<Settled> {
        let (sender, receiver) = oneshot::channel();
        self.hold.next().0 = Some(sender);
        receiver
    }

    /// Its permit, and the turn of the next one in its group, for a handler that may end after the outcome.
    pub(crate) fn hold(&self) -> Arc<Hold> {
        Arc::clone(&self.hold)
    }

    /// Its handler failed, and it will be visible again at this moment.
    pub(crate) fn failed(&mut self, reason: String, visible_at: Instant) {
        self.span.fail(|| reason);
        self.visible_at = Some(visible_at);
    }

    /// Records the outcome and gives its permit back.
    pub(crate) fn settle(mut self, outcome: Outcome) {
        self.record(outcome);
    }

    fn record(&mut self, outcome: Outcome) {
        self.settled = true;
        if outcome == Outcome::Deleted
            && let Some(age) = self.identity.published_at.and_then(|at| at.elapsed().ok())
        {
            self.books.metrics.end_to_end_seconds.observe(age.as_secs_f64());
        }
        self.books.tally.settle(outcome);
        if outcome != Outcome::Deleted {
            self.books.caution.returned(&self.identity.id);
        }
        self.hold.next().1 = Some(Settled { outcome, visible_at: self.visible_at });
        let (failure, error_type) = match outcome {
            Outcome::Deleted | Outcome::Released => (None, None),
            Outcome::Retried => (Some("the handler failed"), Some("handler_failed")),
            Outcome::LostLease => (Some("the lease was lost"), Some("lease_lost")),
        };
        self.span.end(|| Facts {
            operation: Operation::Process,
            destination: &self.books.queue.name,
            message_id: Some(&self.identity.id),
            receive_count: Some(self.identity.receive_count),
            outcome: outcome.name(),
            failure: failure.map(str::to_owned),
            error_type,
            queue_url: Some(self.books.queue.known.url()),
            request_id: None,
            batch_size: None,
        });
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if !self.settled {
            self.record(Outcome::LostLease);
        }
    }
}
