//! The benchmark harness: measures Lifeline and other clients. Started by `bench/run`; see `bench/README.md`.

mod ask;
mod capacity;
mod comparison;
mod contender;
mod fifo;
mod growth;
mod handled;
mod lab;
mod latency;
mod life;
mod outage;
mod plan;
mod process;
mod proxy;
mod report;
mod results;
mod slow_handler;
mod span;
mod stage;
mod throttling;
mod throughput;
mod up;
mod versus;
mod working;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::{Args, Parser, Subcommand, ValueEnum};
use comparison::progress;
use contender::{Contender, Programs};
use lab::Lab;
use plan::{Effort, Part};
use results::{Grown, Results};
use tokio::signal::unix::{SignalKind, signal};
use versus::{Build, Measured};

#[derive(Parser)]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Measure all contenders
    Compare(Compare),
    /// Measure cost and memory with a growing backlog and more pollers
    Growth(Growth),
    /// Measure consumers and producers behind a latency, for docs/scale.md
    Capacity(Capacity),
    /// Compare builds of Lifeline and print a table
    Versus(Versus),
    /// Write the tables of existing results
    Report(Output),
}

#[derive(Args)]
struct Common {
    #[command(flatten)]
    programs: Programs,
    #[command(flatten)]
    output: Output,
    /// NAME=VALUE for the first table
    #[arg(long)]
    about: Vec<String>,
    /// Endpoint to use instead of the embedded one
    #[arg(long, env = "BENCH_ENDPOINT")]
    endpoint: Option<String>,
    /// Pin the client to one core and the endpoint to another
    #[arg(long)]
    pin: bool,
    /// Directory for input files and logs
    #[arg(long)]
    scratch: PathBuf,
}

#[derive(Args)]
struct Output {
    /// Directory of results.json and table.md
    #[arg(long)]
    out: PathBuf,
    /// Page with the tables between markers
    #[arg(long)]
    page: Option<PathBuf>,
}

#[derive(Args)]
struct Compare {
    #[command(flatten)]
    common: Common,
    /// Only these contenders
    #[arg(long, value_delimiter = ',')]
    only: Vec<Contender>,
    /// Only these parts
    #[arg(long, value_delimiter = ',')]
    parts: Vec<Part>,
    /// Only 64 in flight and 200 B, two rounds
    #[arg(long)]
    quick: bool,
    /// Runs of each cell [default: 3, or up to 5 while they differ]
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds of the steady part of a run
    #[arg(long)]
    seconds: Option<f64>,
}

#[derive(Args)]
struct Growth {
    #[command(flatten)]
    common: Common,
    /// Add a backlog of ten million messages, for Lifeline only: 20 GB in the endpoint
    #[arg(long)]
    ten_million: bool,
    /// Backlogs in messages
    #[arg(long, value_delimiter = ',', default_value = "1000,10000,100000,1000000")]
    backlogs: Vec<u64>,
    /// Numbers of pollers
    #[arg(long, value_delimiter = ',', default_value = "1,2,4,8,16,32,64")]
    pollers: Vec<usize>,
    /// Runs of each
    #[arg(long, default_value_t = 3)]
    rounds: usize,
}

#[derive(Args)]
struct Capacity {
    /// Directory with `lifeline`, `consumer` and `producer`
    #[arg(long)]
    services: PathBuf,
    /// Directory of `latency-proxy`
    #[arg(long)]
    tools: PathBuf,
    /// Date of the measurement
    #[arg(long)]
    date: String,
    /// Round trips in milliseconds
    #[arg(long, value_delimiter = ',', default_value = "1,20,80")]
    round_trips: Vec<u64>,
    /// Directory for input files and logs
    #[arg(long)]
    scratch: PathBuf,
    /// File for the rows: bench/scale/measured.json
    #[arg(long)]
    out: PathBuf,
}

#[derive(Args)]
struct Versus {
    /// Directories with `lifeline`, `consumer` and `producer`
    #[arg(required = true)]
    builds: Vec<PathBuf>,
    /// Directory of `bare`, to compare the bare loop too
    #[arg(long)]
    tools: Option<PathBuf>,
    /// Cells to measure: drain or publish, messages in flight, bytes of a body
    #[arg(long, value_delimiter = ',', default_value = "drain:64:200,publish:64:200")]
    measure: Vec<Measured>,
    /// Runs of each
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of the steady part of a run
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Pin the client to one core and the endpoint to another
    #[arg(long)]
    pin: bool,
    /// Directory for input files and logs
    #[arg(long)]
    scratch: PathBuf,
}

fn main() -> ExitCode {
    let asked = Cli::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.map_err(Into::into).and_then(|runtime| runtime.block_on(perform(asked.task))) {
        Ok(code) => code,
        Err(error) => {
            progress(&format!("bench: {error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// Runs until done or interrupted, which drops all processes and so kills them.
async fn perform(task: Task) -> Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hang_up = signal(SignalKind::hangup())?;
    tokio::select! {
        done = measure(task) => done,
        _ = interrupt.recv() => Ok(ExitCode::from(130)),
        _ = terminate.recv() => Ok(ExitCode::from(143)),
        _ = hang_up.recv() => Ok(ExitCode::from(129)),
    }
}

async fn measure(task: Task) -> Result<ExitCode> {
    let (output, results) = match task {
        Task::Versus(asked) => {
            let table = versus::run(&asked.builds()?, &asked.measure, asked.rounds, asked.seconds).await?;
            println!("{table}");
            return Ok(ExitCode::SUCCESS);
        }
        Task::Capacity(asked) => {
            let programs = Programs::ours(asked.services, asked.tools);
            let lab = Lab::open(programs, None, false, &asked.scratch)?;
            let measured = capacity::run(&lab, asked.date, &asked.round_trips).await?;
            let text = serde_json::to_string_pretty(&measured)?;
            std::fs::write(&asked.out, format!("{text}\n"))?;
            return Ok(ExitCode::SUCCESS);
        }
        Task::Report(output) => {
            let results = Results::read(&output.out.join("results.json"))?;
            (output, results)
        }
        Task::Compare(asked) => {
            let (lab, mut results) = asked.common.open(false)?;
            let effort = asked.effort();
            comparison::compare(&lab, &asked.contenders(), &asked.parts(), effort, &mut results).await;
            (asked.common.output, results)
        }
        Task::Growth(asked) => {
            let (lab, mut results) = asked.common.open(true)?;
            asked.run(&lab, &mut results).await;
            (asked.common.output, results)
        }
    };
    results.write(&output.out.join("results.json"))?;
    report::write(&results, &output.out, output.page.as_deref())?;
    Ok(if results.failures.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Common {
    /// Creates the lab and the results; `more` keeps earlier results of the same day.
    fn open(&self, more: bool) -> Result<(Lab, Results)> {
        std::fs::create_dir_all(&self.output.out)?;
        let lab = Lab::open(self.programs.clone(), self.endpoint.clone(), self.pin, &self.scratch)?;
        let path = self.output.out.join("results.json");
        let mut results = if more && path.exists() { Results::read(&path)? } else { Results::default() };
        for fact in &self.about {
            let (name, value) =
                fact.split_once('=').with_context(|| format!("--about {fact}: expected NAME=VALUE"))?;
            results.about.insert(name.to_owned(), value.to_owned());
        }
        let endpoint = self.endpoint.as_deref().unwrap_or("lifeline aws, fresh for every run");
        results.about.insert("endpoint".into(), endpoint.into());
        let cores = std::thread::available_parallelism()?.to_string();
        let placed = if self.pin { "client on one, endpoint on another" } else { "shared" };
        results.about.insert("cores".into(), format!("{cores}, {placed}"));
        results.about.insert("CPU".into(), cpu_model(Path::new("/proc/cpuinfo")));
        Ok((lab, results))
    }
}

fn cpu_model(path: &Path) -> String {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let name = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
    name.map_or_else(|| std::env::consts::ARCH.to_owned(), |(_, name)| name.trim().to_owned())
}

impl Compare {
    fn contenders(&self) -> Vec<Contender> {
        if self.only.is_empty() { Contender::value_variants().to_vec() } else { self.only.clone() }
    }

    fn parts(&self) -> Vec<Part> {
        if self.parts.is_empty() { Part::value_variants().to_vec() } else { self.parts.clone() }
    }

    fn effort(&self) -> Effort {
        let quick = self.quick;
        Effort {
            least: self.rounds.unwrap_or(if quick { 2 } else { 3 }),
            rounds: self.rounds.unwrap_or(if quick { 2 } else { 5 }),
            seconds: self.seconds.unwrap_or(1.0),
            light: if quick { 5.0 } else { 10.0 },
            idle: Duration::from_secs(if quick { 10 } else { 40 }),
            lines: if quick { 50_000 } else { 200_000 },
            trouble: Duration::from_secs(if quick { 3 } else { 10 }),
            quick,
        }
    }
}

impl Versus {
    fn builds(&self) -> Result<Vec<Build>> {
        let lab = |services: &PathBuf| {
            let programs = Programs::ours(services.clone(), self.tools.clone().unwrap_or_default());
            Lab::open(programs, None, self.pin, &self.scratch)
        };
        let mut builds =
            self.builds.iter().map(|dir| lab(dir).map(Build::ours)).collect::<Result<Vec<_>>>()?;
        if self.tools.is_some() {
            builds.push(Build::bare(lab(&self.builds[0])?));
        }
        Ok(builds)
    }
}

impl Growth {
    async fn run(&self, lab: &Lab, results: &mut Results) {
        let mut backlogs = self.backlogs.clone();
        if self.ten_million {
            backlogs.push(10_000_000);
        }
        let by_backlog = backlogs.into_iter().map(|backlog| (backlog, growth::POLLERS));
        let by_pollers = self.pollers.iter().map(|pollers| (growth::QUEUE, *pollers));
        let mut grown = Vec::new();
        for (backlog, pollers) in by_backlog.chain(by_pollers) {
            // Filling such a queue takes minutes, and the bare loop's cost is known by then.
            let (rounds, contenders): (_, &[_]) = if backlog > 1_000_000 {
                (1, &[Contender::Lifeline])
            } else {
                (self.rounds, &[Contender::Lifeline, Contender::Bare])
            };
            for _ in 0..rounds {
                for &contender in contenders {
                    let what = format!("growth: {}, {backlog} messages, {pollers} pollers", contender.name());
                    // This run replaces an earlier one.
                    results.failures.retain(|failure| !failure.starts_with(&what));
                    match growth::run(lab, contender, backlog, pollers).await {
                        Ok(run) => {
                            let (rate, cpu) = (run.span.rate(), run.span.cpu_micros());
                            progress(&format!("{what}: {rate:.0}/s, {cpu:.1} us, {} kB", run.peak_kb));
                            grown.push(run);
                        }
                        Err(error) => comparison::fail(results, &what, &error),
                    }
                }
            }
        }
        // Earlier results for other backlogs stay: the largest takes minutes and may be added alone.
        let again =
            |old: &Grown| grown.iter().any(|new| (new.backlog, new.pollers) == (old.backlog, old.pollers));
        results.growth.retain(|old| !again(old));
        results.growth.append(&mut grown);
    }
}
