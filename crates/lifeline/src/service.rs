//! A whole service around a handler: settings, log, signals, health server, drain, summary and exit code.

use std::process::ExitCode;

use lifeline_consumer::IntoHandler;
use lifeline_consumer::service::{ConsumerArgs, ConsumerConfig, run_handler};
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

/// Runs a whole service around a handler, and returns the process's exit code. [`IntoHandler`] says what a handler may be.
///
/// It builds the runtime itself, so `main` is not async.
pub fn run<Form>(handler: impl IntoHandler<Form>) -> ExitCode {
    lifeline_service::main::<Args, _, _>(move |config, host| run_handler(config, handler, host))
}
