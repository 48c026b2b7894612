//! What a message costs our programs: `figures.json`. It is filled from the benchmark's `results.json`, or by a measurement of
//! its own where there is none; no figure of it is written anywhere else.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// In the benchmark's results: with so many in flight.
pub(crate) const IN_FLIGHT: usize = 64;

/// Bodies that are measured.
pub(crate) const BODIES: [usize; 3] = [200, 10_000, 200_000];

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Figures {
    /// Where they come from.
    pub(crate) source: String,
    /// What a small message held adds to a consumer, in KiB: `scale figures` alone measures it.
    pub(crate) consumer_held_kib: f64,
    /// By size, the smallest first.
    pub(crate) bodies: Vec<Body>,
}

#[derive(Debug, Clone, Copy, Default, Serialize, Deserialize)]
pub(crate) struct Body {
    pub(crate) bytes: usize,
    /// Processor time a message, in microseconds.
    pub(crate) consumer_cpu_us: f64,
    pub(crate) producer_cpu_us: f64,
    /// Resident at most, with [`IN_FLIGHT`] messages in flight.
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

    /// From the benchmark: our own cells, their medians.
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
        let bodies = bodies.collect::<Option<Vec<_>>>().context("a body size is not among the results")?;
        Ok(Self {
            source: "`bench/run`".to_owned(),
            consumer_held_kib: Self::read()?.consumer_held_kib,
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

    /// Processor time a message of so many bytes.
    pub(crate) fn consumer_cost(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(self.at(bytes, |body| body.consumer_cpu_us) / 1e6)
    }

    pub(crate) fn producer_cost(&self, bytes: usize) -> Duration {
        Duration::from_secs_f64(self.at(bytes, |body| body.producer_cpu_us) / 1e6)
    }

    /// A consumer's memory, in MiB: what it takes with the smallest bodies, and what larger ones add for each that is held.
    pub(crate) fn consumer_memory(&self, bytes: usize, in_flight: usize) -> f64 {
        let least = self.bodies.first().map_or(0.0, |body| body.consumer_peak_mib);
        least + self.held_memory(bytes) * in_flight as f64
    }

    /// What a message held adds, in MiB: what a small one does, and what a larger body adds, at least its own bytes.
    pub(crate) fn held_memory(&self, bytes: usize) -> f64 {
        let least = self.bodies.first().map_or(0.0, |body| body.consumer_peak_mib);
        let more = self.at(bytes, |body| body.consumer_peak_mib) - least;
        self.consumer_held_kib / 1024.0 + (more / IN_FLIGHT as f64).max(bytes as f64 / f64::from(1 << 20))
    }
}

/// Processor time and memory of our cell with so many bytes.
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
    fn between_two_sizes_a_cost_lies_between_theirs() {
        let figures = Figures {
            source: String::new(),
            consumer_held_kib: 4.0,
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
