//! What a message costs a consumer and a producer: `figures.json`, read from the benchmark's `results.json`.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Messages in flight of the benchmark's cells that are used.
const IN_FLIGHT: usize = 64;

/// Bytes of the bodies of those cells.
const BODIES: [usize; 3] = [200, 10_000, 200_000];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// The command that measured them.
    pub(crate) source: String,
    /// Memory that a small message in flight adds to a consumer, in KiB: measured on 2026-11-25 with 2,000 in flight.
    pub(crate) consumer_in_flight_kib: f64,
    /// By size, smallest first.
    pub(crate) bodies: Vec<Body>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) bytes: usize,
    /// CPU time per message, in microseconds.
    pub(crate) consumer_cpu_us: f64,
    pub(crate) producer_cpu_us: f64,
    /// Peak resident memory, with [`IN_FLIGHT`] messages in flight.
    pub(crate) consumer_peak_mib: f64,
    pub(crate) producer_peak_mib: f64,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("figures.json")
}

impl Figures {
    pub(crate) fn read() -> Result<Self> {
        let text = std::fs::read_to_string(path()).context("figures.json")?;
        serde_json::from_str(&text).context("figures.json")
    }

    pub(crate) fn write(&self) -> Result<()> {
        Ok(std::fs::write(path(), format!("{}\n", serde_json::to_string_pretty(self)?))?)
    }

    /// The medians of Lifeline's own cells in a results file of the benchmark.
    pub(crate) fn of_results(results: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(results).with_context(|| results.display().to_string())?;
        let results: Value = serde_json::from_str(&text)?;
        let bodies = BODIES.iter().map(|bytes| {
            let (consumer_cpu_us, consumer_peak_mib) = cell(&results["drains"], *bytes)?;
            let (producer_cpu_us, producer_peak_mib) = cell(&results["publishes"], *bytes)?;
            Some(Body {
                bytes: *bytes,
                consumer_cpu_us,
                producer_cpu_us,
                consumer_peak_mib,
                producer_peak_mib,
            })
        });
        let bodies = bodies.collect::<Option<Vec<_>>>().context("the results lack a body size")?;
        Ok(Self {
            source: "`bench/run`".to_owned(),
            consumer_in_flight_kib: Self::read()?.consumer_in_flight_kib,
            bodies,
        })
    }

    fn at(&self, bytes: usize, figure: impl Fn(&Body) -> f64) -> f64 {
        let above = self.bodies.iter().position(|body| body.bytes >= bytes);
        match above {
            Some(0) | None => {
                self.bodies.last().filter(|_| above.is_none()).or(self.bodies.first()).map_or(0.0, figure)
            }
            Some(above) => {
                let (low, high) = (&self.bodies[above - 1], &self.bodies[above]);
                let share = (bytes - low.bytes) as f64 / (high.bytes - low.bytes) as f64;
                figure(low) + (figure(high) - figure(low)) * share
            }
        }
    }

    /// CPU time per message of `bytes`.
    pub(crate) fn consumer_cost(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(self.at(bytes, |body| body.consumer_cpu_us) / 1e6)
    }

    pub(crate) fn producer_cost(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(self.at(bytes, |body| body.producer_cpu_us) / 1e6)
    }

    /// Memory of a consumer in MiB with `in_flight` messages of `bytes`.
    pub(crate) fn consumer_memory(&self, bytes: usize, in_flight: usize) -> f64 {
        let least = self.bodies.first().map_or(0.0, |body| body.consumer_peak_mib);
        least + self.message_memory(bytes) * in_flight as f64
    }

    /// Memory in MiB that one message in flight adds: that of a small message, and for a larger body at least its bytes.
    pub(crate) fn message_memory(&self, bytes: usize) -> f64 {
        let least = self.bodies.first().map_or(0.0, |body| body.consumer_peak_mib);
        let more = self.at(bytes, |body| body.consumer_peak_mib) - least;
        self.consumer_in_flight_kib / 1024.0
            + (more / IN_FLIGHT as f64).max(bytes as f64 / f64::from(1 << 20))
    }
}

/// CPU time and peak memory of Lifeline's cell with bodies of `bytes`.
fn cell(cells: &Value, bytes: usize) -> Option<(f64, f64)> {
    let ours = |cell: &&Value| {
        cell["contender"] == "lifeline" && cell["in_flight"] == IN_FLIGHT && cell["body"] == bytes
    };
    let runs = cells.as_array()?.iter().find(ours)?["runs"].as_array()?;
    let span = |run: &Value| Some(run["span"]["cpu"].as_f64()? * 1e6 / run["span"]["messages"].as_f64()?);
    let peak = |run: &Value| Some(run["peak_kb"].as_f64()? / 1024.0);
    Some((
        median(runs.iter().map(span).collect::<Option<_>>()?)?,
        median(runs.iter().map(peak).collect::<Option<_>>()?)?,
    ))
}

fn median(mut values: Vec<f64>) -> Option<f64> {
    values.sort_unstable_by(f64::total_cmp);
    values.get(values.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn body(bytes: usize, cost: f64) -> Body {
        Body { bytes, consumer_cpu_us: cost, consumer_peak_mib: 16.0, ..Body::default() }
    }

    #[test]
    fn costs_are_interpolated_between_measured_sizes() {
        let figures = Figures {
            source: String::new(),
            consumer_in_flight_kib: 4.0,
            bodies: vec![body(200, 10.0), body(1200, 20.0)],
        };
        let cost = |bytes| figures.consumer_cost(bytes).as_nanos();
        assert_eq!(
            [cost(1), cost(200), cost(700), cost(1200), cost(9999)],
            [10_000, 10_000, 15_000, 20_000, 20_000]
        );
    }

    #[test]
    fn the_benchmarks_results_are_read() {
        let run = |cpu: f64| serde_json::json!({"span": {"cpu": cpu, "messages": 1000}, "peak_kb": 20480});
        let cell = |body: usize| serde_json::json!({"contender": "lifeline", "in_flight": 64, "body": body, "runs": [run(0.3), run(0.1), run(0.2)]});
        assert_eq!(super::cell(&serde_json::json!([cell(200), cell(10_000)]), 10_000), Some((200.0, 20.0)));
        assert_eq!(super::cell(&serde_json::json!([cell(200)]), 10_000), None);
    }
}
