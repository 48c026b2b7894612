//! The worker: the public entry point.

use std::future::Future;
use std::time::Duration;

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
    pulses: lifeline_health::Pulses,
    readiness: lifeline_health::Readiness,
    metrics: Option<lifeline_health::Metrics>,
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
            pulses: lifeline_health::Pulses::new(),
            readiness: lifeline_health::Readiness::new(),
            metrics: None,
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

    /// Where the time comes from by which leases run and dates are written: for simulated time. Its monotonic time must
    /// be tokio's, by which the worker sleeps. Default: [`lifeline_health::Clock::tokio`].
    #[must_use]
    pub fn clock(mut self, clock: lifeline_health::Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The worker.
    pub fn build(self) -> Worker {
        let Self { clients, spec, options, pulses, readiness, metrics, clock } = self;
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
        let metrics =
            metrics.unwrap_or_else(|| lifeline_health::Metrics::new(env!("CARGO_PKG_VERSION"), &pulses));
        Worker { setup: Setup { clients, spec, options, pulses, readiness, metrics, clock } }
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
