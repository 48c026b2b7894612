//! Capacity planning: how fast one pod can be, how many pods a rate needs, and what AWS charges for it.
//!
//! | part | file |
//! | --- | --- |
//! | the formulas, and what limits a pod | `model` |
//! | pods, calls and dollars for a rate | `plan` |
//! | what KEDA does with a backlog, second by second | `autoscale` |
//! | the tables of `docs/scale.md` | `doc` |
//! | what a message costs Lifeline | `figures`, `figures.json` |
//! | the limits and prices of AWS | `aws`, `aws.json` |
//! | the limits of a pod in `kustomize/` | `cluster` |
//! | the defaults of the services in `docs/settings.md` | `settings` |
//! | throttling and outages that were measured | `trouble`, `trouble.json` |
//! | rates measured behind a latency | `measured`, `measured.json` |

mod autoscale;
mod aws;
mod cluster;
mod doc;
mod figures;
mod measured;
mod model;
mod plan;
mod settings;
mod trouble;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Parser, Subcommand};

use crate::figures::Figures;
use crate::trouble::Trouble;

/// Capacity planning for Lifeline: generates the tables of docs/scale.md.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Reads what a message costs from the benchmark's results into figures.json.
    Figures {
        /// The results.json of a benchmark run.
        results: PathBuf,
    },
    /// Reads throttling and outages from the benchmark's results into trouble.json.
    Trouble {
        /// The results.json of a benchmark run.
        results: PathBuf,
    },
    /// Generates the tables of docs/scale.md.
    Doc {
        /// Fail if the page is out of date, and change nothing.
        #[arg(long)]
        check: bool,
    },
}

fn main() -> Result<()> {
    match Args::parse().task {
        Task::Figures { results } => Figures::of_results(&results)?.write(),
        Task::Trouble { results } => Trouble::of_results(&results)?.write(),
        Task::Doc { check } => doc::run(check),
    }
}
