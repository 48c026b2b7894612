//! Tells the story of a seed, or runs as many seeds as fit into a time.

#![allow(clippy::print_stdout, reason = "the story is the program's output")]

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Parser;
use lifeline_simulation::{Plan, Report, run, shrink};

/// Simulated nights of producers and consumers, each from a seed.
#[derive(Debug, Parser)]
struct Args {
    /// The seed whose story is told; of a failing one, with the fewest faults that still fail.
    seed: Option<u64>,
    /// Runs seeds for this long instead: 90s, 10m, 1h.
    #[arg(long = "for", value_parser = duration)]
    time: Option<Duration>,
    /// Runs so many seeds instead.
    #[arg(long)]
    seeds: Option<u64>,
    /// The first of them.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// On so many threads; one for each processor without it.
    #[arg(long)]
    jobs: Option<usize>,
    /// Stops at the first seed that fails.
    #[arg(long)]
    first: bool,
    /// Tells the whole story of a failing seed, and leaves no fault out.
    #[arg(long)]
    whole: bool,
    /// The libraries' own lines too.
    #[arg(long)]
    log: bool,
}

fn main() -> ExitCode {
    let args = Args::parse();
    match args.seed {
        Some(seed) if args.time.is_none() && args.seeds.is_none() => story(seed, &args),
        first => many(first.unwrap_or(args.from), &args),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("{text:?} is no time; write 90s, 10m or 1h");
    let (number, unit) = text.split_at(text.len().saturating_sub(1));
    let number: u64 = number.parse().map_err(|_| wrong())?;
    match unit {
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number * 60)),
        "h" => Ok(Duration::from_secs(number * 3600)),
        _ => Err(wrong()),
    }
}

fn story(seed: u64, args: &Args) -> ExitCode {
    let mut plan = Plan::of(seed);
    if !args.whole {
        plan = shrink(&plan);
    }
    let report = if args.log { logged(|| run(&plan)) } else { run(&plan) };
    let mut told = format!("seed {seed}: {}\n", plan.setting);
    for (number, fault) in plan.faults.iter().enumerate() {
        told += &format!("fault {number} at {:?}: {fault}\n", fault.at);
    }
    report.journal.lines().iter().for_each(|line| told += &format!("{line}\n"));
    // whoever reads only its beginning closes the pipe
    std::io::stdout().write_all(told.as_bytes()).ok();
    summary(seed, &report);
    if report.violations.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn logged<T>(work: impl FnOnce() -> T) -> T {
    struct Simulated(Mutex<Option<tokio::time::Instant>>);
    impl tracing_subscriber::fmt::time::FormatTime for Simulated {
        fn format_time(&self, to: &mut tracing_subscriber::fmt::format::Writer<'_>) -> std::fmt::Result {
            let mut start = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            let at = start.get_or_insert_with(tokio::time::Instant::now).elapsed();
            write!(to, "{:.3}", at.as_secs_f64())
        }
    }
    let log = tracing_subscriber::fmt().with_timer(Simulated(Mutex::default())).finish();
    tracing::subscriber::with_default(log, work)
}

fn summary(seed: u64, report: &Report) {
    println!(
        "seed {seed}: {} calls in {:?}, story {:016x}",
        report.calls,
        report.simulated,
        report.journal.hash()
    );
    report.violations.iter().for_each(|what| println!("seed {seed}: INVARIANT {what}"));
}

/// What many runs came to.
#[derive(Default)]
struct Sum {
    runs: u64,
    failed: Vec<u64>,
    calls: u64,
    simulated: Duration,
    reached: BTreeMap<&'static str, u64>,
}

fn many(from: u64, args: &Args) -> ExitCode {
    let begun = Instant::now();
    let (next, sum) = (AtomicU64::new(from), Mutex::new(Sum::default()));
    let goes_on = |seed: u64| match (args.time, args.seeds) {
        (Some(time), _) => begun.elapsed() < time,
        (None, seeds) => seed < from + seeds.unwrap_or(100),
    };
    // a run has a thread to itself, and shares nothing with the others
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            let stop = args.first && !locked(&sum).failed.is_empty();
            if stop || !goes_on(seed) {
                return;
            }
            let report = run(&Plan::of(seed));
            let mut sum = locked(&sum);
            sum.runs += 1;
            sum.calls += report.calls;
            sum.simulated += report.simulated;
            report.reached.iter().for_each(|state| *sum.reached.entry(state).or_default() += 1);
            if !report.violations.is_empty() {
                sum.failed.push(seed);
                summary(seed, &report);
            }
        }
    };
    let jobs = args.jobs.unwrap_or_else(|| std::thread::available_parallelism().map_or(1, usize::from));
    std::thread::scope(|scope| {
        (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work)));
    });
    let Sum { runs, failed, calls, simulated, reached } = std::mem::take(&mut *locked(&sum));
    reached.iter().for_each(|(state, seeds)| println!("{seeds:>6} seeds: {state}"));
    let (hours, took) = (simulated.as_secs_f64() / 3600.0, begun.elapsed());
    println!("{runs} seeds from {from}, {hours:.0} simulated hours, {calls} calls, in {took:.1?}");
    if let Some(seed) = failed.iter().min() {
        println!("the story of the first that failed: cargo run --release -p lifeline-simulation -- {seed}");
    }
    println!("{} passed, {} failed", runs - failed.len() as u64, failed.len());
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn locked(sum: &Mutex<Sum>) -> MutexGuard<'_, Sum> {
    sum.lock().unwrap_or_else(PoisonError::into_inner)
}
