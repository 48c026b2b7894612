//! An outage behind the handler: how soon Lifeline works again, and whether a message is lost or handled twice.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::contender::Contender;
use crate::handled::now;
use crate::lab::Lab;
use crate::results::Outage;
use crate::slow_handler::{State, Taken};
use crate::stage::Delivery;
use crate::working::{Working, offer};

/// What the service behind the handler does in an outage.
pub const KINDS: [State; 2] = [State::Refuses, State::Closes];

/// Messages per second that are published throughout.
const RATE: f64 = 500.0;

/// How long the handler takes when it works.
const TAKES: Duration = Duration::from_millis(1);

/// Time before the outage, and after it before the last message is published.
const CALM: Duration = Duration::from_secs(2);

/// Maximum time until all messages are handled after an outage.
const CAUGHT_UP_WITHIN: Duration = Duration::from_secs(180);

/// Time after the last message in which it could be handled again.
const QUIET: Duration = Duration::from_secs(2);

/// Measures an outage of this length.
pub async fn outage(lab: &Lab, kind: State, lasts: Duration, in_flight: usize) -> Result<Outage> {
    let (_endpoint, stage) = lab.set(Delivery::Wrapped).await?;
    let mut working = Working::start(lab, Contender::Lifeline, &stage, in_flight, TAKES).await?;
    let seconds = (CALM * 2 + lasts).as_secs_f64();
    let total = (RATE * seconds) as u64;
    let publishing = tokio::spawn({
        let stage = stage.clone();
        async move { offer(&stage, RATE, total, |number| format!("{:020} {number:010} order", now())).await }
    });
    tokio::time::sleep(CALM).await;
    ensure!(working.service.count() > 0, "no message was handled before the outage");
    working.service.set(kind);
    tokio::time::sleep(lasts).await;
    working.service.set(State::Works);
    let (works, works_ns, before) = (Instant::now(), now(), working.service.count());
    working.wait_for(before + 1, CAUGHT_UP_WITHIN).await.context("nothing was handled after the outage")?;
    let first = works.elapsed();
    publishing.await??;
    let began = Instant::now();
    // All were handled, or the rest was given up.
    while stage.left().await? > 0 {
        working.running.must_run()?;
        ensure!(began.elapsed() < CAUGHT_UP_WITHIN, "{} messages are left in the queue", stage.left().await?);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(QUIET).await;
    let taken = working.service.taken();
    let times = times(&taken);
    Ok(Outage {
        kind: if kind == State::Closes { "closes the connection" } else { "answers 503" }.to_owned(),
        seconds: lasts.as_secs_f64(),
        rate: RATE,
        refused: working.service.refused(),
        first_ms: first.as_secs_f64() * 1e3,
        caught_up_ms: caught_up(&taken, works_ns),
        lost: total.saturating_sub(times.len() as u64 + stage.dead().await?),
        dead: stage.dead().await?,
        twice: times.values().filter(|times| **times > 1).count() as u64,
    })
}

/// How often each message was handled, by its number.
fn times(taken: &[Taken]) -> HashMap<&[u8], u64> {
    let mut times = HashMap::new();
    for taken in taken {
        *times.entry(taken.head.get(21..31).unwrap_or_default()).or_default() += 1;
    }
    times
}

/// Milliseconds from the end of the outage until the last message that was published before had been handled.
fn caught_up(taken: &[Taken], end: u64) -> f64 {
    let sent = |taken: &&Taken| {
        let sent =
            taken.head.get(..20).and_then(|digits| std::str::from_utf8(digits).ok()?.parse::<u64>().ok());
        sent.is_some_and(|sent| sent < end)
    };
    let last = taken.iter().filter(sent).map(|taken| taken.at).max().unwrap_or(end);
    last.saturating_sub(end) as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_counted_by_their_number() {
        let taken = |(sent, number, at): (u64, u64, u64)| Taken {
            at,
            head: format!("{sent:020} {number:010} order").into_bytes(),
        };
        let taken = [
            (1_000_000, 1, 9_000_000),
            (2_000_000, 2, 4_000_000),
            (6_000_000, 3, 50_000_000),
            (2_000_000, 2, 7_000_000),
        ]
        .map(taken);
        let times = times(&taken);
        assert_eq!((times.len(), times[b"0000000002".as_slice()]), (3, 2));
        assert!((caught_up(&taken, 5_000_000) - 4.0).abs() < 1e-9);
    }
}
