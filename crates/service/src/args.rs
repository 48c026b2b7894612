//! The settings that every service has: [`CommonArgs`] on the command line, [`Common`] when they are checked.

use std::net::SocketAddr;
use std::time::Duration;

use lifeline_health::{AccessFormat, AccessLog};

use crate::log::{Filter, Format, Log};
use crate::runtime::Threads;
use crate::settings::{Checked, Problems, address, boolean, choice, duration, integer};

/// The settings of a program that hosts one service.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Service")]
pub struct CommonArgs {
    /// Address that /health, /ready and /metrics are served on
    #[arg(long, env = "HEALTH_ADDR", value_name = "ADDRESS", default_value = "[::]:5000", value_parser = address())]
    pub health_addr: Checked<SocketAddr>,

    /// Threads that run the service's tasks, 1 to 256; more help with large messages and cost CPU time
    #[arg(long, env = "THREADS", value_name = "COUNT", default_value = "1", value_parser = integer::<usize>(1..=256))]
    pub threads: Checked<usize>,

    /// What a program has that hosts several services.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The settings of the process, whether it hosts one service or several.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Service")]
pub struct ProcessArgs {
    /// Time from the first SIGTERM or SIGINT to exit, 100ms to 1h
    #[arg(long, env = "SHUTDOWN_GRACE", value_name = "DURATION", default_value = "25s",
          value_parser = duration(Duration::from_millis(100)..=Duration::from_secs(3600)))]
    pub shutdown_grace: Checked<Duration>,

    /// Log requests to the health server; off leaves out successful ones to /health
    #[arg(long, env = "ACCESS_LOG", value_name = "on|off", default_value = "on", value_parser = boolean())]
    pub access_log: Checked<bool>,

    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// The log's settings, for every program that has one.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Log")]
pub struct LogArgs {
    /// Format of log lines; json writes one object per line
    #[arg(long, env = "LOG_FORMAT", value_name = "text|json", hide_possible_values = true, default_value = "text",
          value_parser = choice(&[("text", Format::Text), ("json", Format::Json)]))]
    pub log_format: Checked<Format>,

    /// What is logged: a level (off, error, warn, info, debug, trace), or target=level,…
    #[arg(long, env = "RUST_LOG", value_name = "FILTER", default_value = "info", value_parser = Filter::accept())]
    pub rust_log: Checked<Filter>,
}

/// [`CommonArgs`], checked.
#[derive(Debug, Clone)]
pub struct Common {
    /// `HEALTH_ADDR`.
    pub health_addr: SocketAddr,
    /// `THREADS`.
    pub threads: Threads,
    /// The rest.
    pub process: Process,
}

/// [`ProcessArgs`], checked.
#[derive(Debug, Clone)]
pub struct Process {
    /// `SHUTDOWN_GRACE`.
    pub grace: Duration,
    /// `ACCESS_LOG`, in the format of the log.
    pub access_log: AccessLog,
    /// `LOG_FORMAT` and `RUST_LOG`.
    pub log: Log,
}

impl CommonArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> Common {
        Common {
            health_addr: problems.value(self.health_addr),
            threads: Threads::new(problems.value(self.threads)),
            process: self.process.check(problems),
        }
    }
}

impl ProcessArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> Process {
        let log = self.log.check(problems);
        let format = match log.format {
            Format::Text => AccessFormat::Text,
            Format::Json => AccessFormat::Json,
        };
        crate::otel::check(problems);
        let access_log = AccessLog { format, silence_healthy: !problems.value(self.access_log) };
        Process { grace: problems.value(self.shutdown_grace), access_log, log }
    }
}

impl LogArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> Log {
        let filter = problems.value(self.rust_log);
        filter.warning().into_iter().for_each(|warning| problems.warn(warning));
        Log { format: problems.value(self.log_format), filter }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Args {
        #[command(flatten)]
        common: CommonArgs,
    }

    fn check(arguments: &[&str]) -> Result<Common, Problems> {
        let args = Args::try_parse_from(std::iter::once("test").chain(arguments.iter().copied())).unwrap();
        let mut problems = Problems::default();
        let common = args.common.check(&mut problems);
        problems.finish().map(|_| common)
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let common = check(&[]).unwrap();
        assert_eq!(common.health_addr, "[::]:5000".parse().unwrap());
        assert_eq!(common.process.grace, Duration::from_secs(25));
        assert_eq!(common.process.log.format, Format::Text);
        assert_eq!(
            common.process.access_log,
            AccessLog { format: AccessFormat::Text, silence_healthy: false }
        );
    }

    #[test]
    fn the_access_log_has_the_format_of_the_log() {
        let common = check(&["--log-format=json", "--access-log=off"]).unwrap();
        assert_eq!(
            common.process.access_log,
            AccessLog { format: AccessFormat::Json, silence_healthy: true }
        );
    }

    #[test]
    fn every_bad_value_has_its_line() {
        let bad = [
            "--health-addr=5000",
            "--threads=0",
            "--shutdown-grace=1d",
            "--access-log=x",
            "--log-format=xml",
        ];
        let lines = check(&bad).unwrap_err().to_string();
        assert_eq!(lines.lines().count(), bad.len(), "{lines}");
        for flag in bad {
            assert!(lines.contains(&format!("{flag}: ")), "{flag} has no line in:\n{lines}");
        }
    }
}
