//! Throttling: the endpoint lets half of the calls pass that the contender makes undisturbed.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::ask::ask;
use crate::contender::Contender;
use crate::lab::Lab;
use crate::results::{Phase, Throttled};
use crate::stage::Stage;
use crate::working::{BODY, Working};

/// The contenders that are measured.
pub const CONTENDERS: [Contender; 2] = [Contender::Lifeline, Contender::Bare];

/// A handler that takes this long keeps the rate far below that of the machine.
const HANDLER: Duration = Duration::from_millis(10);

/// The calls of a consumer.
const ACTIONS: [&str; 4] =
    ["ReceiveMessage", "DeleteMessage", "DeleteMessageBatch", "ChangeMessageVisibilityBatch"];

/// Calm, before and after.
const CALM: Duration = Duration::from_secs(2);

/// Time until the contender has settled, after its start and under throttling.
const SETTLED: Duration = Duration::from_secs(1);

/// Length of the window in which the rate is that of the calm again.
const WINDOW: Duration = Duration::from_millis(400);

/// Maximum time to recover.
const RECOVERED_WITHIN: Duration = Duration::from_secs(30);

/// Measures one contender; `throttled` is how long it is throttled.
pub async fn throttle(
    lab: &Lab,
    contender: Contender,
    in_flight: usize,
    throttled: Duration,
) -> Result<Throttled> {
    let (endpoint, stage) = lab.set(contender.delivery()).await?;
    let most = in_flight as f64 / HANDLER.as_secs_f64();
    let seconds = 3.0 * CALM.as_secs_f64() + throttled.as_secs_f64();
    let count = (most * seconds) as u64;
    let input = lab.input(BODY, count, false).await?;
    lab.fill(&stage, &input, count, false).await?;
    let mut working = Working::start(lab, contender, &stage, in_flight, HANDLER).await?;
    working.wait_for(count / 50, RECOVERED_WITHIN).await.context("the contender did not start")?;
    tokio::time::sleep(SETTLED).await;

    let before = observe(&endpoint.url, &stage, CALM).await?;
    let faults = ACTIONS.iter().filter_map(|action| {
        let rate = before.calls.get(*action).copied()? as f64 / before.seconds;
        Some(format!("{action}: above={:.0} throttle", (rate / 2.0).max(1.0)))
    });
    let faults: Vec<String> = faults.collect();
    ask("PUT", &endpoint.url, "/_lifeline/faults", &faults.join("\n")).await?;
    tokio::time::sleep(SETTLED).await;
    let under = observe(&endpoint.url, &stage, throttled).await?;

    ask("DELETE", &endpoint.url, "/_lifeline/faults", "").await?;
    let recovered = recovery(&stage, before.rate() * 0.9).await?;
    working.running.must_run()?;
    Ok(Throttled { contender, in_flight, before, under, recovered_ms: recovered.as_secs_f64() * 1e3 })
}

/// What happens in this time.
async fn observe(endpoint: &str, stage: &Stage, time: Duration) -> Result<Phase> {
    let (began, left, calls) = (Instant::now(), stage.left().await?, calls(endpoint).await?);
    tokio::time::sleep(time).await;
    let (seconds, now) = (began.elapsed().as_secs_f64(), self::calls(endpoint).await?);
    let after = stage.left().await?;
    ensure!(after > 0, "the queue is empty: the contender was faster than planned");
    let made =
        |action: &&str| now.get(*action).copied().unwrap_or(0) - calls.get(*action).copied().unwrap_or(0);
    let calls =
        ACTIONS.iter().map(|action| ((*action).to_owned(), made(action))).filter(|(_, made)| *made > 0);
    Ok(Phase { messages: left.saturating_sub(after), seconds, calls: calls.collect() })
}

async fn calls(endpoint: &str) -> Result<BTreeMap<String, u64>> {
    Ok(serde_json::from_str(&ask("GET", endpoint, "/_lifeline/calls", "").await?)?)
}

/// How long it takes until the rate is at least `rate`.
async fn recovery(stage: &Stage, rate: f64) -> Result<Duration> {
    let began = Instant::now();
    let mut looks = vec![(Duration::ZERO, stage.left().await?)];
    loop {
        tokio::time::sleep(WINDOW / 10).await;
        let (at, left) = (began.elapsed(), stage.left().await?);
        ensure!(left > 0, "the queue was empty before the rate had recovered");
        ensure!(at < RECOVERED_WITHIN, "the rate had not recovered in {RECOVERED_WITHIN:?}");
        let since = looks.iter().rev().find(|(earlier, _)| at.saturating_sub(*earlier) >= WINDOW);
        if let Some(&(earlier, before)) = since {
            let done = before.saturating_sub(left) as f64;
            if done / at.saturating_sub(earlier).as_secs_f64() >= rate {
                return Ok(earlier);
            }
        }
        looks.push((at, left));
    }
}
