//! The bound on memory: what is refused, what makes room, and what does not count.

use std::time::Duration;

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::error::ProvideErrorMetadata;
use lifeline_emulator::Emulator;
use tokio::time::{Instant, timeout};

use crate::support::{Clients, receipt};

/// Room for a dozen messages of 1 kB with what the model keeps beside them.
const LIMIT: usize = 18_000;

fn clients() -> Clients {
    let emulator = Emulator::builder().memory_limit(LIMIT).build();
    let config = emulator.sdk_config().into_builder().retry_config(RetryConfig::disabled()).build();
    Clients { sqs: aws_sdk_sqs::Client::new(&config), sns: aws_sdk_sns::Client::new(&config), emulator }
}

#[tokio::test(start_paused = true)]
async fn a_full_emulator_says_so_after_a_while_and_goes_on_when_a_message_is_deleted() {
    let clients = clients();
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let publish = || clients.sns.publish().topic_arn(topic.arn()).message("x".repeat(1000)).send();
    while timeout(Duration::from_secs(1), publish()).await.is_ok_and(|published| published.is_ok()) {}
    let held = queue.len();
    assert!((6..=12).contains(&held), "{held}");
    let start = Instant::now();
    let refused = publish().await.unwrap_err();
    assert_eq!(start.elapsed(), Duration::from_secs(3));
    assert_eq!(refused.code(), Some("Throttled"));
    assert!(refused.message().unwrap().contains("18000 bytes"), "{refused:?}");

    let (published, ()) = tokio::join!(publish(), async {
        let received = clients.receive(&queue.url()).await;
        clients.delete(&queue.url(), receipt(&received[0])).await.unwrap();
    });
    published.unwrap();
    assert_eq!(queue.len(), held);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_take_no_room() {
    let clients = clients();
    let queue = clients.emulator.queue("orders").visibility_timeout(0).max_receives(1);
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    for _ in 0..30 {
        clients.sns.publish().topic_arn(topic.arn()).message("x".repeat(1000)).send().await.unwrap();
        clients.receive(&queue.url()).await;
    }
    clients.receive(&queue.url()).await;
    assert_eq!(queue.dead_letters().len(), 30);
}
