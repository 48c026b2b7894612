//! The queue: its policy, its key, its limits and what it holds.

use lifeline_messaging::topology::topic_may_send;
use lifeline_policy::{Decision, with_topic};
use serde_json::json;

use super::{aws, number, quoted, set_queue_attributes, span};
use crate::doctor::check::{Check, Group, Outcome};
use crate::doctor::snapshot::{Read, Snapshot};

pub(super) const CHECKS: &[Check] = &[
    Check { code: "queue-exists", group: Group::Queue, run: exists },
    Check { code: "queue-policy", group: Group::Queue, run: policy },
    Check { code: "queue-key", group: Group::Queue, run: key },
    Check { code: "queue-size", group: Group::Queue, run: size },
    Check { code: "queue-delay", group: Group::Queue, run: delay },
    Check { code: "queue-retention", group: Group::Queue, run: retention },
    Check { code: "visibility-timeout", group: Group::Queue, run: visibility },
    Check { code: "in-flight", group: Group::Queue, run: in_flight },
    Check { code: "oldest-message", group: Group::Queue, run: oldest },
];

/// What SQS hands out at most before it answers `OverLimit`, or on a FIFO queue with nothing.
const MAX_IN_FLIGHT: u64 = 120_000;
/// A topic's own limit if it has no attribute for it.
const TOPIC_SIZE: u64 = 262_144;

fn exists(snapshot: &Snapshot) -> Option<Outcome> {
    let queue = &snapshot.target.queue;
    let name = queue.name();
    Some(match &snapshot.queue {
        Read::Found(_) => Outcome::ok(format!("queue {}", snapshot.queue_arn().unwrap_or(name))),
        Read::Missing => {
            let fifo = if queue.is_fifo() { " --attributes FifoQueue=true" } else { "" };
            Outcome::fail(
                format!("queue {name} does not exist in {}", snapshot.region),
                "create it, or run lifeline provision",
            )
            .fix(aws(snapshot, format_args!("sqs create-queue --queue-name {name}{fifo}")))
        }
        Read::Denied(why) => Outcome::warn(format!("cannot tell whether queue {name} exists"), why),
        // reported as unreachable
        Read::Failed(_) | Read::Skipped => return None,
    })
}

fn policy(snapshot: &Snapshot) -> Option<Outcome> {
    let attributes = snapshot.queue.found()?;
    let (topic, queue) = (snapshot.topic_arn.as_deref()?, snapshot.queue_arn()?);
    let text = attributes.get("Policy").map_or("", String::as_str);
    let decision = topic_may_send(text, queue, topic, snapshot.now);
    let add = || {
        let merged = with_topic(text, queue, topic).ok().flatten();
        merged.map(|policy| set_queue_attributes(snapshot, &json!({ "Policy": policy })))
    };
    let outcome = match &decision {
        Decision::Allowed(statement) => {
            return Some(Outcome::ok(format!("the queue policy allows the topic to send ({statement})")));
        }
        Decision::Denied(None) => Outcome::fail(
            "the queue policy does not allow the topic to send: SNS discards every message for this queue",
            "add a statement that allows sns.amazonaws.com to send for this topic",
        ),
        Decision::Denied(Some(statement)) => {
            return Some(Outcome::fail(
                format!(
                    "the queue policy denies the topic by {statement}: SNS discards every message for this queue"
                ),
                "change that statement; adding another one does not help, since a Deny wins",
            ));
        }
        Decision::CannotTell { reason, .. } => Outcome::warn(
            format!("cannot tell whether the queue policy allows the topic to send: {reason}"),
            "a statement that depends on nothing else removes the doubt, unless a Deny is in doubt",
        ),
    };
    Some(match add() {
        Some(fix) => outcome.fix(fix),
        None => outcome,
    })
}

fn key(snapshot: &Snapshot) -> Option<Outcome> {
    let attributes = snapshot.queue.found()?;
    let key = attributes.get("KmsMasterKeyId").filter(|key| !key.is_empty())?;
    if key == "alias/aws/sqs" || key.ends_with(":alias/aws/sqs") {
        let remove = json!({"KmsMasterKeyId": "", "SqsManagedSseEnabled": "true"});
        return Some(
            Outcome::fail(
                format!("the queue is encrypted with {key}, which SNS may not use: it discards every message for this queue"),
                "the policy of a key that AWS manages cannot be changed; use SQS-managed encryption or a key of your own",
            )
            .fix(set_queue_attributes(snapshot, &remove)),
        );
    }
    let statement = json!({
        "Sid": "LifelineTopics",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": ["kms:GenerateDataKey", "kms:Decrypt"],
        "Resource": "*",
        "Condition": {"ArnEquals": {"aws:SourceArn": snapshot.topic_arn.as_deref()}},
    });
    let show =
        aws(snapshot, format_args!("kms get-key-policy --key-id {} --policy-name default", quoted(key)));
    Some(
        Outcome::warn(
            format!("cannot tell whether SNS may use the queue's key {key}"),
            format!("its policy must have the statement below; to see it: {show}"),
        )
        .fix(statement.to_string()),
    )
}

fn size(snapshot: &Snapshot) -> Option<Outcome> {
    let queue = number(snapshot.queue.found()?, "MaximumMessageSize")?;
    let topic = number(snapshot.topic.found()?, "MaximumMessageSize").unwrap_or(TOPIC_SIZE);
    Some(if queue < topic {
        Outcome::warn(
            format!("the queue takes {queue} bytes per message, the topic {topic}"),
            "SNS discards for this queue what is larger; without raw delivery the envelope counts too",
        )
        .fix(set_queue_attributes(snapshot, &json!({ "MaximumMessageSize": topic.to_string() })))
    } else {
        let subscription = snapshot.subscription.found().and_then(|found| found.attributes.found());
        let raw = subscription.and_then(|all| all.get("RawMessageDelivery")).is_some_and(|raw| raw == "true");
        let envelope = if raw || queue > topic { "" } else { "; SNS's envelope counts too" };
        Outcome::ok(format!("the queue takes {queue} bytes per message, the topic {topic}{envelope}"))
    })
}

/// SQS tells it to CloudWatch alone, which the documented roles need not read.
fn oldest(snapshot: &Snapshot) -> Option<Outcome> {
    let ready = number(snapshot.queue.found()?, "ApproximateNumberOfMessages").filter(|ready| *ready > 0)?;
    if snapshot.endpoint.is_some() {
        return None;
    }
    let name = snapshot.target.queue.name();
    let call = format!(
        "cloudwatch get-metric-statistics --namespace AWS/SQS --metric-name ApproximateAgeOfOldestMessage --dimensions \
         Name=QueueName,Value={name} --statistics Maximum --period 60 --start-time $(date -u -d -5min +%FT%TZ) --end-time $(date -u +%FT%TZ)"
    );
    let outcome = Outcome::ok(format!("{ready} messages wait; the age of the oldest is in CloudWatch alone"));
    Some(Outcome { hint: Some(aws(snapshot, call)), ..outcome })
}

fn delay(snapshot: &Snapshot) -> Option<Outcome> {
    let delay = number(snapshot.queue.found()?, "DelaySeconds").filter(|delay| *delay > 0)?;
    Some(
        Outcome::warn(
            format!("the queue delays every message by {}", span(delay)),
            "set it to 0 if that is not meant",
        )
        .fix(set_queue_attributes(snapshot, &json!({ "DelaySeconds": "0" }))),
    )
}

fn retention(snapshot: &Snapshot) -> Option<Outcome> {
    let retention = number(snapshot.queue.found()?, "MessageRetentionPeriod")?;
    Some(if retention < 3600 {
        Outcome::warn(
            format!("the queue deletes messages after {}", span(retention)),
            "an outage of that length loses messages; the default is 4 d",
        )
        .fix(set_queue_attributes(snapshot, &json!({ "MessageRetentionPeriod": "345600" })))
    } else {
        Outcome::ok(format!("the queue keeps messages for {}", span(retention)))
    })
}

/// The consumer extends leases while a handler runs, so that only the extremes matter.
fn visibility(snapshot: &Snapshot) -> Option<Outcome> {
    let visibility = number(snapshot.queue.found()?, "VisibilityTimeout")?;
    let handler = snapshot.target.handler_timeout.as_secs();
    let set =
        |outcome: Outcome| outcome.fix(set_queue_attributes(snapshot, &json!({ "VisibilityTimeout": "30" })));
    Some(match visibility {
        0..2 => set(Outcome::warn(
            format!("the visibility timeout is {}", span(visibility)),
            "a pause of that length gives messages to another consumer while they are handled; 30 s is a good value",
        )),
        3601.. => set(Outcome::warn(
            format!("the visibility timeout is {}", span(visibility)),
            "after a crash messages stay hidden for that long; 30 s is enough, since it is extended while a handler runs",
        )),
        _ => Outcome::ok(format!(
            "visibility timeout {}, extended while a handler runs (for {} at most)",
            span(visibility),
            span(handler)
        )),
    })
}

fn in_flight(snapshot: &Snapshot) -> Option<Outcome> {
    let attributes = snapshot.queue.found()?;
    let count = |name| number(attributes, name).unwrap_or(0);
    let (ready, in_flight, delayed) = (
        count("ApproximateNumberOfMessages"),
        count("ApproximateNumberOfMessagesNotVisible"),
        count("ApproximateNumberOfMessagesDelayed"),
    );
    let text = format!("{ready} messages ready, {in_flight} in flight, {delayed} delayed");
    Some(if in_flight >= MAX_IN_FLIGHT * 8 / 10 {
        Outcome::warn(
            format!("{text}; SQS hands out no more than {MAX_IN_FLIGHT}"),
            "consumers hold messages without deleting them: look for handlers that hang or deletes that fail",
        )
    } else {
        Outcome::ok(text)
    })
}
