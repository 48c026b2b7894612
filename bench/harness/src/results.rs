//! The measurements of a comparison, run by run: `results.json`, from which the tables are generated.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::span::{Span, Spread, spread};

/// The measurements of one comparison.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// The machine and the versions.
    pub about: BTreeMap<String, String>,
    /// Draining a queue.
    pub drains: Vec<Cell>,
    /// Publishing.
    pub publishes: Vec<Cell>,
    /// Draining over TLS.
    #[serde(default)]
    pub tls_drains: Vec<Cell>,
    /// Publishing over TLS.
    #[serde(default)]
    pub tls_publishes: Vec<Cell>,
    /// Draining with raw delivery.
    #[serde(default)]
    pub raw_drains: Vec<Cell>,
    /// Latency from publish to handler.
    pub latencies: Vec<Latency>,
    /// AWS calls.
    pub calls: Vec<Calls>,
    /// Start and stop times.
    pub lives: Vec<Life>,
    /// Contenders on an empty queue.
    pub idles: Vec<Idle>,
    /// Handlers that take time.
    #[serde(default)]
    pub worked: Vec<Worked>,
    /// FIFO queues.
    #[serde(default)]
    pub ordered: Vec<Ordered>,
    /// Throttling.
    #[serde(default)]
    pub throttled: Vec<Throttled>,
    /// Outages behind the handler.
    #[serde(default)]
    pub outages: Vec<Outage>,
    /// `lifeline up --input`.
    #[serde(default)]
    pub piped: Vec<Piped>,
    /// With a growing backlog and more pollers.
    pub growth: Vec<Grown>,
    /// Measurements that failed, and why.
    pub failures: Vec<String>,
}

/// The runs of one contender in one cell of the matrix.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cell {
    /// The contender.
    pub contender: Contender,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Every run.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Run {
    /// Messages in the queue, or to publish, at the start.
    pub count: u64,
    /// The steady part.
    pub span: Span,
    /// Peak memory of the contender and its child processes, in kB.
    pub peak_kb: u64,
}

/// Latencies at one rate.
#[derive(Debug, Serialize, Deserialize)]
pub struct Latency {
    /// The contender.
    pub contender: Contender,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// The load.
    pub load: Load,
    /// Messages per second that were published.
    pub rate: f64,
    /// Milliseconds from just before the publish call to the handled line: every message of a run, or a thousand of them.
    pub millis: Vec<f64>,
}

/// The load of a latency measurement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Ten messages per second.
    Light,
    /// 80 % of the rate at which the contender handles messages while they are published.
    Heavy,
}

/// AWS calls of one run, counted by the proxy.
#[derive(Debug, Serialize, Deserialize)]
pub struct Calls {
    /// The contender.
    pub contender: Contender,
    /// Whether it drained or published.
    pub drained: bool,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Number of messages.
    pub messages: u64,
    /// Calls by action.
    pub by_action: BTreeMap<String, u64>,
}

/// Start and stop times, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Life {
    /// The contender.
    pub contender: Contender,
    /// From exec to the first message handled.
    pub first_message: Vec<f64>,
    /// From SIGTERM to exit with a full queue.
    pub stop_busy: Vec<f64>,
    /// From SIGTERM to exit with an empty queue.
    pub stop_idle: Vec<f64>,
}

/// A contender on an empty queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Idle {
    /// The contender.
    pub contender: Contender,
    /// Seconds of observation.
    pub seconds: f64,
    /// CPU seconds in that time.
    pub cpu: f64,
    /// Resident memory at the end, in kB.
    pub memory_kb: u64,
    /// AWS calls in that time.
    pub calls: Option<u64>,
}

/// A handler that takes time.
#[derive(Debug, Serialize, Deserialize)]
pub struct Worked {
    /// The contender.
    pub contender: Contender,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Milliseconds that the handler takes.
    pub handler_ms: u64,
    /// Messages per second by Little's law.
    pub most: f64,
    /// Messages per second while the queue was never empty.
    pub rate: f64,
    /// Milliseconds from publish to handler at 80 % of that rate: a thousand of the messages.
    pub millis: Vec<f64>,
}

/// A FIFO queue.
#[derive(Debug, Serialize, Deserialize)]
pub struct Ordered {
    /// The contender.
    pub contender: Contender,
    /// Message groups.
    pub groups: u64,
    /// Milliseconds that the handler takes.
    pub handler_ms: u64,
    /// Messages per second that groups and messages in flight allow; `None` without a handler that takes time.
    pub allowed: Option<f64>,
    /// The steady part.
    pub span: Span,
    /// Messages that were handled after a later one of their group.
    pub out_of_order: u64,
}

/// A contender that is throttled for a while.
#[derive(Debug, Serialize, Deserialize)]
pub struct Throttled {
    /// The contender.
    pub contender: Contender,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Before.
    pub before: Phase,
    /// While half of its calls may pass.
    pub under: Phase,
    /// Milliseconds from the end of throttling until the rate was 90 % of the one before.
    pub recovered_ms: f64,
}

/// A time in which messages were handled.
#[derive(Debug, Serialize, Deserialize)]
pub struct Phase {
    /// Messages deleted.
    pub messages: u64,
    /// Its length.
    pub seconds: f64,
    /// Calls by action, with those that were throttled.
    pub calls: BTreeMap<String, u64>,
}

impl Phase {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// Calls per message.
    pub fn per_message(&self) -> f64 {
        self.calls.values().sum::<u64>() as f64 / self.messages.max(1) as f64
    }
}

/// An outage behind Lifeline's handler.
#[derive(Debug, Serialize, Deserialize)]
pub struct Outage {
    /// What the service behind the handler did.
    pub kind: String,
    /// Its length.
    pub seconds: f64,
    /// Messages per second that were published throughout.
    pub rate: f64,
    /// Requests that the service refused.
    pub refused: u64,
    /// Milliseconds from its end to the first message handled.
    pub first_ms: f64,
    /// Milliseconds from its end until all messages published before were handled.
    pub caught_up_ms: f64,
    /// Messages that were neither handled nor moved to the dead-letter queue.
    pub lost: u64,
    /// Messages in the dead-letter queue.
    pub dead: u64,
    /// Messages that were handled more than once.
    pub twice: u64,
}

/// A run of `lifeline up --input`.
#[derive(Debug, Serialize, Deserialize)]
pub struct Piped {
    /// `RUST_LOG`.
    pub log: String,
    /// Lines of the input, all of which were written.
    pub lines: u64,
    /// From start to exit.
    pub seconds: f64,
    /// CPU seconds.
    pub cpu: f64,
    /// Peak memory in kB.
    pub peak_kb: u64,
}

/// One run with a given backlog and number of pollers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grown {
    /// The contender.
    pub contender: Contender,
    /// Messages in the queue at the start.
    pub backlog: u64,
    /// Maximum number of concurrent receives.
    pub pollers: usize,
    /// The steady part.
    pub span: Span,
    /// Peak memory in kB.
    pub peak_kb: u64,
}

impl Cell {
    /// Messages per second.
    pub fn rate(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.rate()))
    }

    /// CPU microseconds per message.
    pub fn cpu(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.cpu_micros()))
    }

    /// CPU microseconds of the endpoint per message.
    pub fn endpoint(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.endpoint_micros()))
    }

    /// How much of one core the endpoint used.
    pub fn endpoint_cores(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.endpoint_cores()))
    }

    /// Peak memory in MB of 10^6 bytes.
    pub fn peak(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.peak_kb as f64 * 1024.0 / 1e6))
    }
}

impl Calls {
    /// Calls per message.
    pub fn per_message(&self) -> f64 {
        self.by_action.values().sum::<u64>() as f64 / self.messages as f64
    }
}

impl Results {
    /// Reads a results file.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes a results file, with one list entry per line.
    pub fn write(&self, path: &Path) -> Result<()> {
        let serde_json::Value::Object(sections) = serde_json::to_value(self)? else {
            unreachable!("a struct is an object")
        };
        let sections = sections.into_iter().map(|(name, section)| {
            let section = match section {
                serde_json::Value::Array(entries) if !entries.is_empty() => {
                    let entries: Vec<String> = entries.iter().map(ToString::to_string).collect();
                    format!("[\n{}\n]", entries.join(",\n"))
                }
                other => other.to_string(),
            };
            format!("\"{name}\": {section}")
        });
        let sections: Vec<String> = sections.collect();
        std::fs::write(path, format!("{{\n{}\n}}\n", sections.join(",\n")))
            .with_context(|| format!("writing {}", path.display()))
    }
}
