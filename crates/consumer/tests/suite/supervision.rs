//! Supervision: what dies is started again, counted, and shown where that does not help.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::Duration;

use lifeline_emulator::{Action, Fault};

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
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((5 * SECOND).as_secs());
    let bomb = Bomb::default();
    let consumer =
        Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, takes(SECOND));
    let mut sent = 0;
    for _ in 0..12 {
        queue.send_all((0..5).map(|n| (sent + n).to_string()));
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
    let aws = emulator().await;
    let queue = aws.queue("events");
    let bomb = Bomb::default();
    let consumer = Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, succeed);
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    bomb.place.store(true, Ordering::SeqCst);
    stays_up(&consumer, 40 * SECOND).await;
    aws.wait_for(|_| consumer.pulses.stale() == ["poller-1 (restarting)"], MINUTE).await;
    let restarts = consumer.metric("consumer_poller_restarts_total");
    assert!((5.0..40.0).contains(&restarts), "{restarts} restarts in about a minute");
    bomb.place.store(false, Ordering::SeqCst);
    queue.send("one");
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    aws.wait_for(|_| consumer.pulses.stale().is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_drain_does_not_wait_for_a_restart() {
    if cannot_aim() {
        return;
    }
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let bomb = Bomb::default();
    let consumer = Consumer::start_on(clients(&aws).await, bomb.pulses(), existing("events"), |b| b, succeed);
    bomb.place.store(true, Ordering::SeqCst);
    aws.wait_for(|_| consumer.metric("consumer_poller_restarts_total") >= 8.0, 5 * MINUTE).await;
    let begun = tokio::time::Instant::now();
    consumer.drain().await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
}

/// As `tracing_subscriber::fmt()` does when standard output and error are closed.
struct Panics;

impl tracing::Subscriber for Panics {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.is_event() && *metadata.level() <= tracing::Level::INFO
    }
    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }
    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}
    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}
    fn event(&self, _: &tracing::Event<'_>) {
        panic!("a subscriber that cannot write");
    }
    fn enter(&self, _: &tracing::span::Id) {}
    fn exit(&self, _: &tracing::span::Id) {}
}

#[tokio::test(start_paused = true)]
async fn a_log_that_panics_costs_no_message_and_no_permit() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").visibility_timeout((5 * SECOND).as_secs()).dead_letters_to("dead", 5);
    queue.send_all((0..30).map(|n| n.to_string()));
    // every kind of line: failures of calls, of messages, outages that end
    aws.inject(Fault::on(Action::ReceiveMessage).every(3).error(500, "InternalError"));
    aws.inject(Fault::on(Action::DeleteMessageBatch).nth(2).throttle());
    aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).nth(1).page(404));
    let set = |b: lifeline_consumer::Builder| b.max_in_flight(10);
    let client = clients(&aws).await;
    let pulses = lifeline_health::Pulses::with_clock(|| tokio::time::Instant::now().into_std());
    let _panics = tracing::subscriber::set_default(Panics);
    let handler = |message: lifeline_consumer::Message, _: lifeline_consumer::Context| async move {
        tokio::time::sleep(6 * SECOND).await;
        if message.receive_count == 1 && message.body.ends_with('7') {
            return Err(lifeline_consumer::Failure::new("once"));
        }
        Ok(())
    };
    let consumer = Consumer::start_on(client, pulses, existing("events"), set, handler);
    aws.wait_for(|_| queue.is_empty(), 5 * MINUTE).await;
    assert!(dead.is_empty());
    assert!(consumer.pulses.stale().is_empty());
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.retried, account.lost_lease), (30, 3, 0));
}
