//! Throttling, and outages behind the handler: `trouble.json`, read from the benchmark's `results.json`.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

/// What was measured.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Trouble {
    /// Lifeline alone.
    throttled: Vec<Throttled>,
    outages: Vec<Outage>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Throttled {
    contender: String,
    before: Phase,
    under: Phase,
    recovered_ms: f64,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Phase {
    messages: u64,
    seconds: f64,
    calls: BTreeMap<String, u64>,
}

#[derive(Debug, Clone, Serialize, Deserialize)]
struct Outage {
    kind: String,
    seconds: f64,
    rate: f64,
    refused: u64,
    first_ms: f64,
    caught_up_ms: f64,
    lost: u64,
    dead: u64,
    twice: u64,
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("trouble.json")
}

impl Trouble {
    pub(crate) fn read() -> Result<Self> {
        Self::parse(&path())
    }

    /// What a results file of the benchmark says of Lifeline.
    pub(crate) fn of_results(results: &Path) -> Result<Self> {
        let mut trouble = Self::parse(results)?;
        trouble.throttled.retain(|throttled| throttled.contender == "lifeline");
        let complete = !trouble.throttled.is_empty() && !trouble.outages.is_empty();
        ensure!(complete, "{} lacks throttling or an outage", results.display());
        Ok(trouble)
    }

    fn parse(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(crate) fn write(&self) -> Result<()> {
        Ok(std::fs::write(path(), format!("{}\n", serde_json::to_string_pretty(self)?))?)
    }

    pub(crate) fn table(&self) -> String {
        let mut out = String::from("| what happened | what it did |\n| --- | --- |\n");
        for Throttled { before, under, recovered_ms, .. } in &self.throttled {
            let rate = |phase: &Phase| phase.messages as f64 / phase.seconds;
            let calls = |phase: &Phase| phase.calls.values().sum::<u64>() as f64 / phase.messages as f64;
            out += &format!(
                "| SQS lets half of the calls pass, for {:.0} s | {:.2} × the messages per second; {:.2} × the calls per message, with \
                 those that were refused; the full rate again {} later |\n",
                under.seconds,
                rate(under) / rate(before),
                calls(under) / calls(before),
                time(*recovered_ms),
            );
        }
        for outage in &self.outages {
            out += &format!(
                "| the service behind the handler {} for {:.0} s, with {:.0} messages per second | {} attempts; the first message \
                 {} after its end, all caught up {} after it; {} lost, {} dead letters, {} handled twice |\n",
                outage.kind,
                outage.seconds,
                outage.rate,
                outage.refused,
                time(outage.first_ms),
                time(outage.caught_up_ms),
                outage.lost,
                outage.dead,
                outage.twice,
            );
        }
        out
    }
}

fn time(ms: f64) -> String {
    if ms < 1000.0 { format!("{ms:.0} ms") } else { format!("{:.1} s", ms / 1e3) }
}
