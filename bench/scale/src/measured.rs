//! Rates that were measured behind a latency, next to what the formulas say: `measured.json`.

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::model::Bound;

/// One pod at one latency.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Row {
    name: String,
    round_trip_ms: u64,
    /// Messages per second, by the formulas.
    model: f64,
    /// What limits the pod, by the formulas.
    bound: Bound,
    /// Messages per second.
    measured: f64,
    /// AWS calls per message.
    calls: f64,
    connections: usize,
    /// The latency was the limit, and not the CPU of the machine that client and endpoint shared.
    judged: bool,
}

pub(crate) const HEAD: &str = "\
| pod | round trip | formula, per second | limited by | measured, per second | formula to measured | calls per message | connections |
| --- | --- | --- | --- | --- | --- | --- | --- |";

/// All rows.
pub(crate) fn read() -> Result<Vec<Row>> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/measured.json");
    let text = std::fs::read_to_string(path).context("measured.json")?;
    serde_json::from_str(&text).context("measured.json")
}

impl Row {
    fn difference(&self) -> f64 {
        self.model / self.measured - 1.0
    }

    pub(crate) fn line(&self) -> String {
        let difference = if self.judged {
            format!("{:+.1} %", self.difference() * 100.0)
        } else {
            "limited by this machine".to_owned()
        };
        format!(
            "| {} | {} ms | {:.0} | {} | {:.0} | {difference} | {:.2} | {} |",
            self.name,
            self.round_trip_ms,
            self.model,
            self.bound,
            self.measured,
            self.calls,
            self.connections,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_the_latency_is_the_limit_the_formulas_are_within_ten_percent() {
        let rows = read().unwrap();
        assert!(rows.iter().filter(|row| row.judged).count() >= 10);
        for row in rows.iter().filter(|row| row.judged) {
            assert!(row.difference().abs() < 0.1, "{}", row.line());
        }
    }
}
