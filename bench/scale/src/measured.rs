//! Rates that `bench/run capacity` measured behind a latency, compared with the formulas: `measured.json`.

use std::fmt;
use std::time::Duration;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::model::{self, Costs, Rate};

/// A rate that needs at least this share of the machine's CPU time is limited by the machine, and is not compared.
const SHARE: f64 = 0.2;

/// Concurrent publish calls of the producers that were measured.
const PUBLISH_CONCURRENCY: usize = 16;

/// The file.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Measured {
    pub(crate) date: String,
    /// Cores that client, proxy and endpoint shared.
    cores: usize,
    rows: Vec<Row>,
}

/// One pod at one latency.
#[derive(Debug, Clone, Deserialize)]
struct Row {
    #[serde(flatten)]
    pod: Pod,
    round_trip_ms: u64,
    /// Duration of a call, with the latency.
    call_ms: f64,
    /// CPU time per message of client, proxy and endpoint together.
    message_us: f64,
    /// Messages per second.
    measured: f64,
    /// AWS calls per message.
    calls: f64,
    connections: u64,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Pod {
    Consumer { pollers: usize, max_in_flight: usize, handler_ms: u64 },
    Producer { bytes: usize },
}

impl fmt::Display for Pod {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Consumer { pollers, max_in_flight, handler_ms: 0 } => {
                write!(f, "consumer {max_in_flight}/{pollers}")
            }
            Self::Consumer { pollers, max_in_flight, handler_ms } => {
                write!(f, "consumer {max_in_flight}/{pollers}, handler {handler_ms} ms")
            }
            Self::Producer { bytes } if *bytes < 1000 => write!(f, "producer, {bytes} B"),
            Self::Producer { bytes } => write!(f, "producer, {} kB", bytes / 1000),
        }
    }
}

pub(crate) const HEAD: &str = "\
| pod | round trip | formula, per second | limited by | measured, per second | formula to measured | calls per message | connections |
| --- | --- | --- | --- | --- | --- | --- | --- |";

impl Measured {
    pub(crate) fn read() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/measured.json");
        let text = std::fs::read_to_string(path).context("measured.json")?;
        serde_json::from_str(&text).context("measured.json")
    }

    pub(crate) fn lines(&self) -> impl Iterator<Item = String> {
        self.rows.iter().map(|row| {
            let (formula, difference) = (row.formula(self.cores), row.difference(self.cores));
            let difference = difference.map_or("limited by this machine".to_owned(), |difference| {
                format!("{:+.1} %", difference * 100.0)
            });
            format!(
                "| {} | {} ms | {:.0} | {} | {:.0} | {difference} | {:.2} | {} |\n",
                row.pod,
                row.round_trip_ms,
                formula.messages,
                formula.bound,
                row.measured,
                row.calls,
                row.connections,
            )
        })
    }
}

impl Row {
    fn formula(&self, cores: usize) -> Rate {
        let call = Duration::from_secs_f64(self.call_ms / 1e3);
        let costs = Costs { call, message: Duration::from_secs_f64(self.message_us / 1e6), cores };
        match self.pod {
            Pod::Consumer { pollers, max_in_flight, handler_ms } => model::drain(
                &model::Pod { pollers, max_in_flight, handler: Duration::from_millis(handler_ms) },
                &costs,
            ),
            Pod::Producer { bytes } => model::publish(bytes, PUBLISH_CONCURRENCY, &costs),
        }
    }

    /// How far the formula is from the measurement, if the latency and not the machine was the limit.
    fn difference(&self, cores: usize) -> Option<f64> {
        let formula = self.formula(cores).messages;
        let compared = formula * self.message_us / 1e6 < SHARE * cores as f64;
        compared.then(|| formula / self.measured - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_latency_is_the_limit_the_formulas_are_within_ten_percent() {
        let measured = Measured::read().unwrap();
        let differences = measured.rows.iter().filter_map(|row| Some((row, row.difference(measured.cores)?)));
        let differences: Vec<_> = differences.collect();
        assert!(differences.len() >= 10);
        for (row, difference) in differences {
            assert!(difference.abs() < 0.1, "{row:?}: {difference}");
        }
    }
}
