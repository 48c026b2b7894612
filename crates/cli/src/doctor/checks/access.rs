//! Where the checks look, as whom, and what they may not look at.

use super::aws;
use crate::doctor::check::{Check, Group, Outcome};
use crate::doctor::snapshot::{Read, Snapshot};
use lifeline_messaging::topology::{QueueRef, TopicRef};

pub(super) const CHECKS: &[Check] = &[
    Check { code: "endpoint-reachable", group: Group::Access, run: endpoint_reachable },
    Check { code: "identity", group: Group::Access, run: identity },
    Check { code: "queue-region", group: Group::Access, run: queue_region },
    Check { code: "topic-region", group: Group::Access, run: topic_region },
    Check { code: "permissions", group: Group::Access, run: permissions },
];

fn endpoint_reachable(snapshot: &Snapshot) -> Option<Outcome> {
    let place = snapshot.endpoint.as_deref().unwrap_or("AWS");
    Some(match &snapshot.queue {
        Read::Failed(why) => {
            Outcome::fail(why, "check AWS_ENDPOINT_URL, AWS_REGION and the network between here and there")
        }
        _ => Outcome::ok(format!("{place} answers for {}", snapshot.region)),
    })
}

fn identity(snapshot: &Snapshot) -> Option<Outcome> {
    let account = snapshot.account.as_deref().unwrap_or("unknown");
    match &snapshot.identity {
        Read::Found(arn) => Some(Outcome::ok(format!("account {account}, as {arn}"))),
        // at an endpoint whose STS is missing, something else may be read
        Read::Denied(why) if snapshot.endpoint.is_none() || reads_nothing(snapshot) => Some(
            Outcome::fail(why, "check the credentials: every identity may call GetCallerIdentity")
                .fix(aws(snapshot, "sts get-caller-identity")),
        ),
        Read::Skipped => None,
        // an emulator without STS
        Read::Missing | Read::Denied(_) | Read::Failed(_) if snapshot.endpoint.is_some() => {
            Some(Outcome::ok(format!("account {account}; the endpoint does not say who calls")))
        }
        Read::Missing | Read::Denied(_) => None,
        Read::Failed(why) => {
            Some(Outcome::warn(why, "who calls is not known; the other checks do not need it"))
        }
    }
}

fn reads_nothing(snapshot: &Snapshot) -> bool {
    matches!((&snapshot.topic, &snapshot.queue), (Read::Denied(_), Read::Denied(_)))
}

fn queue_region(snapshot: &Snapshot) -> Option<Outcome> {
    let QueueRef::Url(url) = &snapshot.target.queue else { return None };
    // https://sqs.eu-west-1.amazonaws.com/… or https://eu-west-1.queue.amazonaws.com/…
    let host = url.split("//").nth(1)?.split('/').next()?;
    let named = host.strip_prefix("sqs.").or_else(|| host.strip_suffix(".queue.amazonaws.com"))?;
    let region = named.split('.').next()?;
    let known = region.split('-').count() >= 3;
    (known && region != snapshot.region).then(|| {
        Outcome::fail(
            format!("QUEUE_URL names a queue in {region}, but the region is {}", snapshot.region),
            "calls go to the region, where the queue does not exist; set the queue's region",
        )
        .fix(format!("AWS_REGION={region}"))
    })
}

fn topic_region(snapshot: &Snapshot) -> Option<Outcome> {
    let TopicRef::Arn(arn) = &snapshot.target.topic else { return None };
    let region = arn.split(':').nth(3)?;
    (region != snapshot.region).then(|| {
        Outcome::warn(
            format!("TOPIC_ARN names a topic in {region}, but the region is {}", snapshot.region),
            "SNS delivers across regions, but neither the producer nor this command reaches the topic from here",
        )
        .fix(format!("AWS_REGION={region}"))
    })
}

/// Reads that were refused, with the permission that each needs.
fn permissions(snapshot: &Snapshot) -> Option<Outcome> {
    let topic = match &snapshot.topic {
        Read::Denied(error) if error.contains("ListTopics") => "sns:ListTopics (to look up the topic)",
        _ => "sns:GetTopicAttributes (the topic's limits and key)",
    };
    let queue = match snapshot.target.queue {
        QueueRef::Url(_) => "sqs:GetQueueAttributes (policy, key and limits of the queue)",
        QueueRef::Name(_) => "sqs:GetQueueUrl and sqs:GetQueueAttributes (to look up the queue)",
    };
    let attributes = match &snapshot.subscription {
        Read::Found(subscription) => matches!(subscription.attributes, Read::Denied(_)),
        _ => false,
    };
    let denied: Vec<_> = [
        (matches!(snapshot.topic, Read::Denied(_)), topic),
        (matches!(snapshot.queue, Read::Denied(_)), queue),
        (
            matches!(snapshot.subscription, Read::Denied(_)),
            "sns:ListSubscriptionsByTopic (whether the queue is subscribed)",
        ),
        (attributes, "sns:GetSubscriptionAttributes (filter policy and raw delivery)"),
        (
            matches!(snapshot.dead_letters, Read::Denied(_)),
            "sqs:GetQueueUrl and sqs:GetQueueAttributes on the dead-letter queue",
        ),
    ]
    .into_iter()
    .filter_map(|(denied, permission)| denied.then_some(permission))
    .collect();
    if matches!(snapshot.queue, Read::Failed(_)) {
        return None;
    }
    Some(match denied.is_empty() {
        true => Outcome::ok("every read was allowed"),
        false => Outcome::warn(
            format!("not allowed: {}", denied.join("; ")),
            "what these would show is not checked; the services do not need them to run",
        ),
    })
}
