//! The binary `lifeline`; see `lifeline --help`.

use std::future::Future;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

use lifeline_cli::args::{self, Command, EmbeddedArgs, PREFIX, UpArgs};
use lifeline_cli::screen::Screen;
use lifeline_cli::{aws, reference, up};
use lifeline_service::settings::Problems;
use lifeline_service::{Log, Shutdown, Threads, failed, flush_log, invalid_settings};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// How long the last lines of the log may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let cli = args::parse();
    match cli.command {
        None => pipeline(cli.up),
        Some(Command::Up(args)) => pipeline(*args),
        Some(Command::Aws(args)) => embedded(*args),
        Some(Command::Doctor(args)) => match args.check(Problems::new(PREFIX)) {
            Ok((log, command)) => operate(log, command.run()),
            Err(problems) => invalid_settings(&problems),
        },
        Some(Command::Send(args)) => match args.check(Problems::new(PREFIX)) {
            Ok((log, command)) => operate(log, command.run()),
            Err(problems) => invalid_settings(&problems),
        },
        Some(Command::Completions(args)) => ended(reference::completions(&args, args::command())),
        Some(Command::Man(args)) => ended(reference::man(&args, args::command())),
        Some(Command::Provision(args)) => match args.check(Problems::new(PREFIX)) {
            Ok((log, command)) => operate(log, command.run()),
            Err(problems) => invalid_settings(&problems),
        },
        Some(Command::Tail(args)) => match args.check(Problems::new(PREFIX)) {
            Ok((log, command)) => operate(log, command.run()),
            Err(problems) => invalid_settings(&problems),
        },
        Some(Command::Dlq(args)) => match args.check(Problems::new(PREFIX)) {
            Ok((log, command)) => operate(log, command.run()),
            Err(problems) => invalid_settings(&problems),
        },
    }
}

fn pipeline(args: UpArgs) -> ExitCode {
    match args.check() {
        Ok((settings, warnings)) => {
            let screen = if settings.writes_stdout() { Screen::of_stderr() } else { Screen::of_stdout() };
            up::main(settings, &warnings, &screen)
        }
        Err(problems) => invalid_settings(&problems),
    }
}

fn embedded(args: EmbeddedArgs) -> ExitCode {
    match args.check() {
        Ok((settings, log)) => once(log, async move {
            let shutdown = Shutdown::on_signals(Duration::from_secs(1))?;
            aws::run(settings, shutdown.requested()).await?;
            Ok(ExitCode::SUCCESS)
        }),
        Err(problems) => invalid_settings(&problems),
    }
}

/// Runs an operator's command: its output has standard output to itself, and the log goes to standard error.
fn operate(log: Log, work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    log.install_to(io::stderr);
    on_runtime(work)
}

/// Runs a command that hosts no service.
fn once(log: Log, work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    log.install();
    on_runtime(work)
}

fn on_runtime(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = Threads::new(2).runtime().map_err(anyhow::Error::from);
    let ended = runtime.and_then(|runtime| runtime.block_on(work));
    flush_log(LAST_LINES);
    self::ended(ended)
}

fn ended(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| failed("lifeline", &error))
}
