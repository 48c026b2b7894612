//! Outages behind the handler: nothing new is received, nothing is dead-lettered, nothing is handled twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lifeline_consumer::{BoxHandler, Context, Failure, IntoHandler, Message, OrFailure};
use lifeline_emulator::Action;
use tokio::time::Instant;

use crate::support::*;

/// What a handler depends on.
#[derive(Clone, Default)]
struct Dependency {
    up: Arc<AtomicBool>,
}

impl Dependency {
    fn comes_back(&self) {
        self.up.store(true, Ordering::SeqCst);
    }

    fn goes_away(&self) {
        self.up.store(false, Ordering::SeqCst);
    }

    /// Succeeds while it is up; else fails as `failure` says. Notes what was handled.
    fn handler<F>(&self, handled: &Seen<String>, failure: F) -> BoxHandler
    where
        F: Fn() -> Failure + Send + Sync + 'static,
    {
        let (up, handled, failure) = (Arc::clone(&self.up), handled.clone(), Arc::new(failure));
        let handler = move |message: Message| {
            let (up, handled, failure) = (Arc::clone(&up), handled.clone(), Arc::clone(&failure));
            async move {
                tokio::time::sleep(Duration::from_millis(5)).await;
                if !up.load(Ordering::SeqCst) {
                    return Err(failure());
                }
                handled.push(message.body);
                Ok(())
            }
        };
        handler.boxed()
    }
}

fn refused() -> Failure {
    std::io::Error::from(std::io::ErrorKind::ConnectionRefused).into()
}

#[tokio::test(start_paused = true)]
async fn ten_thousand_messages_survive_ten_minutes_without_the_service_behind() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send_all((0..10_000).map(|n| n.to_string()));
    let (dependency, handled) = (Dependency::default(), Seen::default());
    let consumer = Consumer::start(&aws, "events", dependency.handler(&handled, refused)).await;
    aws.wait_for(|_| consumer.readiness.reasons().iter().any(|(name, _)| *name == "handler"), SOON).await;
    tokio::time::sleep(MINUTE).await;
    let receives = aws.calls(Action::ReceiveMessage);
    stays_up(&consumer, 9 * MINUTE).await;
    assert_eq!(aws.calls(Action::ReceiveMessage), receives, "nothing is received while it is open");
    let reasons = consumer.readiness.reasons();
    assert!(
        reasons.iter().any(|(name, why)| *name == "handler" && why.contains("unavailable since 20")),
        "{reasons:?}"
    );
    assert_eq!(consumer.metric("consumer_handler_unavailable"), 1.0);
    let probes = consumer.metric("consumer_unavailable_attempts_total");
    assert!(probes <= 64.0 + 10.0 * 25.0, "{probes} tries in ten minutes");
    dependency.comes_back();
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    // 4 s until the probe, and the work: 10,000 times 5 ms, 64 at a time
    assert!(begun.elapsed() < 6 * SECOND, "done {:?} after its return", begun.elapsed());
    assert!(consumer.readiness.reasons().is_empty());
    assert_eq!(consumer.metric("consumer_handler_unavailable"), 0.0);
    assert_eq!((dead.bodies().len(), handled.len()), (0, 10_000), "none dead-lettered, none handled twice");
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "no receive was used up");
    assert_eq!(consumer.drain().await.account, account(10_000, 10_000, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_outage_in_the_middle_costs_no_receive() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 3);
    let (dependency, handled) = (Dependency::default(), Seen::default());
    dependency.comes_back();
    let consumer = Consumer::start(&aws, "events", dependency.handler(&handled, refused)).await;
    for round in 0..4 {
        queue.send_all((0..500).map(|n| format!("{round}-{n}")));
        tokio::time::sleep(Duration::from_millis(30)).await;
        dependency.goes_away();
        stays_up(&consumer, 2 * MINUTE).await;
        dependency.comes_back();
        aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    }
    assert_eq!((dead.bodies().len(), handled.len()), (0, 2000));
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "no receive was used up");
    assert_eq!(consumer.drain().await.account, account(2000, 2000, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_bad_deployment_of_a_minute_dead_letters_fewer_than_one_message_in_a_hundred() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send_all((0..10_000).map(|n| n.to_string()));
    let (dependency, handled) = (Dependency::default(), Seen::default());
    let failing = || Failure::new("a column that is not there");
    let consumer = Consumer::start(&aws, "events", dependency.handler(&handled, failing)).await;
    stays_up(&consumer, MINUTE).await;
    assert!(
        consumer.readiness.reasons().iter().any(|(name, why)| *name == "handler" && why.contains("failing"))
    );
    let received = consumer.received();
    assert!(received <= 200, "{received} receives in a minute of failures");
    dependency.comes_back();
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    assert!(dead.bodies().len() < 100, "{} of 10,000 are dead letters", dead.bodies().len());
    assert_eq!(handled.len() + dead.bodies().len(), 10_000);
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_unavailable_alone_counts_as_failed() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send_all((0..200).map(|n| n.to_string()));
    queue.send("its own host");
    let handler = |message: Message, _: Context| async move {
        match message.body.as_str() {
            "its own host" => Err("no such host").or_unavailable(),
            _ => Ok(()),
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    let feeding = queue.clone();
    // others keep coming
    let feed = tokio::spawn(async move {
        for n in 0.. {
            tokio::time::sleep(SECOND).await;
            feeding.send(format!("later {n}"));
        }
    });
    aws.wait_for(|_| dead.bodies() == ["its own host"], 30 * MINUTE).await;
    feed.abort();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account.lost_lease, 0);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_during_an_outage_releases_what_waits_and_cancels_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..64).map(|n| n.to_string()));
    let (dependency, handled) = (Dependency::default(), Seen::default());
    let consumer = Consumer::start(&aws, "events", dependency.handler(&handled, refused)).await;
    aws.wait_for(|_| consumer.metric("consumer_handler_unavailable") == 1.0, SOON).await;
    tokio::time::sleep(MINUTE).await;
    let received = consumer.received();
    let begun = Instant::now();
    let drained = consumer.drain().await;
    assert!(begun.elapsed() <= 26 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(drained.account, account(received, 0, 0, received, 0));
    assert_eq!(queue.counts().visible, 64);
}

#[tokio::test(start_paused = true)]
async fn a_fifo_group_keeps_its_order_over_an_outage() {
    let aws = emulator().await;
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true");
    queue.send_all((0..30).map(|n| lifeline_emulator::Message::new(n.to_string()).group("a")));
    let (dependency, handled) = (Dependency::default(), Seen::default());
    let consumer = Consumer::start(&aws, "events.fifo", dependency.handler(&handled, refused)).await;
    stays_up(&consumer, 5 * MINUTE).await;
    dependency.comes_back();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(handled.all(), (0..30).map(|n| n.to_string()).collect::<Vec<_>>());
    assert!(queue.histories().iter().all(|h| h.received.len() == 1));
    consumer.drain().await;
}

/// A service that is started again cuts off what it was at work on: all of that are suspects.
#[tokio::test(start_paused = true)]
async fn a_restart_of_a_slow_service_does_not_leave_one_message_at_a_time_for_long() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send_all((0..640).map(|n| n.to_string()));
    let handled = Seen::default();
    let (up, seen) = (tokio::sync::watch::Sender::new(true), handled.clone());
    let state = up.subscribe();
    let handler = move |message: Message| {
        let (mut up, handled) = (state.clone(), seen.clone());
        async move {
            if !*up.borrow() {
                return Err(refused());
            }
            tokio::select! {
                () = tokio::time::sleep(10 * SECOND) => {}
                _ = up.wait_for(|up| !up) => return Err(Failure::unavailable("cut off").interrupted()),
            }
            handled.push(message.body);
            Ok(())
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    tokio::time::sleep(25 * SECOND).await;
    up.send_replace(false);
    tokio::time::sleep(10 * MINUTE).await;
    let before = handled.len();
    up.send_replace(true);
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), 20 * MINUTE).await;
    // a minute for the first few of 64 suspects, six times 10 s for the others, and the rest 64 at a time
    let (took, work) = (begun.elapsed(), 10 * SECOND * (640 - before).div_ceil(64) as u32);
    assert!(took < work + 3 * MINUTE, "{took:?} for {work:?} of work");
    assert_eq!((dead.len(), handled.len()), (0, 640), "none dead-lettered, none handled twice");
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "no receive was used up");
    consumer.drain().await;
}

/// A message that kills a slow service is found among the many that it was at work on.
#[tokio::test(start_paused = true)]
async fn one_that_kills_a_slow_service_late_is_dead_lettered_and_no_other() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 1);
    queue.send_all((0..200).map(|n| n.to_string()));
    let died = tokio::sync::watch::Sender::new(0);
    let (handled, deaths) = (Seen::default(), Count::default());
    let (seen, counted) = (handled.clone(), deaths.clone());
    let handler = move |message: Message| {
        let (died, handled, deaths) = (died.clone(), seen.clone(), counted.clone());
        async move {
            let mut dies = died.subscribe();
            tokio::select! {
                biased;
                _ = dies.changed() => return Err(Failure::unavailable("cut off").interrupted()),
                () = tokio::time::sleep(10 * SECOND) => {}
            }
            if message.body == "40" {
                deaths.add();
                died.send_modify(|deaths| *deaths += 1);
                return Err(Failure::unavailable("cut off").interrupted());
            }
            handled.push(message.body);
            Ok(())
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| dead.bodies() == ["40"], 30 * MINUTE).await;
    aws.wait_for(|_| queue.is_empty(), 10 * MINUTE).await;
    assert_eq!(handled.len(), 199);
    let others = queue.histories().into_iter().filter(|h| h.body != "40");
    assert!(others.into_iter().all(|h| h.received.len() == 1), "no receive was used up");
    assert!(deaths.get() <= 8, "{} deaths", deaths.get());
    consumer.drain().await;
}
