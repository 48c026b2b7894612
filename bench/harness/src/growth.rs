//! Growth: does a message cost more with a larger backlog, or with more concurrent receives?
//!
//! For the backlog, the same number of messages is drained from ever longer queues. For the pollers, an entire queue is
//! drained.

use anyhow::Result;

use crate::contender::{Contender, Job};
use crate::lab::Lab;
use crate::results::Grown;
use crate::stage::Delivery;
use crate::throughput::watch;

/// Bytes of a body.
const BODY: usize = 200;

/// Messages of the backlog that are measured.
const WATCHED: u64 = 40_000;

/// Lines of the input file that is published repeatedly to fill a large queue.
const LINES: u64 = 100_000;

/// Pollers while the backlog grows.
pub const POLLERS: usize = 8;

/// Messages in the queue while the number of pollers grows.
pub const QUEUE: u64 = 60_000;

/// Measures one run.
pub async fn run(lab: &Lab, contender: Contender, backlog: u64, pollers: usize) -> Result<Grown> {
    let (endpoint, stage) = lab.set(Delivery::Wrapped).await?;
    let mut filled = 0;
    while filled < backlog {
        let part = (backlog - filled).min(LINES);
        let input = lab.input(BODY, part, false).await?;
        filled += part;
        lab.add(&stage, &input, filled).await?;
    }
    let mut command = contender.command(&lab.programs, &stage, pollers * 10, Job::Drain);
    command.env("POLLERS", pollers.to_string());
    let mut running = lab.launch(command)?;
    let watched = backlog.min(WATCHED);
    let run =
        watch(&endpoint, &stage, &mut running, watched, |left| (backlog - left.min(backlog)).min(watched))
            .await?;
    stage.strike().await;
    Ok(Grown { contender, backlog, pollers, span: run.span, peak_kb: run.peak_kb })
}
