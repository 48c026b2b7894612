//! Liveness: every part that must move still moves, and nothing else counts.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault};

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_idle_queue_is_up_for_an_hour() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 60 * MINUTE).await;
    assert!(consumer.readiness.reasons().is_empty(), "and ready: {:?}", consumer.readiness);
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_consumer_of_an_idle_queue_is_ready_once_its_queue_is_known() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    // not only when its first long poll comes back
    aws.wait_for(|_| consumer.readiness.reasons().is_empty(), SECOND).await;
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn an_outage_is_up_but_not_ready_and_ready_again_after_it() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| consumer.readiness.reasons().is_empty(), SOON).await;
    for outage in [Emulator::down, Emulator::black_hole] {
        outage(&aws);
        aws.wait_for(|_| !consumer.readiness.reasons().is_empty(), MINUTE).await;
        stays_up(&consumer, 15 * MINUTE).await;
        aws.up();
        aws.wait_for(|_| consumer.readiness.reasons().is_empty(), SOON).await;
    }
    assert_eq!(consumer.drain().await.account.received, 0);
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_throttles_or_refuses_is_up_but_not_ready_and_ready_again_after_it() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| consumer.readiness.reasons().is_empty(), SOON).await;
    for (status, code) in
        [(400, "ThrottlingException"), (403, "AccessDeniedException"), (500, "InternalError")]
    {
        let refusal = aws.inject(Fault::on_every_action().error(status, code));
        aws.wait_for(|_| !consumer.readiness.reasons().is_empty(), MINUTE).await;
        stays_up(&consumer, 15 * MINUTE).await;
        assert!(
            consumer.readiness.reasons().iter().any(|(name, _)| *name == "aws"),
            "{code}: still not ready"
        );
        refusal.remove();
        aws.wait_for(|_| consumer.readiness.reasons().is_empty(), MINUTE).await;
    }
    assert_eq!(consumer.drain().await.account.received, 0);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_received_before_the_queue_is_known() {
    let aws = emulator().await;
    aws.down();
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 10 * MINUTE).await;
    assert!(consumer.readiness.reasons().iter().any(|(name, _)| *name == "topology"));
    aws.up();
    let queue = aws.queue("events");
    queue.send("one");
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert!(consumer.readiness.reasons().is_empty());
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slow_endpoint_is_up() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    // every call just within its bound
    aws.inject(Fault::on_every_action().delay(Duration::from_millis(4800)));
    let consumer = Consumer::start_with(&aws, provisioned("events"), |b| b, succeed).await;
    stays_up(&consumer, 5 * MINUTE).await;
    queue.send("one");
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

/// A clock that a test can put forward.
fn clock() -> (lifeline_health::Pulses, Arc<AtomicU64>) {
    let ahead = Arc::new(AtomicU64::new(0));
    let pulses = lifeline_health::Pulses::with_clock({
        let ahead = Arc::clone(&ahead);
        move || Instant::now() + Duration::from_secs(ahead.load(Ordering::Relaxed))
    });
    (pulses, ahead)
}

/// Blocks its thread until it is dropped.
#[derive(Debug)]
struct Wedge(std::sync::Mutex<std::sync::mpsc::Receiver<()>>);

impl aws_sdk_sqs::config::Intercept for Wedge {
    fn name(&self) -> &'static str {
        "wedge"
    }

    fn read_before_transmit(
        &self,
        _: &aws_sdk_sqs::config::interceptors::BeforeTransmitInterceptorContextRef<'_>,
        _: &aws_sdk_sqs::config::RuntimeComponents,
        _: &mut aws_sdk_sqs::config::ConfigBag,
    ) -> Result<(), aws_sdk_sqs::error::BoxError> {
        self.0.lock().unwrap().recv().ok();
        Ok(())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_poller_that_never_comes_back_is_named() {
    let aws = emulator_on_own_thread();
    let _queue = aws.queue("events");
    let (pulses, ahead) = clock();
    let (release, wedged) = std::sync::mpsc::channel();
    let mut clients = clients(&aws).await;
    let config = clients.polls.config().to_builder().interceptor(Wedge(wedged.into()));
    clients.polls = aws_sdk_sqs::Client::from_conf(config.build());
    let consumer = Consumer::start_on(clients, pulses, existing("events"), |b| b.wait_time(SECOND), succeed);
    aws.wait_for(|_| consumer.pulses.ages().iter().any(|(name, _)| name == "poller-1"), SOON).await;
    ahead.store(60, Ordering::Relaxed);
    // all the others beat again; that one does not
    aws.wait_for(|_| consumer.pulses.stale() == ["poller-1"], SOON).await;
    drop(release);
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn every_part_has_a_pulse_of_less_than_a_minute() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let (pulses, ahead) = clock();
    let consumer = Consumer::start_on(clients(&aws).await, pulses, existing("events"), |b| b, succeed);
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    // as if every thread of the runtime stood still: this one does, from here
    ahead.store(61, Ordering::Relaxed);
    let stale = consumer.pulses.stale();
    assert_eq!(stale, ["leases", "poller-1", "runtime", "topology"]);
    consumer.drain().await;
}
