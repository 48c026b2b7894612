//! What a message costs our programs: `figures.json`, which the benchmark's results fill.

use anyhow::{Context, Result};
use serde::Deserialize;

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Figures {
    /// Where they come from.
    pub(crate) source: String,
    pub(crate) consumer: Program,
    pub(crate) producer: Program,
}

#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Program {
    /// Processor time a message, in microseconds.
    pub(crate) cpu_us_per_message: f64,
    /// Resident, with small bodies.
    pub(crate) memory_mib: f64,
    /// What a held message takes beyond that, in times of its body.
    pub(crate) memory_per_in_flight_body: f64,
}

impl Figures {
    pub(crate) fn read() -> Result<Self> {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/figures.json");
        let text = std::fs::read_to_string(path).with_context(|| path.to_owned())?;
        serde_json::from_str(&text).with_context(|| path.to_owned())
    }
}
