//! The publisher's guarantees against the emulator.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_health::Health;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::message::Attribute;
use lifeline_producer::{InvalidMessage, NewMessage, PublishErrorKind, Publisher};
use tokio::time::{Instant, timeout};

const SOON: Duration = Duration::from_secs(10);

/// A publisher to this topic, with the defaults but for a call timeout of 1 s.
async fn publisher(url: &str, topic: &str) -> lifeline_producer::PublisherBuilder {
    let access = Access { call_timeout: Duration::from_secs(1), ..Access::local(url) };
    Publisher::to(topic).clients(Clients::connect(&access).await.unwrap())
}

/// An endpoint with a topic.
async fn endpoint(topic: &str) -> (Emulator, lifeline_emulator::Topic) {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic(topic);
    (aws, topic)
}

/// Publishes them all at once, and returns the outcomes in their order.
async fn publish_all(
    publisher: &Publisher,
    messages: impl IntoIterator<Item = NewMessage>,
) -> Vec<lifeline_producer::Outcome> {
    let mut pending = Vec::new();
    for message in messages {
        pending.push(publisher.enqueue(message).await);
    }
    let mut outcomes = Vec::new();
    for pending in pending {
        outcomes.push(match pending {
            Ok(pending) => pending.await,
            Err(error) => Err(error),
        });
    }
    outcomes
}

fn numbered(count: usize) -> impl Iterator<Item = NewMessage> {
    (0..count).map(|n| NewMessage::new(n.to_string()))
}

fn sorted(mut texts: Vec<String>) -> Vec<String> {
    texts.sort();
    texts
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_small_messages_take_at_most_1010_calls() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.linger(Duration::from_millis(50)).start().await.unwrap();
    let published = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&published);
    let sink = publisher.sink(move |_, outcome| {
        outcome.unwrap();
        count.fetch_add(1, Ordering::Relaxed);
    });
    for (tag, message) in (0..).zip(numbered(10_000)) {
        sink.send(tag, message).await.unwrap();
    }
    publisher.close().await;
    assert_eq!(published.load(Ordering::Relaxed), 10_000);
    assert_eq!(topic.messages().into_iter().collect::<HashSet<_>>().len(), 10_000);
    assert!(aws.calls(Action::PublishBatch) <= 1010, "{} calls", aws.calls(Action::PublishBatch));
    assert!(
        aws.log(Action::PublishBatch).iter().any(|call| call.concurrent > 1),
        "several calls are in flight together"
    );
    assert!(aws.log(Action::PublishBatch).iter().all(|call| call.concurrent <= 16), "and not more than 16");
}

#[tokio::test]
async fn a_lone_message_waits_no_longer_than_linger() {
    let (aws, topic) = endpoint("t").await;
    let publisher =
        publisher(&aws.url(), "t").await.linger(Duration::from_millis(200)).start().await.unwrap();
    publisher.publish(NewMessage::new("warm")).await.unwrap();
    let begun = Instant::now();
    publisher.publish(NewMessage::new("lone")).await.unwrap();
    let sent = topic.published()[1].at - begun;
    assert!(sent >= Duration::from_millis(190) && sent < Duration::from_millis(400), "{sent:?}");
}

#[tokio::test]
async fn transient_entries_alone_are_retried() {
    let (aws, topic) = endpoint("t").await;
    let fails = aws.inject(
        Fault::on(Action::PublishBatch)
            .times(3)
            .for_entries(|entry| entry.body == "3" || entry.body == "7")
            .fail_entries("InternalError", false),
    );
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = publish_all(&publisher, numbered(10)).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(topic.messages().len(), 10, "nobody was sent twice that was taken");
    let sent: Vec<_> = aws
        .log(Action::PublishBatch)
        .iter()
        .skip(1)
        .flat_map(|c| c.entries.clone())
        .map(|e| e.body)
        .collect();
    assert!(sent.iter().all(|body| body == "3" || body == "7"), "{sent:?}");
    assert_eq!(fails.hits(), 3);
}

#[tokio::test]
async fn a_senders_fault_fails_that_message_alone_with_code_and_text() {
    let (aws, topic) = endpoint("t").await;
    aws.inject(
        Fault::on(Action::PublishBatch)
            .for_entries(|entry| entry.body == "4")
            .fail_entries("InvalidParameter", true),
    );
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = publish_all(&publisher, numbered(10)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        match outcome {
            Ok(_) => assert_ne!(n, 4),
            Err(error) => {
                assert_eq!(n, 4);
                assert_eq!(error.code(), Some("InvalidParameter"));
                assert!(error.to_string().contains("InvalidParameter, by the emulator's fault"), "{error}");
                assert!(error.is_final() && !error.may_have_been_published());
            }
        }
    }
    assert_eq!(topic.messages().len(), 9);
    assert_eq!(aws.calls(Action::PublishBatch), 1, "what would fail again is not sent again");
}

#[tokio::test]
async fn partial_success_is_told_message_by_message() {
    let (aws, topic) = endpoint("t").await;
    aws.inject(
        Fault::on(Action::PublishBatch)
            .nth(1)
            .for_entries(|e| e.body != "1")
            .fail_entries("InternalError", false),
    );
    aws.inject(
        Fault::on(Action::PublishBatch)
            .from(2)
            .for_entries(|e| e.body == "2")
            .fail_entries("InvalidParameter", true),
    );
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = publish_all(&publisher, numbered(4)).await;
    let ids: HashMap<String, String> =
        topic.published().into_iter().map(|p| (p.message, p.message_id)).collect();
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.as_ref().ok().map(|r| &r.message_id), ids.get(&n.to_string()), "message {n}");
    }
    assert_eq!((ids.len(), topic.messages().len()), (3, 3));
}

#[tokio::test]
async fn an_entry_that_the_answer_does_not_mention_is_sent_again() {
    let (aws, topic) = endpoint("t").await;
    let answer = "<PublishBatchResponse xmlns=\"http://sns.amazonaws.com/doc/2010-03-31/\"><PublishBatchResult>\
        <Successful><member><Id>0</Id><MessageId>m-0</MessageId></member></Successful><Failed/>\
        </PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>";
    aws.inject(Fault::on(Action::PublishBatch).nth(1).status(200, answer));
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = publish_all(&publisher, numbered(3)).await;
    assert_eq!(outcomes[0].as_ref().unwrap().message_id, "m-0");
    assert_eq!(sorted(topic.messages()), ["1", "2"]);
}

#[tokio::test]
async fn a_call_whose_answer_is_lost_is_retried_and_fifo_does_not_double() {
    retried_without_doubling(|aws| {
        aws.inject(Fault::on(Action::PublishBatch).nth(1).after_effect().hang());
        aws.inject(Fault::on(Action::PublishBatch).nth(2).after_effect().reset());
        aws.inject(Fault::on(Action::PublishBatch).nth(3).truncate());
        aws.inject(Fault::on(Action::PublishBatch).nth(4).after_effect().stall());
    })
    .await;
}

#[tokio::test]
async fn a_call_that_fails_for_a_while_is_retried() {
    retried_without_doubling(|aws| {
        // 408 with an empty body happens on SNS (kalaspuff/tomodachi PR 1765)
        aws.inject(Fault::on(Action::PublishBatch).nth(1).error(408, ""));
        aws.inject(Fault::on(Action::PublishBatch).nth(2).status(200, ""));
        aws.inject(Fault::on(Action::PublishBatch).nth(3).error(500, "InternalFailure"));
        aws.inject(Fault::on(Action::PublishBatch).nth(4).status(200, "<html>a proxy's page</html>"));
        aws.inject(Fault::on(Action::PublishBatch).nth(5).error(403, "ExpiredToken"));
    })
    .await;
}

async fn retried_without_doubling(script: impl FnOnce(&Emulator)) {
    let (aws, topic) = endpoint("t.fifo").await;
    let queue = aws.queue("q.fifo");
    topic.subscribe(&queue, true);
    script(&aws);
    let publisher = publisher(&aws.url(), "t.fifo").await.start().await.unwrap();
    let messages = || numbered(10).enumerate().map(|(n, m)| m.group(format!("g{n}")));
    let outcomes = timeout(Duration::from_secs(60), publish_all(&publisher, messages())).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(queue.histories().len(), 10, "nothing doubled");
    let mut ids: HashMap<String, HashSet<String>> = HashMap::new();
    for entry in aws.log(Action::PublishBatch).iter().flat_map(|c| c.entries.clone()) {
        let id = entry.value["MessageDeduplicationId"].as_str().unwrap().to_owned();
        ids.entry(entry.body).or_default().insert(id);
    }
    assert!(ids.values().all(|ids| ids.len() == 1), "the same id at every try");
    assert_eq!(ids.values().flatten().collect::<HashSet<_>>().len(), 10, "and one's own");
}

#[tokio::test]
async fn large_messages_are_batched_by_the_topics_own_maximum() {
    for (maximum, calls) in [(None, 10), (Some("1048576"), 2)] {
        let (aws, topic) = endpoint("t").await;
        if let Some(maximum) = maximum {
            topic.set_attribute("MaximumMessageSize", maximum);
        }
        let publisher =
            publisher(&aws.url(), "t").await.linger(Duration::from_millis(100)).start().await.unwrap();
        let large = (0..10).map(|n| NewMessage::new(n.to_string().repeat(200 << 10)));
        let outcomes = publish_all(&publisher, large).await;
        assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
        assert_eq!((topic.messages().len(), aws.calls(Action::PublishBatch)), (10, calls));
    }
}

#[tokio::test]
async fn what_is_larger_than_the_topic_takes_is_refused_with_both_figures() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let trace = "traceparent".len() + "String".len() + 55;
    let fits = "x".repeat(262_144 - trace);
    publisher.publish(NewMessage::new(fits.clone())).await.unwrap();
    let error = publisher.publish(NewMessage::new(fits.clone() + "x")).await.unwrap_err();
    assert_eq!(error.as_invalid(), Some(&InvalidMessage::TooLarge { bytes: 262_145, limit: 262_144 }));
    assert_eq!(error.into_message().unwrap().body(), fits + "x", "it comes back");
    assert_eq!((topic.messages().len(), aws.calls(Action::PublishBatch)), (1, 1));
}

#[tokio::test]
async fn an_eleventh_attribute_and_a_bad_character_never_reach_the_wire() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let with = |n: usize| {
        (0..n).fold(NewMessage::new("x"), |m, i| m.attribute(format!("a{i}"), Attribute::string("v")))
    };
    let refused = publisher.publish(with(10)).await.unwrap_err();
    assert_eq!(refused.as_invalid(), Some(&InvalidMessage::Attributes { count: 11 }));
    for bad in ["", "nul \0", "\u{ffff}"] {
        let error = publisher.publish(NewMessage::new(bad)).await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Invalid, "{error}");
    }
    publisher.publish(with(9)).await.unwrap();
    assert_eq!(topic.published()[0].attribute_count(), 10);
    assert_eq!(aws.calls(Action::PublishBatch), 1);
}

#[tokio::test]
async fn a_batch_that_is_refused_is_halved_until_only_the_failing_message_is_rejected() {
    let (aws, topic) = endpoint("t").await;
    aws.inject(
        Fault::on(Action::PublishBatch)
            .when(|call| call.bodies().contains(&"6"))
            .error(400, "InvalidParameter"),
    );
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = publish_all(&publisher, numbered(10)).await;
    for (n, outcome) in outcomes.iter().enumerate() {
        assert_eq!(outcome.is_ok(), n != 6, "{n}: {outcome:?}");
    }
    let error = outcomes[6].as_ref().unwrap_err();
    assert_eq!((error.code(), topic.messages().len()), (Some("InvalidParameter"), 9));
    assert!(aws.calls(Action::PublishBatch) <= 9, "{} calls", aws.calls(Action::PublishBatch));
}

#[tokio::test]
async fn two_pods_that_publish_the_same_body_publish_two_messages() {
    let (aws, topic) = endpoint("t.fifo").await;
    let queue = aws.queue("q.fifo");
    topic.subscribe(&queue, true);
    let (one, two) = (
        publisher(&aws.url(), "t.fifo").await.start().await.unwrap(),
        publisher(&aws.url(), "t.fifo").await.start().await.unwrap(),
    );
    let same = || NewMessage::new("same").group("g");
    one.publish(same()).await.unwrap();
    two.publish(same()).await.unwrap();
    assert_eq!(queue.bodies(), ["same", "same"]);
    let keyed = || NewMessage::new("keyed").group("g").deduplication_id("order-7");
    one.publish(keyed()).await.unwrap();
    two.publish(keyed()).await.unwrap();
    assert_eq!(queue.bodies(), ["same", "same", "keyed"], "the same key is one message");
}

#[tokio::test]
async fn a_failure_holds_its_group_and_no_other() {
    let (aws, topic) = endpoint("t.fifo").await;
    aws.inject(
        Fault::on(Action::PublishBatch)
            .times(4)
            .for_entries(|e| e.body == "a1")
            .fail_entries("InternalError", false),
    );
    let publisher = publisher(&aws.url(), "t.fifo").await.start().await.unwrap();
    let messages = ["a0", "a1", "b0", "a2", "b1", "a3", "b2", "b3"]
        .map(|body| NewMessage::new(body).group(body[..1].to_owned()));
    let outcomes = timeout(SOON, publish_all(&publisher, messages)).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    let published = topic.messages();
    let of = |group: &str| published.iter().filter(|m| m.starts_with(group)).cloned().collect::<Vec<_>>();
    assert_eq!(of("a"), ["a0", "a1", "a2", "a3"]);
    assert_eq!(of("b"), ["b0", "b1", "b2", "b3"]);
    let at = |body: &str| published.iter().position(|m| m == body).unwrap();
    assert!(at("b3") < at("a2"), "b did not wait for a: {published:?}");
}

#[tokio::test]
async fn order_holds_within_every_group_whatever_fails() {
    let (aws, topic) = endpoint("t.fifo").await;
    aws.seed_faults(7);
    aws.inject(Fault::on(Action::PublishBatch).every(7).error(500, "InternalError"));
    aws.inject(
        Fault::on(Action::PublishBatch)
            .probability(0.3)
            .for_entries(|e| e.body.ends_with('3'))
            .fail_entries("Throttled", false),
    );
    aws.inject(Fault::on(Action::PublishBatch).every(11).after_effect().reset());
    let publisher = publisher(&aws.url(), "t.fifo").await.start().await.unwrap();
    let messages = (0..300).map(|n| NewMessage::new(format!("{:03}", n)).group(format!("g{}", n % 25)));
    let outcomes = timeout(Duration::from_secs(50), publish_all(&publisher, messages)).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    for published in topic.published() {
        groups.entry(published.group.unwrap()).or_default().push(published.message);
    }
    assert_eq!(groups.values().map(Vec::len).sum::<usize>(), 300);
    assert!(groups.values().all(|messages| messages.is_sorted()), "{groups:?}");
}

#[tokio::test]
async fn throttling_lowers_the_rate_and_no_error_reaches_the_caller() {
    let (aws, topic) = endpoint("t").await;
    aws.inject(Fault::on(Action::PublishBatch).delay(Duration::from_millis(20)));
    let throttled = aws.inject(Fault::on(Action::PublishBatch).when(|call| call.concurrent > 2).throttle());
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let outcomes = timeout(Duration::from_secs(30), publish_all(&publisher, numbered(1000))).await.unwrap();
    assert!(outcomes.iter().all(Result::is_ok));
    assert_eq!(topic.messages().len(), 1000);
    let share = throttled.hits() as f64 / aws.calls(Action::PublishBatch) as f64;
    assert!(share < 0.4, "{} of {} calls were throttled", throttled.hits(), aws.calls(Action::PublishBatch));

    throttled.remove();
    let before = aws.calls(Action::PublishBatch);
    publish_all(&publisher, numbered(2000)).await;
    let widest = aws.log(Action::PublishBatch)[before as usize..].iter().map(|call| call.concurrent).max();
    assert!(widest > Some(4), "it recovers: {widest:?} in flight");
}

#[tokio::test]
async fn no_more_than_the_buffer_is_held_and_callers_wait() {
    let (aws, _topic) = endpoint("t").await;
    aws.black_hole();
    let publisher = publisher(&aws.url(), "t").await.buffer(25).start().await.unwrap();
    let mut held = Vec::new();
    for message in numbered(25) {
        held.push(publisher.enqueue(message).await.unwrap());
    }
    assert_eq!(publisher.buffered(), 25);
    let more = publisher.enqueue(NewMessage::new("more"));
    tokio::pin!(more);
    assert!(timeout(Duration::from_millis(100), &mut more).await.is_err(), "it waits for room");
    aws.up();
    held.push(timeout(Duration::from_secs(20), more).await.unwrap().unwrap());
    for pending in held {
        pending.await.unwrap();
    }
}

#[tokio::test]
async fn bytes_are_bounded_too() {
    let (aws, _topic) = endpoint("t").await;
    aws.black_hole();
    let publisher = publisher(&aws.url(), "t").await.buffer_bytes(300_000).start().await.unwrap();
    let first = publisher.enqueue(NewMessage::new("x".repeat(200_000))).await.unwrap();
    let second = publisher.enqueue(NewMessage::new("y".repeat(200_000)));
    assert!(timeout(Duration::from_millis(100), second).await.is_err());
    aws.up();
    first.await.unwrap();
}

#[tokio::test]
async fn closing_publishes_what_lingers_and_takes_no_more() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.linger(Duration::from_secs(3600)).start().await.unwrap();
    publish_one(&publisher, "7").await;
    let pending = publisher.enqueue(NewMessage::new("lingers")).await.unwrap();
    timeout(SOON, publisher.close()).await.unwrap();
    pending.await.unwrap();
    assert_eq!(topic.messages(), ["lingers"], "accepted is confirmed");
    let late = publisher.publish(NewMessage::new("late")).await.unwrap_err();
    assert_eq!((late.kind(), late.may_have_been_published()), (PublishErrorKind::Closed, false));
    assert_eq!(late.into_message().unwrap().body(), "late");
    timeout(SOON, publisher.close()).await.unwrap();
}

/// A publish that is dropped at once takes no room.
async fn publish_one(publisher: &Publisher, body: &str) {
    let publish = publisher.publish(NewMessage::new(body));
    drop(publish);
    assert_eq!(publisher.buffered(), 0);
}

#[tokio::test]
async fn a_dropped_publisher_still_publishes_what_it_took() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let pending = publisher.enqueue(NewMessage::new("x")).await.unwrap();
    drop(publisher);
    timeout(SOON, pending).await.unwrap().unwrap();
    assert_eq!(topic.messages(), ["x"]);
}

#[tokio::test]
async fn past_its_deadline_a_message_fails_with_the_last_failure() {
    let (aws, _topic) = endpoint("t").await;
    aws.inject(Fault::on(Action::PublishBatch).error(503, "ServiceUnavailable"));
    let deadline = Duration::from_millis(500);
    let publisher = publisher(&aws.url(), "t").await.deadline(deadline).start().await.unwrap();
    let begun = Instant::now();
    let error = publisher.publish(NewMessage::new("x")).await.unwrap_err();
    assert_eq!(error.kind(), PublishErrorKind::TimedOut);
    assert!(error.attempts() >= 1 && error.to_string().contains("ServiceUnavailable"), "{error}");
    assert!(begun.elapsed() < deadline * 4, "{:?}", begun.elapsed());
    assert!(!error.is_final());
}

#[tokio::test]
async fn abandoning_reports_every_message() {
    let (aws, _topic) = endpoint("t").await;
    aws.inject(Fault::on(Action::PublishBatch).hang());
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let mut pending = Vec::new();
    for message in numbered(50) {
        pending.push(publisher.enqueue(message).await.unwrap());
    }
    aws.wait_for(|aws| aws.open_calls(Action::PublishBatch) > 0, SOON).await;
    timeout(SOON, publisher.abandon()).await.unwrap();
    for pending in pending {
        let error = pending.await.unwrap_err();
        assert_eq!(error.kind(), PublishErrorKind::Abandoned);
        // in two calls of ten at first: the others were never sent
        assert_eq!(error.may_have_been_published(), error.attempts() > 0);
    }
}

#[tokio::test]
async fn a_topic_that_disappeared_is_created_again_and_used_when_it_has_a_subscription() {
    let (aws, topic) = endpoint("t").await;
    topic.subscribe(&aws.queue("q"), true);
    let publisher = publisher(&aws.url(), "t").await.provision(true).start().await.unwrap();
    publisher.publish(NewMessage::new("before")).await.unwrap();
    aws.wipe();
    let pending = publisher.enqueue(NewMessage::new("after")).await.unwrap();
    aws.wait_for(|aws| aws.calls(Action::CreateTopic) == 2, SOON).await;
    assert_eq!(aws.topic("t").messages(), Vec::<String>::new(), "it has no subscription yet");
    aws.topic("t").subscribe(&aws.queue("q"), true);
    timeout(SOON, pending).await.unwrap().unwrap();
    assert_eq!(aws.existing_queue("q").bodies(), ["after"]);
}

#[tokio::test]
async fn without_provision_a_missing_topic_is_waited_for() {
    let aws = Emulator::start().await.unwrap();
    let health = Health::new("test");
    let publisher = publisher(&aws.url(), "t").await.health(&health).start().await.unwrap();
    let pending = publisher.enqueue(NewMessage::new("x")).await.unwrap();
    let said =
        || health.readiness.reasons().iter().any(|(n, r)| *n == "topology" && r.contains("PROVISION=true"));
    aws.wait_for(|_| said(), SOON).await;
    let topic = aws.topic("t");
    timeout(Duration::from_secs(20), pending).await.unwrap().unwrap();
    assert_eq!((topic.messages().len(), aws.calls(Action::CreateTopic)), (1, 0));
    assert_eq!(health.readiness.reasons(), []);
}

#[tokio::test]
async fn an_outage_is_probed_at_a_growing_interval_and_its_end_is_noticed() {
    let (aws, topic) = endpoint("t").await;
    let health = Health::new("test");
    let publisher = publisher(&aws.url(), "t").await.health(&health).start().await.unwrap();
    publisher.publish(NewMessage::new("0")).await.unwrap();
    let outage = aws.inject(Fault::on_every_action().error(503, "ServiceUnavailable"));
    let mut pending = Vec::new();
    for message in numbered(500) {
        pending.push(publisher.enqueue(message).await.unwrap());
    }
    tokio::time::sleep(Duration::from_secs(3)).await;
    assert!(outage.hits() <= 25, "{} calls in 3 s", outage.hits());
    assert!(health.readiness.reasons().iter().any(|(name, _)| *name == "aws"));
    assert_eq!(health.pulses.stale(), Vec::<String>::new(), "AWS being down is UP");
    outage.remove();
    for pending in pending {
        timeout(Duration::from_secs(20), pending).await.unwrap().unwrap();
    }
    assert_eq!(topic.messages().len(), 501);
    assert_eq!(health.readiness.reasons(), []);
}

#[tokio::test]
async fn every_message_has_a_trace_of_its_own() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let receipts = publish_all(&publisher, numbered(20)).await;
    let traces: HashSet<String> =
        receipts.into_iter().map(|r| r.unwrap().trace_id.unwrap().to_string()).collect();
    assert_eq!(traces.len(), 20);
    for published in topic.published() {
        let trace: lifeline_messaging::trace::TraceContext =
            published.attribute("traceparent").unwrap().parse().unwrap();
        assert!(traces.contains(&trace.trace_id().to_string()));
    }
}

#[tokio::test]
async fn a_callback_that_panics_does_not_end_the_publisher() {
    let (aws, topic) = endpoint("t").await;
    let publisher = publisher(&aws.url(), "t").await.start().await.unwrap();
    let told = Arc::new(Mutex::new(Vec::new()));
    let heard = Arc::clone(&told);
    let sink = publisher.sink(move |tag, _| {
        assert_ne!(tag, 0, "a caller's bug");
        heard.lock().unwrap().push(tag);
    });
    for tag in 0..3 {
        sink.send(tag, NewMessage::new(tag.to_string())).await.unwrap();
    }
    publisher.close().await;
    assert_eq!(*told.lock().unwrap(), [1, 2]);
    assert_eq!(topic.messages().len(), 3);
}

#[tokio::test]
async fn metrics_tell_what_was_done() {
    let (aws, _topic) = endpoint("t").await;
    aws.inject(Fault::on(Action::PublishBatch).nth(2).error(500, "InternalError"));
    let health = Health::new("test");
    let publisher = publisher(&aws.url(), "t").await.health(&health).start().await.unwrap();
    publisher.publish(NewMessage::new("1")).await.unwrap();
    publisher.publish(NewMessage::new("2")).await.unwrap();
    publisher.publish(NewMessage::new("\0")).await.unwrap_err();
    let metrics = health.metrics.render();
    for line in [
        "producer_messages_published_total 2",
        "producer_messages_rejected_total 1",
        "producer_publish_calls_total{outcome=\"success\"} 2",
        "producer_publish_calls_total{outcome=\"server_error\"} 1",
        "producer_publish_duration_seconds_count 3",
        "producer_buffered_messages 0",
        "pulse_age_seconds{pulse=\"batcher\"}",
    ] {
        assert!(metrics.contains(line), "{line} in {metrics}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn publishers_with_names_do_not_hide_each_others_failures() {
    let (aws, _topic) = endpoint("here").await;
    let health = Health::new("test");
    let here = publisher(&aws.url(), "here").await.name("orders").health(&health).start().await.unwrap();
    let away = publisher(&aws.url(), "away").await.name("invoices").health(&health).start().await.unwrap();
    here.publish("one").await.unwrap();
    aws.wait_for(|_| health.readiness.reasons().iter().any(|(_, reason)| reason.contains("away")), SOON)
        .await;
    let unmet: Vec<_> = health.readiness.reasons().into_iter().map(|(name, _)| name).collect();
    assert!(
        unmet.iter().any(|name| name == "invoices/topology")
            && !unmet.iter().any(|name| name == "orders/topology"),
        "{unmet:?}"
    );
    let pulses: Vec<_> = health.pulses.ages().into_iter().map(|(name, _)| name).collect();
    assert_eq!(pulses, ["invoices/batcher", "orders/batcher"]);
    here.close().await;
    away.abandon().await;
}
