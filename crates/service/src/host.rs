//! Starts and stops everything around one service or several: log, signals, runtime, health servers, systemd, trace
//! export, summary and exit code. Every program's `main` ends up here.
//!
//! The order: settings are checked, the log is installed, signals are received, the trace export starts, the runtime is
//! built, the health servers listen, the service starts. It ends the other way round: the last spans are exported, the
//! summary is logged, and only then the health servers and systemd's watchdog stop.

use std::future::Future;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use lifeline_escape::Line;
use lifeline_health::{AccessLog, Condition, Health, Pulse, Pulses, Server};
use tokio::runtime::Runtime;
use tracing::Level;

use crate::args::{Common, CommonArgs, Process};
use crate::log::{Format, dropped_lines, flush_log, line};
use crate::otel::Export;
use crate::runtime::Threads;
use crate::settings::{self, Problems, address};
use crate::signals::Shutdown;
use crate::summary::Summary;
use crate::systemd::Notifier;

/// The exit code for invalid settings.
pub const INVALID_SETTINGS: u8 = 2;

/// How long the runtime may go without running a task before `/health` reports it.
const RUNTIME_BOUND: Duration = Duration::from_secs(30);

/// How often the runtime's pulse beats.
const RUNTIME_BEAT: Duration = Duration::from_secs(5);

/// How long blocking calls that are still running may delay the exit.
const LAST_CALLS: Duration = Duration::from_millis(100);

/// How long the last log lines may take to be written.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A program's settings: clap's struct, and what it comes to.
pub trait Program: clap::Parser {
    /// The checked settings.
    type Config;

    /// The settings that every service has.
    fn common(&self) -> &CommonArgs;

    /// Checks the program's own settings, and notes bad values in `problems`.
    fn check(self, problems: &mut Problems) -> Self::Config;
}

/// What a service is given.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Host {
    /// Pulses, readiness and metrics, which the health server shows.
    pub health: Health,
    /// The request to shut down.
    pub shutdown: Shutdown,
    /// `SHUTDOWN_GRACE`: the time from that request to exit.
    pub grace: Duration,
    /// The address that the health server listens on.
    pub address: SocketAddr,
    started: Condition,
    starting: Arc<Starting>,
}

impl Host {
    /// A host without a process around it, whose shutdown is requested by hand: for tests, and for programs that do
    /// themselves what [`main`] does.
    #[must_use]
    pub fn detached(health: Health, grace: Duration) -> Self {
        let starting = Starting { left: AtomicUsize::new(1), systemd: Notifier::none() };
        Self {
            started: health.readiness.condition("service"),
            health,
            shutdown: Shutdown::manual(),
            grace,
            address: SocketAddr::from(([127, 0, 0, 1], 0)),
            starting: Arc::new(starting),
        }
    }

    /// The same host with a shutdown that is requested by hand: for a service that must drain after another one.
    #[must_use]
    pub fn with_shutdown(self, shutdown: Shutdown) -> Self {
        Self { shutdown, ..self }
    }

    /// Reports that the service has started and registered its conditions: from now on `/ready` depends on these alone.
    /// When every service of the process has started, so has the process, and systemd is told.
    pub fn started(&self) {
        if !self.started.is_met() {
            self.started.met();
            self.starting.one_less();
        }
    }
}

/// How many services have yet to start.
#[derive(Debug)]
struct Starting {
    left: AtomicUsize,
    systemd: Notifier,
}

impl Starting {
    fn one_less(&self) {
        if self.left.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.systemd.ready();
        }
    }
}

/// Runs a program that hosts one service: reads the settings, and returns the process's exit code. `serve` completes when
/// the service has drained after `host.shutdown`, or has nothing more to do.
///
/// `--help` and `--version` are printed, and the subcommand `health` queries the running service over loopback. Invalid
/// settings are printed, one line each, before anything is opened (code 2). An error of `serve` is logged (code 1).
pub fn main<P, S, F>(serve: impl FnOnce(P::Config, Host) -> F) -> ExitCode
where
    P: Program,
    S: Summary,
    F: Future<Output = anyhow::Result<S>>,
{
    let self_check = clap::Command::new("health")
        .about("Queries the running service over loopback; exit code 0 if it is up, 1 if not")
        .arg(health_address());
    let matches = settings::read_environment(P::command().subcommand(self_check), "").try_get_matches();
    let matches = matches.unwrap_or_else(|error| unreadable(&error, ""));
    let name: &'static str = P::command().get_name().to_owned().leak();
    if let Some(("health", matches)) = matches.subcommand() {
        let mut problems = Problems::default();
        let address = matches.get_one("health_addr").cloned();
        let address: Option<SocketAddr> = problems.optional(address);
        return match (problems.finish(), address) {
            (Ok(_), Some(address)) => lifeline_health::self_check(name, address),
            (Err(problems), _) => invalid_settings(&problems),
            (Ok(_), None) => ExitCode::FAILURE,
        };
    }
    let args = P::from_arg_matches(&matches).unwrap_or_else(|error| unreadable(&error, ""));
    let Checked { common, config, warnings } = match check(args) {
        Ok(checked) => checked,
        Err(problems) => return invalid_settings(&problems),
    };
    common.process.log.clone().install();
    let hosted = || {
        let version = P::command().get_version().unwrap_or_default().to_owned();
        let mut shell = Shell::start(name, &version, &common.process, common.threads, &warnings)?;
        let host = shell.host(name, common.health_addr)?;
        anyhow::Ok((shell, host))
    };
    match hosted() {
        Ok((shell, host)) => shell.block_on(serve(config, host)),
        Err(error) => failed(name, &error),
    }
}

/// What [`check`] returns.
#[derive(Debug)]
#[non_exhaustive]
pub struct Checked<C> {
    /// The settings that every service has.
    pub common: Common,
    /// The program's own.
    pub config: C,
    /// What the log should say about them.
    pub warnings: Vec<String>,
}

/// Checks all settings of a program. [`main`] does it, and so may a test.
///
/// # Errors
/// Everything that is wrong with them.
pub fn check<P: Program>(args: P) -> Result<Checked<P::Config>, Problems> {
    let mut problems = Problems::default();
    let common = args.common().clone().check(&mut problems);
    let config = args.check(&mut problems);
    problems.finish().map(|warnings| Checked { common, config, warnings })
}

/// The argument of `health`: the only setting that a self-check needs, so that no other can break it.
fn health_address() -> clap::Arg {
    clap::Arg::new("health_addr")
        .long("health-addr")
        .env("HEALTH_ADDR")
        .value_name("ADDRESS")
        .default_value("[::]:5000")
        .value_parser(address())
        .help("Address of the service")
}

/// Prints the problems, one per line, for a process that has no log yet: as `LOG_FORMAT` asks.
pub fn invalid_settings(problems: &Problems) -> ExitCode {
    for problem in problems.iter() {
        print_error(Format::asked_for(problems.prefix()), problem);
    }
    ExitCode::from(INVALID_SETTINGS)
}

/// Ends the process for arguments that clap cannot read, and for `--help` and `--version`. `prefix` is what the program's
/// variables begin with.
pub fn unreadable(error: &clap::Error, prefix: &str) -> ! {
    if error.use_stderr() && Format::asked_for(prefix) == Format::Json {
        print_error(Format::Json, error.to_string().trim_end());
        std::process::exit(error.exit_code());
    }
    error.exit()
}

/// Reports the error that ends the process, once: in the log, or on standard error where the log does not show it. Settings that were
/// only read by the service itself are as invalid as others.
pub fn failed(name: &str, error: &anyhow::Error) -> ExitCode {
    if let Some(problems) = error.downcast_ref::<Problems>() {
        if !tracing::enabled!(target: "service", Level::ERROR) {
            return invalid_settings(problems);
        }
        for problem in problems.iter() {
            tracing::error!(target: "service", "{}", Line::new(problem));
        }
        flush_log(LAST_LINES);
        return ExitCode::from(INVALID_SETTINGS);
    }
    if tracing::enabled!(target: "service", Level::ERROR) {
        tracing::error!(target: "service", "{}", Line::new(&format!("{error:#}")));
        flush_log(LAST_LINES);
    } else {
        print_error(Format::in_force(), &format!("{name}: {error:#}"));
    }
    ExitCode::FAILURE
}

/// An error on standard error. Nobody may be left to read it: the exit code says it too.
fn print_error(format: Format, text: &str) {
    match format {
        Format::Text => writeln!(io::stderr(), "{}", Line::new(text)).ok(),
        Format::Json => io::stderr().write_all(line(format, Level::ERROR, text, &[]).as_bytes()).ok(),
    };
}

/// Everything around the services of one process. [`main`] uses it for programs with one service; programs with several
/// use it themselves.
#[derive(Debug)]
pub struct Shell {
    name: &'static str,
    version: String,
    grace: Duration,
    access_log: AccessLog,
    shutdown: Shutdown,
    export: Export,
    runtime: Runtime,
    systemd: Notifier,
    starting: Arc<Starting>,
    hosts: Vec<Host>,
    servers: Vec<Server>,
}

impl Shell {
    /// Receives signals, starts the trace export and builds the runtime. The log must be installed already.
    ///
    /// # Errors
    /// The system has no thread or descriptor to give.
    pub fn start(
        name: &'static str,
        version: &str,
        process: &Process,
        threads: Threads,
        warnings: &[String],
    ) -> anyhow::Result<Self> {
        for warning in warnings {
            tracing::warn!(target: "service", "{}", Line::new(warning));
        }
        let systemd = Notifier::from_env();
        Ok(Self {
            name,
            version: version.to_owned(),
            grace: process.grace,
            access_log: process.access_log,
            shutdown: Shutdown::on_signals(process.grace).context("receiving signals")?,
            export: Export::install(name),
            runtime: threads.runtime().context("starting the runtime")?,
            // the process itself counts as one until `block_on`, so that the first of several services is not the last
            starting: Arc::new(Starting { left: AtomicUsize::new(1), systemd: systemd.clone() }),
            systemd,
            hosts: Vec::new(),
            servers: Vec::new(),
        })
    }

    /// Starts the health server of one service, which is not ready until [`Host::started`].
    ///
    /// # Errors
    /// The address cannot be listened on.
    pub fn host(&mut self, name: &'static str, address: SocketAddr) -> anyhow::Result<Host> {
        self.host_with(name, address, io::stdout())
    }

    /// [`host`](Self::host) with an access log that goes elsewhere than to standard output.
    ///
    /// # Errors
    /// As [`host`](Self::host).
    pub fn host_with(
        &mut self,
        name: &'static str,
        address: SocketAddr,
        access_log: impl Write + Send + 'static,
    ) -> anyhow::Result<Host> {
        let health = Health::new(&self.version);
        dropped_lines().into_iter().for_each(|counter| health.metrics.register(counter));
        // unmet from the start: the server answers before there is a service
        let started = health.readiness.condition("service");
        let server = health.server().access_log(self.access_log).access_log_to(access_log).listen(address)?;
        let address = server.local_addr();
        tracing::info!(target: "service", version = self.version, health = %address, "starting {name}");
        self.starting.left.fetch_add(1, Ordering::AcqRel);
        let (shutdown, starting) = (self.shutdown.clone(), Arc::clone(&self.starting));
        let host = Host { health, shutdown, grace: self.grace, address, started, starting };
        self.hosts.push(host.clone());
        self.servers.push(server);
        Ok(host)
    }

    /// The request to shut down.
    #[must_use]
    pub fn shutdown(&self) -> &Shutdown {
        &self.shutdown
    }

    /// Runs `work` to its end, logs its summary or its error, and stops everything.
    pub fn block_on<S: Summary>(self, work: impl Future<Output = anyhow::Result<S>>) -> ExitCode {
        let Self { name, grace, export, runtime, systemd, starting, hosts, servers, shutdown, .. } = self;
        let pulses: Vec<Pulses> = hosts.iter().map(|host| host.health.pulses.clone()).collect();
        let watchdog = match systemd.watch(&pulses) {
            Ok(watchdog) => watchdog,
            Err(error) => {
                return failed(name, &anyhow::Error::new(error).context("starting systemd's watchdog"));
            }
        };
        starting.one_less();
        // on the threads that run the service's tasks: they end with the runtime
        runtime.spawn(beat(pulses.iter().map(|pulses| pulses.start("runtime", RUNTIME_BOUND)).collect()));
        runtime.spawn(stop(shutdown.clone(), hosts, systemd.clone()));
        let ended = runtime.block_on(work);
        runtime.block_on(shutdown.logged());
        systemd.stopping();
        // a read of standard input may never return, and nothing here waits for it
        runtime.shutdown_timeout(LAST_CALLS);
        export.finish(Shutdown::remaining(grace));
        let code = match ended {
            Ok(summary) => {
                summary.log();
                flush_log(LAST_LINES);
                ExitCode::from(summary.exit_code())
            }
            Err(error) => failed(name, &error),
        };
        drop((watchdog, servers));
        code
    }
}

/// Shows that the runtime runs tasks: the pulses become stale when all its threads are blocked.
async fn beat(pulses: Vec<Pulse>) {
    loop {
        pulses.iter().for_each(Pulse::beat);
        tokio::time::sleep(RUNTIME_BEAT).await;
    }
}

/// At the first signal no service is ready any more.
async fn stop(shutdown: Shutdown, hosts: Vec<Host>, systemd: Notifier) {
    shutdown.requested().await;
    for host in hosts {
        host.health.readiness.condition("draining").unmet("draining");
    }
    systemd.stopping();
}
