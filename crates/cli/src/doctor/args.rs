//! The command line of `lifeline doctor`, and the command itself: run the checks once or until they pass, and print them.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, QueueArgs, TopicArgs};
use lifeline_messaging::client::{Access, Clients};
use lifeline_service::settings::{Checked, Problems, duration};
use lifeline_service::{Log, LogArgs};

use super::probe;
use super::report::{Report, Style};
use super::snapshot::{Snapshot, Target};

/// The settings of `doctor`.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Report", after_help = AFTER_HELP)]
pub struct DoctorArgs {
    /// Prints the report as JSON
    #[arg(long)]
    pub json: bool,

    /// Prints for each finding the AWS CLI call, or the policy statement, that changes it; runs none of them
    #[arg(long)]
    pub fix: bool,

    /// Sends a marked message through the topic and times it, if no check failed and nobody but the queue is subscribed
    #[arg(long)]
    pub probe: bool,

    /// Repeats the checks every 2 s until none fails, for at most this time
    #[arg(long, value_name = "DURATION", value_parser = duration(Duration::ZERO..=Duration::from_secs(3600)))]
    pub wait: Option<Checked<Duration>>,

    /// Longest that a handler of the consumer may run, to compare it with the queue's timeouts
    #[arg(long, env = "HANDLER_TIMEOUT", value_name = "DURATION", default_value = "5m",
          value_parser = duration(Duration::from_millis(1)..=Duration::from_secs(43_200)))]
    pub handler_timeout: Checked<Duration>,

    /// The topic.
    #[command(flatten)]
    pub topic: TopicArgs,
    /// The queue.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const AFTER_HELP: &str = "\
Reads only, but for --probe: its message goes through the topic, and a temporary queue with the queue's key receives a copy, which is
timed and deleted. The queue gets one too; a consumer of this version deletes it without calling a handler. Exit codes: 0 no check failed (warnings may remain), 1 a check failed, 2 invalid settings.

Examples:
  lifeline doctor --topic-name orders --queue-name billing      on AWS, with your credentials
  lifeline doctor --fix                                         what to type to change what is wrong
  lifeline doctor --probe --wait 30s                            how long a message takes, once all is well";

/// How often `--wait` repeats.
const REPEAT: Duration = Duration::from_secs(2);

/// [`DoctorArgs`], checked.
#[derive(Debug, Clone)]
pub struct Doctor {
    access: Access,
    target: Target,
    json: bool,
    fix: bool,
    probe: bool,
    wait: Duration,
}

impl DoctorArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self, mut problems: Problems) -> Result<(Log, Doctor), Problems> {
        let access = self.aws.check(&mut problems);
        let (topic, _) = self.topic.check(&access, &mut problems);
        let queue = self.queue.check((topic, false), &mut problems);
        let handler_timeout = problems.value(self.handler_timeout);
        let target = Target { topic: queue.topic, queue: queue.queue, handler_timeout };
        let wait = problems.optional(self.wait).unwrap_or_default();
        let log = self.log.check(&mut problems);
        let doctor = Doctor { access, target, json: self.json, fix: self.fix, probe: self.probe, wait };
        problems.finish().map(|_| (log, doctor))
    }
}

impl Doctor {
    /// Runs the checks and prints the report.
    ///
    /// # Errors
    /// No region is known. What AWS refuses is a finding.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let deadline = tokio::time::Instant::now() + self.wait;
        let mut report = self.examine().await?;
        while !report.is_ok() && tokio::time::Instant::now() + REPEAT <= deadline {
            tokio::time::sleep(REPEAT).await;
            report = self.examine().await?;
        }
        if self.probe {
            let clients = Clients::connect(&self.access).await?;
            let snapshot = self.snapshot(&clients).await;
            let lines = probe::run(&clients, &snapshot, report.is_ok()).await;
            report = report.with(lines);
        }
        let mut out = io::stdout();
        if self.json {
            serde_json::to_writer_pretty(&mut out, &report)?;
            writeln!(out)?;
        } else {
            let colour =
                out.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            out.write_all(report.text(Style { colour, fix: self.fix }).as_bytes())?;
        }
        Ok(if report.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    /// Runs every check once.
    ///
    /// # Errors
    /// No region is known.
    pub async fn examine(&self) -> anyhow::Result<Report> {
        let clients = Clients::connect(&self.access).await?;
        Ok(Report::of(&self.snapshot(&clients).await))
    }

    async fn snapshot(&self, clients: &Clients) -> Snapshot {
        Snapshot::take(clients, self.access.endpoint.clone(), self.target.clone()).await
    }
}
