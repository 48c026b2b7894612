//! Topics to queues: the envelope, raw delivery, filters, policies, dead letters of subscriptions.

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_emulator::{Action, Emulator, Queue};
use serde_json::Value;

use crate::support::{Clients, error_code};

fn envelope(queue: &Queue) -> Value {
    serde_json::from_str(&queue.bodies()[0]).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_message_comes_in_snss_envelope_with_its_attributes() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_by(&queue);
    let kind = MessageAttributeValue::builder().data_type("String").string_value("order").build().unwrap();
    let publish = clients.sns.publish().topic_arn(topic.arn()).message("{\"id\":7}").subject("placed");
    let published = publish.message_attributes("kind", kind).send().await.unwrap();
    let envelope = envelope(&queue);
    assert_eq!(envelope["Type"], "Notification");
    assert_eq!(envelope["MessageId"], published.message_id().unwrap());
    assert_eq!(envelope["Message"], "{\"id\":7}");
    assert_eq!(envelope["Subject"], "placed");
    assert_eq!(envelope["MessageAttributes"]["kind"]["Value"], "order");
}

#[tokio::test(start_paused = true)]
async fn raw_delivery_brings_the_body_and_the_attributes_as_they_are() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let kind = MessageAttributeValue::builder().data_type("String").string_value("order").build().unwrap();
    let publish = clients.sns.publish().topic_arn(topic.arn()).message("plain");
    publish.message_attributes("kind", kind).send().await.unwrap();
    let received = clients.receive(&queue.url()).await;
    assert_eq!(received[0].body(), Some("plain"));
    assert_eq!(received[0].message_attributes().unwrap()["kind"].string_value(), Some("order"));
}

#[tokio::test(start_paused = true)]
async fn raw_delivery_of_an_eleventh_attribute_fails_into_the_subscriptions_dead_letter_queue() {
    let clients = Clients::new();
    let (queue, letters) = (clients.emulator.queue("orders"), clients.emulator.queue("letters"));
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let list = clients.sns.list_subscriptions_by_topic().topic_arn(topic.arn()).send().await.unwrap();
    let subscription = list.subscriptions()[0].subscription_arn().unwrap();
    let policy = format!(r#"{{"deadLetterTargetArn":"{}"}}"#, letters.arn());
    let set = clients.sns.set_subscription_attributes().subscription_arn(subscription);
    set.attribute_name("RedrivePolicy").attribute_value(policy).send().await.unwrap();
    let mut publish = clients.sns.publish().topic_arn(topic.arn()).message("plain");
    for number in 0..11 {
        let value = MessageAttributeValue::builder().data_type("String").string_value("x").build().unwrap();
        publish = publish.message_attributes(format!("a{number}"), value);
    }
    // docs.aws.amazon.com/sns/latest/dg/sns-configure-dead-letter-queue.html: its policy must let the topic in too
    publish.clone().send().await.unwrap();
    assert!(letters.is_empty());
    let policy = letters.arn();
    let policy = format!(
        r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"Service":"sns.amazonaws.com"}},"Action":"SQS:SendMessage","Resource":"{policy}","Condition":{{"ArnEquals":{{"aws:SourceArn":"{}"}}}}}}]}}"#,
        topic.arn()
    );
    let set = clients.sqs.set_queue_attributes().queue_url(letters.url());
    set.attributes(QueueAttributeName::Policy, policy).send().await.unwrap();
    publish.send().await.unwrap();
    assert!(queue.is_empty());
    assert_eq!(letters.bodies(), ["plain"]);
}

#[tokio::test(start_paused = true)]
async fn a_text_message_goes_nowhere_as_in_the_sandbox() {
    let clients = Clients::new();
    let topic = clients.emulator.topic("events");
    let subscribe = clients.sns.subscribe().topic_arn(topic.arn()).protocol("sms").endpoint("+12025550100");
    let subscription = subscribe.send().await.unwrap().subscription_arn.unwrap();
    assert!(subscription.starts_with(topic.arn()), "{subscription}");
    clients.sns.publish().topic_arn(topic.arn()).message("m").send().await.unwrap();
    let lambda = clients.sns.subscribe().topic_arn(topic.arn()).protocol("lambda");
    let lambda = lambda.endpoint("arn:aws:lambda:us-east-1:000000000000:function:f").send().await;
    assert_eq!(error_code(&lambda.unwrap_err()), "NotImplemented");
}

#[tokio::test(start_paused = true)]
async fn a_filter_policy_decides_by_the_body() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let list = clients.sns.list_subscriptions_by_topic().topic_arn(topic.arn()).send().await.unwrap();
    let subscription = list.subscriptions()[0].subscription_arn().unwrap();
    let set = |name: &str, value: &str| {
        let set = clients.sns.set_subscription_attributes().subscription_arn(subscription);
        set.attribute_name(name).attribute_value(value).send()
    };
    set("FilterPolicyScope", "MessageBody").await.unwrap();
    set("FilterPolicy", r#"{"object":{"key":[{"prefix":"x"}]}}"#).await.unwrap();
    for body in [r#"{"object":{"key":"xyz"}}"#, r#"{"object":{"key":"abc"}}"#, "no JSON"] {
        clients.sns.publish().topic_arn(topic.arn()).message(body).send().await.unwrap();
    }
    assert_eq!(queue.bodies(), [r#"{"object":{"key":"xyz"}}"#]);
    let wrong = set("FilterPolicy", r#"{"object":{"key":[{"prefixx":"x"}]}}"#).await.unwrap_err();
    assert_eq!(error_code(&wrong), "InvalidParameter");
}

#[tokio::test(start_paused = true)]
async fn a_topic_delivers_to_a_queue_only_with_a_policy_that_lets_it_in() {
    for (enforced, delivered) in [(true, 0), (false, 1)] {
        let clients = Clients::of(Emulator::builder().enforce_policies(enforced).build());
        let queue = clients.emulator.queue("orders");
        let topic = clients.emulator.topic("events");
        let subscribe = clients.sns.subscribe().topic_arn(topic.arn()).protocol("sqs");
        subscribe.endpoint(queue.arn()).send().await.unwrap();
        clients.sns.publish().topic_arn(topic.arn()).message("one").send().await.unwrap();
        assert_eq!(queue.len(), delivered);
    }
}

#[tokio::test(start_paused = true)]
async fn a_topic_takes_256_kib_and_as_much_as_it_is_set_to() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let publish = |bytes| clients.sns.publish().topic_arn(topic.arn()).message("a".repeat(bytes)).send();
    publish(262_144).await.unwrap();
    assert_eq!(error_code(&publish(262_145).await.unwrap_err()), "InvalidParameter");
    let set = clients.sns.set_topic_attributes().topic_arn(topic.arn());
    set.attribute_name("MaximumMessageSize").attribute_value("1048576").send().await.unwrap();
    publish(1_048_576).await.unwrap();
    assert_eq!(queue.len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fifo_topic_keeps_order_groups_and_deduplication() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders.fifo");
    let topic = clients.emulator.topic("events.fifo").subscribed_raw_by(&queue);
    let entry = |id: &str| {
        let entry = PublishBatchRequestEntry::builder().id(id).message(id).message_group_id("g");
        entry.message_deduplication_id(id).build().unwrap()
    };
    for _ in 0..2 {
        let batch = clients.sns.publish_batch().topic_arn(topic.arn());
        let answer = batch
            .publish_batch_request_entries(entry("a"))
            .publish_batch_request_entries(entry("b"))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.successful().len(), 2);
    }
    assert_eq!(queue.bodies(), ["a", "b"]);
    assert_eq!(clients.emulator.calls(Action::PublishBatch), 2);
}
