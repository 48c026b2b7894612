//! Faults, each met and each counted.

use std::time::Duration;

use aws_sdk_sqs::{
    config::retry::RetryConfig,
    types::{DeleteMessageBatchRequestEntry, SendMessageBatchRequestEntry},
};
use lifeline_emulator::{Action, Fault};
use tokio::time::Instant;

use crate::support::{Clients, error_code, receipt};

fn once(clients: &mut Clients) {
    let config = clients.emulator.sdk_config().into_builder().retry_config(RetryConfig::disabled()).build();
    clients.sqs = aws_sdk_sqs::Client::new(&config);
}

#[tokio::test(start_paused = true)]
async fn a_call_hangs_and_the_next_does_not() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let hang = clients.emulator.inject(Fault::on(Action::ReceiveMessage).nth(2).hang());
    let receive = || clients.sqs.receive_message().queue_url(queue.url()).send();
    receive().await.unwrap();
    // Less than the 20 s after which the SDK gives a stream that stalls up by itself.
    assert!(tokio::time::timeout(Duration::from_secs(15), receive()).await.is_err());
    receive().await.unwrap();
    assert_eq!((hang.hits(), clients.emulator.calls(Action::ReceiveMessage)), (1, 3));
}

#[tokio::test(start_paused = true)]
async fn a_reset_after_the_effect_loses_only_the_response() {
    let mut clients = Clients::new();
    once(&mut clients);
    let queue = clients.emulator.queue("orders");
    let send = || clients.sqs.send_message().queue_url(queue.url()).message_body("one").send();
    clients.emulator.inject(Fault::on(Action::SendMessage).nth(1).reset());
    send().await.unwrap_err();
    assert_eq!(queue.len(), 0);
    clients.emulator.inject(Fault::on(Action::SendMessage).nth(1).reset_after_effect());
    send().await.unwrap_err();
    assert_eq!(queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn status_error_throttle_and_delay_are_as_written() {
    let mut clients = Clients::new();
    once(&mut clients);
    let queue = clients.emulator.queue("orders");
    let receive = || clients.sqs.receive_message().queue_url(queue.url()).send();
    let on = || Fault::on(Action::ReceiveMessage).times(1);
    clients.emulator.inject(on().status(503, "<html>overloaded</html>"));
    let error = receive().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 503);
    clients.emulator.inject(on().error(500, "InternalFailure"));
    assert_eq!(error_code(&receive().await.unwrap_err()), "InternalFailure");
    clients.emulator.inject(on().throttle());
    assert_eq!(error_code(&receive().await.unwrap_err()), "RequestThrottled");
    clients.emulator.inject(on().delay(Duration::from_secs(9)));
    let start = Instant::now();
    receive().await.unwrap();
    assert_eq!(start.elapsed(), Duration::from_secs(9));
}

#[tokio::test(start_paused = true)]
async fn entries_fail_or_are_left_out_by_their_body() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let entry = |id: &str, body: &str| {
        SendMessageBatchRequestEntry::builder().id(id).message_body(body).build().unwrap()
    };
    let fail = Fault::on(Action::SendMessageBatch).for_entries(|entry| entry.body == "bad");
    clients.emulator.inject(fail.fail_entries("InternalError", false));
    let send = clients.sqs.send_message_batch().queue_url(queue.url());
    let sent = send.entries(entry("1", "good")).entries(entry("2", "bad")).send().await.unwrap();
    assert_eq!((sent.successful().len(), sent.failed()[0].code()), (1, "InternalError"));
    assert_eq!(queue.bodies(), ["good"]);

    let leave = Fault::on(Action::DeleteMessageBatch).for_entries(|entry| entry.body == "good");
    let left_out = clients.emulator.inject(leave.after_effect().leave_out_entries());
    let received = clients.receive(&queue.url()).await;
    let entry = DeleteMessageBatchRequestEntry::builder().id("1").receipt_handle(receipt(&received[0]));
    let delete = clients.sqs.delete_message_batch().queue_url(queue.url());
    let deleted = delete.entries(entry.build().unwrap()).send().await.unwrap();
    assert!(deleted.successful().is_empty() && deleted.failed().is_empty());
    assert_eq!((queue.deleted(), left_out.hits()), (vec!["good".to_string()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_twice_and_a_lease_is_lost() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    let on = || Fault::on(Action::ReceiveMessage).times(1);
    clients.emulator.inject(on().lose_lease(Duration::from_secs(30)));
    let lost = clients.receive(&queue.url()).await;
    assert!(clients.receive(&queue.url()).await.is_empty(), "another has it");
    // on a standard queue an older receipt changes the lease of whoever has the message now
    let change = clients.sqs.change_message_visibility().queue_url(queue.url()).visibility_timeout(0);
    change.receipt_handle(receipt(&lost[0])).send().await.unwrap();

    clients.emulator.inject(on().duplicate());
    let twice = clients.receive(&queue.url()).await;
    assert_eq!(twice.len(), 2);
    assert_eq!(twice[0].message_id(), twice[1].message_id());
    assert_ne!(receipt(&twice[0]), receipt(&twice[1]));
    clients.delete(&queue.url(), receipt(&twice[1])).await.unwrap();
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_fifo_queue_refuses_a_receipt_whose_lease_was_lost() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo").attribute("ContentBasedDeduplication", "true");
    queue.send(lifeline_emulator::Message::new("one").group("a"));
    clients.emulator.inject(Fault::on(Action::ReceiveMessage).times(1).lose_lease(Duration::from_secs(30)));
    let lost = clients.receive(&queue.url()).await;
    let change = clients.sqs.change_message_visibility().queue_url(queue.url()).visibility_timeout(30);
    let change = change.receipt_handle(receipt(&lost[0])).send().await;
    assert_eq!(error_code(&change.unwrap_err()), "InvalidParameterValue");
    let deleted = clients.delete(&queue.url(), receipt(&lost[0])).await;
    assert_eq!(deleted.unwrap_err(), "InvalidParameterValue");
    assert_eq!(queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_stalled_response_ends_with_the_clients_patience() {
    let mut clients = Clients::new();
    once(&mut clients);
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    clients.emulator.inject(Fault::on(Action::ReceiveMessage).nth(1).stall());
    let receive = clients.sqs.receive_message().queue_url(queue.url()).send();
    assert!(tokio::time::timeout(Duration::from_secs(60), receive).await.is_err());
    clients.emulator.inject(Fault::on(Action::ReceiveMessage).nth(1).truncate());
    tokio::time::advance(Duration::from_secs(30)).await;
    clients.sqs.receive_message().queue_url(queue.url()).send().await.unwrap_err();
}
