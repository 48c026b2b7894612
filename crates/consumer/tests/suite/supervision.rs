//! Supervision: what dies is started again, counted, and shown where that does not help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lifeline_scripted::Endpoint;

use crate::support::*;

/// Where the worker's parts beat. Relative, for the paths on a stack are relative to wherever the test runs.
const PARTS: [&str; 4] = ["src/poller.rs", "src/queue_watch.rs", "src/lease/owner.rs", "src/run.rs"];

/// A clock that panics in whoever reads it, which is every part of the worker when it beats: the one place where a
/// test can reach into all of them.
#[derive(Clone, Default)]
struct Bomb {
    /// How many more readings panic.
    armed: Arc<AtomicU32>,
    /// Each third reading in the poller panics.
    place: Arc<AtomicBool>,
    readings: Arc<AtomicU32>,
}

impl Bomb {
    fn pulses(&self) -> lifeline_health::Pulses {
        let bomb = self.clone();
        lifeline_health::Pulses::with_clock(move || {
            let (armed, place) = (bomb.armed.load(Ordering::SeqCst) > 0, bomb.place.load(Ordering::SeqCst));
            if armed && PARTS.iter().any(|file| below(file)) && !below("src/supervisor.rs") {
                bomb.armed.fetch_sub(1, Ordering::SeqCst);
                panic!("as scripted");
            }
            if place && below("src/poller.rs") {
                // it beats when it starts, and dies a moment later
                let reading = bomb.readings.fetch_add(1, Ordering::SeqCst);
                assert!(!reading.is_multiple_of(3), "as scripted");
            }
            tokio::time::Instant::now().into_std()
        })
    }
}

/// Whether code of this file is on the stack.
fn below(file: &str) -> bool {
    format!("{:?}", std::backtrace::Backtrace::force_capture()).contains(file)
}

/// A build without line tables (a stripped release) has no files on its stack: then a test here has nothing to say.
fn cannot_aim() -> bool {
    !below("suite/supervision.rs")
}

#[tokio::test(start_paused = true)]
async fn any_part_that_panics_is_started_again_and_loses_nothing() {
    if cannot_aim() {
        return;
    }
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(5 * SECOND).create();
    let bomb = Bomb::default();
    let consumer =
        Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, takes(SECOND));
    let mut sent = 0;
    for _ in 0..12 {
        queue.put_all((0..5).map(|n| (sent + n).to_string()));
        sent += 5;
        bomb.armed.fetch_add(3, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    aws.wait_for(|_| bomb.armed.load(Ordering::SeqCst) == 0, MINUTE).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    tokio::time::sleep(30 * SECOND).await; // until each has lasted for a while
    stays_up(&consumer, 2 * MINUTE).await;
    assert_eq!(consumer.metric("consumer_poller_restarts_total"), 36.0);
    let drained = consumer.drain().await;
    assert_eq!(drained.account.deleted, 60);
    assert_eq!(queue.deleted().len(), 60);
}

#[tokio::test(start_paused = true)]
async fn a_part_that_restarts_do_not_help_is_named_and_recovers_if_they_do() {
    if cannot_aim() {
        return;
    }
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let bomb = Bomb::default();
    let consumer = Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, succeed);
    aws.wait_for(|aws| aws.open("ReceiveMessage") == 1, SOON).await;
    bomb.place.store(true, Ordering::SeqCst);
    stays_up(&consumer, 40 * SECOND).await;
    aws.wait_for(|_| consumer.pulses.stale() == ["poller-1 (restarting)"], MINUTE).await;
    let restarts = consumer.metric("consumer_poller_restarts_total");
    assert!((5.0..40.0).contains(&restarts), "{restarts} restarts in about a minute");
    bomb.place.store(false, Ordering::SeqCst);
    queue.put("one");
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    aws.wait_for(|_| consumer.pulses.stale().is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_restart() {
    if cannot_aim() {
        return;
    }
    let aws = Endpoint::start().await;
    let _queue = aws.queue("events").create();
    let bomb = Bomb::default();
    let consumer = Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, succeed);
    bomb.place.store(true, Ordering::SeqCst);
    aws.wait_for(|_| consumer.metric("consumer_poller_restarts_total") >= 8.0, 5 * MINUTE).await;
    let begun = tokio::time::Instant::now();
    consumer.drain().await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}
