//! `lifeline doctor --probe`: a marked message from a publish to a queue, timed hop by hop.
//!
//! The message goes through the topic itself. A temporary queue with the encryption key of the real one receives a copy, which
//! is what is timed. The queue gets its copy too, and no handler sees it: the consumer deletes a message with the attribute
//! [`PROBE`] without calling one. Other subscribers would see it, so that none is sent where there are any.

use std::time::Duration;

use lifeline_escape::Line as LineText;
use lifeline_messaging::call::{CallError, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::message::PROBE;
use serde_json::json;
use tokio::time::Instant;

use super::check::{Group, Outcome};
use super::report::Line;
use super::snapshot::Snapshot;
use crate::temporary::TemporaryQueue;

/// How long SNS may take to deliver it.
const DELIVERED_WITHIN: Duration = Duration::from_secs(15);
/// How long a hop takes that is worth a warning.
const SLOW: Duration = Duration::from_secs(2);

fn line(code: &'static str, outcome: Outcome) -> Line {
    Line { code, group: Group::Probe, outcome }
}

fn timed(code: &'static str, what: &str, took: Duration) -> Line {
    let text = format!("{what} in {} ms", took.as_millis());
    line(
        code,
        if took > SLOW {
            Outcome::warn(text, "usually it takes less than 100 ms")
        } else {
            Outcome::ok(text)
        },
    )
}

/// Sends it, unless something that was found already keeps it from arriving. Removes what it made.
pub(super) async fn run(clients: &Clients, snapshot: &Snapshot, passed: bool) -> Vec<Line> {
    let (true, Some(topic), Some(attributes)) =
        (passed, snapshot.topic_arn.as_deref(), snapshot.queue.found())
    else {
        let hint = "repair what failed first";
        return vec![line("probe-sent", Outcome::warn("no probe was sent: a check failed", hint))];
    };
    match other_subscriber(clients, topic, snapshot.queue_arn().unwrap_or_default()).await {
        Ok(None) => {}
        Ok(Some(other)) => {
            let text = format!("no probe was sent: {other} is subscribed to the topic too, and would get it");
            let hint = "send a message that means nothing to it with lifeline send, and follow it with lifeline tail topic";
            return vec![line("probe-sent", Outcome::warn(text, hint))];
        }
        Err(error) => {
            let text = format!("no probe was sent: {error}");
            return vec![line("probe-sent", Outcome::warn(text, "whoever else is subscribed would get it"))];
        }
    }
    let key = attributes.get("KmsMasterKeyId").map(String::as_str).filter(|key| !key.is_empty());
    let id = format!("{:016x}", fastrand::u64(..));
    let filter = json!({ PROBE: [id] }).to_string();
    let queue = match TemporaryQueue::subscribe(clients, topic, Some(&filter), key).await {
        Ok(queue) => queue,
        Err(error) => {
            let hint = "it needs the permissions of lifeline tail topic";
            return vec![line("probe-sent", Outcome::warn(format!("no probe was sent: {error:#}"), hint))];
        }
    };
    let mut lines = through(clients, topic, &queue, &id).await;
    if let Err(error) = queue.remove().await {
        let text = format!("the temporary queue {} is left: {error:#}", queue.name);
        lines.push(line(
            "probe-removed",
            Outcome::warn(text, "lifeline provision --sweep removes it in ten minutes"),
        ));
    }
    lines
}

/// The endpoint of a subscription that is not the queue's, if there is one.
async fn other_subscriber(clients: &Clients, topic: &str, queue: &str) -> Result<Option<String>, CallError> {
    let mut token = None;
    loop {
        let call = clients.sns.list_subscriptions_by_topic().topic_arn(topic).set_next_token(token);
        let page = bounded("ListSubscriptionsByTopic", clients.call_timeout, call.send()).await?;
        let mut endpoints = page.subscriptions().iter().filter_map(|subscription| subscription.endpoint());
        if let Some(other) = endpoints.find(|endpoint| *endpoint != queue) {
            return Ok(Some(LineText::new(other).limit(200).to_string()));
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(None);
        }
    }
}

async fn through(clients: &Clients, topic: &str, queue: &TemporaryQueue, id: &str) -> Vec<Line> {
    let mut lines = Vec::new();
    let begun = Instant::now();
    let value = aws_sdk_sns::types::MessageAttributeValue::builder().data_type("String").string_value(id);
    let value = value.build().expect("the type is set");
    let mut call = clients.sns.publish().topic_arn(topic).message("probe").message_attributes(PROBE, value);
    if topic.ends_with(".fifo") {
        // a group of its own holds no other message up
        call = call.message_group_id(PROBE).message_deduplication_id(id);
    }
    if let Err(error) = bounded("Publish", clients.call_timeout, call.send()).await {
        lines.push(line(
            "probe-published",
            Outcome::fail(error.to_string(), "the producer cannot publish either"),
        ));
        return lines;
    }
    let published = Instant::now();
    lines.push(timed("probe-published", "SNS accepted the probe", published - begun));
    let deadline = published + DELIVERED_WITHIN;
    let receipt = loop {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            let text = format!("SNS did not deliver the probe within {} s", DELIVERED_WITHIN.as_secs());
            let hint =
                "the topic's and the queue's keys decide that: their policies must allow sns.amazonaws.com";
            lines.push(line("probe-delivered", Outcome::fail(text, hint)));
            return lines;
        }
        let wait = left.min(Duration::from_secs(5));
        let receive = clients
            .polls
            .receive_message()
            .queue_url(&queue.url)
            .wait_time_seconds(i32::try_from(wait.as_secs().max(1)).unwrap_or(1));
        match bounded("ReceiveMessage", clients.call_timeout + wait, receive.send()).await {
            Ok(answer) => {
                let first = answer
                    .messages
                    .unwrap_or_default()
                    .into_iter()
                    .find_map(|message| message.receipt_handle);
                if let Some(receipt) = first {
                    break receipt;
                }
            }
            Err(error) => {
                lines.push(line(
                    "probe-delivered",
                    Outcome::fail(error.to_string(), "the consumer may not receive either"),
                ));
                return lines;
            }
        }
    };
    let received = Instant::now();
    lines.push(timed(
        "probe-delivered",
        "SNS delivered it to a queue, and SQS handed it out,",
        received - published,
    ));
    let delete = clients.sqs.delete_message().queue_url(&queue.url).receipt_handle(receipt).send();
    lines.push(match bounded("DeleteMessage", clients.call_timeout, delete).await {
        Ok(_) => timed("probe-deleted", "SQS deleted it", received.elapsed()),
        Err(error) => {
            line("probe-deleted", Outcome::warn(error.to_string(), "it ends with the temporary queue"))
        }
    });
    lines
}
