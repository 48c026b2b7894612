//! Starting, stopping, and doing nothing.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contender::{Contender, Job};
use crate::lab::Lab;
use crate::results::{Calls, Idle};
use crate::stage::{Delivery, Endpoint, Stage, Wire};

const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// A receive of 20 s in the air, and then some.
const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// An idle contender has settled by then.
const SETTLED: Duration = Duration::from_secs(5);

const BODY: usize = 200;

/// Celery's messages tell nothing through SNS' envelope: it reads tasks.
async fn put(lab: &Lab, contender: Contender, count: u64) -> Result<(Endpoint, Stage)> {
    let tasks = contender.reads_tasks();
    let (endpoint, stage) = lab.set(if tasks { Delivery::Raw } else { Delivery::Wrapped }).await?;
    let input = lab.input(BODY, count, tasks).await?;
    lab.fill(&stage, &input, count, tasks).await?;
    Ok((endpoint, stage))
}

/// Milliseconds from exec to the first message handled, of a queue that holds one.
pub async fn first_message(lab: &Lab, contender: Contender, in_flight: usize) -> Result<f64> {
    let (_endpoint, stage) = put(lab, contender, 1).await?;
    let ear = lab.ear()?;
    let began = Instant::now();
    let _running = lab.start(contender, &stage, in_flight, Job::Tell(ear.path()))?;
    ear.hear(1, STARTED_WITHIN).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds from SIGTERM to exit, with a queue that holds `count` messages and is being drained.
pub async fn stop_busy(lab: &Lab, contender: Contender, in_flight: usize, count: u64) -> Result<f64> {
    let (_endpoint, stage) = put(lab, contender, count).await?;
    let mut running = lab.start(contender, &stage, in_flight, Job::Drain)?;
    let began = Instant::now();
    while stage.left().await? > count - count / 5 {
        running.must_run()?;
        anyhow::ensure!(began.elapsed() < STARTED_WITHIN, "it did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = Instant::now();
    running.terminate()?;
    running.end_within(STOPPED_WITHIN).await?;
    Ok(asked.elapsed().as_secs_f64() * 1e3)
}

/// Watches contenders on empty queues, all at once, since none disturbs another; then stops them and says how long each
/// took, in milliseconds.
pub async fn idle(
    lab: &Lab,
    contenders: &[Contender],
    in_flight: usize,
    watched: Duration,
) -> Result<Vec<(Idle, f64)>> {
    let mut sets = Vec::new();
    for contender in contenders {
        let (endpoint, stage) = lab.set(Delivery::Wrapped).await?;
        let wire = Wire::start(&lab.programs.tools.join("wire"), &endpoint.url, &lab.log)?;
        let stage = stage.behind(&wire);
        let running = lab.start(*contender, &stage, in_flight, Job::Drain)?;
        sets.push((*contender, running, wire, endpoint));
    }
    tokio::time::sleep(SETTLED).await;
    let mut before = Vec::new();
    for (_, running, wire, _) in &mut sets {
        running.must_run()?;
        wire.take().await?;
        before.push((running.cpu(), Instant::now()));
    }
    tokio::time::sleep(watched).await;
    let mut idles = Vec::new();
    for ((contender, running, wire, _), (cpu, since)) in sets.iter().zip(before) {
        let seconds = since.elapsed().as_secs_f64();
        idles.push(Idle {
            contender: *contender,
            seconds,
            cpu: running.cpu() - cpu,
            memory_kb: running.memory("VmRSS"),
            calls: Some(wire.take().await?.values().sum()),
        });
    }
    let mut stops = vec![None; sets.len()];
    for (_, running, _, _) in &sets {
        running.terminate()?;
    }
    let asked = Instant::now();
    while stops.iter().any(Option::is_none) && asked.elapsed() < STOPPED_WITHIN {
        for ((_, running, _, _), stop) in sets.iter_mut().zip(&mut stops) {
            if stop.is_none() && running.ended()?.is_some() {
                *stop = Some(asked.elapsed().as_secs_f64() * 1e3);
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    let most = STOPPED_WITHIN.as_secs_f64() * 1e3;
    Ok(idles.into_iter().zip(stops.into_iter().map(|stop| stop.unwrap_or(most))).collect())
}

/// The calls of one run, by action.
pub async fn calls(
    lab: &Lab,
    contender: Contender,
    drained: bool,
    in_flight: usize,
    body: usize,
    messages: u64,
) -> Result<Calls> {
    let tasks = drained && contender.reads_tasks();
    let (endpoint, stage) = lab.set(if tasks { Delivery::Raw } else { Delivery::Wrapped }).await?;
    let input = lab.input(body, messages, tasks).await?;
    if drained {
        lab.fill(&stage, &input, messages, tasks).await?;
    }
    let wire = Wire::start(&lab.programs.tools.join("wire"), &endpoint.url, &lab.log)?;
    let job = if drained { Job::Drain } else { Job::Publish(&input) };
    let mut running = lab.start(contender, &stage.behind(&wire), in_flight, job)?;
    let began = Instant::now();
    let goal = if drained { 0 } else { messages };
    while stage.left().await? != goal {
        if drained {
            running.must_run()?;
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "it took longer than a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Calls { contender, drained, in_flight, body, messages, by_action: wire.take().await? })
}

