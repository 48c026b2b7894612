//! `lifeline`: see `lifeline --help`.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use lifeline_cli::args::{Common, PROGRAM, Up};
use lifeline_cli::screen::Screen;
use lifeline_cli::{doctor, up};
use lifeline_service::settings::{Problems, Values};
use tokio_util::sync::CancellationToken;

const BAD_SETTINGS: u8 = 2;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let asked = PROGRAM.invocation();
    let ended = match asked.subcommand {
        Some("aws") => aws(&asked.values),
        Some("doctor") => examine(&asked.values),
        _ => pipeline(&asked.values),
    };
    ended.unwrap_or_else(|error| {
        let bad_settings = error.is::<Problems>();
        writeln!(io::stderr(), "{}{error:#}", if bad_settings { "" } else { "lifeline: " }).ok();
        ExitCode::from(if bad_settings { BAD_SETTINGS } else { 1 })
    })
}

fn pipeline(values: &Values) -> anyhow::Result<ExitCode> {
    let settings = Up::read(values)?;
    let screen = Screen::of_stdout();
    settings.producer.log.clone().install_to(screen.clone());
    let grace = settings.producer.grace + settings.consumer.grace;
    let exporting = settings.producer.export.clone().install("lifeline")?;
    let stop = signals(grace)?;
    let ended = on_runtime(up::run(settings, &screen, stop))?;
    exporting.finish(grace);
    ended.say();
    Ok(ExitCode::from(ended.exit_code()))
}

fn aws(values: &Values) -> anyhow::Result<ExitCode> {
    let Common { log, listen } = Common::read(values)?;
    log.install();
    let stop = signals(Duration::from_secs(1))?;
    on_runtime(up::aws(listen, stop.cancelled_owned()))?;
    Ok(ExitCode::SUCCESS)
}

fn examine(values: &Values) -> anyhow::Result<ExitCode> {
    let settings = doctor::Settings::read(values)?;
    settings.log.clone().install();
    let report = on_runtime(doctor::examine(&settings))?;
    writeln!(io::stdout(), "{report}").ok();
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn signals(grace: Duration) -> anyhow::Result<CancellationToken> {
    Ok(lifeline_service::signals::on_signals(grace)?)
}

fn on_runtime<T>(work: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(work);
    // a read of standard input may never return, and nothing here waits for it
    runtime.shutdown_background();
    result
}
