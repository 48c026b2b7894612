//! Publishing over a slow link: messages arrive about as fast as the link allows, and few of them twice.
//!
//! The link is a proxy whose connections share one uplink. Time is paused, so that a minute passes in a moment.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is a failed test; figures are for the reader"
)]

mod link;

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lifeline_emulator::Emulator;
use lifeline_messaging::client::{Access, Clients};
use lifeline_producer::{NewMessage, Publisher};
use link::link;
use tokio::time::Instant;

struct Run {
    took: Duration,
    ideal: Duration,
    twice: f64,
}

async fn publish(messages: usize, bytes: usize, bytes_a_second: u64) -> Run {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let url = link(aws.url(), Arc::new(AtomicU64::new(bytes_a_second))).await;
    let clients = Clients::connect(&Access::local(url)).await.unwrap();
    let publisher = Publisher::to("t").clients(clients).deadline(None).start().await.unwrap();
    let begun = Instant::now();
    let bodies = (0..messages).map(|n| NewMessage::new(format!("{n:06}{}", "x".repeat(bytes - 6))));
    let mut pending = Vec::new();
    for body in bodies {
        pending.push(publisher.enqueue(body).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
    let took = begun.elapsed();
    publisher.close().await;
    let deliveries = topic.messages();
    let distinct: HashSet<&str> = deliveries.iter().map(|body| &body[..6]).collect();
    assert_eq!(distinct.len(), messages, "nothing is lost");
    let twice = (deliveries.len() - messages) as f64 / messages as f64;
    let ideal = Duration::from_secs_f64((messages * bytes) as f64 / bytes_a_second as f64);
    eprintln!(
        "{messages} x {bytes} bytes at {bytes_a_second} B/s: {took:?}, ideal {ideal:?}, twice {twice:.3}"
    );
    Run { took, ideal, twice }
}

#[tokio::test(start_paused = true)]
async fn many_messages_take_little_longer_than_the_link_allows_and_few_arrive_twice() {
    let run = publish(400, 25_000, 300_000).await;
    assert!(run.took <= run.ideal.mul_f64(1.5), "{:?} instead of {:?}", run.took, run.ideal);
    assert!(run.twice < 0.03, "{}", run.twice);
}

#[tokio::test(start_paused = true)]
async fn large_messages_take_little_longer_than_the_link_allows_and_few_arrive_twice() {
    let run = publish(40, 200_000, 250_000).await;
    assert!(run.took <= run.ideal.mul_f64(1.5), "{:?} instead of {:?}", run.took, run.ideal);
    assert!(run.twice < 0.03, "{}", run.twice);
}

#[tokio::test(start_paused = true)]
async fn a_link_too_slow_for_a_full_batch_gets_smaller_ones() {
    let run = publish(60, 25_000, 20_000).await;
    assert!(run.took <= run.ideal * 3, "{:?} instead of {:?}", run.took, run.ideal);
}

#[tokio::test(start_paused = true)]
async fn small_messages_over_a_slow_link_are_not_sent_twice() {
    let run = publish(5_000, 300, 100_000).await;
    assert!(run.twice < 0.03, "{}", run.twice);
}
