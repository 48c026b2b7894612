//! FIFO queues: groups, order, deduplication, receive attempts, quotas.

use std::time::Duration;

use tokio::time::advance;

use crate::support::{Clients, bodies, error_code, receipt};

#[tokio::test(start_paused = true)]
async fn a_receive_brings_as_many_of_a_group_as_it_can_then_the_next_group() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo");
    for (group, body) in [("a", "a1"), ("b", "b1"), ("a", "a2"), ("a", "a3")] {
        queue.send_to_group(group, body);
    }
    assert_eq!(bodies(&clients.receive(&queue.url()).await), ["a1", "a2", "a3", "b1"]);
    queue.send_to_group("a", "a4");
    assert!(clients.receive(&queue.url()).await.is_empty(), "both groups are in flight");
}

#[tokio::test(start_paused = true)]
async fn a_message_in_flight_holds_back_its_group_until_it_is_deleted_or_returns() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo").visibility_timeout(30);
    queue.send_to_group("a", "a1");
    let first = clients.receive(&queue.url()).await;
    queue.send_to_group("a", "a2");
    assert!(clients.receive(&queue.url()).await.is_empty());
    advance(Duration::from_secs(30)).await;
    let again = clients.receive(&queue.url()).await;
    assert_eq!(bodies(&again), ["a1", "a2"], "in order, although a1 comes back");
    let expired = clients.delete(&queue.url(), receipt(&first[0])).await;
    assert_eq!(expired, Err("InvalidParameterValue".into()));
    clients.delete(&queue.url(), receipt(&again[0])).await.unwrap();
    assert_eq!(queue.deleted(), ["a1"]);
}

#[tokio::test(start_paused = true)]
async fn a_duplicate_is_answered_with_the_first_messages_ids_for_five_minutes() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo");
    let send = || {
        let send = clients.sqs.send_message().queue_url(queue.url()).message_body("one");
        send.message_group_id("a").message_deduplication_id("x").send()
    };
    let first = send().await.unwrap();
    let second = send().await.unwrap();
    assert_eq!(
        (first.message_id(), first.sequence_number()),
        (second.message_id(), second.sequence_number())
    );
    assert_eq!(queue.len(), 1);
    advance(Duration::from_secs(300)).await;
    send().await.unwrap();
    assert_eq!(queue.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_receive_attempt_that_is_repeated_brings_the_same_messages() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo");
    queue.send_to_group("a", "a1");
    let receive = |attempt: &str| {
        clients.sqs.receive_message().queue_url(queue.url()).receive_request_attempt_id(attempt).send()
    };
    let first = receive("x").await.unwrap();
    let again = receive("x").await.unwrap();
    assert_eq!(first.messages()[0].receipt_handle(), again.messages()[0].receipt_handle());
    assert!(receive("y").await.unwrap().messages().is_empty());
    clients.delete(&queue.url(), receipt(&first.messages()[0])).await.unwrap();
    assert!(receive("x").await.unwrap().messages().is_empty());
}

#[tokio::test(start_paused = true)]
async fn the_queues_delay_holds_every_message_back() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo").attribute("DelaySeconds", "5");
    queue.send_to_group("a", "a1");
    assert!(clients.receive(&queue.url()).await.is_empty());
    advance(Duration::from_secs(5)).await;
    assert_eq!(clients.receive(&queue.url()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn beyond_300_calls_a_second_a_fifo_queue_throttles() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo");
    let receive = || clients.sqs.receive_message().queue_url(queue.url());
    let once =
        aws_sdk_sqs::config::Builder::new().retry_config(aws_sdk_sqs::config::retry::RetryConfig::disabled());
    let mut refused = Vec::new();
    for _ in 0..301 {
        let sent = receive().customize().config_override(once.clone()).send().await;
        refused.extend(sent.err().map(|error| error_code(&error)));
    }
    assert_eq!(refused, ["RequestThrottled"]);
}
