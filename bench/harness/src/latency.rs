//! Measures the latency from publish to handler, at ten messages per second and at 80 % of the contender's maximum.
//!
//! That maximum is measured here too. It differs from the drain rate: messages are published while they are handled, on the
//! same cores, at most a few hundred ahead of the handler.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use tokio::task::JoinSet;

use crate::contender::{Contender, Job};
use crate::handled::{Form, HandledFifo};
use crate::lab::Lab;
use crate::process::Running;
use crate::results::{Latency, Load};
use crate::stage::{Endpoint, Stage};
use crate::working::offer;

/// Bytes of a body.
pub const BODY: usize = 200;

/// Maximum time to start, including an interpreter and its imports.
const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Maximum number of concurrent publish calls.
const CALLS: usize = 16;

/// Messages that may be published ahead of the handler while the maximum is measured.
const AHEAD: u64 = 640;

/// Maximum time until the last message is handled.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(20);

/// A running contender. Fields are dropped in order: the contender is killed before its FIFO is removed.
struct Set {
    running: Running,
    handled: HandledFifo,
    stage: Stage,
    form: Form,
    _endpoint: Endpoint,
}

/// Starts a contender and waits for its first message.
async fn ready(lab: &Lab, contender: Contender, in_flight: usize) -> Result<Set> {
    let (endpoint, stage) = lab.set(contender.delivery()).await?;
    let (handled, form) = (lab.handled()?, lab.form(contender).await?);
    let mut running = lab.start(contender, &stage, in_flight, Job::Report(handled.path()))?;
    stage.publish(vec![form.message(BODY)]).await?;
    handled
        .wait_for(&mut running, 1, STARTED_WITHIN)
        .await
        .with_context(|| format!("{} did not start", contender.name()))?;
    Ok(Set { running, handled, stage, form, _endpoint: endpoint })
}

/// The latency at ten messages per second.
pub async fn light(lab: &Lab, contender: Contender, in_flight: usize, seconds: f64) -> Result<Latency> {
    at_rate(lab, contender, in_flight, Load::Light, 10.0, seconds).await
}

/// The latency at 80 % of the rate `most`.
pub async fn heavy(
    lab: &Lab,
    contender: Contender,
    in_flight: usize,
    most: f64,
    seconds: f64,
) -> Result<Latency> {
    at_rate(lab, contender, in_flight, Load::Heavy, 0.8 * most, seconds).await
}

async fn at_rate(
    lab: &Lab,
    contender: Contender,
    in_flight: usize,
    load: Load,
    rate: f64,
    seconds: f64,
) -> Result<Latency> {
    let mut set = ready(lab, contender, in_flight).await?;
    let total = (rate * seconds) as u64;
    offer(&set.stage, rate, total, |_| set.form.message(BODY)).await?;
    set.handled.wait_for(&mut set.running, total + 1, CAUGHT_UP_WITHIN).await?;
    // The first message waited for the start.
    let millis = set.handled.close()?.split_off(1);
    Ok(Latency { contender, in_flight, load, rate, millis })
}

/// Messages per second that the contender handles while they are published.
pub async fn most(lab: &Lab, contender: Contender, in_flight: usize, seconds: f64) -> Result<f64> {
    let set = ready(lab, contender, in_flight).await?;
    let mut calls = JoinSet::new();
    let (began, mut sent, mut steady) = (Instant::now(), 1, None);
    while began.elapsed().as_secs_f64() < seconds {
        while calls.len() < CALLS && sent < set.handled.count() + AHEAD {
            sent += 10;
            let stage = set.stage.clone();
            let messages = (0..10).map(|_| set.form.message(BODY)).collect();
            calls.spawn(async move { stage.publish(messages).await });
        }
        if steady.is_none() && began.elapsed().as_secs_f64() > seconds * 0.3 {
            steady = Some((Instant::now(), set.handled.count()));
        }
        tokio::select! {
            Some(ended) = calls.join_next() => ended??,
            () = tokio::time::sleep(Duration::from_millis(1)) => {}
        }
    }
    let (from, before) = steady.context("too short")?;
    Ok((set.handled.count() - before) as f64 / from.elapsed().as_secs_f64())
}
