//! Topology while the worker runs: queues that vanish and come back, endpoints that forget everything, credentials that
//! change.

use std::time::Duration;

use aws_sdk_sns::types::MessageAttributeValue;
use lifeline_emulator::Action;
use serde_json::Value;
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_queue_deleted_and_made_again_is_picked_up_again() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("before");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    aws.existing_queue("events").delete();
    stays_up(&consumer, 5 * MINUTE).await;
    assert!(!consumer.readiness.reasons().is_empty());
    // SQS takes a minute before the name is free, and another timeout is a new lease
    let queue = aws.queue("events").visibility_timeout((3 * SECOND).as_secs());
    queue.send("after");
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(begun.elapsed() <= Duration::from_secs(21), "{:?}", begun.elapsed());
    assert_eq!(consumer.metric("consumer_poller_restarts_total"), 0.0);
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_is_held_when_its_queue_vanishes_is_accounted_for() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["a", "b"]);
    let consumer = Consumer::start(&aws, "events", takes(5 * SECOND)).await;
    aws.wait_for(|_| consumer.received() == 2, SOON).await;
    aws.existing_queue("events").delete();
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 2.0, MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(2, 0, 0, 0, 2));
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_forgot_everything_is_provisioned_again() {
    let aws = emulator().await;
    let consumer = Consumer::start_with(&aws, provisioned("orders"), |b| b, succeed).await;
    for round in 0..2 {
        let topic_arn = "arn:aws:sns:us-east-1:000000000000:events";
        aws.wait_for(|aws| aws.log(Action::Subscribe).len() > round, 2 * MINUTE).await;
        let sns = clients(&aws).await.sns;
        sns.publish().topic_arn(topic_arn).message(format!("round {round}")).send().await.unwrap();
        let queue = aws.existing_queue("orders");
        aws.wait_for(|_| !queue.deleted().is_empty(), MINUTE).await;
        assert!(queue.is_empty());
        let redrive: Value = serde_json::from_str(&queue.get_attribute("RedrivePolicy").unwrap()).unwrap();
        assert!(redrive["deadLetterTargetArn"].as_str().unwrap().ends_with(":orders-dlq"));
        assert!(consumer.readiness.reasons().is_empty());
        aws.wipe();
        tokio::time::sleep(SECOND).await;
    }
    stays_up(&consumer, MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_subscription_that_vanished_alone_is_made_again_within_a_minute() {
    let aws = emulator().await;
    let consumer = Consumer::start_with(&aws, provisioned("orders"), |b| b, succeed).await;
    aws.wait_for(|aws| aws.calls(Action::Subscribe) == 1, SOON).await;
    let sns = clients(&aws).await.sns;
    let subscriptions = sns.list_subscriptions().send().await.unwrap();
    let arn = subscriptions.subscriptions()[0].subscription_arn().unwrap();
    sns.unsubscribe().subscription_arn(arn).send().await.unwrap();
    aws.wait_for(|aws| aws.calls(Action::Subscribe) == 2, MINUTE + 5 * SECOND).await;
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn wrapped_and_raw_reach_the_same_handler_alike() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |message: lifeline_consumer::Message, _: lifeline_consumer::Context| {
            let attributes: Vec<_> = message.attributes.keys().cloned().collect();
            seen.push((message.body.clone(), attributes, message.trace.map(|t| t.trace_id().to_string())));
            std::future::ready(Ok::<(), lifeline_consumer::Failure>(()))
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    let sns = clients(&aws).await.sns;
    let trace = "0af7651916cd43dd8448eb211c80319c";
    let attribute = |value: &str| {
        let typed = MessageAttributeValue::builder().data_type("String").string_value(value);
        typed.build().unwrap()
    };
    for (topic, raw) in [("wrapped", false), ("raw", true)] {
        let topic = aws.topic(topic);
        topic.subscribe(&queue, raw);
        sns.publish()
            .topic_arn(topic.arn())
            .message("the same")
            .message_attributes("traceparent", attribute(&format!("00-{trace}-b7ad6b7169203331-01")))
            .message_attributes("kind", attribute("order"))
            .send()
            .await
            .unwrap();
    }
    aws.wait_for(|_| queue.histories().len() == 2 && queue.is_empty(), SOON).await;
    assert_eq!(seen.all()[0], seen.all()[1]);
    let (body, attributes, trace_id) = seen.all().remove(0);
    assert_eq!((body.as_str(), attributes), ("the same", vec!["kind".to_owned(), "traceparent".to_owned()]));
    assert_eq!(trace_id.as_deref(), Some(trace));
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}
