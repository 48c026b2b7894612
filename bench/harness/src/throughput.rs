//! Measures draining and publishing: messages per second, CPU time and memory in the steady part of a run.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use crate::contender::{Contender, Job};
use crate::lab::{BYTES_MOST, Lab};
use crate::process::Running;
use crate::results::{Cell, Run};
use crate::span::{Look, STEADY, Watch};
use crate::stage::{Delivery, Endpoint, Stage, Transport};

const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A run without progress for this long has failed.
const STALLED_AFTER: Duration = Duration::from_secs(20);

/// What a run does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// Receive and delete.
    Drain,
    /// Publish.
    Publish,
}

/// The runs of one cell.
#[derive(Debug, Clone, Copy)]
pub struct Plan {
    /// The contender.
    pub contender: Contender,
    /// Drain or publish.
    pub way: Way,
    /// How the contender reaches the endpoint.
    pub transport: Transport,
    /// How the topic delivers to the queue.
    pub delivery: Delivery,
    /// Maximum number of messages in flight.
    pub in_flight: usize,
    /// Bytes of a body.
    pub body: usize,
    /// Wanted length of the steady part, in seconds.
    pub seconds: f64,
}

impl Plan {
    /// An empty cell for the results.
    pub fn cell(&self) -> Cell {
        Cell { contender: self.contender, in_flight: self.in_flight, body: self.body, runs: Vec::new() }
    }

    /// Number of messages for a run at `rate`.
    fn count(&self, rate: f64) -> u64 {
        let wanted = rate * self.seconds / (STEADY.1 - STEADY.0);
        let most = BYTES_MOST / self.body as u64;
        // Rounded to two digits, so that runs share their input files.
        let digits = 10_f64.powf(wanted.max(100.0).log10().floor() - 1.0);
        ((wanted / digits).ceil() * digits).clamp(200.0, most as f64) as u64
    }

    fn guess(&self) -> f64 {
        let by_in_flight = match self.in_flight {
            ..2 => 0.1,
            2..16 => 0.4,
            _ => 1.0,
        };
        let by_size = 1.0 / (1.0 + self.body as f64 / 20_000.0);
        (self.contender.guess() * by_in_flight * by_size).max(100.0)
    }

    /// Adds a run to the cell. The first run determines the number of messages of the next ones, and is repeated if it was
    /// much too short.
    pub async fn run_into(&self, lab: &Lab, cell: &mut Cell) -> Result<()> {
        if let Some(last) = cell.runs.last() {
            let count = self.count(last.span.rate());
            cell.runs.push(self.once(lab, count).await?);
            return Ok(());
        }
        let planned = self.count(self.guess());
        let first = self.once(lab, planned).await?;
        let count = self.count(first.span.rate());
        let short = first.span.seconds < self.seconds / 2.0 && count > planned;
        cell.runs.push(if short { self.once(lab, count).await? } else { first });
        Ok(())
    }

    async fn once(&self, lab: &Lab, count: u64) -> Result<Run> {
        match self.way {
            Way::Drain => self.drain(lab, count).await,
            Way::Publish => self.publish(lab, count).await,
        }
    }

    async fn drain(&self, lab: &Lab, count: u64) -> Result<Run> {
        let tasks = self.contender.reads_tasks();
        let (endpoint, stage) = lab.set_over(self.delivery, self.transport).await?;
        let input = lab.input(self.body, count, tasks).await?;
        lab.fill(&stage, &input, count, tasks).await?;
        let mut running = lab.start(self.contender, &stage, self.in_flight, Job::Drain)?;
        let run = watch(&endpoint, &stage, &mut running, count, |left| count.saturating_sub(left)).await;
        stage.strike().await;
        run
    }

    async fn publish(&self, lab: &Lab, count: u64) -> Result<Run> {
        let (endpoint, stage) = lab.set_over(self.delivery, self.transport).await?;
        let input = lab.input(self.body, count, false).await?;
        let mut running = lab.start(self.contender, &stage, self.in_flight, Job::Publish(&input))?;
        let run = watch(&endpoint, &stage, &mut running, count, |there| there).await;
        stage.strike().await;
        run
    }
}

/// Observes a run until its steady part is over.
pub async fn watch(
    endpoint: &Endpoint,
    stage: &Stage,
    running: &mut Running,
    count: u64,
    done: impl Fn(u64) -> u64,
) -> Result<Run> {
    let began = Instant::now();
    let (mut watch, mut moved, mut peak_kb, mut cpu) = (Watch::of(count), (0, began), 0, 0.0_f64);
    loop {
        let done = done(stage.left().await?);
        let at = began.elapsed().as_secs_f64();
        // The CPU clock of a publisher is gone when it has exited.
        cpu = cpu.max(running.cpu());
        watch.see(Look { at, done, cpu, endpoint_cpu: endpoint.cpu() });
        if let Some(span) = watch.span() {
            peak_kb = peak_kb.max(running.memory("VmHWM"));
            return Ok(Run { count, span, peak_kb });
        }
        if done == count {
            bail!("{count} messages were too few for a steady part");
        }
        peak_kb = peak_kb.max(running.memory("VmHWM"));
        if done > moved.0 {
            moved = (done, Instant::now());
        } else if moved.1.elapsed() > STALLED_AFTER {
            bail!("no progress for {STALLED_AFTER:?} with {done} of {count} messages done");
        }
        if running.ended()?.is_some_and(|status| !status.success()) {
            running.must_run()?;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
