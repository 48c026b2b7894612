//! A whole service around a handler: settings, log, signals, health server, drain, summary and exit code.

use std::process::ExitCode;

use lifeline_consumer::service::{ConsumerArgs, ConsumerConfig, Host, run_handler, run_workers};
use lifeline_consumer::{BoxError, IntoHandler, Workers};
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
pub fn run<Form>(handler: impl IntoHandler<Form>) -> ExitCode {
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
pub fn run_with<A, E>(setup: impl AsyncFnOnce(A, Host) -> Result<Workers, E>) -> ExitCode
where
    A: clap::Args,
    E: Into<BoxError>,
{
    lifeline_service::main::<Args<A>, _, _>(move |(own, config), host| run_workers(own, config, host, setup))
}
