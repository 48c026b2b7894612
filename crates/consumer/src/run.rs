//! A run of the worker: starts its parts under the supervisor, hands each what it needs, and drains them.

use std::future::Future;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use lifeline_health::{Condition, Health, Pulse};
use lifeline_messaging::call::Outage;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::QueueSpec;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Span;

use crate::attempt::Runner;
use crate::batch::delete::Delete;
use crate::batch::visibility::Visibility;
use crate::breaker::Breaker;
use crate::call_monitor::CallMonitor;
use crate::capacity::Capacity;
use crate::caution::Caution;
use crate::classify::Classifiers;
use crate::clock::LeaseClock;
use crate::context::WorkerContext;
use crate::control::{WorkerHandle, WorkerState};
use crate::delivery::{Books, SpanQueue};
use crate::dispatch::Dispatch;
use crate::fifo::Groups;
use crate::guarded;
use crate::handler::BoxHandler;
use crate::lease::handle::Leases;
use crate::lease::owner::Owner;
use crate::metrics::WorkerMetrics;
use crate::options::Options;
use crate::poller::{self, Polling};
use crate::poller_scale::PollerScale;
use crate::provisioning::Provisioning;
use crate::queue_watch::{KnownQueue, QueueWatch};
use crate::rejection::DeadLetters;
use crate::summary::{Drained, Tally};
use crate::supervisor::Supervisor;

/// What a pulse may miss beyond its longest wait: a busy machine is not a stuck one.
const SLACK: Duration = Duration::from_secs(10);

/// The bound of tasks that never wait longer than a few seconds.
const BOUND: Duration = Duration::from_secs(30);

/// How long the parts may take to end once everything is settled.
const ENDING: Duration = Duration::from_secs(1);

/// What a worker was built from.
#[derive(Debug)]
pub(crate) struct Setup {
    pub(crate) clients: Clients,
    pub(crate) spec: QueueSpec,
    pub(crate) options: Options,
    pub(crate) health: Health,
    pub(crate) name: Option<String>,
    pub(crate) control: WorkerHandle,
    pub(crate) classifiers: Classifiers,
    pub(crate) clock: lifeline_health::Clock,
}

/// A worker at work. Dropping it stops the worker without draining it.
pub(crate) struct Running {
    options: Options,
    parts: Parts,
    pollers: JoinSet<()>,
    /// Attempts and groups.
    tasks: TaskTracker,
    context: Arc<WorkerContext>,
    control: WorkerHandle,
    leases: Leases,
    capacity: Capacity,
    tally: Tally,
    /// No new receive.
    draining: CancellationToken,
    draining_condition: Condition,
}

impl Running {
    pub(crate) fn start(setup: Setup, handler: BoxHandler) -> Self {
        let Setup { clients, spec, options, health, name, control, classifiers, clock } = setup;
        let (health, span) = match &name {
            Some(name) => (health.of_part("worker", name), tracing::error_span!("worker", worker = name)),
            None => (health, Span::none()),
        };
        let Health { pulses, readiness, metrics } = health;
        let metrics = WorkerMetrics::new(&metrics);
        let aws = readiness.condition("aws");
        let draining_condition = readiness.condition("draining");
        draining_condition.met();
        let (draining, drained) = (CancellationToken::new(), CancellationToken::new());
        let tasks = TaskTracker::new();
        let tally = Tally::new(metrics.outcomes.clone());
        let missing = Arc::new(Notify::new());
        let caution = Caution::new();
        let monitor = |what, calls: &lifeline_health::IntCounterVec| {
            CallMonitor::new(what, aws.clone(), Arc::clone(&missing), calls.clone())
        };
        let watch = QueueWatch {
            clients: clients.clone(),
            spec,
            topology: readiness.condition("topology"),
            aws: aws.clone(),
            outage: Outage::new("finding the queue"),
            missing: Arc::clone(&missing),
            metrics: metrics.queue.clone(),
            caution: Arc::clone(&caution),
            tally: tally.clone(),
            drained: drained.clone(),
            queue: watch::Sender::new(None),
            unread: AtomicBool::new(false),
        };
        let queue = watch.queue();
        let watched = queue.clone();
        let provisioning = watch.spec.provision.then(|| {
            Arc::new(Provisioning {
                clients: clients.clone(),
                spec: watch.spec.clone(),
                queue: queue.clone(),
                condition: readiness.condition("provisioning"),
                outage: Outage::new("provisioning"),
                drained: drained.clone(),
            })
        });
        let (leases, commands) = Leases::new(LeaseClock::new(clock.clone()));
        let visibility_monitor = monitor("changing visibility", &metrics.visibility_calls);
        let calls = (
            Delete {
                clients: clients.clone(),
                queue: queue.clone(),
                monitor: monitor("deleting", &metrics.delete_calls),
            },
            Visibility {
                clients: clients.clone(),
                queue: queue.clone(),
                monitor: visibility_monitor.clone(),
                asks: PhantomData,
            },
            Visibility {
                clients: clients.clone(),
                queue: queue.clone(),
                monitor: visibility_monitor,
                asks: PhantomData,
            },
        );
        let owner =
            Owner::new(leases.clone(), commands, queue.clone(), clients.call_timeout, tally.clone(), calls);
        control.started(tally.clone());
        let available = readiness.condition("handler");
        let breaker = Breaker::new(
            options.max_in_flight,
            available.clone(),
            metrics.handlers.open.clone(),
            clock.clone(),
        );
        let context = Arc::new(WorkerContext::new(
            name.unwrap_or_default(),
            span.clone(),
            Some((leases.clone(), tally.clone())),
            queue.clone(),
            classifiers,
            options.batch(),
        ));
        let runner = Runner::new(
            handler,
            options.handling(),
            metrics.handlers.clone(),
            breaker.clone(),
            Arc::clone(&caution),
            draining.clone(),
            tasks.clone(),
            DeadLetters::new(clients.clone(), queue.clone(), options.envelope, clock),
            Arc::clone(&context),
        );
        let capacity = Capacity::new(options.max_in_flight);
        let polling = Polling {
            wait_time: options.wait_time,
            envelope: options.envelope,
            capacity: capacity.clone(),
            scale: Arc::new(PollerScale::new(options.pollers)),
            queue: queue.clone(),
            monitor: monitor("receiving", &metrics.pollers.calls),
            draining: draining.clone(),
            breaker,
            control: control.clone(),
            dispatch: Dispatch {
                leases: leases.clone(),
                books: Books {
                    tally: tally.clone(),
                    metrics: metrics.deliveries.clone(),
                    caution,
                    queue: Arc::new(SpanQueue {
                        name: watch.spec.queue.name().to_owned(),
                        known: queue.clone(),
                    }),
                },
                groups: Groups::new(runner.clone(), queue, draining.clone(), tasks.clone()),
                runner: runner.clone(),
                draining: draining.clone(),
                metrics: metrics.pollers.clone(),
            },
            clients,
        };
        let supervisor = Supervisor { pulses, restarts: metrics.restarts.clone(), span };
        let mut parts = Parts { tasks: JoinSet::new(), supervisor: supervisor.clone(), drained };
        let watch = Arc::new(watch);
        parts.keep("topology", move |pulse| {
            let watch = Arc::clone(&watch);
            async move { watch.run(&pulse).await }
        });
        if let Some(provisioning) = provisioning {
            parts.keep("provisioning", move |pulse| {
                let provisioning = Arc::clone(&provisioning);
                async move { provisioning.run(&pulse).await }
            });
        }
        // its mutex is not contended: a restarted task takes over what the former one had
        let owner = Arc::new(Mutex::new(owner));
        let over = parts.drained.clone();
        let leases_part = move |pulse| {
            let (owner, over) = (Arc::clone(&owner), over.clone());
            async move {
                let mut owner = owner.lock().await;
                // until it has finished, or is dropped with a worker that was dropped
                tokio::select! {
                    biased;
                    () = owner.run(&pulse) => over.cancelled().await,
                    () = over.cancelled() => {}
                }
            }
        };
        if options.lease_thread {
            parts.keep_on_thread("leases", leases_part);
        } else {
            parts.keep("leases", leases_part);
        }
        let beating = parts.drained.clone();
        let (seen, known) = (control.clone(), watched);
        parts.keep("runtime", move |pulse| {
            beat(beating.clone(), pulse, seen.clone(), known.clone(), available.clone())
        });
        let mut pollers = JoinSet::new();
        let bound = options.wait_time + polling.clients.call_timeout + SLACK;
        for number in 1..=polling.scale.most() {
            pollers.spawn(keep_poller(supervisor.clone(), polling.clone(), number, bound));
        }
        Self {
            options,
            parts,
            pollers,
            tasks,
            context,
            control,
            leases,
            capacity,
            tally,
            draining,
            draining_condition,
        }
    }

    /// Ends the run by `end`: pollers finish their receive, handlers finish, deletes are flushed; what still runs when only
    /// the reserve is left is cancelled and released.
    pub(crate) async fn drain(&mut self, end: Instant) -> Drained {
        self.control.is(WorkerState::Draining);
        self.draining_condition.unmet("draining");
        self.draining.cancel();
        self.context.ends_at(end - self.options.reserve());
        let quiet = async {
            while self.pollers.join_next().await.is_some() {}
            self.capacity.all_free().await;
        };
        if timeout_at(end - self.options.reserve(), quiet).await.is_err() {
            let handlers = self.leases.running();
            guarded::log(|| {
                tracing::warn!(target: "consumer",
                    "shutdown deadline reached; cancelling {handlers} handlers and releasing their messages");
            });
            // a receive that is still in flight hangs: what it may bring is redelivered when its lease ends
            self.pollers.abort_all();
            self.leases.shut_down();
            self.context.end();
            timeout_at(end, self.capacity.all_free()).await.ok();
        }
        timeout(ENDING / 2, self.leases.finish()).await.ok();
        self.parts.drained.cancel();
        self.tasks.close();
        let ended = async {
            while self.pollers.join_next().await.is_some() {}
            while self.parts.tasks.join_next().await.is_some() {}
            self.tasks.wait().await;
        };
        if timeout(ENDING, ended).await.is_err() {
            let left = self.tasks.len();
            if left > 0 {
                guarded::log(
                    || tracing::warn!(target: "consumer", left, "handlers that do not end are left behind"),
                );
            }
            self.parts.tasks.shutdown().await;
        }
        let account = self.tally.account();
        if !account.balances() {
            guarded::log(|| {
                tracing::error!(target: "consumer", %account, in_flight = account.in_flight(),
                    "messages without an outcome: this is a defect of the worker");
            });
        }
        self.control.is(WorkerState::Drained);
        Drained { account, cancelled: self.tally.cancelled() }
    }
}

impl Drop for Running {
    /// A run that is dropped before it has drained leaves no handler behind; after a drain there is none.
    fn drop(&mut self) {
        self.draining.cancel();
        self.parts.drained.cancel();
    }
}

/// The supervised parts.
struct Parts {
    tasks: JoinSet<()>,
    supervisor: Supervisor,
    /// Everything is settled: the parts may end.
    drained: CancellationToken,
}

impl Parts {
    fn keep<F>(&mut self, name: &str, work: impl Fn(Pulse) -> F + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (over, drained) = (self.drained.clone(), self.drained.clone());
        let done = move || drained.is_cancelled();
        self.tasks.spawn(self.supervisor.clone().keep(name.to_owned(), BOUND, over, done, work));
    }

    /// As [`keep`](Self::keep), on a thread with a runtime of its own, which nothing else can block.
    fn keep_on_thread<F>(&mut self, name: &'static str, work: impl Fn(Pulse) -> F + Clone + Send + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let (over, drained) = (self.drained.clone(), self.drained.clone());
        let kept = self.supervisor.clone().keep(
            name.to_owned(),
            BOUND,
            over,
            move || drained.is_cancelled(),
            work.clone(),
        );
        let (ended, end) = tokio::sync::oneshot::channel::<()>();
        // its lines go where the worker's go
        let log = tracing::dispatcher::get_default(Clone::clone);
        let started = runtime_of_its_own().and_then(|runtime| {
            std::thread::Builder::new().name(name.to_owned()).spawn(move || {
                tracing::dispatcher::with_default(&log, || runtime.block_on(kept));
                // a name look-up in flight must not hold up the end
                runtime.shutdown_background();
                drop(ended);
            })
        });
        match started {
            Ok(_) => {
                self.tasks.spawn(async move {
                    end.await.ok();
                });
            }
            Err(error) => {
                guarded::log(
                    || tracing::warn!(%error, "no thread of its own for {name}; handlers that block may hold it up"),
                );
                self.keep(name, work);
            }
        }
    }
}

fn runtime_of_its_own() -> std::io::Result<tokio::runtime::Runtime> {
    // name look-ups are the only blocking work
    tokio::runtime::Builder::new_current_thread().enable_all().max_blocking_threads(4).build()
}

/// One of the pollers: works while it is wanted, waits otherwise.
async fn keep_poller(supervisor: Supervisor, polling: Polling, number: usize, bound: Duration) {
    while !polling.draining.is_cancelled() {
        tokio::select! {
            biased;
            () = polling.draining.cancelled() => return,
            () = polling.scale.until_wanted(number) => {}
        }
        let at_work = &polling.dispatch.metrics.at_work;
        at_work.inc();
        let again = polling.clone();
        // one that returns was stopped, even if it is wanted again by now
        let stopped = || true;
        let name = format!("poller-{number}");
        let work = move |pulse: Pulse| {
            let polling = again.clone();
            async move { poller::run(&polling, number, &pulse).await }
        };
        supervisor.clone().keep(name, bound, polling.draining.clone(), stopped, work).await;
        at_work.dec();
    }
}

/// Shows that the runtime still runs tasks at all, and how the worker stands.
async fn beat(
    drained: CancellationToken,
    pulse: Pulse,
    control: WorkerHandle,
    queue: KnownQueue,
    available: Condition,
) {
    while timeout(Duration::from_secs(1), drained.cancelled()).await.is_err() {
        pulse.beat();
        control.seen(queue.is_known(), available.is_met());
    }
}
