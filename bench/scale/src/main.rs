//! `scale`: how far one pod goes, how many are needed, and what that costs.

mod check;
mod figures;
mod http;
mod measure;
mod model;
mod programs;
mod rules;
mod sim;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand};

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
    },
}

#[tokio::main]
async fn main() -> Result<()> {
    let figures = Figures::read()?;
    match Asked::parse().what {
        What::Check { bin, round_trips, only } => {
            let round_trips: Vec<_> = round_trips.into_iter().map(Duration::from_millis).collect();
            let programs = Programs::find(bin).await?;
            check::run(&programs, &figures, &round_trips, only.as_deref()).await
        }
    }
}
