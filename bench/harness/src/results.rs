//! The figures as they were measured, run by run: `results.json`. Tables and charts are made from it alone.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::contender::Contender;
use crate::span::{Span, Spread, spread};

/// Everything of one comparison.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Results {
    /// What it was measured on, and with which versions.
    pub about: BTreeMap<String, String>,
    /// Queues drained.
    pub drains: Vec<Cell>,
    /// Messages published.
    pub publishes: Vec<Cell>,
    /// From publishing to the handler.
    pub latencies: Vec<Latency>,
    /// Calls for a message.
    pub calls: Vec<Calls>,
    /// Starting and stopping.
    pub lives: Vec<Life>,
    /// Doing nothing.
    pub idles: Vec<Idle>,
    /// Against the backlog and the number of pollers.
    pub growth: Vec<Grown>,
    /// What did not work, in words.
    pub failures: Vec<String>,
}

/// One contender with so many in flight and bodies of so many bytes.
#[derive(Debug, Serialize, Deserialize)]
pub struct Cell {
    /// Who.
    pub contender: Contender,
    /// Messages held at most.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Every run.
    pub runs: Vec<Run>,
}

/// One run.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Run {
    /// Messages in the queue, or to publish, when it began.
    pub count: u64,
    /// Its steady part.
    pub span: Span,
    /// Peak memory of the contender and its children, in kB.
    pub peak_kb: u64,
}

/// Latencies at one rate.
#[derive(Debug, Serialize, Deserialize)]
pub struct Latency {
    /// Who.
    pub contender: Contender,
    /// Messages held at most.
    pub in_flight: usize,
    /// `10 a second` or `80 %`.
    pub load: Load,
    /// Messages a second that were sent.
    pub rate: f64,
    /// Milliseconds from just before the publish call to the handled line: of each run every message, or a thousand evenly
    /// of all.
    pub millis: Vec<f64>,
}

/// How hard a latency was measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Load {
    /// Ten messages a second.
    Light,
    /// Four fifths of what the contender takes when messages are published as fast as it handles them.
    Heavy,
}

/// Calls in one run through the counting wire.
#[derive(Debug, Serialize, Deserialize)]
pub struct Calls {
    /// Who.
    pub contender: Contender,
    /// Whether it drained or published.
    pub drained: bool,
    /// Messages held at most.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Messages in all.
    pub messages: u64,
    /// By action.
    pub by_action: BTreeMap<String, u64>,
}

/// Starts and stops, in milliseconds.
#[derive(Debug, Serialize, Deserialize)]
pub struct Life {
    /// Who.
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
    /// Who.
    pub contender: Contender,
    /// How long it was watched, in seconds.
    pub seconds: f64,
    /// Processor seconds in that time.
    pub cpu: f64,
    /// Resident memory at the end, in kB.
    pub memory_kb: u64,
    /// Calls in that time, where a wire counted them.
    pub calls: Option<u64>,
}

/// One run of the growth.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Grown {
    /// Who.
    pub contender: Contender,
    /// Messages in the queue at the beginning of the run.
    pub backlog: u64,
    /// Receives in the air at most.
    pub pollers: usize,
    /// The steady part.
    pub span: Span,
    /// Peak memory in kB.
    pub peak_kb: u64,
}

impl Cell {
    /// Messages a second.
    pub fn rate(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.rate()))
    }

    /// Processor microseconds for a message.
    pub fn cpu(&self) -> Option<Spread> {
        spread(self.runs.iter().map(|run| run.span.cpu_micros()))
    }

    /// The endpoint's.
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
    /// Calls for one message.
    pub fn per_message(&self) -> f64 {
        self.by_action.values().sum::<u64>() as f64 / self.messages as f64
    }
}

impl Results {
    /// Reads them.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
        Ok(serde_json::from_str(&text)?)
    }

    /// Writes them, an entry of a list on each line.
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

    /// The cell of a contender.
    pub fn drain(&self, contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
        find(&self.drains, contender, in_flight, body)
    }

    /// The cell of a contender.
    pub fn publish(&self, contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
        find(&self.publishes, contender, in_flight, body)
    }
}

fn find(cells: &[Cell], contender: Contender, in_flight: usize, body: usize) -> Option<&Cell> {
    cells.iter().find(|cell| (cell.contender, cell.in_flight, cell.body) == (contender, in_flight, body))
}
