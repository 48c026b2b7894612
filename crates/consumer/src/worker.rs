//! The worker: the public entry point.

use std::fmt;
use std::future::Future;
use std::time::Duration;

use lifeline_health::Health;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::envelope::Envelope;
use lifeline_messaging::topology::QueueSpec;
use tokio::time::Instant;

use crate::classify::Classifiers;
use crate::control::WorkerHandle;
use crate::failure::FailureKind;
use crate::guarded;
use crate::into_handler::IntoHandler;
use crate::options::Options;
use crate::run::{Running, Setup};
use crate::summary::Drained;

/// Builds a [`Worker`].
#[derive(Debug)]
#[must_use = "nothing is received until it is built and runs"]
pub struct Builder {
    clients: Option<Clients>,
    spec: QueueSpec,
    options: Options,
    health: Option<Health>,
    name: Option<String>,
    control: WorkerHandle,
    classifiers: Classifiers,
    error: ConfigError,
    clock: lifeline_health::Clock,
}

/// Receives, handles, deletes; see the [crate's documentation](crate).
#[derive(Debug)]
pub struct Worker {
    setup: Setup,
}

impl Worker {
    /// A worker on a queue: its name, URL or ARN, or a [`QueueSpec`] that says what to create around it.
    ///
    /// ```no_run
    /// use lifeline_consumer::{Failure, Message, Worker};
    ///
    /// async fn handle(message: Message) -> Result<(), Failure> {
    ///     println!("{}", message.body);
    ///     Ok(())
    /// }
    ///
    /// # async fn example() -> Result<(), Box<dyn std::error::Error>> {
    /// let worker = Worker::on("https://sqs.eu-west-1.amazonaws.com/111122223333/orders").build().await?;
    /// let drained = worker.run(handle, async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
    /// println!("drained {}", drained.account);
    /// # Ok(()) }
    /// ```
    pub fn on(queue: impl Into<QueueSpec>) -> Builder {
        Builder {
            clients: None,
            spec: queue.into(),
            options: Options::default(),
            health: None,
            name: None,
            control: WorkerHandle::new(),
            classifiers: Classifiers::default(),
            error: ConfigError::default(),
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
        let grace = self.grace();
        let control = self.handle();
        let mut running = Running::start(self.setup, handler.boxed());
        tokio::select! {
            biased;
            () = shutdown => {}
            () = control.draining() => {}
        }
        running.drain(Instant::now() + grace).await
    }
}

impl Worker {
    /// Pauses, resumes and drains it, and tells how it stands.
    pub fn handle(&self) -> WorkerHandle {
        self.setup.control.clone()
    }

    pub(crate) fn grace(&self) -> Duration {
        self.setup.options.grace
    }
}

impl Builder {
    /// How AWS is reached. Default: what the environment says.
    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = Some(clients);
        self
    }

    /// Maximum number of messages that a handler of batches takes at once, 1 to `max_in_flight`, and how long it waits for them.
    /// More than 10 need several receives. Default: what one receive brings, up to 10.
    pub fn batch(mut self, messages: usize, wait: Duration) -> Self {
        self.options.batch = Some((messages, wait));
        self
    }

    /// At most `runs` of the handler start `per` that time, evenly spaced. A message that waits for its turn keeps its lease, and the
    /// wait does not count against the handler's timeout. Default: no limit.
    ///
    /// ```
    /// # use std::time::Duration;
    /// # use lifeline_consumer::Worker;
    /// let worker = Worker::on("orders").rate_limit(100, Duration::from_secs(1));
    /// ```
    pub fn rate_limit(mut self, runs: u32, per: Duration) -> Self {
        self.options.rate = Some(per.checked_div(runs).unwrap_or(Duration::MAX));
        self
    }

    /// Says what the errors of a type that is not yours mean, wherever they are in the chain of what a handler returns. What was
    /// stated where it happened counts more; this counts more than what follows from an error of the system.
    ///
    /// ```
    /// use std::net::AddrParseError;
    ///
    /// use lifeline_consumer::{FailureKind, Worker};
    ///
    /// let worker = Worker::on("orders")
    ///     .classify(|_: &AddrParseError| FailureKind::Rejected)
    ///     .classify(|error: &std::io::Error| match error.kind() {
    ///         std::io::ErrorKind::NotFound => FailureKind::Unavailable,
    ///         _ => FailureKind::Failed,
    ///     });
    /// ```
    pub fn classify<E: std::error::Error + 'static>(
        mut self,
        classify: impl Fn(&E) -> FailureKind + Send + Sync + 'static,
    ) -> Self {
        self.classifiers.add(classify);
        self
    }

    /// Pauses, resumes and drains the worker, and tells how it stands.
    pub fn handle(&self) -> WorkerHandle {
        self.control.clone()
    }

    /// One whose settings are wrong: [`build`](Self::build) says so.
    #[cfg(feature = "service")]
    pub(crate) fn invalid(mut self, problem: String) -> Self {
        self.error.add(problem);
        self
    }

    pub(crate) fn name_or_empty(&self) -> &str {
        self.name.as_deref().unwrap_or_default()
    }

    /// Maximum number of concurrent receives, 1 or more; one while the queue is idle. Default 4.
    pub fn pollers(mut self, pollers: usize) -> Self {
        self.options.pollers = pollers;
        self
    }

    /// Maximum number of messages in flight across all pollers, 1 to 120,000. Default 64.
    pub fn max_in_flight(mut self, messages: usize) -> Self {
        self.options.max_in_flight = messages;
        self
    }

    /// The long poll, 0 to 20 s in whole seconds. Default 20 s. One that a shutdown could not finish within its
    /// grace is shortened, for a receive that is cut off strands what it was about to bring.
    pub fn wait_time(mut self, wait: Duration) -> Self {
        self.options.wait_time = wait;
        self
    }

    /// What the queue's bodies are: notifications of SNS, or messages. Default: judged one by one.
    pub fn envelope(mut self, envelope: Envelope) -> Self {
        self.options.envelope = envelope;
        self
    }

    /// Maximum time a handler may run; after that it is dropped and its message is redelivered. Default 5 minutes.
    pub fn handler_timeout(mut self, limit: Duration) -> Self {
        self.options.handler_timeout = limit;
        self
    }

    /// From the request to shut down to the end of [`Worker::run`], up to 12 hours. Default 25 s.
    pub fn shutdown_grace(mut self, grace: Duration) -> Self {
        self.options.grace = grace;
        self
    }

    /// How many bytes of a body the `received` line shows. Default 1,024.
    pub fn log_body(mut self, bytes: usize) -> Self {
        self.options.body_limit = bytes;
        self
    }

    /// Extends, deletes and releases on a thread of its own, which no handler can block: a handler that computes for
    /// longer than a lease on every thread of the runtime then costs no other message its lease. Default `false`; the
    /// service has it. It has a runtime of its own, and costs a message some 15 % more instructions.
    pub fn lease_thread(mut self, own: bool) -> Self {
        self.options.lease_thread = own;
        self
    }

    /// Where the worker's pulses beat, its readiness shows and its metrics count.
    pub fn health(mut self, health: &Health) -> Self {
        self.health = Some(health.clone());
        self
    }

    /// Tells the worker apart from others of the process: its pulses and conditions are called `name/…`, and its metrics and
    /// log lines have the label or field `worker`. Without a name there is none of that.
    ///
    /// ```
    /// use lifeline_consumer::Worker;
    ///
    /// let health = lifeline_health::Health::new("1.2.3");
    /// let orders = Worker::on("orders").name("orders").health(&health);
    /// let invoices = Worker::on("invoices").name("invoices").health(&health);
    /// ```
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where the time comes from by which leases run and dates are written: for simulated time. Its monotonic time must
    /// be tokio's, by which the worker sleeps. Default: [`lifeline_health::Clock::tokio`].
    pub fn clock(mut self, clock: lifeline_health::Clock) -> Self {
        self.clock = clock;
        self
    }

    /// The worker. Nothing is sent to SQS yet.
    ///
    /// # Errors
    /// Everything that is wrong with it.
    ///
    /// # Cancel safety
    /// Dropped, nothing was started.
    pub async fn build(self) -> Result<Worker, ConfigError> {
        let Self { clients, spec, options, health, name, control, classifiers, mut error, clock } = self;
        options.problems().for_each(|problem| error.add(problem));
        let asked = options.wait_time;
        let options = options.with_fitting_wait();
        if error.none().is_ok() && options.wait_time < Duration::from_secs(asked.as_secs()) {
            guarded::log(|| {
                tracing::warn!(wait_time = ?asked, grace = ?options.grace,
                    "WAIT_TIME exceeds SHUTDOWN_GRACE; using {:?} so that shutdown can finish the current receive",
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
        let most = options.max_in_flight;
        if let Some((batch, _)) = options.batch
            && !(1..=most).contains(&batch)
        {
            error.add(format!(
                "batch({batch}, …): invalid value; expected 1 to max_in_flight, which is {most}"
            ));
        }
        let clients = match clients {
            Some(clients) => Ok(clients),
            None => Clients::connect(&Access::from_environment()).await,
        };
        let clients = clients.map_err(|no_region| error.add(no_region.to_string())).ok();
        error.none()?;
        let Some(clients) = clients else { return Err(ConfigError::default()) };
        let health = health.unwrap_or_else(|| Health::new(env!("CARGO_PKG_VERSION")));
        Ok(Worker { setup: Setup { clients, spec, options, health, name, control, classifiers, clock } })
    }

    /// [`build`](Self::build) and [`Worker::run`] in one.
    ///
    /// # Errors
    /// As of [`build`](Self::build).
    ///
    /// # Cancel safety
    /// As of [`Worker::run`].
    pub async fn run<Form>(
        self,
        handler: impl IntoHandler<Form>,
        shutdown: impl Future<Output = ()>,
    ) -> Result<Drained, ConfigError> {
        Ok(self.build().await?.run(handler, shutdown).await)
    }
}

/// What is wrong with a worker, or with several, a line each.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ConfigError {
    problems: Vec<String>,
}

impl ConfigError {
    pub(crate) fn add(&mut self, problem: String) {
        self.problems.push(problem);
    }

    pub(crate) fn merge(&mut self, other: Self) {
        self.problems.extend(other.problems);
    }

    /// `Ok` where nothing is wrong.
    pub(crate) fn none(&self) -> Result<(), Self> {
        if self.problems.is_empty() { Ok(()) } else { Err(self.clone()) }
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problems.join("\n"))
    }
}

impl std::error::Error for ConfigError {}
