//! SNS producers and SQS consumers that do not get stuck, do not lose messages and report their health truthfully.
//!
//! A whole service, with settings, `/health`, signals, drain, summary and exit code:
//!
//! ```no_run
//! use lifeline::{Failure, Json};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//!
//! async fn handle(Json(order): Json<Order>) -> Result<(), Failure> {
//!     println!("order {}", order.id);
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     lifeline::run(handle)
//! }
//! ```
//!
//! `QUEUE_NAME`, `MAX_IN_FLIGHT`, `SHUTDOWN_GRACE` and the other settings are environment variables and flags; `--help`
//! lists them. To embed a worker or a publisher in your own application, use [`Worker`] and [`Publisher`].

use std::process::ExitCode;

use lifeline_consumer::service::{ConsumerArgs, ConsumerConfig, run_handler};
pub use lifeline_consumer::{
    Attribute, Cancelled, Context, Drained, Failure, FailureKind, FromMessage, Handler, IntoHandler,
    IntoOutcome, Json, Message, OrFailure, Worker, into_handler,
};
pub use lifeline_health::Health;
pub use lifeline_messaging::client::{Access, Clients};
pub use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
pub use lifeline_producer::{NewMessage, PublishError, Publisher, Receipt};
use lifeline_service::settings::Problems;
use lifeline_service::{CommonArgs, Program};

/// The settings of a service with its own handler.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "service", version)]
struct Args {
    #[command(flatten)]
    consumer: ConsumerArgs,
}

impl Program for Args {
    type Config = ConsumerConfig;

    fn common(&self) -> &CommonArgs {
        &self.consumer.common
    }

    fn check(self, problems: &mut Problems) -> ConsumerConfig {
        self.consumer.check(problems)
    }
}

/// Runs a whole service around a handler, an `async fn(M)` or `async fn(M, Context)`, and returns the process's exit code.
///
/// It builds the runtime itself, so `main` is not async.
pub fn run<H, Form>(handler: H) -> ExitCode
where
    H: IntoHandler<Form>,
    H::Input: FromMessage,
    H::Output: IntoOutcome,
    H::Future: Send + 'static,
    Form: 'static,
{
    lifeline_service::main::<Args, _, _>(move |config, host| run_handler(config, into_handler(handler), host))
}
