//! Failing: one message's failure delays that message alone; poison goes where the queue's policy sends it; nothing is
//! deleted that was not handled.

use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message};
use lifeline_emulator::{Action, Fault};

use crate::support::*;

async fn as_the_body_says(message: Message, _: Context) -> Result<(), Failure> {
    match message.body.as_str() {
        "error" => Err(Failure::new("an error")),
        "panic" => panic!("a panic"),
        "timeout" => std::future::pending().await,
        _ => Ok(()),
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_a_panic_and_a_timeout_delay_that_message_alone() {
    let aws = emulator().await;
    let _dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 3);
    queue.send_all(["a", "error", "b", "panic", "c", "timeout", "d"]);
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.handler_timeout(2 * SECOND), as_the_body_says)
            .await;
    aws.wait_for(|_| queue.deleted() == ["a", "b", "c", "d"], SECOND).await;
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    let mut dead = aws.existing_queue("dead").bodies();
    dead.sort();
    assert_eq!(dead, ["error", "panic", "timeout"]);
    assert_eq!(consumer.drain().await.account, account(4 + 9, 4, 9, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_panic_before_the_first_await_is_a_failure_too() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["panic", "fine"]);
    let handler = |message: Message, _: Context| {
        assert_ne!(message.body, "panic", "where the future is made");
        std::future::ready(Ok::<(), Failure>(()))
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.deleted() == ["fine"], SOON).await;
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.lost_lease), (1, 0));
    assert_eq!(queue.bodies(), ["panic"]);
}

#[tokio::test(start_paused = true)]
async fn each_redelivery_waits_longer_within_its_jitter_and_never_zero() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("poison");
    let consumer = Consumer::start(&aws, "events", fail).await;
    aws.wait_for(|_| queue.receives("poison") == 8, 20 * MINUTE).await;
    let delays: Vec<_> =
        queue.history("poison").visibility.iter().map(|(_, delay)| delay.as_secs()).collect();
    for (n, delay) in delays.iter().enumerate() {
        let bound = 1_u64 << n;
        assert!((bound / 2..=bound).contains(delay) && *delay >= 1, "failure {n}: {delays:?}");
    }
    consumer.drain().await;
    assert_eq!(queue.bodies(), ["poison"]);
}

#[tokio::test(start_paused = true)]
async fn the_delay_stops_growing_at_a_quarter_of_an_hour() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send(lifeline_emulator::Message::new("poison").received_before(1000));
    let consumer = Consumer::start(&aws, "events", fail).await;
    aws.wait_for(|_| queue.history("poison").visibility.len() == 1, SOON).await;
    let delay = queue.history("poison").visibility[0].1;
    assert!((450..=900).contains(&delay.as_secs()), "{delay:?}");
    assert_eq!(consumer.drain().await.account, account(1, 0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_may_set_its_own_delay() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("later");
    let handler = |_: Message, _: Context| async {
        Err(Failure::new("busy").retry_after(Duration::from_millis(89_500)))
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| !queue.history("later").visibility.is_empty(), SOON).await;
    assert_eq!(queue.history("later").visibility[0].1, Duration::from_secs(90), "whole seconds, rounded up");
    assert_eq!(consumer.drain().await.account, account(1, 0, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_cannot_be_read_is_dead_lettered_and_never_deleted() {
    let unreadable = r#"{"Type":"Notification","MessageId":"m","TopicArn":"arn:aws:sns:us-east-1:000000000000:t","Message":"x","Timestamp":"2026-01-01T00:00:00Z","MessageAttributes":{"b":{"Type":"Binary","Value":"!!!"}}}"#;
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send_all(["a", unreadable, "b"]);
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(queue.deleted(), ["a", "b"]);
    assert_eq!(dead.bodies(), [unreadable], "as it was");
    assert_eq!(consumer.drain().await.account, account(4, 2, 2, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn without_a_redrive_policy_poison_is_kept_warned_about_and_shown() {
    let log = Log::capture();
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("poison");
    let consumer = Consumer::start(&aws, "events", fail).await;
    aws.wait_for(|_| queue.receives("poison") == 12, 120 * MINUTE).await;
    assert_eq!(log.lines_with("without a redrive policy"), 1);
    assert_eq!(consumer.metric("consumer_without_redrive_policy"), 1.0);
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.lost_lease), (0, 0));
    assert_eq!(queue.bodies(), ["poison"]);
    assert!(aws.log(None).iter().all(|call| !call.action.name().starts_with("Delete")));
}

#[tokio::test(start_paused = true)]
async fn with_a_redrive_policy_nobody_is_warned() {
    let log = Log::capture();
    let aws = emulator().await;
    let _dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send("one");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.metric("consumer_without_redrive_policy"), 0.0);
    consumer.drain().await;
    assert_eq!(log.lines_with("WARN"), 0, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_takes_too_long_is_really_dropped() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let dropped = Count::default();
    let handler = hangs_until_dropped(&dropped);
    let set = |b: lifeline_consumer::Builder| b.handler_timeout(3 * SECOND);
    let consumer = Consumer::start_with(&aws, existing("events"), set, handler).await;
    aws.wait_for(|_| dropped.get() == 1, Duration::from_secs(4)).await;
    let drained = consumer.drain().await;
    assert_eq!((drained.account.retried, drained.account.deleted, drained.cancelled), (1, 0, 0));
    assert_eq!(queue.bodies(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn a_delay_that_cannot_be_set_is_left_to_the_lease() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).error(500, "InternalError"));
    let consumer = Consumer::start(&aws, "events", fail).await;
    aws.wait_for(|_| consumer.metric("consumer_messages_retried_total") == 1.0, MINUTE).await;
    assert!(aws.calls(Action::ChangeMessageVisibilityBatch) <= 5, "it is not worth more");
    aws.clear_faults();
    aws.wait_for(|_| queue.receives("one") == 2, MINUTE).await;
    consumer.drain().await;
    assert_eq!(queue.bodies(), ["one"]);
}
