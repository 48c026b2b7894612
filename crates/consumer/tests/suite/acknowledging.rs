//! Acknowledging: batched deletes, every entry's result read, failed ones tried again within their lease.

use std::time::Duration;

use lifeline_emulator::{Action, Fault, On};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn deletes_go_in_batches_of_ten_and_a_lone_one_waits_milliseconds() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..200).map(|n| n.to_string()));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let calls = aws.calls(Action::DeleteMessageBatch);
    assert!(calls <= 40, "{calls} calls for 200 messages");
    queue.send("lone");
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert!(begun.elapsed() <= Duration::from_millis(25), "{:?}", begun.elapsed());
    assert_eq!(consumer.drain().await.account, account(201, 201, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_message_twice_in_a_batch_fails_nobody() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout(3);
    // the first receive of a worker that starts is for one
    queue.send_all(["first", "a", "b", "c"]);
    aws.inject(Fault::on(Action::ReceiveMessage).nth(2).duplicate());
    // long enough for an extension of both receipts too
    let consumer = Consumer::start(&aws, "events", takes(Duration::from_secs(5))).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let drained = consumer.drain().await;
    assert_eq!(drained.account, account(7, 7, 0, 0, 0));
    let answers = aws.log(Action::DeleteMessageBatch);
    assert!(
        answers.iter().all(|call| call.outcome == lifeline_emulator::Outcome::Answered(200)),
        "{answers:?}"
    );
    assert!(aws.log(Action::ChangeMessageVisibilityBatch).iter().any(|call| call.entries.len() >= 6));
}

#[tokio::test(start_paused = true)]
async fn a_failed_entry_alone_is_tried_again() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..10).map(|n| n.to_string()));
    let entry = aws.inject(
        Fault::on(Action::DeleteMessageBatch)
            .when(|call| call.bodies().contains(&"7"))
            .times(3)
            .for_entries(|entry| entry.body == "7")
            .fail_entries("InternalError", false),
    );
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(entry.hits(), 3);
    let calls = aws.log(Action::DeleteMessageBatch);
    for body in (0..10).map(|n| n.to_string()) {
        let sent = calls.iter().filter(|call| call.bodies().contains(&body.as_str())).count();
        assert_eq!(sent, if body == "7" { 4 } else { 1 }, "{body}");
    }
    assert_eq!(consumer.metric(r#"consumer_delete_calls_total{outcome="entry_failed"}"#), 3.0);
    assert_eq!(consumer.drain().await.account, account(10, 10, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_refused_is_given_up_and_counted() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["good", "bad"]);
    aws.inject(
        Fault::on(Action::DeleteMessageBatch)
            .for_entries(|entry| entry.body == "bad")
            .fail_entries("ReceiptHandleIsInvalid", true),
    );
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 1.0, SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
    assert_eq!(queue.bodies(), ["bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_in_any_way_is_sent_again_and_nothing_is_handled_twice() {
    let breaks: [fn(On) -> Fault; 5] = [On::hang, On::stall, On::reset, On::truncate, |on| on.bandwidth(1)];
    for after_effect in [false, true] {
        for fault in &breaks {
            let aws = emulator().await;
            let queue = aws.queue("events");
            queue.send_all(["a", "b"]);
            let on = Fault::on(Action::DeleteMessageBatch).times(2);
            let fault = fault(if after_effect { on.after_effect() } else { on });
            aws.inject(fault.clone());
            let consumer = Consumer::start(&aws, "events", succeed).await;
            aws.wait_for(|_| consumer.metric("consumer_messages_deleted_total") == 2.0, MINUTE).await;
            assert_eq!((queue.receives("a"), queue.receives("b")), (1, 1), "{fault:?}");
            assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0), "{fault:?}");
            assert!(queue.is_empty());
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_hung_delete_holds_up_no_other() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("first");
    let hung = aws.inject(Fault::on(Action::DeleteMessageBatch).nth(1).hang());
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| hung.hits() == 1, SOON).await;
    let begun = Instant::now();
    queue.send_all(["second", "third"]);
    aws.wait_for(|_| queue.deleted().len() == 2, SOON).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(3, 3, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_tried_for_as_long_as_the_lease_can_be_kept() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let denied = aws.inject(Fault::on(Action::DeleteMessageBatch).error(403, "AccessDeniedException"));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 5 * MINUTE).await;
    assert_eq!(queue.receives("one"), 1, "handled once, kept under its lease");
    assert!(aws.calls(Action::DeleteMessageBatch) <= 600, "with a delay between the tries");
    denied.remove();
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_stays_impossible_ends_with_its_lease() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout(4);
    queue.send("one");
    aws.inject(Fault::on(Action::DeleteMessageBatch).error(500, "InternalError"));
    aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).error(500, "InternalError"));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.receives("one") == 2, SOON).await;
    aws.clear_faults();
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 1.0, SOON).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
}

/// Each of these would linger for 3 ms: nobody can join it, for there is no room to receive.
#[tokio::test(start_paused = true)]
async fn a_delete_that_nothing_can_join_does_not_linger() {
    for in_flight in [1, 8] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all((0..400).map(|n| n.to_string()));
        let begun = Instant::now();
        let consumer =
            Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(in_flight), succeed).await;
        aws.wait_for(|_| queue.is_empty(), MINUTE).await;
        let lingering = Duration::from_millis(3) * (400 / in_flight) as u32;
        assert!(begun.elapsed() < lingering / 2, "{in_flight}: {:?}", begun.elapsed());
        assert_eq!(consumer.drain().await.account, account(400, 400, 0, 0, 0));
    }
}
