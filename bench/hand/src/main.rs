//! A receive loop and a publish loop by hand: hyper, serde_json and AWS's signatures, without the SDK.
//!
//! What the bare SDK loop costs beyond this is the cost of the SDK. `hand drain` receives up to ten messages and deletes them
//! in one batch, in `IN_FLIGHT`/10 concurrent loops with a connection each, on one thread, until it is killed. `hand publish`
//! sends the lines of `INPUT` in batches as large as SNS accepts and exits. It retries nothing: a call that fails ends the
//! program. `HANDLED` and `TRACEPARENT` are those of the bare SDK loop.

mod connection;
mod publish;
mod sqs;

use anyhow::{Context, Result, bail};

/// Maximum entries per batch call.
const BATCH: usize = 10;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let in_flight = variable("IN_FLIGHT")?.parse().context("IN_FLIGHT")?;
    match std::env::args().nth(1).as_deref() {
        Some("drain") => sqs::drain(in_flight).await,
        Some("publish") => publish::publish(in_flight).await,
        _ => bail!("usage: hand drain|publish"),
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// The batch sizes of the loops, which together have `in_flight` messages.
fn batches(in_flight: usize) -> impl Iterator<Item = usize> {
    (0..in_flight.div_ceil(BATCH)).map(move |n| BATCH.min(in_flight - n * BATCH))
}

/// Waits until all loops have ended, or one has failed.
async fn all(mut loops: tokio::task::JoinSet<Result<()>>) -> Result<()> {
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
