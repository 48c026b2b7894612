//! Liveness means progress: what waits by right is UP, what is stuck is DOWN. The pulses' clock is tokio's, paused, so
//! that minutes pass at once.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

use lifeline_emulator::{Emulator, Fault};
use lifeline_health::{Health, Metrics, Pulses, Readiness};
use lifeline_messaging::client::{Access, Clients};
use lifeline_producer::{NewMessage, Publisher};
use tokio::time::Instant;

const LONG: Duration = Duration::from_secs(600);

fn health() -> Health {
    let pulses = Pulses::with_clock(|| Instant::now().into_std());
    let metrics = Metrics::new("test", &pulses);
    Health { pulses, readiness: Readiness::new(), metrics }
}

/// A port on which nothing listens.
async fn nowhere() -> Clients {
    Clients::connect(&Access::local("http://127.0.0.1:9")).await.unwrap()
}

#[tokio::test(start_paused = true)]
async fn aws_being_down_is_up() {
    let health = health();
    let publisher =
        Publisher::to("t").clients(nowhere().await).health(&health).deadline(None).start().await.unwrap();
    let _pending = publisher.enqueue(NewMessage::new("x")).await.unwrap();
    for _ in 0..60 {
        tokio::time::sleep(LONG / 60).await;
        assert_eq!(health.pulses.stale(), Vec::<String>::new());
    }
    assert!(health.readiness.reasons().iter().any(|(name, _)| *name == "topology"), "and not ready");
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_throttles_or_refuses_is_up_but_not_ready_and_ready_again_after_it() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    let health = health();
    let publisher =
        Publisher::to(topic.arn()).clients(clients).health(&health).deadline(None).start().await.unwrap();
    publisher.publish(NewMessage::new("before")).await.unwrap();
    assert_eq!(health.readiness.reasons(), []);
    for (status, code) in [(400, "ThrottlingException"), (403, "AuthorizationError"), (500, "InternalError")]
    {
        let refusal = aws.inject(Fault::on_every_action().error(status, code));
        let pending = publisher.enqueue(NewMessage::new(code)).await.unwrap();
        for minute in 1..=15 {
            tokio::time::sleep(LONG / 10).await;
            assert_eq!(health.pulses.stale(), Vec::<String>::new(), "{code}, minute {minute}");
            let reasons = health.readiness.reasons();
            assert!(reasons.iter().any(|(name, _)| *name == "aws"), "{code}, minute {minute}: {reasons:?}");
        }
        refusal.remove();
        pending.await.unwrap();
        assert_eq!(health.readiness.reasons(), [], "after {code}");
    }
    assert_eq!(topic.messages().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_publisher_without_messages_is_up() {
    let health = health();
    let _publisher = Publisher::to("t").clients(nowhere().await).health(&health).start().await.unwrap();
    tokio::time::sleep(LONG).await;
    assert_eq!(health.pulses.stale(), Vec::<String>::new());
}

#[test]
fn a_batcher_that_is_stuck_is_down_within_a_minute() {
    let minutes = Arc::new(AtomicU64::new(0));
    let (begun, passed) = (std::time::Instant::now(), Arc::clone(&minutes));
    let pulses = Pulses::with_clock(move || begun + Duration::from_secs(60) * passed.load(Relaxed) as u32);
    let metrics = Metrics::new("test", &pulses);
    let health = Health { pulses, readiness: Readiness::new(), metrics };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (stuck, told) = mpsc::channel();
    let (release, blocked) = mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    runtime.block_on(async {
        let publisher = Publisher::to("t")
            .clients(nowhere().await)
            .health(&health)
            .deadline(Duration::from_millis(1))
            .start()
            .await
            .unwrap();
        // a caller's bug: the sink never returns from its callback
        let sink = publisher.sink(move |_, _| {
            stuck.send(()).unwrap();
            blocked.lock().unwrap().recv().ok();
        });
        sink.send(0, NewMessage::new("x")).await.unwrap();
    });
    told.recv().unwrap();
    assert_eq!(health.pulses.stale(), Vec::<String>::new());
    minutes.store(1, Relaxed);
    assert_eq!(health.pulses.stale(), ["batcher"]);
    drop(release);
}
