//! Acknowledging: batched deletes, every entry's result read, failed ones tried again within their lease.

use std::time::Duration;

use lifeline_scripted::{Endpoint, Fault};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn deletes_go_in_batches_of_ten_and_a_lone_one_waits_milliseconds() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    queue.put_all((0..200).map(|n| n.to_string()));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let calls = aws.count("DeleteMessageBatch");
    assert!(calls <= 40, "{calls} calls for 200 messages");
    queue.put("lone");
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert!(begun.elapsed() <= Duration::from_millis(25), "{:?}", begun.elapsed());
    assert_eq!(consumer.drain().await.account, account(201, 201, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_same_message_twice_in_a_batch_fails_nobody() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(Duration::from_secs(3)).create();
    queue.put_all(["a", "b", "c"]);
    aws.on("ReceiveMessage").nth(1).duplicate_entries();
    // long enough for an extension of both receipts too
    let consumer = Consumer::start(&aws, "events", takes(Duration::from_secs(5))).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let drained = consumer.drain().await;
    assert_eq!(drained.account, account(6, 6, 0, 0, 0));
    let answers = aws.calls("DeleteMessageBatch");
    assert!(
        answers.iter().all(|call| call.outcome == lifeline_scripted::Outcome::Answered(200)),
        "{answers:?}"
    );
    assert!(aws.calls("ChangeMessageVisibilityBatch").iter().any(|call| call.entries.len() == 6));
}

#[tokio::test(start_paused = true)]
async fn a_failed_entry_alone_is_tried_again() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    queue.put_all((0..10).map(|n| n.to_string()));
    let entry = aws
        .on("DeleteMessageBatch")
        .first(3)
        .for_entries(|entry| entry.body == "7")
        .fail_entry("InternalError", false);
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(entry.hits(), 3);
    let calls = aws.calls("DeleteMessageBatch");
    for body in (0..10).map(|n| n.to_string()) {
        let sent = calls.iter().filter(|call| call.bodies().contains(&body.as_str())).count();
        assert_eq!(sent, if body == "7" { 4 } else { 1 }, "{body}");
    }
    assert_eq!(consumer.metric(r#"consumer_delete_calls_total{outcome="entry_failed"}"#), 3.0);
    assert_eq!(consumer.drain().await.account, account(10, 10, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_is_refused_is_given_up_and_counted() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    queue.put_all(["good", "bad"]);
    aws.on("DeleteMessageBatch")
        .for_entries(|entry| entry.body == "bad")
        .fail_entry("ReceiptHandleIsInvalid", true);
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 1.0, SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
    assert_eq!(queue.bodies(), ["bad"]);
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_fails_in_any_way_is_sent_again_and_nothing_is_handled_twice() {
    let breaks = [Fault::Hang, Fault::StallBody, Fault::Reset, Fault::CloseEarly, Fault::Drip(SECOND)];
    for after_effect in [false, true] {
        for fault in &breaks {
            let aws = Endpoint::start().await;
            let queue = aws.queue("events").create();
            queue.put_all(["a", "b"]);
            let rule = aws.on("DeleteMessageBatch").first(2);
            let rule = if after_effect { rule.after_effect() } else { rule };
            rule.fault(fault.clone());
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
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    queue.put("first");
    let hung = aws.on("DeleteMessageBatch").nth(1).hang();
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| hung.hits() == 1, SOON).await;
    let begun = Instant::now();
    queue.put_all(["second", "third"]);
    aws.wait_for(|_| queue.deleted().len() == 2, SOON).await;
    assert!(begun.elapsed() < SECOND, "{:?}", begun.elapsed());
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(3, 3, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_is_tried_for_as_long_as_the_lease_can_be_kept() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    queue.put("one");
    let denied = aws.on("DeleteMessageBatch").status(403, "AccessDeniedException");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 5 * MINUTE).await;
    assert_eq!(queue.receives("one"), 1, "handled once, kept under its lease");
    assert!(aws.count("DeleteMessageBatch") <= 600, "with a delay between the tries");
    denied.remove();
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_stays_impossible_ends_with_its_lease() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(Duration::from_secs(4)).create();
    queue.put("one");
    aws.on("DeleteMessageBatch").status(500, "InternalError");
    aws.on("ChangeMessageVisibilityBatch").status(500, "InternalError");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.receives("one") == 2, SOON).await;
    aws.clear_rules();
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 1.0, SOON).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
}

/// Each of these would linger for 3 ms: nobody can join it, for there is no room to receive.
#[tokio::test(start_paused = true)]
async fn a_delete_that_nothing_can_join_does_not_linger() {
    for in_flight in [1, 8] {
        let aws = Endpoint::start().await;
        let queue = aws.queue("events").create();
        queue.put_all((0..400).map(|n| n.to_string()));
        let begun = Instant::now();
        let consumer =
            Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(in_flight), succeed).await;
        aws.wait_for(|_| queue.is_empty(), MINUTE).await;
        let lingering = Duration::from_millis(3) * (400 / in_flight) as u32;
        assert!(begun.elapsed() < lingering / 2, "{in_flight}: {:?}", begun.elapsed());
        assert_eq!(consumer.drain().await.account, account(400, 400, 0, 0, 0));
    }
}
