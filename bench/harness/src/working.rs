//! Handlers that take time: the rate against Little's law, and the latency at 80 % of it.
//!
//! With `n` messages in flight and a handler that takes `H`, no consumer can handle more than `n / H` messages per second.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use tokio::task::JoinSet;

use crate::contender::{Contender, Job};
use crate::handled::{DIGITS, Form, HandledFifo};
use crate::lab::Lab;
use crate::process::Running;
use crate::results::Worked;
use crate::slow_handler::{SlowHandler, Taken};
use crate::span::thinned;
use crate::stage::Stage;
use crate::throughput::watch;

/// Milliseconds that the handlers take.
pub const HANDLERS: [u64; 3] = [1, 10, 100];

/// The contenders that can be given such a handler.
pub const CONTENDERS: [Contender; 2] = [Contender::Lifeline, Contender::Bare];

/// Bytes of a body.
pub const BODY: usize = 200;

/// Maximum number of messages in the queue.
const MOST: f64 = 40_000.0;

/// Maximum number of concurrent publish calls.
const CALLS: usize = 16;

/// Maximum time until the last message is handled.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(30);

/// A contender with a handler that takes time: an HTTP service for Lifeline, and a sleep in the loop of the other.
pub struct Working {
    /// The contender.
    pub running: Running,
    /// The service, which only Lifeline calls.
    pub service: SlowHandler,
    handled: HandledFifo,
}

impl Working {
    /// Starts it.
    pub async fn start(
        lab: &Lab,
        contender: Contender,
        stage: &Stage,
        in_flight: usize,
        takes: Duration,
    ) -> Result<Self> {
        let (service, handled) = (SlowHandler::start(takes).await?, lab.handled()?);
        let lifeline = contender == Contender::Lifeline;
        let job = if lifeline { Job::Drain } else { Job::Report(handled.path()) };
        let mut command = contender.command(&lab.programs, stage, in_flight, job);
        if lifeline {
            command.env("HANDLER", "http").env("HANDLER_URL", service.url());
        } else {
            command.env("HANDLER_MS", takes.as_millis().to_string());
        }
        Ok(Self { running: lab.launch(command)?, service, handled })
    }

    /// Messages that have reached the handler.
    pub fn count(&self) -> u64 {
        self.service.count().max(self.handled.count())
    }

    /// Waits until `count` messages have.
    pub async fn wait_for(&mut self, count: u64, within: Duration) -> Result<()> {
        let began = Instant::now();
        while self.count() < count {
            self.running.must_run()?;
            ensure!(
                began.elapsed() < within,
                "{} messages of {count} were handled in {within:?}",
                self.count()
            );
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(())
    }

    /// Milliseconds from publish to handler of each message, in the order of handling.
    fn close(self) -> Result<Vec<f64>> {
        let over_http: Vec<f64> = self.service.taken().iter().filter_map(latency).collect();
        if over_http.is_empty() { self.handled.close() } else { Ok(over_http) }
    }
}

fn latency(taken: &Taken) -> Option<f64> {
    let sent: u64 = std::str::from_utf8(taken.head.get(..DIGITS)?).ok()?.parse().ok()?;
    Some(taken.at.saturating_sub(sent) as f64 / 1e6)
}

/// Measures one contender with a handler that takes `handler_ms`.
pub async fn work(lab: &Lab, contender: Contender, in_flight: usize, handler_ms: u64) -> Result<Worked> {
    let takes = Duration::from_millis(handler_ms);
    let most = in_flight as f64 / takes.as_secs_f64();

    let (endpoint, stage) = lab.set(contender.delivery()).await?;
    let count = (most * 2.5).min(MOST) as u64;
    let input = lab.input(BODY, count, false).await?;
    lab.fill(&stage, &input, count, false).await?;
    let mut working = Working::start(lab, contender, &stage, in_flight, takes).await?;
    let run =
        watch(&endpoint, &stage, &mut working.running, count, |left| count.saturating_sub(left)).await?;
    let rate = run.span.rate();
    drop((working, endpoint));

    let (_endpoint, stage) = lab.set(contender.delivery()).await?;
    let mut working = Working::start(lab, contender, &stage, in_flight, takes).await?;
    stage.publish(vec![Form::Plain.message(BODY)]).await?;
    working.wait_for(1, CAUGHT_UP_WITHIN).await.context("the contender did not start")?;
    let total = (0.8 * rate * 2.5) as u64;
    offer(&stage, 0.8 * rate, total, |_| Form::Plain.message(BODY)).await?;
    working.wait_for(total + 1, CAUGHT_UP_WITHIN).await?;
    // The first message waited for the start.
    let millis = thinned(&working.close()?.split_off(1), 1000);
    Ok(Worked { contender, in_flight, handler_ms, most, rate, millis })
}

/// Publishes `total` messages at a rate, however slowly they are handled.
pub async fn offer(
    stage: &Stage,
    rate: f64,
    total: u64,
    mut message: impl FnMut(u64) -> String,
) -> Result<()> {
    let mut calls = JoinSet::new();
    let (began, mut sent) = (Instant::now(), 0);
    while sent < total {
        let due = ((began.elapsed().as_secs_f64() * rate) as u64 + 1).min(total);
        while sent < due {
            let size = (due - sent).min(10);
            let messages = (sent..sent + size).map(&mut message).collect();
            sent += size;
            let stage = stage.clone();
            calls.spawn(async move { stage.publish(messages).await });
            if calls.len() >= CALLS {
                calls.join_next().await.transpose()?.transpose()?;
            }
        }
        let next = Duration::from_secs_f64(sent as f64 / rate).saturating_sub(began.elapsed());
        tokio::time::sleep(next.max(Duration::from_millis(2))).await;
    }
    while let Some(ended) = calls.join_next().await {
        ended??;
    }
    Ok(())
}
