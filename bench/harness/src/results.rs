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

    /// A cell of a contender.
    pub fn drain(&self, contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
        find(&self.drains, contender, in_flight, body)
    }

    /// A cell of a contender.
    pub fn publish(&self, contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
        find(&self.publishes, contender, in_flight, body)
    }
}

fn find(cells: &[Cell], contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
    cells.iter().find(|cell| (cell.contender, cell.in_flight, cell.body) == (contender, in_flight, body))
}
