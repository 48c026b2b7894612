//! Measures consumers and producers behind a latency: the rows of `docs/scale.md` that its formulas are compared with.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::Serialize;

use crate::comparison::progress;
use crate::contender::{Contender, Job};
use crate::lab::Lab;
use crate::proxy::CountingProxy;
use crate::results::Run;
use crate::slow_handler::SlowHandler;
use crate::stage::{Delivery, Endpoint, Stage};
use crate::throughput::watch;

/// Settings of the consumers: pollers, messages in flight, and milliseconds of the handler.
const CONSUMERS: [(usize, usize, u64); 6] =
    [(4, 64, 0), (16, 500, 0), (64, 2000, 0), (4, 64, 100), (16, 500, 100), (16, 64, 100)];

/// Bytes of the messages that are published.
const BODIES: [usize; 3] = [200, 10_000, 200_000];

/// Bytes of the messages that are consumed.
const BODY: usize = 200;

/// Calls whose median is the duration of a call.
const CALLS: usize = 20;

/// Wanted seconds of a run.
const SECONDS: f64 = 6.0;

/// Maximum bytes of a run.
const BYTES: u64 = 300_000_000;

/// What ran.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "lowercase")]
enum Pod {
    Consumer { pollers: usize, max_in_flight: usize, handler_ms: u64 },
    Producer { bytes: usize },
}

/// One row: a pod at one latency.
#[derive(Debug, Serialize)]
struct Row {
    #[serde(flatten)]
    pod: Pod,
    round_trip_ms: u64,
    /// Duration of a call, with the latency.
    call_ms: f64,
    /// CPU time per message of client, proxy and endpoint together.
    message_us: f64,
    /// Messages per second.
    measured: f64,
    /// AWS calls per message.
    calls: f64,
    connections: u64,
}

/// All rows, in the form of `bench/scale/measured.json`.
#[derive(Debug, Serialize)]
pub struct Measured {
    date: String,
    /// Cores that client, proxy and endpoint share.
    cores: usize,
    rows: Vec<Row>,
}

/// Measures all pods at each of the round trips, in milliseconds.
pub async fn run(lab: &Lab, date: String, round_trips: &[u64]) -> Result<Measured> {
    let mut rows = Vec::new();
    let consumers = CONSUMERS.map(|(pollers, max_in_flight, handler_ms)| Pod::Consumer {
        pollers,
        max_in_flight,
        handler_ms,
    });
    let producers = BODIES.map(|bytes| Pod::Producer { bytes });
    for pod in consumers.into_iter().chain(producers) {
        // CPU time depends on the pod's batches and not on the latency.
        let plain = Pod::Consumer { pollers: 4, max_in_flight: 64, handler_ms: 0 };
        let plain = if let Pod::Producer { .. } = pod { pod } else { plain };
        let (run, ..) = measure(lab, plain, 0, 20_000.min(plain.most())).await?;
        let message_us = run.span.cpu_micros() + run.span.endpoint_micros();
        for &round_trip_ms in round_trips {
            let call = call_time(lab, pod, round_trip_ms).await?;
            let guess = pod.guess(call).min(2e6 / message_us);
            let count = ((guess * SECONDS) as u64).clamp(200, pod.most().min(60_000));
            let (run, calls, connections) = measure(lab, pod, round_trip_ms, count).await?;
            progress(&format!("{pod:?} at {round_trip_ms} ms: {:.0}/s", run.span.rate()));
            let (call_ms, measured) = (call.as_secs_f64() * 1e3, run.span.rate());
            rows.push(Row { pod, round_trip_ms, call_ms, message_us, measured, calls, connections });
        }
    }
    Ok(Measured { date, cores: std::thread::available_parallelism()?.get(), rows })
}

impl Pod {
    /// A rate to plan the length of a run with.
    fn guess(self, call: Duration) -> f64 {
        match self {
            Self::Consumer { pollers, max_in_flight, handler_ms } => {
                let in_flight = call * 2 + Duration::from_millis(handler_ms);
                (max_in_flight as f64 / in_flight.as_secs_f64())
                    .min(pollers as f64 * 10.0 / call.as_secs_f64())
            }
            Self::Producer { bytes } => 16.0 * batch(bytes) as f64 / call.as_secs_f64(),
        }
    }

    /// The maximum number of messages of a run.
    fn most(self) -> u64 {
        BYTES / if let Self::Producer { bytes } = self { bytes as u64 } else { BODY as u64 }
    }
}

/// Messages of this size in one publish call.
fn batch(bytes: usize) -> usize {
    (262_144 / bytes).clamp(1, 10)
}

/// A fresh endpoint behind a latency; the stage is behind it too.
async fn behind(lab: &Lab, round_trip_ms: u64) -> Result<(Endpoint, Stage, Stage)> {
    let (mut endpoint, stage) = lab.set(Delivery::Wrapped).await?;
    let proxy = CountingProxy::start_distant(
        &lab.programs.tools.join("latency-proxy"),
        &endpoint.url,
        round_trip_ms,
        &lab.log,
    )?;
    let distant = stage.behind(endpoint.put_in_front(proxy)).connected().await;
    Ok((endpoint, stage, distant))
}

/// One run, its calls per message, and its connections.
async fn measure(lab: &Lab, pod: Pod, round_trip_ms: u64, count: u64) -> Result<(Run, f64, u64)> {
    let (endpoint, stage, distant) = behind(lab, round_trip_ms).await?;
    let run = match pod {
        Pod::Consumer { pollers, max_in_flight, handler_ms } => {
            let input = lab.input(BODY, count, false).await?;
            lab.fill(&stage, &input, count, false).await?;
            let handler = SlowHandler::start(Duration::from_millis(handler_ms)).await?;
            let mut command = Contender::Lifeline.command(&lab.programs, &distant, max_in_flight, Job::Drain);
            command.env("POLLERS", pollers.to_string());
            if handler_ms > 0 {
                command.env("HANDLER", "http").env("HANDLER_URL", handler.url());
            }
            let mut running = lab.launch(command)?;
            watch(&endpoint, &stage, &mut running, count, |left| count.saturating_sub(left)).await?
        }
        Pod::Producer { bytes } => {
            let input = lab.input(bytes, count, false).await?;
            let mut running = lab.start(Contender::Lifeline, &distant, 0, Job::Publish(&input))?;
            watch(&endpoint, &stage, &mut running, count, |there| there).await?
        }
    };
    let counts = endpoint.front().context("there is no proxy")?.take().await?;
    // The steady part ends at 95 % of the messages.
    let done = count - stage.left().await?.min(count);
    let done = if let Pod::Producer { .. } = pod { stage.left().await? } else { done };
    let calls = counts.calls.values().sum::<u64>() as f64 / done.max(1) as f64;
    stage.strike().await;
    Ok((run, calls, counts.connections.opened))
}

/// The median duration of the calls of a pod on an open connection, one after the other.
async fn call_time(lab: &Lab, pod: Pod, round_trip_ms: u64) -> Result<Duration> {
    let (_endpoint, stage, distant) = behind(lab, round_trip_ms).await?;
    let bytes = if let Pod::Producer { bytes } = pod { bytes } else { BODY };
    let mut took = Vec::new();
    for _ in 0..CALLS {
        let began = Instant::now();
        distant.publish(vec!["x".repeat(bytes); batch(bytes)]).await?;
        let published = began.elapsed();
        let began = Instant::now();
        took.push(if let Pod::Producer { .. } = pod {
            published
        } else {
            ensure!(distant.receive_and_delete().await? > 0, "the endpoint returned no messages");
            began.elapsed() / 2
        });
    }
    stage.strike().await;
    took.sort_unstable();
    Ok(took[took.len() / 2])
}
