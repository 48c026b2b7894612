//! A whole service around a handler: settings, log, signals, health server, drain, summary and exit code.

use std::process::ExitCode;

use lifeline_consumer::service::{self, ConsumerArgs, ConsumerConfig, run_handler, run_workers};
use lifeline_consumer::{BoxError, Builder, IntoHandler, Workers};
use lifeline_health::Health;
use lifeline_messaging::client::Clients;
#[cfg(feature = "producer")]
use lifeline_messaging::topology::TopicRef;
#[cfg(feature = "producer")]
use lifeline_producer::{Publisher, PublisherBuilder};
use lifeline_service::Shutdown;
use lifeline_service::settings::Problems;
use lifeline_service::{CommonArgs, Program};

/// The settings of a service with its own handler, and those of its user.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "service", version)]
struct Args<A: clap::Args> {
    #[command(flatten)]
    own: A,
    #[command(flatten)]
    consumer: ConsumerArgs,
}

impl<A: clap::Args> Program for Args<A> {
    type Config = (A, ConsumerConfig);

    fn common(&self) -> &CommonArgs {
        &self.consumer.common
    }

    fn check(self, problems: &mut Problems) -> (A, ConsumerConfig) {
        (self.own, self.consumer.check(problems))
    }
}

/// Runs a whole service around a handler, and returns the process's exit code. [`IntoHandler`] says what a handler may be.
///
/// It builds the runtime itself, so `main` is not async.
///
/// # Panics
/// Within a runtime: a service has one of its own.
#[track_caller]
pub fn run<Form>(handler: impl IntoHandler<Form>) -> ExitCode {
    outside_of_a_runtime();
    lifeline_service::main::<Args<None>, _, _>(move |(_, config), host| run_handler(config, handler, host))
}

/// No settings of the user's own.
#[derive(clap::Args, Debug, Clone)]
struct None {}

/// Runs a whole service with your own settings, state, or several workers, and returns the process's exit code.
///
/// `setup` runs once the settings are valid and `/health` is served; `/ready` responds 503 until it has returned. Its error is logged, and
/// the exit code is 1. `Settings` is any `clap::Args`, `()` for none; `--help` lists them with the others.
///
/// ```no_run
/// use lifeline::{Context, Failure, Handler, Host, Json, Message, OrFailure, Workers};
///
/// #[derive(clap::Args)]
/// struct Settings {
///     /// Where orders are kept
///     #[arg(long, env)]
///     database: std::path::PathBuf,
/// }
///
/// struct Orders {
///     database: std::fs::File,
/// }
///
/// impl Handler<Json<u64>> for Orders {
///     async fn handle(&self, Json(order): Json<u64>, _: Context) -> Result<(), Failure> {
///         use std::io::Write;
///         writeln!(&self.database, "{order}").or_unavailable()
///     }
/// }
///
/// async fn invoice(message: Message) -> lifeline::Result {
///     Ok(println!("invoice {}", message.body))
/// }
///
/// fn main() -> std::process::ExitCode {
///     lifeline::run_with(async |settings: Settings, host: Host| {
///         let orders = Orders { database: std::fs::File::create(settings.database)? };
///         lifeline::Result::Ok(
///             Workers::new().add(host.worker(), orders).add(host.worker_named("invoices"), invoice),
///         )
///     })
/// }
/// ```
///
/// # Panics
/// As [`run`].
#[track_caller]
pub fn run_with<A, E>(setup: impl AsyncFnOnce(A, Host) -> Result<Workers, E>) -> ExitCode
where
    A: clap::Args,
    E: Into<BoxError>,
{
    outside_of_a_runtime();
    lifeline_service::main::<Args<A>, _, _>(move |(own, config), host| {
        run_workers(own, config, host, async |own, host| setup(own, Host::of(host)).await)
    })
}

#[track_caller]
fn outside_of_a_runtime() {
    assert!(
        tokio::runtime::Handle::try_current().is_err(),
        "lifeline::run and lifeline::run_with build a runtime of their own: call them from a main that is not async, without #[tokio::main]; \
         in an application that has a runtime, use lifeline::Worker or lifeline::Workers"
    );
}

/// What the setup of a service is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Host {
    /// Pulses, readiness and metrics, which the health server shows.
    pub health: Health,
    /// How AWS is reached.
    pub clients: Clients,
    /// The request to shut down.
    pub shutdown: Shutdown,
    consumer: service::Host,
}

impl Host {
    fn of(consumer: service::Host) -> Self {
        let service::Host { health, clients, shutdown, .. } = consumer.clone();
        Self { health, clients, shutdown, consumer }
    }

    /// A worker as the settings describe it.
    pub fn worker(&self) -> Builder {
        self.consumer.worker()
    }

    /// A worker with a name. Its settings are read from variables that begin with it: `INVOICES_MAX_IN_FLIGHT` for `invoices`; else
    /// from those without. Its queue is `INVOICES_QUEUE_NAME` or `INVOICES_QUEUE_URL`, else the one called as the worker. A bad value ends
    /// the process with exit code 2 once `setup` has returned.
    pub fn worker_named(&self, name: &str) -> Builder {
        self.consumer.worker_named(name)
    }

    /// A publisher to a topic, by name or ARN, for handlers that publish. Called `to-TOPIC`, it has its place in health and metrics beside
    /// the workers. `TOPIC_NAME` is no default: that topic feeds the queue, and a handler that publishes to it feeds itself.
    ///
    /// ```no_run
    /// use lifeline::{BoxError, Host, Message, Workers};
    ///
    /// fn main() -> std::process::ExitCode {
    ///     lifeline::run_with(async |(), host: Host| {
    ///         let invoices = host.publisher("invoices").start().await?;
    ///         let closed = invoices.close(); // when the last handler has ended
    ///         let handle = move |message: Message| {
    ///             let invoices = invoices.clone();
    ///             async move {
    ///                 invoices.publish(message.body).await?; // before Ok(()), which deletes the message
    ///                 Ok::<(), BoxError>(())
    ///             }
    ///         };
    ///         lifeline::Result::Ok(Workers::new().add(host.worker(), handle).after(closed))
    ///     })
    /// }
    /// ```
    #[cfg(feature = "producer")]
    pub fn publisher(&self, topic: impl Into<TopicRef>) -> PublisherBuilder {
        let topic = topic.into();
        let name = format!("to-{}", topic.name());
        Publisher::to(topic).name(name).clients(self.clients.clone()).health(&self.health)
    }
}
