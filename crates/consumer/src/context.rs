//! The context of a message: what a handler may ask about its lease and its worker, and how it deletes the message early.

use std::error::Error;
use std::fmt::{self, Display};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use lifeline_messaging::trace::TraceContext;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tracing::Span;

use crate::classify::Classifiers;
#[cfg(any(test, feature = "testing"))]
use crate::clock::LeaseClock;
use crate::failure::Failure;
use crate::lease::handle::{LeaseId, Leases};
use crate::lease::view::{Cancelled, View};
use crate::queue_watch::KnownQueue;
use crate::summary::Tally;

/// What a handler may ask about the lease of its message. Cheap to clone. That of a [`Batch`](crate::Batch) is about all of its
/// messages: the shortest lease, the earliest deadline; one lost lease does not cancel the handler of the others.
#[derive(Debug, Clone)]
pub struct Context {
    messages: Messages,
    timeout_at: Instant,
    worker: Arc<WorkerContext>,
}

/// What a handler is at work on.
#[derive(Debug, Clone)]
enum Messages {
    One(Held),
    /// At least one.
    Batch(Arc<[Held]>),
}

/// A message that a handler is at work on.
#[derive(Debug, Clone)]
pub(crate) struct Held {
    pub(crate) lease: LeaseId,
    pub(crate) view: Arc<View>,
    pub(crate) receive_count: u32,
    pub(crate) trace: Option<TraceContext>,
}

/// What all contexts of a worker share.
#[derive(Debug)]
pub(crate) struct WorkerContext {
    name: String,
    /// With the worker's name, if it has one.
    span: Span,
    /// `None` outside of a worker.
    parts: Option<(Leases, Tally)>,
    queue: KnownQueue,
    /// What the errors of foreign types mean.
    classifiers: Classifiers,
    /// The most messages of a batch, and how long they are waited for.
    batch: (usize, Duration),
    /// When handlers are cancelled, once a shutdown has begun.
    cutoff: OnceLock<Instant>,
    /// Handlers are cancelled: for those whose message is deleted already, which the lease owner no longer knows.
    over: CancellationToken,
}

impl WorkerContext {
    pub(crate) fn new(
        name: String,
        span: Span,
        parts: Option<(Leases, Tally)>,
        queue: KnownQueue,
        classifiers: Classifiers,
        batch: (usize, Duration),
    ) -> Self {
        Self {
            name,
            span,
            parts,
            queue,
            classifiers,
            batch,
            cutoff: OnceLock::new(),
            over: CancellationToken::new(),
        }
    }

    pub(crate) fn classifiers(&self) -> &Classifiers {
        &self.classifiers
    }

    pub(crate) fn span(&self) -> &Span {
        &self.span
    }

    /// A shutdown has begun, which cancels handlers at `end`.
    pub(crate) fn ends_at(&self, end: Instant) {
        self.cutoff.set(end).ok();
    }

    /// Handlers are cancelled now.
    pub(crate) fn end(&self) {
        self.over.cancel();
    }

    /// A handler was cancelled whose message was deleted already.
    pub(crate) fn cut_off(&self) {
        if let Some((_, tally)) = &self.parts {
            tally.cancel(1);
        }
    }

    /// Completes when the handler of this message should stop.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn cancelled(&self, view: &View) -> Cancelled {
        let without_lease = async {
            view.deleted().await;
            self.over.cancelled().await;
        };
        tokio::select! {
            biased;
            why = view.cancelled() => why,
            () = without_lease => Cancelled::Shutdown,
        }
    }
}

impl Context {
    pub(crate) fn new(message: Held, timeout_at: Instant, worker: Arc<WorkerContext>) -> Self {
        Self { messages: Messages::One(message), timeout_at, worker }
    }

    /// The context of all these messages: it is cancelled when the worker shuts down, or all leases are lost.
    pub(crate) fn of_batch(contexts: &[Self]) -> Option<Self> {
        let first = contexts.first()?;
        let messages: Arc<[Held]> = contexts.iter().flat_map(|one| one.messages().iter().cloned()).collect();
        let timeout_at = contexts.iter().map(|one| one.timeout_at).min()?;
        Some(Self { messages: Messages::Batch(messages), timeout_at, worker: Arc::clone(&first.worker) })
    }

    fn messages(&self) -> &[Held] {
        match &self.messages {
            Messages::One(message) => std::slice::from_ref(message),
            Messages::Batch(messages) => messages,
        }
    }

    /// Identifies the delivery among those of the worker.
    pub(crate) fn delivery(&self) -> u64 {
        self.messages().first().map_or(0, |message| message.lease.0)
    }

    pub(crate) fn classifiers(&self) -> Classifiers {
        self.worker.classifiers.clone()
    }

    /// The most messages of a batch, and how long they are waited for.
    pub(crate) fn batch(&self) -> (usize, Duration) {
        self.worker.batch
    }

    /// A context outside of a worker, for tests of handlers: its deadline is in five minutes, it is never cancelled, and
    /// [`acknowledge`](Self::acknowledge) succeeds. The feature `testing` has it.
    ///
    /// ```
    /// use lifeline_consumer::{Context, Failure, FailureKind, Json, OrFailure};
    ///
    /// async fn price(Json(cents): Json<i64>, context: Context) -> Result<(), Failure> {
    ///     u64::try_from(cents).or_rejected()?;
    ///     context.acknowledge().await?;
    ///     Ok(())
    /// }
    ///
    /// # tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(async {
    /// assert!(price(Json(7), Context::for_test()).await.is_ok());
    /// let error = price(Json(-1), Context::for_test()).await.unwrap_err();
    /// assert_eq!(error.kind(), Some(FailureKind::Rejected));
    /// # });
    /// ```
    #[cfg(any(test, feature = "testing"))]
    pub fn for_test() -> Self {
        let clock = LeaseClock::new(lifeline_health::Clock::tokio());
        let now = Instant::now();
        let (timeout, lease) = (Duration::from_secs(5 * 60), Duration::from_secs(12 * 3600));
        let view = Arc::new(View::new(clock, now, now + lease, true));
        let message = Held { lease: LeaseId(0), view, receive_count: 1, trace: None };
        let worker = WorkerContext::new(
            "test".to_owned(),
            Span::none(),
            None,
            KnownQueue::unknown(),
            Classifiers::default(),
            (1, Duration::ZERO),
        );
        Self::new(message, now + timeout, Arc::new(worker))
    }

    /// Until when the handler may run: `HANDLER_TIMEOUT` from its start, or the moment at which a shutdown that has begun
    /// cancels handlers. Ask again after waiting: a shutdown may have begun meanwhile.
    ///
    /// ```
    /// use lifeline_consumer::{Context, Failure, Message};
    ///
    /// async fn handle(message: Message, context: Context) -> Result<(), Failure> {
    ///     tokio::time::timeout_at(context.deadline(), store(&message.body)).await?;
    ///     Ok(())
    /// }
    /// # async fn store(_: &str) {}
    /// ```
    pub fn deadline(&self) -> Instant {
        self.worker.cutoff.get().map_or(self.timeout_at, |&cutoff| cutoff.min(self.timeout_at))
    }

    /// Completes when the handler should stop, with the reason. A handler that goes on is dropped soon after: a
    /// second, or half of what a short grace period has left.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost by dropping it and asking again.
    pub async fn cancelled(&self) -> Cancelled {
        let (worker, messages) = (&self.worker, self.messages());
        let mut cancelled: FuturesUnordered<_> =
            messages.iter().map(|message| worker.cancelled(&message.view)).collect();
        loop {
            match cancelled.next().await {
                // others of the batch may be ours
                Some(Cancelled::LostLease) if !cancelled.is_empty() => {}
                Some(why) => return why,
                None => std::future::pending().await,
            }
        }
    }

    /// Deletes the message now, and completes when SQS has confirmed it: from then on it will not be delivered again. For
    /// handlers that go on with something that must not be done twice, or need not be.
    ///
    /// What the handler returns later changes nothing: an error is logged and counted
    /// (`consumer_acknowledged_then_failed_total`), and nothing is tried again. The message counts against `MAX_IN_FLIGHT`
    /// until the handler ends, and the next one of its FIFO group waits for that. A second call does nothing.
    ///
    /// ```
    /// use lifeline_consumer::{Context, Failure, Message};
    ///
    /// async fn handle(message: Message, context: Context) -> Result<(), Failure> {
    ///     store(&message.body).await?;
    ///     context.acknowledge().await?;
    ///     tokio::time::timeout_at(context.deadline(), notify(&message.id)).await?;
    ///     Ok(())
    /// }
    /// # async fn store(_: &str) -> Result<(), Failure> { Ok(()) }
    /// # async fn notify(_: &str) {}
    /// ```
    ///
    /// # Errors
    /// The lease was lost before that: the message is redelivered.
    ///
    /// # Cancel safety
    /// The delete may happen anyway; call it again to learn.
    pub async fn acknowledge(&self) -> Result<(), LeaseLost> {
        let Some((leases, _)) = &self.worker.parts else { return Ok(()) };
        for Held { lease, view, .. } in self.messages() {
            if view.acknowledge() {
                leases.acknowledge(*lease);
            }
        }
        let mut deleted = true;
        for message in self.messages() {
            deleted &= message.view.deleted_or_lost().await;
        }
        if deleted { Ok(()) } else { Err(LeaseLost(())) }
    }

    /// Whether the lease is lost: the message may be handled elsewhere, and will not be deleted from here.
    pub fn lease_lost(&self) -> bool {
        self.messages().iter().all(|message| message.view.is_lost())
    }

    /// For how long the message is ours as things stand. It is extended before it ends, up to 12 hours from the
    /// receive, as long as SQS responds.
    pub fn lease_remaining(&self) -> Duration {
        self.messages().iter().map(|message| message.view.remaining()).min().unwrap_or_default()
    }

    /// Whether the next failure makes the message a dead letter, by the redrive policy of its queue.
    pub fn is_last_receive(&self) -> bool {
        self.messages().iter().any(|message| self.worker.queue.is_last_receive(message.receive_count))
    }

    /// The trace that came with the message, to be continued by what the handler publishes or calls. None for a batch of several.
    pub fn trace(&self) -> Option<TraceContext> {
        match self.messages() {
            [message] => message.trace,
            _ => None,
        }
    }

    /// The name of the worker; empty if it has none.
    pub fn worker(&self) -> &str {
        &self.worker.name
    }
}

/// The lease of a message was lost before its delete was confirmed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseLost(());

impl Display for LeaseLost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the lease was lost before the message was deleted; it will be redelivered")
    }
}

impl Error for LeaseLost {}

impl From<LeaseLost> for Failure {
    fn from(error: LeaseLost) -> Self {
        Self::failed(error)
    }
}
