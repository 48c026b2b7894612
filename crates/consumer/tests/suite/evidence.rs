//! Evidence: what a response says about a message, what it says about a call, and what it does not say at all.

use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message};
use lifeline_emulator::{Action, Fault, On};

use crate::support::*;

/// Five messages whose handlers need an extension; one batch call of each kind goes wrong as `fault` says.
async fn one_call_goes_wrong(fault: impl Fn(On) -> Fault, what: &str) {
    for action in [Action::ChangeMessageVisibilityBatch, Action::DeleteMessageBatch] {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout((12 * SECOND).as_secs());
        queue.send_all((0..5).map(|n| n.to_string()));
        let rule = aws.inject(fault(Fault::on(action).nth(1)));
        let consumer = Consumer::start(&aws, "events", takes(9 * SECOND)).await;
        aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
        assert_eq!(rule.hits(), 1, "{what}: {action:?}");
        assert!(queue.histories().iter().all(|h| h.received.len() == 1), "{what}: {action:?}: handled once");
        assert_eq!(consumer.drain().await.account, account(5, 5, 0, 0, 0), "{what}: {action:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_proxys_page_to_a_batch_call_is_no_verdict_on_its_messages() {
    for status in [200, 204, 301, 302, 400, 401, 403, 404, 405, 407, 408, 413, 429, 500, 502, 503, 504] {
        one_call_goes_wrong(|rule| rule.page(status), &status.to_string()).await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_error_of_the_call_is_no_verdict_on_its_messages() {
    for code in [
        "InvalidSignatureException",
        "RequestTimeTooSkewed",
        "MissingAuthenticationTokenException",
        "IncompleteSignatureException",
        "KMS.ThrottlingException",
        "KMS.DisabledException",
        "NotAuthorized",
        "AccessDeniedException",
        "InvalidParameterValue",
        "ReceiptHandleIsInvalid",
        "InvalidAction",
        "OfTomorrow",
    ] {
        for status in [400, 403, 404, 503] {
            one_call_goes_wrong(|rule| rule.error(status, code), code).await;
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_names_nobody_proves_nothing() {
    one_call_goes_wrong(|rule| rule.status(200, "{}"), "an empty object").await;
    one_call_goes_wrong(|rule| rule.status(200, ""), "an empty body").await;
    one_call_goes_wrong(|rule| rule.status(200, r#"{"Successful":[],"Failed":[]}"#), "empty lists").await;
    one_call_goes_wrong(|rule| rule.status(200, r#"{"Successful":[{"Id":"zzz"}]}"#), "an id of nobody").await;
    one_call_goes_wrong(|rule| rule.leave_out_entries(), "none of its entries").await;
}

#[tokio::test(start_paused = true)]
async fn an_entry_that_a_response_leaves_out_is_sent_again_alone() {
    for after_effect in [false, true] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all((0..10).map(|n| n.to_string()));
        let rule = Fault::on(Action::DeleteMessageBatch).when(|call| call.bodies().contains(&"7")).nth(1);
        let rule = rule.for_entries(|entry| entry.body == "7");
        let rule = if after_effect { rule.after_effect() } else { rule };
        let left_out = aws.inject(rule.leave_out_entries());
        let consumer = Consumer::start(&aws, "events", succeed).await;
        aws.wait_for(|_| consumer.metric("consumer_messages_deleted_total") == 10.0, SOON).await;
        assert_eq!(left_out.hits(), 1);
        assert!(queue.is_empty());
        let calls = aws.log(Action::DeleteMessageBatch);
        let sent = |body: &str| calls.iter().filter(|call| call.bodies().contains(&body)).count();
        assert_eq!((sent("6"), sent("7")), (1, 2), "after effect {after_effect}");
        assert_eq!(consumer.drain().await.account, account(10, 10, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_a_response_leaves_out_is_not_believed() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((30 * SECOND).as_secs());
    queue.send("one");
    aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).times(2).leave_out_entries());
    let consumer = Consumer::start(&aws, "events", takes(MINUTE)).await;
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    assert_eq!(queue.receives("one"), 1);
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_status_of_an_odd_response_is_logged() {
    let log = Log::capture();
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    aws.inject(Fault::on(Action::DeleteMessageBatch).nth(1).page(404));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    consumer.drain().await;
    assert_eq!(log.lines_with("DeleteMessageBatch failed (server_error, HTTP 404)"), 1, "{}", log.text());
}

#[tokio::test(start_paused = true)]
async fn throttled_deletes_stay_batches_and_cost_thirty_calls_a_minute_at_most() {
    for in_flight in [64, 640] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all((0..in_flight).map(|n| n.to_string()));
        let throttled = aws.inject(Fault::on(Action::DeleteMessageBatch).throttle());
        let set = |b: lifeline_consumer::Builder| b.max_in_flight(in_flight);
        let consumer = Consumer::start_with(&aws, existing("events"), set, succeed).await;
        aws.wait_for(|_| consumer.received() == in_flight as u64, SOON).await;
        tokio::time::sleep(SECOND).await;
        let before = aws.calls(Action::DeleteMessageBatch);
        stays_up(&consumer, 5 * MINUTE).await;
        let calls = aws.log(Action::DeleteMessageBatch);
        let sent = calls.len() - before as usize;
        assert!(sent <= 5 * 30, "{in_flight}: {sent} calls in five minutes");
        assert!(calls[before as usize..].iter().all(|call| call.entries.len() >= 4), "{in_flight}: batches");
        throttled.remove();
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        assert!(queue.histories().iter().all(|h| h.received.len() == 1));
        consumer.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_still_arriving_is_not_timed_out() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 3);
    queue.send_all((0..60).map(|n| format!("{n:06}{}", "x".repeat(250_000))));
    // a full response takes 25 s, and one is lost on the way
    aws.inject(Fault::on(Action::ReceiveMessage).nth(1).reset());
    aws.inject(Fault::on(Action::ReceiveMessage).bandwidth(100_000));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), 10 * MINUTE).await;
    assert_eq!(dead.bodies().len(), 0, "no message is dead-lettered unseen");
    assert_eq!(queue.deleted().len(), 60);
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn after_a_timeout_a_receive_asks_for_fewer_messages() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs());
    queue.send_all((0..40).map(|n| n.to_string()));
    // the first receive of a worker that starts is for one
    aws.inject(Fault::on(Action::ReceiveMessage).nth(2).after_effect().hang());
    aws.inject(Fault::on(Action::ReceiveMessage).nth(3).after_effect().hang());
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    let asked: Vec<_> = aws
        .log(Action::ReceiveMessage)
        .iter()
        .map(|call| call.request["MaxNumberOfMessages"].as_u64().unwrap())
        .take(6)
        .collect();
    assert_eq!(asked[..4], [1, 10, 5, 2]);
    // a response that was lost spent a receive: what comes back could be what kills its process
    assert_eq!(asked[4..], [1, 1]);
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_retry_delay_of_more_than_twelve_hours_is_cut_to_what_sqs_takes() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send("later");
    let hours = Duration::from_secs(3600);
    let handler = move |message: Message, _: Context| async move {
        match message.receive_count {
            1 => Err(Failure::new("tomorrow").retry_after(24 * hours)),
            _ => Ok(()),
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| consumer.metric("consumer_messages_retried_total") == 1.0, SOON).await;
    let delay = queue.history("later").visibility[0].1;
    assert!(delay > 11 * hours && delay <= 12 * hours, "{delay:?}");
    tokio::time::sleep(12 * hours + MINUTE).await;
    aws.wait_for(|_| queue.deleted() == ["later"], MINUTE).await;
    assert!(dead.bodies().is_empty());
    assert_eq!(consumer.drain().await.account, account(2, 1, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_lease_of_any_length_is_kept_until_twelve_hours_and_not_refused_before() {
    let hour = Duration::from_secs(3600);
    for visibility in [hour, 6 * hour, 12 * hour] {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout(visibility.as_secs());
        queue.send("long");
        let set = move |b: lifeline_consumer::Builder| b.handler_timeout(12 * hour);
        let consumer = Consumer::start_with(&aws, existing("events"), set, takes(11 * hour + hour / 2)).await;
        aws.wait_for(|_| consumer.received() == 1, SOON).await;
        tokio::time::sleep(11 * hour + hour / 2 + MINUTE).await;
        assert_eq!((queue.deleted().len(), queue.history("long").received.len()), (1, 1), "{visibility:?}");
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0), "{visibility:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_counts_from_before_its_response_travelled() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((5 * SECOND).as_secs());
    queue.send("one");
    // the response is on its way for some 4 s; then the handler takes 3 s
    let slow = aws.inject(Fault::on(Action::ReceiveMessage).nth(1).bandwidth(200));
    let consumer = Consumer::start(&aws, "events", takes(3 * SECOND)).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(slow.hits(), 1);
    let history = queue.history("one");
    assert_eq!(history.received.len(), 1, "{history:?}");
    let extended = history.visibility[0].0 - history.received[0];
    assert!(extended < 5 * SECOND, "extended before it was over: {extended:?}");
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_response_travelled_longer_than_its_lease_is_not_started() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs());
    queue.send("one");
    aws.inject(Fault::on(Action::ReceiveMessage).nth(1).bandwidth(100));
    // SQS may refuse the extension that asks whether the lease is still ours; where it takes older receipts, it tells nothing
    let refused = Fault::on(Action::ChangeMessageVisibilityBatch).nth(1);
    aws.inject(refused.fail_entries("MessageNotInflight", true));
    let started = Seen::default();
    let handler = {
        let started = started.clone();
        move |message: Message, _: Context| {
            started.push(message.receive_count);
            std::future::ready(Ok::<(), Failure>(()))
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(started.all(), [2], "the first delivery was over before it was here");
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
}
