//! Compares builds of Lifeline: is a change faster?
//!
//! Each round measures the same cell of every build, and starts with another build, so that disturbances of the machine
//! affect all of them.

use std::fmt::Write as _;
use std::str::FromStr;

use anyhow::Result;

use crate::comparison::progress;
use crate::contender::Contender;
use crate::lab::Lab;
use crate::report::{tenths, whole};
use crate::results::Cell;
use crate::stage::{Delivery, Transport};
use crate::throughput::{Plan, Way};

const HEAD: &str = "\
| | messages per second | CPU µs per message | peak memory, MB |
| --- | --- | --- | --- |
";

/// A cell to measure, for example `drain:64:200`: drain or publish, messages in flight, bytes of a body, and `tls` for HTTPS.
#[derive(Debug, Clone, Copy)]
pub struct Measured {
    way: Way,
    in_flight: usize,
    body: usize,
    transport: Transport,
}

impl FromStr for Measured {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let bad = || {
            format!(
                "{text}: expected drain or publish, messages in flight, and bytes of a body, for example drain:64:200 or drain:64:200:tls"
            )
        };
        let (text, transport) = match text.strip_suffix(":tls") {
            Some(text) => (text, Transport::Tls),
            None => (text, Transport::Plain),
        };
        let [way, in_flight, body] = text.split(':').collect::<Vec<_>>()[..] else { return Err(bad()) };
        let way = match way {
            "drain" => Way::Drain,
            "publish" => Way::Publish,
            _ => return Err(bad()),
        };
        let number = |text: &str| text.parse().ok().filter(|number| *number > 0).ok_or_else(bad);
        Ok(Self { way, in_flight: number(in_flight)?, body: number(body)?, transport })
    }
}

/// One build, or the bare loop.
pub struct Build {
    /// Name in the table.
    pub name: String,
    /// Where its binaries are.
    pub lab: Lab,
    /// Lifeline or the bare loop.
    pub contender: Contender,
}

impl Build {
    /// A build of Lifeline, named after its directory.
    pub fn ours(lab: Lab) -> Self {
        let name = lab.programs.services.display().to_string();
        Self { name, lab, contender: Contender::Lifeline }
    }

    /// The bare loop.
    pub fn bare(lab: Lab) -> Self {
        Self { name: Contender::Bare.name().to_owned(), lab, contender: Contender::Bare }
    }
}

/// Measures all builds and returns a table.
pub async fn run(builds: &[Build], measured: &[Measured], rounds: usize, seconds: f64) -> Result<String> {
    let mut table = String::new();
    for &Measured { way, in_flight, body, transport } in measured {
        let plans: Vec<Plan> = builds
            .iter()
            .map(|build| Plan {
                contender: build.contender,
                way,
                transport,
                delivery: Delivery::Wrapped,
                in_flight,
                body,
                seconds,
            })
            .collect();
        let mut cells: Vec<Cell> = plans.iter().map(Plan::cell).collect();
        for round in 1..=rounds {
            for at in 0..builds.len() {
                let at = (at + round) % builds.len();
                let (build, cell) = (&builds[at], &mut cells[at]);
                plans[at].run_into(&build.lab, cell).await?;
                let micros = cell.runs.last().map_or(0.0, |run| run.span.cpu_micros());
                progress(&format!(
                    "{way:?} {in_flight} in flight, {body} B, round {round}: {}, {micros:.1} us",
                    build.name
                ));
            }
        }
        write!(table, "\n{way:?}, {in_flight} in flight, {body} B, {rounds} rounds\n\n{HEAD}")?;
        for (build, cell) in builds.iter().zip(&cells) {
            let (rate, cpu, peak) = (whole(cell.rate()), tenths(cell.cpu()), tenths(cell.peak()));
            writeln!(table, "| {} | {rate} | {cpu} | {peak} |", build.name)?;
        }
    }
    Ok(table)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_measured_is_said_in_three_words() {
        let said: Measured = "publish:8:10000".parse().unwrap();
        assert_eq!((said.way, said.in_flight, said.body), (Way::Publish, 8, 10_000));
        for bad in ["drain", "drain:8", "drain:0:200", "drain:8:x", "pull:8:200", "drain:8:200:1"] {
            let error = bad.parse::<Measured>().unwrap_err();
            assert!(error.starts_with(bad) && error.contains("drain:64:200"), "{error}");
        }
    }
}
