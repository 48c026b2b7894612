//! The worker: builds the parts, runs them, and drains them.

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use lifeline_messaging::call::Outage;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::QueueSpec;
use tokio::sync::{Mutex, Notify, Semaphore, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::attempt::Work;
use crate::company::Company;
use crate::dispatch::Intake;
use crate::handler::Handler;
use crate::lease::Leases;
use crate::metrics::WorkerMetrics;
use crate::poller_scale::Crew;
use crate::shared::{Health, Outages, Shared};
use crate::summary::{Account, Ledger};
use crate::supervisor::keep;
use crate::{deletes, extender, poller, queue_watch, visibility};

/// What a pulse may miss beyond its longest wait: a busy machine is not a stuck one.
const SLACK: Duration = Duration::from_secs(10);

/// The bound of tasks that never wait longer than a few seconds.
const BOUND: Duration = Duration::from_secs(30);

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) pollers: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) wait_time: Duration,
    pub(crate) handler_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) body_limit: usize,
}

impl Options {
    /// How much of the grace is kept for cancelling and giving back: a fifth, at most 2 s.
    fn reserve(&self) -> Duration {
        (self.grace / 5).min(Duration::from_secs(2))
    }

    /// How long a handler that was told to stop may take to do so: half of that, for the other half gives back.
    pub(crate) fn wind_down(&self) -> Duration {
        self.reserve() / 2
    }
}

/// Builds a [`Worker`].
#[derive(Debug)]
pub struct Builder {
    clients: Clients,
    spec: QueueSpec,
    options: Options,
    pulses: lifeline_health::Pulses,
    readiness: lifeline_health::Readiness,
    metrics: Option<lifeline_health::Metrics>,
}

/// Receives, handles, deletes; see the [crate's documentation](crate).
#[derive(Debug)]
pub struct Worker {
    clients: Clients,
    spec: QueueSpec,
    options: Options,
    pulses: lifeline_health::Pulses,
    readiness: lifeline_health::Readiness,
    metrics: lifeline_health::Metrics,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Drained {
    /// What became of everything that was received; it balances.
    pub account: Account,
    /// Handlers that the end of the grace cancelled.
    pub cancelled: u64,
}

impl Worker {
    /// A worker on a queue.
    pub fn builder(sqs: Clients, queue: QueueSpec) -> Builder {
        Builder {
            clients: sqs,
            spec: queue,
            options: Options {
                pollers: 4,
                max_in_flight: 64,
                wait_time: Duration::from_secs(20),
                handler_timeout: Duration::from_secs(5 * 60),
                grace: Duration::from_secs(25),
                body_limit: 1024,
            },
            pulses: lifeline_health::Pulses::new(),
            readiness: lifeline_health::Readiness::new(),
            metrics: None,
        }
    }

    /// Works until `shutdown` completes, then drains: no new receive; the receives in the air are finished and what
    /// they bring is given back; handlers finish under their leases; deletes are flushed. What still runs when the
    /// grace is over is cancelled and given back. Errors never end it.
    ///
    /// # Cancel safety
    /// Dropping the future stops the worker without draining it: what it holds comes back when the leases end.
    pub async fn run(self, handler: impl Handler, shutdown: impl Future<Output = ()>) -> Drained {
        let grace = self.options.grace;
        let mut running = self.start(Arc::new(handler));
        shutdown.await;
        running.drain(Instant::now() + grace).await
    }

    fn start(self, work: Arc<dyn Work>) -> Running {
        let metrics = WorkerMetrics::new(&self.metrics);
        let (deletes, deleting) = mpsc::unbounded_channel();
        let (changes, changing) = mpsc::unbounded_channel();
        let health = Health {
            topology: self.readiness.condition("topology"),
            aws: self.readiness.condition("aws"),
            draining: self.readiness.condition("draining"),
            pulses: self.pulses,
        };
        health.draining.met();
        let shared = Arc::new(Shared {
            crew: Crew::new(self.options.pollers),
            ledger: Ledger::new(metrics.clone()),
            room: Arc::new(Semaphore::new(self.options.max_in_flight)),
            clients: self.clients,
            spec: self.spec,
            options: self.options,
            metrics,
            leases: Leases::default(),
            queue: watch::Sender::new(None),
            queue_missing: Notify::new(),
            deletes,
            changes,
            draining: CancellationToken::new(),
            drained: CancellationToken::new(),
            company: Company::default(),
            cancelled: AtomicU64::new(0),
            health,
            outages: Outages {
                receive: Outage::new("receiving"),
                delete: Outage::new("deleting"),
                visibility: Outage::new("changing visibility"),
                topology: Outage::new("finding the queue"),
            },
        });
        let mut tasks = JoinSet::new();
        let drained = |shared: &Shared| shared.drained.is_cancelled();
        let keep_part = |tasks: &mut JoinSet<()>,
                         name: &str,
                         work: fn(Arc<Shared>, lifeline_health::Pulse) -> BoxedTask| {
            let part = Arc::clone(&shared);
            let over = shared.drained.clone();
            tasks.spawn(keep(Arc::clone(&shared), name.to_owned(), BOUND, over, drained, move |pulse| {
                work(Arc::clone(&part), pulse)
            }));
        };
        keep_part(&mut tasks, "topology", |shared, pulse| Box::pin(queue_watch::run(shared, pulse)));
        keep_part(&mut tasks, "leases", |shared, pulse| Box::pin(extender::run(shared, pulse)));
        keep_part(&mut tasks, "runtime", |shared, pulse| Box::pin(beat(shared, pulse)));
        let deleting = Arc::new(Mutex::new(deleting));
        let changing = Arc::new(Mutex::new(changing));
        {
            let shared = Arc::clone(&shared);
            let over = shared.drained.clone();
            tasks.spawn(keep(
                Arc::clone(&shared),
                "deletes".to_owned(),
                BOUND,
                over,
                drained,
                move |pulse| {
                    let (shared, inbox) = (Arc::clone(&shared), Arc::clone(&deleting));
                    async move { deletes::run(shared, &mut *inbox.lock().await, pulse).await }
                },
            ));
        }
        {
            let shared = Arc::clone(&shared);
            let over = shared.drained.clone();
            tasks.spawn(keep(
                Arc::clone(&shared),
                "visibility".to_owned(),
                BOUND,
                over,
                drained,
                move |pulse| {
                    let (shared, inbox) = (Arc::clone(&shared), Arc::clone(&changing));
                    async move { visibility::run(shared, &mut *inbox.lock().await, pulse).await }
                },
            ));
        }
        let mut pollers = JoinSet::new();
        let intake = Intake::new(Arc::clone(&shared), work);
        for number in 1..=shared.crew.most() {
            pollers.spawn(keep_poller(Arc::clone(&shared), intake.clone(), number));
        }
        Running { shared, tasks, pollers }
    }
}

type BoxedTask = std::pin::Pin<Box<dyn Future<Output = ()> + Send>>;

/// A place in the crew: works while it is wanted, waits otherwise.
async fn keep_poller(shared: Arc<Shared>, intake: Intake, number: usize) {
    let bound = shared.options.wait_time + shared.clients.call_timeout + SLACK;
    while !shared.is_draining() {
        tokio::select! {
            () = shared.crew.called(number) => {}
            () = shared.draining.cancelled() => return,
        }
        shared.metrics.pollers.inc();
        let (worker, intake) = (Arc::clone(&shared), intake.clone());
        // one that returns was sent home, even if it is wanted again by now
        let sent_home = |_: &Shared| true;
        let over = shared.draining.clone();
        keep(Arc::clone(&shared), format!("poller-{number}"), bound, over, sent_home, move |pulse| {
            let (shared, intake) = (Arc::clone(&worker), intake.clone());
            async move { poller::run(&shared, &intake, number, &pulse).await }
        })
        .await;
        shared.metrics.pollers.dec();
    }
}

/// Shows that the runtime still runs tasks at all.
async fn beat(shared: Arc<Shared>, pulse: lifeline_health::Pulse) {
    while timeout(Duration::from_secs(1), shared.drained.cancelled()).await.is_err() {
        pulse.beat();
    }
}

struct Running {
    shared: Arc<Shared>,
    tasks: JoinSet<()>,
    pollers: JoinSet<()>,
}

impl Running {
    async fn drain(&mut self, end: Instant) -> Drained {
        let shared = Arc::clone(&self.shared);
        shared.health.draining.unmet("draining");
        shared.draining.cancel();
        let all = u32::try_from(shared.options.max_in_flight).unwrap_or(u32::MAX);
        let grace_is_over = end - shared.options.reserve();
        let quiet = async {
            while self.pollers.join_next().await.is_some() {}
            // all room is back: everything has its outcome
            drop(shared.room.acquire_many(all).await);
        };
        if timeout_at(grace_is_over, quiet).await.is_err() {
            let held = shared.ledger.account().held();
            tracing::warn!(target: "consumer", held, "the grace is over; cancelling what still runs and giving it back");
            // a receive that is still in the air hangs: what it may bring comes back with its lease
            self.pollers.abort_all();
            shared.leases.shut_down();
            timeout_at(end, shared.room.acquire_many(all)).await.ok();
        }
        shared.drained.cancel();
        let ended = async {
            while self.pollers.join_next().await.is_some() {}
            while self.tasks.join_next().await.is_some() {}
        };
        if timeout(Duration::from_secs(1), ended).await.is_err() {
            self.tasks.shutdown().await;
        }
        // whatever is still held by a task that hangs loses its lease with the process
        shared.leases.lose_all();
        // a handler that blocks its thread cannot be dropped; the end of the process is what cancels it
        let cancelled = shared.cancelled.load(Ordering::Relaxed) + shared.company.handlers();
        Drained { account: shared.ledger.close(), cancelled }
    }
}

impl Drop for Running {
    /// A run that is dropped before it has drained leaves no handler behind; after a drain there is none.
    fn drop(&mut self) {
        self.shared.draining.cancel();
        self.shared.drained.cancel();
        self.shared.leases.lose_all();
    }
}

impl Builder {
    /// Most receives in the air at once, 1 or more; one when the queue is idle. Default 4.
    #[must_use]
    pub fn pollers(mut self, pollers: usize) -> Self {
        self.options.pollers = pollers.max(1);
        self
    }

    /// Messages held at most over all pollers, 1 or more. Default 64.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.options.max_in_flight = messages.max(1);
        self
    }

    /// The long poll, 0 to 20 s in whole seconds. Default 20 s. One that a shutdown could not finish within its
    /// grace is shortened, for a receive that is cut off strands what it was about to bring.
    #[must_use]
    pub fn wait_time(mut self, wait: Duration) -> Self {
        self.options.wait_time = wait;
        self
    }

    /// After this a handler is dropped and its message comes back. Default 5 minutes.
    #[must_use]
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.options.handler_timeout = limit;
        self
    }

    /// From the word to shut down to the end of [`Worker::run`]. Default 25 s.
    #[must_use]
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How many bytes of a body the `received` line shows. Default 1,024.
    #[must_use]
    pub fn log_body(mut self, bytes: usize) -> Self {
        self.options.body_limit = bytes;
        self
    }

    /// Where the worker's pulses beat, its readiness shows and its metrics count: those of a [`lifeline_health::Server`].
    #[must_use]
    pub fn health(
        mut self,
        pulses: lifeline_health::Pulses,
        readiness: lifeline_health::Readiness,
        metrics: lifeline_health::Metrics,
    ) -> Self {
        self.pulses = pulses;
        self.readiness = readiness;
        self.metrics = Some(metrics);
        self
    }

    /// The worker.
    pub fn build(self) -> Worker {
        let Self { clients, spec, mut options, pulses, readiness, metrics } = self;
        let longest = options.grace.saturating_sub(options.reserve()).saturating_sub(Duration::from_secs(1));
        if options.wait_time > longest {
            tracing::warn!(wait_time = ?options.wait_time, grace = ?options.grace, instead = ?longest,
                "WAIT_TIME does not fit into SHUTDOWN_GRACE; a shorter wait is used, so that a drain can finish its receive");
            options.wait_time = Duration::from_secs(longest.as_secs());
        }
        let metrics =
            metrics.unwrap_or_else(|| lifeline_health::Metrics::new(env!("CARGO_PKG_VERSION"), &pulses));
        Worker { clients, spec, options, pulses, readiness, metrics }
    }

    /// [`build`](Self::build) and [`Worker::run`] in one.
    ///
    /// # Cancel safety
    /// As of [`Worker::run`].
    pub async fn run(self, handler: impl Handler, shutdown: impl Future<Output = ()>) -> Drained {
        self.build().run(handler, shutdown).await
    }
}
