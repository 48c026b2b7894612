//! `consumer`: the worker as a process. See `consumer --help`.

use std::process::ExitCode;
use std::time::Duration;

use lifeline_consumer::service;
use lifeline_consumer::settings::{PROGRAM, Settings};
use lifeline_health::Health;
use lifeline_service::log::ACCOUNT;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[allow(clippy::print_stderr, reason = "bad settings are told before there is a log")]
fn main() -> ExitCode {
    let asked = PROGRAM.invocation();
    let settings = match Settings::read(&asked.values) {
        Ok(settings) => settings,
        Err(problems) => {
            eprintln!("{problems}");
            return ExitCode::from(2);
        }
    };
    match asked.subcommand {
        Some(_) => lifeline_health::self_check("consumer", settings.health_addr),
        None => run(settings).unwrap_or_else(|error| {
            tracing::error!(target: "consumer", "{error:#}");
            eprintln!("consumer: {error:#}");
            ExitCode::FAILURE
        }),
    }
}

fn run(settings: Settings) -> anyhow::Result<ExitCode> {
    settings.log.clone().install();
    let (grace, exporting) = (settings.grace, settings.export.clone().install("consumer")?);
    let asked_to_stop = lifeline_service::signals::on_signals(settings.grace)?;
    let runtime = settings.threads.runtime()?;
    let drained = runtime.block_on(service::run(
        settings,
        Health::new(env!("CARGO_PKG_VERSION")),
        asked_to_stop.cancelled_owned(),
    ));
    // a handler may have left a blocking call behind; it must not hold up the exit
    runtime.shutdown_timeout(Duration::from_millis(100));
    let drained = drained?;
    exporting.finish(grace);
    tracing::info!(name: ACCOUNT, target: "consumer", "drained {}", drained.account);
    Ok(if drained.cancelled == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
