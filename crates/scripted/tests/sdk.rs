//! The endpoint as the real SDK clients see it: the wire, the model and each fault.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::{
    config::{BehaviorVersion, Credentials, Region, retry::RetryConfig, timeout::TimeoutConfig},
    error::{ProvideErrorMetadata, SdkError},
    types::{
        ChangeMessageVisibilityBatchRequestEntry as Visibility, DeleteMessageBatchRequestEntry as Delete,
        Message, MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry as Send,
    },
};
use lifeline_scripted::{Endpoint, Outcome};

const SECOND: Duration = Duration::from_secs(1);

/// One attempt of at most a second a call, so that each fault is seen bare.
fn sqs(aws: &Endpoint) -> aws_sdk_sqs::Client {
    let timeouts = TimeoutConfig::builder().operation_attempt_timeout(SECOND).build();
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(aws.url())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .timeout_config(timeouts)
        .build();
    aws_sdk_sqs::Client::from_conf(config)
}

fn sns(aws: &Endpoint) -> aws_sdk_sns::Client {
    let config = aws_sdk_sns::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(aws_smithy_http_client::Builder::new().build_http())
        .endpoint_url(aws.url())
        .region(Region::new("us-east-1"))
        .credentials_provider(Credentials::new("AKIATEST", "secret", None, None, "test"))
        .retry_config(RetryConfig::disabled())
        .build();
    aws_sdk_sns::Client::from_conf(config)
}

async fn receive(sqs: &aws_sdk_sqs::Client, queue: &lifeline_scripted::Queue, max: i32) -> Vec<Message> {
    let received = sqs
        .receive_message()
        .queue_url(queue.url())
        .max_number_of_messages(max)
        .message_system_attribute_names(MessageSystemAttributeName::All)
        .message_attribute_names("All")
        .send()
        .await
        .unwrap();
    received.messages.unwrap_or_default()
}

fn delete(id: &str, message: &Message) -> Delete {
    Delete::builder().id(id).receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
}

#[tokio::test]
async fn a_message_is_sent_received_and_deleted() {
    let aws = Endpoint::start().await;
    let client = sqs(&aws);
    let url = client.create_queue().queue_name("events").send().await.unwrap().queue_url.unwrap();
    assert_eq!(client.get_queue_url().queue_name("events").send().await.unwrap().queue_url.unwrap(), url);
    client.send_message().queue_url(&url).message_body("line\u{1F600}\t\"x\"").send().await.unwrap();
    let queue = aws.queue("events").get();
    let message = receive(&client, &queue, 10).await.remove(0);
    assert_eq!(message.body(), Some("line\u{1F600}\t\"x\""));
    assert_eq!(message.attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount], "1");
    assert_eq!(queue.counts().in_flight, 1);
    client
        .delete_message()
        .queue_url(&url)
        .receipt_handle(message.receipt_handle().unwrap())
        .send()
        .await
        .unwrap();
    assert!(queue.is_empty());
    assert_eq!(queue.deleted(), ["line\u{1F600}\t\"x\""]);
    assert_eq!(aws.calls("ReceiveMessage")[0].access_key, "AKIATEST");
    assert_eq!(aws.calls("DeleteMessage")[0].bodies(), ["line\u{1F600}\t\"x\""]);
}

#[tokio::test]
async fn a_long_poll_is_woken_by_a_message_and_ends_empty_without_one() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    let poll = client.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
    let put = async {
        aws.wait_for(|aws| aws.open("ReceiveMessage") == 1, SECOND).await;
        queue.put("late");
    };
    let (polled, ()) = tokio::join!(poll, put);
    assert_eq!(polled.unwrap().messages()[0].body(), Some("late"));
    let empty = client.receive_message().queue_url(queue.url()).send().await.unwrap();
    assert!(empty.messages.is_none());
}

#[tokio::test]
async fn visibility_ends_extends_and_releases() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(SECOND).create();
    let client = sqs(&aws);
    queue.put_all(["a", "b"]);
    let first = receive(&client, &queue, 10).await;
    let entry = |id: &str, m: &Message, s| {
        Visibility::builder()
            .id(id)
            .receipt_handle(m.receipt_handle().unwrap())
            .visibility_timeout(s)
            .build()
            .unwrap()
    };
    let change = |entries| {
        client.change_message_visibility_batch().queue_url(queue.url()).set_entries(Some(entries)).send()
    };
    let changed = change(vec![entry("0", &first[0], 30), entry("1", &first[1], 0)]).await.unwrap();
    assert_eq!(changed.successful().len(), 2);
    let second = receive(&client, &queue, 10).await;
    assert_eq!(second[0].body(), Some("b"));
    assert_eq!(queue.history("b").visibility[0].1, Duration::ZERO);
    // The lease of "b" runs out; its receipt then extends nothing, and "a" is still held.
    aws.wait_for(|_| queue.counts().visible == 1, 2 * SECOND).await;
    let changed = change(vec![entry("0", &second[0], 5)]).await.unwrap();
    assert_eq!(changed.failed()[0].code(), "MessageNotInflight");
    assert_eq!(queue.counts().in_flight, 1);
}

#[tokio::test]
async fn a_stale_receipt_deletes_nothing_and_says_nothing() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    queue.put("a");
    let message = receive(&client, &queue, 1).await.remove(0);
    assert_eq!(queue.steal(|body| body == "a", SECOND), 1);
    let deleted = client
        .delete_message_batch()
        .queue_url(queue.url())
        .entries(delete("0", &message))
        .send()
        .await
        .unwrap();
    assert_eq!(deleted.successful().len(), 1);
    assert_eq!(queue.bodies(), ["a"]);
    assert_eq!(queue.history("a").stale_deletes, 1);
    let garbage = Delete::builder().id("0").receipt_handle("garbage").build().unwrap();
    let refused = client.delete_message_batch().queue_url(queue.url()).entries(garbage).send().await.unwrap();
    assert_eq!(refused.failed()[0].code(), "ReceiptHandleIsInvalid");
    assert!(refused.failed()[0].sender_fault());
}

#[tokio::test]
async fn what_is_received_too_often_is_dead_lettered_and_can_be_moved_back() {
    let aws = Endpoint::start().await;
    let dead = aws.queue("dead").create();
    let queue = aws.queue("events").visibility(Duration::ZERO).dead_letters("dead", 2).create();
    let client = sqs(&aws);
    queue.put("poison");
    for _ in 0..2 {
        assert_eq!(receive(&client, &queue, 1).await.len(), 1);
    }
    assert!(receive(&client, &queue, 1).await.is_empty());
    assert_eq!(dead.bodies(), ["poison"]);
    assert!(queue.history("poison").dead_lettered.is_some());
    let sources = client.list_dead_letter_source_queues().queue_url(dead.url()).send().await.unwrap();
    assert_eq!(sources.queue_urls(), [queue.url()]);
    client.start_message_move_task().source_arn(dead.arn()).send().await.unwrap();
    assert_eq!((queue.bodies(), dead.is_empty()), (vec!["poison".to_string()], true));
}

#[tokio::test]
async fn a_fifo_group_is_held_while_one_of_it_is_in_flight() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true").create();
    let client = sqs(&aws);
    for (body, group) in [("a1", "a"), ("a2", "a"), ("b1", "b"), ("a1", "a")] {
        queue.put(lifeline_scripted::Message::new(body).group(group));
    }
    let bodies =
        |messages: &[Message]| messages.iter().map(|m| m.body().unwrap().to_string()).collect::<Vec<_>>();
    let first = receive(&client, &queue, 1).await;
    assert_eq!(bodies(&first), ["a1"]);
    let second = receive(&client, &queue, 10).await;
    assert_eq!(bodies(&second), ["b1"]);
    client
        .delete_message_batch()
        .queue_url(queue.url())
        .entries(delete("0", &first[0]))
        .send()
        .await
        .unwrap();
    let third = receive(&client, &queue, 10).await;
    assert_eq!(bodies(&third), ["a2"]);
    assert_eq!(third[0].attributes().unwrap()[&MessageSystemAttributeName::MessageGroupId], "a");
}

#[tokio::test]
async fn errors_are_the_ones_that_the_sdk_models() {
    let aws = Endpoint::start().await;
    let client = sqs(&aws);
    let missing =
        client.receive_message().queue_url(format!("{}/1/none", aws.url())).send().await.unwrap_err();
    assert!(missing.as_service_error().unwrap().is_queue_does_not_exist(), "{missing:?}");
    let missing = client.get_queue_url().queue_name("none").send().await.unwrap_err();
    assert!(missing.as_service_error().unwrap().is_queue_does_not_exist(), "{missing:?}");
    assert_eq!(missing.raw_response().unwrap().status().as_u16(), 400);
    let topic = sns(&aws)
        .publish()
        .topic_arn("arn:aws:sns:us-east-1:000000000000:none")
        .message("x")
        .send()
        .await
        .unwrap_err();
    assert!(topic.as_service_error().unwrap().is_not_found_exception(), "{topic:?}");
    let queue = aws.queue("events").create();
    let twice = ["0", "0"].map(|id| Send::builder().id(id).message_body("x").build().unwrap());
    let twice = client
        .send_message_batch()
        .queue_url(queue.url())
        .set_entries(Some(twice.into()))
        .send()
        .await
        .unwrap_err();
    assert!(twice.as_service_error().unwrap().is_batch_entry_ids_not_distinct(), "{twice:?}");
}

#[tokio::test]
async fn a_topic_delivers_wrapped_and_raw_with_attributes() {
    let aws = Endpoint::start().await;
    let (wrapped, raw) = (aws.queue("wrapped").create(), aws.queue("raw").create());
    let client = sns(&aws);
    let arn = client.create_topic().name("events").send().await.unwrap().topic_arn.unwrap();
    let mut subscriptions = Vec::new();
    for queue in [&wrapped, &raw] {
        let done = client
            .subscribe()
            .topic_arn(&arn)
            .protocol("sqs")
            .endpoint(queue.arn())
            .return_subscription_arn(true);
        subscriptions.push(done.send().await.unwrap().subscription_arn.unwrap());
    }
    let set = client.set_subscription_attributes().subscription_arn(&subscriptions[1]);
    set.attribute_name("RawMessageDelivery").attribute_value("true").send().await.unwrap();
    let seen = client.get_subscription_attributes().subscription_arn(&subscriptions[1]).send().await.unwrap();
    assert_eq!(seen.attributes().unwrap()["RawMessageDelivery"], "true");
    let listed = client.list_subscriptions_by_topic().topic_arn(&arn).send().await.unwrap();
    assert_eq!(listed.subscriptions().len(), 2);

    let value = MessageAttributeValue::builder().data_type("String").string_value("00-a&b").build().unwrap();
    let body = "tab\tquote\" <xml> & \u{1F600}\r\nend";
    client
        .publish()
        .topic_arn(&arn)
        .message(body)
        .message_attributes("traceparent", value)
        .send()
        .await
        .unwrap();
    let published = aws.topic("events").published();
    assert_eq!(
        (published[0].message.as_str(), published[0].attribute("traceparent")),
        (body, Some("00-a&b"))
    );

    let client = sqs(&aws);
    let message = receive(&client, &raw, 1).await.remove(0);
    assert_eq!(message.body(), Some(body));
    assert_eq!(message.message_attributes().unwrap()["traceparent"].string_value(), Some("00-a&b"));
    let message = receive(&client, &wrapped, 1).await.remove(0);
    let envelope: serde_json::Value = serde_json::from_str(message.body().unwrap()).unwrap();
    assert_eq!(envelope["Message"], body);
    assert_eq!(envelope["MessageAttributes"]["traceparent"]["Value"], "00-a&b");
    assert_eq!(envelope["Timestamp"].as_str().unwrap().len(), "2026-11-22T13:38:47.123Z".len());
}

#[tokio::test]
async fn a_topic_keeps_its_limits_and_fails_entries_one_by_one() {
    let aws = Endpoint::start().await;
    let topic = aws.topic("events");
    let client = sns(&aws);
    let entry = |id: &str, message: String| {
        PublishBatchRequestEntry::builder().id(id).message(message).build().unwrap()
    };
    let big: Vec<_> = (0..2).map(|i| entry(&i.to_string(), "x".repeat(200_000))).collect();
    let send = |entries| {
        client.publish_batch().topic_arn(topic.arn()).set_publish_batch_request_entries(Some(entries)).send()
    };
    let refused = send(big.clone()).await.unwrap_err();
    assert!(refused.as_service_error().unwrap().is_batch_request_too_long_exception(), "{refused:?}");
    topic.set_attribute("MaximumMessageSize", "1048576");
    let attributes = client.get_topic_attributes().topic_arn(topic.arn()).send().await.unwrap();
    assert_eq!(attributes.attributes().unwrap()["MaximumMessageSize"], "1048576");
    send(big).await.unwrap();
    aws.on("PublishBatch").for_entries(|entry| entry.body == "b").fail_entry("InternalError", false);
    let part =
        send(vec![entry("0", "a".into()), entry("1", "b".into()), entry("2", "\u{1}".into())]).await.unwrap();
    assert_eq!(part.successful().len(), 1);
    let codes: Vec<_> = part.failed().iter().map(|f| (f.code(), f.sender_fault())).collect();
    assert_eq!(codes, [("InternalError", false), ("InvalidParameter", true)]);
    assert_eq!(topic.published().len(), 3);
}

#[tokio::test]
async fn a_fifo_topic_publishes_a_deduplication_id_once() {
    let aws = Endpoint::start().await;
    let topic = aws.topic("events.fifo");
    let queue = aws.queue("events.fifo").create();
    topic.deliver_to(&queue, true);
    let client = sns(&aws);
    for _ in 0..2 {
        let publish = client
            .publish()
            .topic_arn(topic.arn())
            .message("x")
            .message_group_id("g")
            .message_deduplication_id("1");
        publish.send().await.unwrap();
    }
    assert_eq!((topic.messages(), queue.bodies()), (vec!["x".to_string()], vec!["x".to_string()]));
}

#[tokio::test]
async fn a_topic_delivers_nothing_to_a_queue_whose_policy_does_not_admit_it() {
    let aws = Endpoint::start().await;
    aws.enforce_policies();
    let (topic, queue) = (aws.topic("events"), aws.queue("events").create());
    topic.deliver_to(&queue, true);
    let publish = |text: &str| sns(&aws).publish().topic_arn(topic.arn()).message(text).send();
    publish("lost").await.unwrap();
    assert!(queue.is_empty());
    let policy = format!(
        r#"{{"Statement":[{{"Effect":"Allow","Principal":{{"Service":"sns.amazonaws.com"}},"Action":"sqs:SendMessage",
        "Resource":"{}","Condition":{{"ArnEquals":{{"aws:SourceArn":"{}"}}}}}}]}}"#,
        queue.arn(),
        topic.arn()
    );
    let set = sqs(&aws)
        .set_queue_attributes()
        .queue_url(queue.url())
        .attributes(QueueAttributeName::Policy, policy);
    set.send().await.unwrap();
    publish("found").await.unwrap();
    assert_eq!(queue.bodies(), ["found"]);
}

#[tokio::test]
async fn a_deleted_topic_takes_its_subscriptions_along_whoever_deletes_it() {
    let aws = Endpoint::start().await;
    let (sns, queue) = (sns(&aws), aws.queue("events").create());
    for by_call in [true, false] {
        aws.topic("events").deliver_to(&queue, true);
        aws.topic("other").deliver_to(&queue, true);
        if by_call {
            sns.delete_topic().topic_arn(aws.topic("events").arn()).send().await.unwrap();
        } else {
            aws.delete_topic("events");
        }
        // a new topic of the same name is another topic: it has no subscribers
        let again = aws.topic("events");
        sns.publish().topic_arn(again.arn()).message("unheard").send().await.unwrap();
        let left = sns.list_subscriptions().send().await.unwrap();
        let topics: Vec<_> = left.subscriptions().iter().map(|s| s.topic_arn().unwrap().to_owned()).collect();
        assert!(!topics.is_empty() && topics.iter().all(|arn| arn.ends_with(":other")), "{topics:?}");
    }
    assert!(queue.is_empty());
}

#[tokio::test]
async fn each_fault_of_the_connection_is_what_it_says() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(Duration::ZERO).create();
    queue.put("a");
    let client = sqs(&aws);
    let receive = || client.receive_message().queue_url(queue.url()).send();
    let timed_out = |error: &SdkError<_>| matches!(error, SdkError::TimeoutError(_));

    let hang = aws.on("ReceiveMessage").nth(1).hang();
    assert!(timed_out(&receive().await.unwrap_err()));
    assert_eq!((hang.hits(), queue.receives("a")), (1, 0), "a hang comes before the effect");
    aws.on("ReceiveMessage").nth(1).after_effect().hang();
    assert!(timed_out(&receive().await.unwrap_err()));
    assert_eq!(queue.receives("a"), 1, "or after it");
    aws.on("ReceiveMessage").nth(1).stall_body();
    assert!(timed_out(&receive().await.unwrap_err()));
    let drip = aws.on("ReceiveMessage").drip(Duration::from_millis(50));
    assert!(timed_out(&receive().await.unwrap_err()));
    drip.remove();
    aws.on("ReceiveMessage").nth(1).drip(Duration::from_micros(1));
    assert_eq!(receive().await.unwrap().messages().len(), 1, "a fast drip arrives");
    aws.on("ReceiveMessage").nth(1).reset();
    assert!(matches!(receive().await.unwrap_err(), SdkError::DispatchFailure(_)));
    aws.on("ReceiveMessage").nth(1).close_early();
    assert!(!matches!(receive().await.unwrap_err(), SdkError::TimeoutError(_) | SdkError::ServiceError(_)));
    aws.on("ReceiveMessage").nth(1).garbage("<html>");
    assert!(receive().await.is_err());
    assert_eq!(receive().await.unwrap().messages().len(), 1, "and then it is over");
    assert_eq!(aws.calls("ReceiveMessage").last().unwrap().outcome, Outcome::Answered(200));
}

#[tokio::test]
async fn errors_throttling_and_delays_are_what_they_say() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    let receive = || client.receive_message().queue_url(queue.url()).send();
    aws.on("ReceiveMessage").first(2).status(500, "InternalError");
    for _ in 0..2 {
        let error = receive().await.unwrap_err();
        assert_eq!(
            (error.code(), error.raw_response().unwrap().status().as_u16()),
            (Some("InternalError"), 500)
        );
    }
    aws.on("ReceiveMessage").nth(1).throttle();
    assert_eq!(receive().await.unwrap_err().code(), Some("ThrottlingException"));
    aws.on("*").nth(1).delay(Duration::from_millis(100));
    let start = tokio::time::Instant::now();
    receive().await.unwrap();
    assert!(start.elapsed() >= Duration::from_millis(100));
    aws.seed(7);
    let chance = aws.on("ReceiveMessage").probability(0.5).status(503, "ServiceUnavailable");
    for _ in 0..20 {
        receive().await.ok();
    }
    assert!((3..17).contains(&chance.hits()), "{}", chance.hits());
}

#[tokio::test]
async fn batches_fail_in_part_come_twice_and_lose_their_lease() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    queue.put_all(["a", "b"]);
    aws.on("ReceiveMessage").nth(1).duplicate_entries();
    let messages = receive(&client, &queue, 10).await;
    let ids: Vec<_> = messages.iter().map(|m| m.message_id().unwrap()).collect();
    assert!(ids.len() == 4 && ids[0] == ids[1] && ids[2] == ids[3]);
    assert_ne!(messages[0].receipt_handle(), messages[1].receipt_handle());
    aws.on("DeleteMessageBatch")
        .nth(1)
        .for_entries(|entry| entry.body == "a")
        .fail_entry("InternalError", false);
    let entries: Vec<_> = (0..).zip(&messages).map(|(i, m): (i32, _)| delete(&i.to_string(), m)).collect();
    let remove =
        || client.delete_message_batch().queue_url(queue.url()).set_entries(Some(entries.clone())).send();
    let part = remove().await.unwrap();
    assert_eq!((part.successful().len(), part.failed().len()), (2, 2));
    assert_eq!(queue.bodies(), ["a"]);
    remove().await.unwrap();
    assert!(queue.is_empty());
    queue.put("c");
    aws.on("ReceiveMessage").nth(1).lose_lease(SECOND);
    let lost = receive(&client, &queue, 1).await.remove(0);
    let change = client
        .change_message_visibility()
        .queue_url(queue.url())
        .receipt_handle(lost.receipt_handle().unwrap());
    assert_eq!(change.visibility_timeout(5).send().await.unwrap_err().code(), Some("InvalidParameterValue"));
}

#[tokio::test]
async fn an_endpoint_goes_down_comes_back_and_may_have_forgotten_everything() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    let receive = || client.receive_message().queue_url(queue.url()).send();
    receive().await.unwrap();
    aws.down();
    assert!(matches!(receive().await.unwrap_err(), SdkError::DispatchFailure(_)));
    aws.up();
    aws.wait_for(|_| true, SECOND).await;
    while receive().await.is_err() {}
    aws.black_hole();
    assert!(matches!(receive().await.unwrap_err(), SdkError::TimeoutError(_)));
    aws.up();
    receive().await.unwrap();
    aws.wipe();
    assert!(receive().await.unwrap_err().as_service_error().unwrap().is_queue_does_not_exist());
}

#[tokio::test(start_paused = true)]
async fn time_may_be_paused() {
    let aws = Endpoint::start().await;
    let queue = aws.queue("events").visibility(60 * SECOND).create();
    let client = sqs(&aws);
    queue.put("a");
    let start = tokio::time::Instant::now();
    assert_eq!(receive(&client, &queue, 1).await.len(), 1);
    assert!(receive(&client, &queue, 1).await.is_empty());
    tokio::time::advance(61 * SECOND).await;
    assert_eq!(receive(&client, &queue, 1).await.len(), 1);
    assert!(start.elapsed() < 62 * SECOND);
}

#[tokio::test]
async fn a_soak_forgets_what_is_done() {
    let aws = Endpoint::start().await;
    aws.keep_only_counts();
    let queue = aws.queue("events").create();
    let client = sqs(&aws);
    queue.put_all((0..20).map(|n| n.to_string()));
    while !queue.is_empty() {
        let messages = receive(&client, &queue, 10).await;
        let entries: Vec<_> =
            (0..).zip(&messages).map(|(i, m): (i32, _)| delete(&i.to_string(), m)).collect();
        let deleted = client.delete_message_batch().queue_url(queue.url()).set_entries(Some(entries)).send();
        assert!(deleted.await.unwrap().failed().is_empty());
    }
    assert_eq!((aws.calls("*").len(), queue.histories().len()), (0, 0));
    assert_eq!((aws.count("ReceiveMessage"), aws.count("*")), (2, 4));
}

#[test]
fn an_endpoint_lives_on_a_thread_of_its_own() {
    let aws = Endpoint::start_on_own_thread();
    let queue = aws.queue("events").create();
    queue.put("a");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let messages = runtime.block_on(receive(&sqs(&aws), &queue, 1));
    assert_eq!(messages[0].body(), Some("a"));
}
