//! The binary `lifeline`; see `lifeline --help`.

use std::future::Future;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use lifeline_cli::args::{self, Command, EmbeddedArgs, PREFIX, UpArgs};
use lifeline_cli::screen::Screen;
use lifeline_cli::{doctor, up};
use lifeline_service::settings::Problems;
use lifeline_service::{Log, Shutdown, Threads, failed, invalid_settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = args::parse();
    match cli.command {
        None => pipeline(cli.up),
        Some(Command::Up(args)) => pipeline(*args),
        Some(Command::Aws(args)) => embedded(args),
        Some(Command::Doctor(args)) => match doctor::Settings::check(*args) {
            Ok(settings) => once(settings.log.clone(), examine(settings)),
            Err(problems) => invalid_settings(&problems),
        },
    }
}

fn pipeline(args: UpArgs) -> ExitCode {
    match args.check() {
        Ok((settings, warnings)) => up::main(settings, &warnings, &Screen::of_stdout()),
        Err(problems) => invalid_settings(&problems),
    }
}

fn embedded(args: EmbeddedArgs) -> ExitCode {
    let mut problems = Problems::new(PREFIX);
    let (listen, log) = (problems.value(args.listen.listen), args.log.check(&mut problems));
    if let Err(problems) = problems.finish() {
        return invalid_settings(&problems);
    }
    once(log, async move {
        let shutdown = Shutdown::on_signals(Duration::from_secs(1))?;
        up::aws(listen, shutdown.requested()).await?;
        Ok(ExitCode::SUCCESS)
    })
}

async fn examine(settings: doctor::Settings) -> anyhow::Result<ExitCode> {
    let report = doctor::examine(&settings).await?;
    writeln!(io::stdout(), "{report}").ok();
    Ok(if report.is_well() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs a command that hosts no service.
fn once(log: Log, work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    log.install();
    let ended =
        Threads::new(2).runtime().map_err(anyhow::Error::from).and_then(|runtime| runtime.block_on(work));
    ended.unwrap_or_else(|error| failed("lifeline", &error))
}
