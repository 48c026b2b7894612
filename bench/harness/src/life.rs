//! Measures starts, stops, AWS calls and idle contenders.

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::contender::{Contender, Job};
use crate::lab::Lab;
use crate::process::Running;
use crate::proxy::CountingProxy;
use crate::results::{Calls, Idle};
use crate::stage::{Endpoint, Stage};

const STARTED_WITHIN: Duration = Duration::from_secs(30);

/// Maximum time to stop: a long poll of 20 s and a margin.
pub const STOPPED_WITHIN: Duration = Duration::from_secs(30);

/// Time after which an idle contender is observed.
const SETTLED: Duration = Duration::from_secs(5);

const BODY: usize = 200;

/// A queue with `count` messages.
async fn put(lab: &Lab, contender: Contender, count: u64) -> Result<(Endpoint, Stage)> {
    let tasks = contender.reads_tasks();
    let (endpoint, stage) = lab.set(contender.delivery()).await?;
    let input = lab.input(BODY, count, tasks).await?;
    lab.fill(&stage, &input, count, tasks).await?;
    Ok((endpoint, stage))
}

/// Milliseconds from exec to the first handled message, with one message in the queue.
pub async fn first_message(lab: &Lab, contender: Contender, in_flight: usize) -> Result<f64> {
    let (_endpoint, stage) = put(lab, contender, 1).await?;
    let handled = lab.handled()?;
    let began = Instant::now();
    let mut running = lab.start(contender, &stage, in_flight, Job::Report(handled.path()))?;
    handled.wait_for(&mut running, 1, STARTED_WITHIN).await?;
    Ok(began.elapsed().as_secs_f64() * 1e3)
}

/// Milliseconds from SIGTERM to exit, at most [`STOPPED_WITHIN`], while the contender drains `count` messages.
pub async fn stop_busy(lab: &Lab, contender: Contender, in_flight: usize, count: u64) -> Result<f64> {
    let (_endpoint, stage) = put(lab, contender, count).await?;
    let mut running = lab.start(contender, &stage, in_flight, Job::Drain)?;
    let began = Instant::now();
    while stage.left().await? > count - count / 5 {
        running.must_run()?;
        anyhow::ensure!(began.elapsed() < STARTED_WITHIN, "the contender did not start");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let asked = Instant::now();
    running.terminate()?;
    // A contender that does not stop is a result too.
    running.end_within(STOPPED_WITHIN).await.ok();
    Ok(asked.elapsed().min(STOPPED_WITHIN).as_secs_f64() * 1e3)
}

/// A contender on an empty queue, behind its own counting proxy.
struct Rest {
    contender: Contender,
    running: Running,
    proxy: CountingProxy,
    stopped: Option<Duration>,
    _endpoint: Endpoint,
}

/// The observation of an idle contender, and the milliseconds from SIGTERM to exit.
pub type Rested = Result<(Idle, f64), (Contender, anyhow::Error)>;

/// Observes contenders on empty queues, all at the same time, and then stops them.
pub async fn idle(
    lab: &Lab,
    contenders: &[Contender],
    in_flight: usize,
    watched: Duration,
) -> Result<Vec<Rested>> {
    let mut rests = Vec::new();
    for &contender in contenders {
        let (endpoint, stage) = lab.set(contender.delivery()).await?;
        let proxy = CountingProxy::start(&lab.programs.tools.join("latency-proxy"), &endpoint.url, &lab.log)?;
        let running = lab.start(contender, &stage.behind(&proxy), in_flight, Job::Drain)?;
        rests.push(Rest { contender, running, proxy, stopped: None, _endpoint: endpoint });
    }
    tokio::time::sleep(SETTLED).await;
    let mut before = Vec::new();
    for rest in &rests {
        rest.proxy.take().await?;
        before.push((rest.running.cpu(), Instant::now()));
    }
    tokio::time::sleep(watched).await;
    let mut idles = Vec::new();
    for (rest, (cpu, since)) in rests.iter_mut().zip(before) {
        let seconds = since.elapsed().as_secs_f64();
        let idle = Idle {
            contender: rest.contender,
            seconds,
            cpu: rest.running.cpu() - cpu,
            memory_kb: rest.running.memory("VmRSS"),
            calls: Some(rest.proxy.take().await?.calls.values().sum()),
        };
        idles.push(rest.running.must_run().map(|()| idle).map_err(|error| (rest.contender, error)));
    }
    stop_all(&mut rests).await?;
    let millis = |rest: &Rest| rest.stopped.unwrap_or(STOPPED_WITHIN).as_secs_f64() * 1e3;
    Ok(idles.into_iter().zip(&rests).map(|(idle, rest)| idle.map(|idle| (idle, millis(rest)))).collect())
}

async fn stop_all(rests: &mut [Rest]) -> Result<()> {
    for rest in &*rests {
        // A contender that failed has already exited.
        rest.running.terminate().ok();
    }
    let asked = Instant::now();
    while rests.iter().any(|rest| rest.stopped.is_none()) && asked.elapsed() < STOPPED_WITHIN {
        for rest in rests.iter_mut().filter(|rest| rest.stopped.is_none()) {
            if rest.running.ended()?.is_some() {
                rest.stopped = Some(asked.elapsed());
            }
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(())
}

/// Counts the AWS calls of one run, by action.
pub async fn calls(
    lab: &Lab,
    contender: Contender,
    drained: bool,
    in_flight: usize,
    body: usize,
    messages: u64,
) -> Result<Calls> {
    let tasks = drained && contender.reads_tasks();
    let (endpoint, stage) = lab.set(contender.delivery()).await?;
    let input = lab.input(body, messages, tasks).await?;
    if drained {
        lab.fill(&stage, &input, messages, tasks).await?;
    }
    let proxy = CountingProxy::start(&lab.programs.tools.join("latency-proxy"), &endpoint.url, &lab.log)?;
    let job = if drained { Job::Drain } else { Job::Publish(&input) };
    let mut running = lab.start(contender, &stage.behind(&proxy), in_flight, job)?;
    let began = Instant::now();
    let goal = if drained { 0 } else { messages };
    while stage.left().await? != goal {
        if drained {
            running.must_run()?;
        }
        anyhow::ensure!(began.elapsed() < Duration::from_secs(60), "the run took longer than a minute");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(Calls { contender, drained, in_flight, body, messages, by_action: proxy.take().await?.calls })
}
