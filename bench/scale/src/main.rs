//! `scale`: how far one pod goes, how many are needed, and what that costs.

mod autoscale;
mod aws;
mod chart;
mod check;
mod cluster;
mod doc;
mod figures;
mod http;
mod measure;
mod model;
mod plan;
mod programs;
mod rules;
mod sim;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};
use tokio::signal::unix::{SignalKind, signal};

use crate::figures::Figures;
use crate::programs::Programs;

/// The capacity model, its simulation, and the check of both against the real programs.
#[derive(Parser)]
struct Asked {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Runs consumer and producer behind a wire, and fails when the simulation is off.
    Check {
        /// Where lifeline, consumer and producer are; they are built where this is not said.
        #[arg(long)]
        bin: Option<PathBuf>,
        /// Round trips in milliseconds.
        #[arg(long, value_delimiter = ',', default_values_t = [1, 20, 80])]
        round_trips: Vec<u64>,
        /// Only rows whose name contains this.
        #[arg(long)]
        only: Option<String>,
        /// Keeps the table for docs/scale.md.
        #[arg(long)]
        write: bool,
    },
    /// Fills figures.json from the benchmark's results, or by a short measurement of its own.
    Figures {
        /// The benchmark's results.json.
        results: Option<PathBuf>,
        /// Where lifeline, consumer and producer are; they are built where this is not said.
        #[arg(long)]
        bin: Option<PathBuf>,
    },
    /// Makes the tables of docs/scale.md and its charts.
    Doc {
        /// Says only whether they are stale.
        #[arg(long)]
        check: bool,
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    // what is dropped with the work takes the programs that it started along
    tokio::select! {
        done = work(Asked::parse().what) => done,
        _ = terminate.recv() => bail!("terminated"),
        _ = tokio::signal::ctrl_c() => bail!("interrupted"),
    }
}

async fn work(what: What) -> Result<()> {
    match what {
        What::Check { bin, round_trips, only, write } => {
            let round_trips: Vec<_> = round_trips.into_iter().map(Duration::from_millis).collect();
            let programs = Programs::find(bin).await?;
            let choice = check::Choice { round_trips: &round_trips, only: only.as_deref(), write };
            check::run(&programs, choice).await
        }
        What::Figures { results, bin } => {
            let figures = match results {
                Some(results) => Figures::of_results(&results)?,
                None => measure::figures(&Programs::find(bin).await?).await?,
            };
            figures.write()
        }
        What::Doc { check } => doc::run(check),
    }
}
