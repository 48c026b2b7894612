//! The worker: the public entry point.

use std::future::Future;
use std::time::Duration;

use lifeline_health::Health;
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::Envelope;
use lifeline_messaging::topology::QueueSpec;
use tokio::time::Instant;

use crate::guarded;
use crate::into_handler::IntoHandler;
use crate::options::Options;
use crate::run::{Running, Setup};
use crate::summary::Drained;

/// Builds a [`Worker`].
#[derive(Debug)]
pub struct Builder {
    clients: Clients,
    spec: QueueSpec,
    options: Options,
    health: Option<Health>,
    name: Option<String>,
    clock: lifeline_health::Clock,
}

/// Receives, handles, deletes; see the [crate's documentation](crate).
#[derive(Debug)]
pub struct Worker {
    setup: Setup,
}

impl Worker {
    /// A worker on a queue.
    pub fn builder(sqs: Clients, queue: QueueSpec) -> Builder {
        Builder {
            clients: sqs,
            spec: queue,
            options: Options::default(),
            health: None,
            name: None,
            clock: lifeline_health::Clock::tokio(),
        }
    }

    /// Works until `shutdown` completes, then drains: no new receive; the receives in flight are finished and what
    /// they bring is released; handlers finish under their leases; deletes are flushed. What still runs when the
    /// grace period ends is cancelled and released. Errors never end it.
    ///
    /// # Cancel safety
    /// Dropping the future stops the worker without draining it: messages in flight are redelivered when their leases end.
    pub async fn run<Form>(
        self,
        handler: impl IntoHandler<Form>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        let grace = self.setup.options.grace;
        let mut running = Running::start(self.setup, handler.boxed());
        shutdown.await;
        running.drain(Instant::now() + grace).await
    }
}

impl Builder {
    /// Maximum number of concurrent receives, 1 or more; one while the queue is idle. Default 4.
    #[must_use]
    pub fn pollers(mut self, pollers: usize) -> Self {
        self.options.pollers = pollers;
        self
    }

    /// Maximum number of messages in flight across all pollers, 1 to 120,000. Default 64.
    #[must_use]
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.options.max_in_flight = messages;
        self
    }

    /// The long poll, 0 to 20 s in whole seconds. Default 20 s. One that a shutdown could not finish within its
    /// grace is shortened, for a receive that is cut off strands what it was about to bring.
    #[must_use]
    pub fn wait_time(mut self, wait: Duration) -> Self {
        self.options.wait_time = wait;
        self
    }

    /// What the queue's bodies are: notifications of SNS, or messages. Default: judged one by one.
    #[must_use]
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.options.envelope = envelope;
        self
    }

    /// Maximum time a handler may run; after that it is dropped and its message is redelivered. Default 5 minutes.
    #[must_use]
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.options.handler_timeout = limit;
        self
    }

    /// From the request to shut down to the end of [`Worker::run`], up to 12 hours. Default 25 s.
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

    /// Extends, deletes and releases on a thread of its own, which no handler can block: a handler that computes for
    /// longer than a lease on every thread of the runtime then costs no other message its lease. Default `false`; the
    /// service has it. It has a runtime of its own, and costs a message some 15 % more instructions.
    #[must_use]
    pub fn lease_thread(mut self, own: bool) -> Self {
        self.options.lease_thread = own;
        self
    }

    /// Where the worker's pulses beat, its readiness shows and its metrics count.
    #[must_use]
    pub fn health(mut self, health: &Health) -> Self {
        self.health = Some(health.clone());
        self
    }

    /// Tells the worker apart from others of the process: its pulses and conditions are called `name/…`, and its metrics and
    /// log lines have the label or field `worker`. Without a name there is none of that.
    ///
    /// ```
    /// use lifeline_consumer::Worker;
    /// # use lifeline_messaging::{client::Clients, topology::QueueSpec};
    /// # fn example(clients: Clients, orders: QueueSpec, invoices: QueueSpec) {
    /// let health = lifeline_health::Health::new("1.2.3");
    /// let orders = Worker::builder(clients.clone(), orders).name("orders").health(&health);
    /// let invoices = Worker::builder(clients, invoices).name("invoices").health(&health);
    /// # }
    /// ```
    #[must_use]
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the time comes from by which leases run and dates are written: for simulated time. Its monotonic time must
    /// be tokio's, by which the worker sleeps. Default: [`lifeline_health::Clock::tokio`].
    #[must_use]
    pub fn clock(mut self, clock: lifeline_health::Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The worker.
    pub fn build(self) -> Worker {
        let Self { clients, spec, options, health, name, clock } = self;
        let asked = options.wait_time;
        let options = options.within_bounds();
        if options.wait_time < Duration::from_secs(asked.as_secs()) {
            guarded::log(|| {
                tracing::warn!(wait_time = ?asked, grace = ?options.grace,
                    "WAIT_TIME exceeds SHUTDOWN_GRACE or the longest poll of SQS; using {:?} so that shutdown can finish the current receive",
                    options.wait_time);
            });
        }
        if options.handler_timeout > options.grace {
            guarded::log(|| {
                tracing::info!(handler_timeout = ?options.handler_timeout, shutdown_grace = ?options.grace,
                "HANDLER_TIMEOUT exceeds SHUTDOWN_GRACE: a shutdown cancels handlers that need longer than the grace period, \
                 and each time costs their messages a receive");
            });
        }
        let health = health.unwrap_or_else(|| Health::new(env!("CARGO_PKG_VERSION")));
        Worker { setup: Setup { clients, spec, options, health, name, clock } }
    }

    /// [`build`](Self::build) and [`Worker::run`] in one.
    ///
    /// # Cancel safety
    /// As of [`Worker::run`].
    pub async fn run<Form>(
        self,
        handler: impl IntoHandler<Form>,
        shutdown: impl Future<Output = ()>,
    ) -> Drained {
        self.build().run(handler, shutdown).await
    }
}
