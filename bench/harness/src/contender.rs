//! The contenders, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use crate::stage::{Delivery, Stage};

/// One row of the tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Contender {
    /// Lifeline's consumer and producer, with everything enabled.
    Lifeline,
    /// The same with log lines for each message, into a file.
    LifelineInfo,
    /// The same with `HANDLER=file`, which appends each message to a file.
    LifelineFile,
    /// The AWS SDK alone.
    Bare,
    /// The same, with the attribute that Lifeline's producer adds to each message.
    BareTraced,
    /// hyper, serde_json and signatures by hand: the cost of a client without the SDK.
    Hand,
    /// bbc/sqs-consumer, and @aws-sdk/client-sns to publish.
    SqsConsumer,
    /// A boto3 loop that deletes in batches.
    Boto3Batch,
    /// A boto3 loop with single deletes.
    Boto3Single,
    /// A Celery worker.
    Celery,
    /// omniqueue.
    Omniqueue,
    /// ruststream-sqs-sns.
    Ruststream,
    /// shove.
    Shove,
}

/// What a contender does in a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Job<'a> {
    /// Receive and delete until stopped.
    Drain,
    /// The same, and append the first 64 bytes of each message to this FIFO.
    Report(&'a Path),
    /// Publish the lines of this file and exit.
    Publish(&'a Path),
}

/// Where the binaries and scripts are.
#[derive(Debug, Clone, clap::Args)]
pub struct Programs {
    /// Directory of `lifeline`, `consumer` and `producer`
    #[arg(long)]
    pub services: PathBuf,
    /// Directory of `bare`, `hand`, `omniqueue-drain`, `ruststream-drain`, `shove-loop` and `latency-proxy`
    #[arg(long)]
    pub tools: PathBuf,
    /// Copy of bench/peers/node with its packages installed
    #[arg(long)]
    pub node: PathBuf,
    /// Python interpreter with boto3 and Celery
    #[arg(long)]
    pub python: PathBuf,
    /// Path of bench/peers/python
    #[arg(long)]
    pub scripts: PathBuf,
}

impl Programs {
    /// Only Lifeline and the bare loop.
    pub fn ours(services: PathBuf, tools: PathBuf) -> Self {
        Self { services, tools, node: PathBuf::new(), python: PathBuf::new(), scripts: PathBuf::new() }
    }
}

impl Contender {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lifeline => "Lifeline",
            Self::LifelineInfo => "Lifeline, log at info",
            Self::LifelineFile => "Lifeline, HANDLER=file",
            Self::Bare => "bare SDK loop",
            Self::BareTraced => "bare SDK loop, traceparent",
            Self::Hand => "loop by hand",
            Self::SqsConsumer => "sqs-consumer",
            Self::Boto3Batch => "boto3, batch deletes",
            Self::Boto3Single => "boto3, single deletes",
            Self::Celery => "Celery",
            Self::Omniqueue => "omniqueue",
            Self::Ruststream => "ruststream",
            Self::Shove => "shove",
        }
    }

    /// Whether it is measured in every cell of the matrix: Lifeline and the bare loop.
    pub fn is_principal(self) -> bool {
        matches!(self, Self::Lifeline | Self::Bare | Self::BareTraced)
    }

    /// Whether it can publish to SNS with batches.
    pub fn publishes(self) -> bool {
        matches!(
            self,
            Self::Lifeline
                | Self::Bare
                | Self::BareTraced
                | Self::Hand
                | Self::SqsConsumer
                | Self::Boto3Batch
                | Self::Shove
        )
    }

    /// Whether it is a variant of another contender, whose starts, stops and idle cost are not measured again.
    pub fn is_variant(self) -> bool {
        matches!(self, Self::LifelineInfo | Self::LifelineFile | Self::BareTraced | Self::Hand)
    }

    /// How the topic delivers to it: Celery's tasks and shove's messages are delivered raw.
    pub fn delivery(self) -> Delivery {
        if matches!(self, Self::Celery | Self::Shove) { Delivery::Raw } else { Delivery::Wrapped }
    }

    /// Whether it reads Celery tasks instead of plain messages.
    pub fn reads_tasks(self) -> bool {
        self == Self::Celery
    }

    /// Messages per second for which a first run is planned, with 64 in flight and small bodies.
    pub fn guess(self) -> f64 {
        match self {
            Self::Lifeline
            | Self::LifelineInfo
            | Self::LifelineFile
            | Self::Bare
            | Self::BareTraced
            | Self::Hand => 25_000.0,
            Self::Omniqueue | Self::Ruststream | Self::Shove => 6_000.0,
            Self::SqsConsumer => 4_000.0,
            Self::Boto3Batch => 3_000.0,
            Self::Boto3Single | Self::Celery => 900.0,
        }
    }

    /// How much longer a run must be, so that a JIT compiler can warm up.
    pub fn warming(self) -> f64 {
        if self == Self::SqsConsumer { 3.0 } else { 1.0 }
    }

    /// The command that starts it.
    pub fn command(self, programs: &Programs, stage: &Stage, in_flight: usize, job: Job<'_>) -> Command {
        let mut command = match (self, job) {
            (Self::Lifeline | Self::LifelineInfo | Self::LifelineFile, Job::Publish(_)) => {
                Command::new(programs.services.join("producer"))
            }
            (Self::Lifeline | Self::LifelineInfo | Self::LifelineFile, _) => {
                Command::new(programs.services.join("consumer"))
            }
            (Self::Bare | Self::BareTraced, Job::Publish(_)) => {
                with(&programs.tools.join("bare"), &["publish"])
            }
            (Self::Bare | Self::BareTraced, _) => with(&programs.tools.join("bare"), &["drain"]),
            (Self::Hand, Job::Publish(_)) => with(&programs.tools.join("hand"), &["publish"]),
            (Self::Hand, _) => with(&programs.tools.join("hand"), &["drain"]),
            (Self::Omniqueue, _) => Command::new(programs.tools.join("omniqueue-drain")),
            (Self::Ruststream, _) => Command::new(programs.tools.join("ruststream-drain")),
            (Self::Shove, job) => {
                let way = if matches!(job, Job::Publish(_)) { "publish" } else { "drain" };
                with(&programs.tools.join("shove-loop"), &[way])
            }
            (Self::SqsConsumer, job) => {
                let script = if matches!(job, Job::Publish(_)) { "publish.mjs" } else { "drain.mjs" };
                with(Path::new("node"), &[&programs.node.join(script).to_string_lossy()])
            }
            (Self::Boto3Batch | Self::Boto3Single, Job::Publish(_)) => {
                with(&programs.python, &[&programs.scripts.join("publish.py").to_string_lossy()])
            }
            (Self::Boto3Batch, _) => {
                with(&programs.python, &[&programs.scripts.join("drain.py").to_string_lossy(), "batch"])
            }
            (Self::Boto3Single, _) => {
                with(&programs.python, &[&programs.scripts.join("drain.py").to_string_lossy(), "single"])
            }
            (Self::Celery, _) => {
                let mut worker = with(&programs.python, &CELERY);
                worker.current_dir(&programs.scripts);
                worker
            }
        };
        stage.environment(&mut command);
        command.env("IN_FLIGHT", in_flight.to_string());
        match self {
            Self::Lifeline | Self::LifelineInfo | Self::LifelineFile => {
                service(&mut command, self, in_flight, job)
            }
            _ => peer(&mut command, job),
        }
        if self == Self::BareTraced {
            command.env("TRACEPARENT", TRACEPARENT);
        }
        command
    }
}

/// W3C's own example.
const TRACEPARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// With processes, Celery's default: with threads it drained a third as fast, without a pool a tenth.
const CELERY: [&str; 11] = [
    "-m",
    "celery",
    "-A",
    "celery_app",
    "--quiet",
    "worker",
    "--pool=prefork",
    "--without-gossip",
    "--without-mingle",
    "--without-heartbeat",
    "--loglevel=ERROR",
];

fn with(program: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(arguments);
    command
}

fn service(command: &mut Command, contender: Contender, in_flight: usize, job: Job<'_>) {
    command
        .env("HEALTH_ADDR", "127.0.0.1:0")
        .env("PROVISION", "false")
        .env("RUST_LOG", if contender == Contender::LifelineInfo { "info" } else { "warn" });
    match job {
        Job::Publish(input) => {
            command.env("INPUT", input).env("PUBLISH_RATE", "0").env_remove("QUEUE_URL");
            return;
        }
        Job::Report(fifo) => {
            command.env("HANDLER", "file").env("HANDLER_FILE", fifo);
        }
        Job::Drain => {}
    }
    command.env("MAX_IN_FLIGHT", in_flight.to_string());
    if let Some(pollers) = std::env::var_os("BENCH_POLLERS") {
        command.env("POLLERS", pollers);
    }
}

fn peer(command: &mut Command, job: Job<'_>) {
    match job {
        Job::Publish(input) => command.env("INPUT", input),
        Job::Report(fifo) => command.env("HANDLED", fifo),
        Job::Drain => command,
    };
}
