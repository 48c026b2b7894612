//! The topic.

use super::aws;
use crate::doctor::check::{Check, Group, Outcome};
use crate::doctor::snapshot::{Read, Snapshot};

pub(super) const CHECKS: &[Check] = &[
    Check { code: "topic-exists", group: Group::Topic, run: exists },
    Check { code: "topic-key", group: Group::Topic, run: key },
    Check { code: "fifo", group: Group::Topic, run: fifo },
];

fn exists(snapshot: &Snapshot) -> Option<Outcome> {
    let topic = &snapshot.target.topic;
    let name = topic.name();
    Some(match &snapshot.topic {
        Read::Found(_) => Outcome::ok(format!("topic {}", snapshot.topic_arn.as_deref().unwrap_or(name))),
        Read::Missing => {
            let fifo = if topic.is_fifo() { " --attributes FifoTopic=true" } else { "" };
            Outcome::fail(
                format!("topic {name} does not exist in {}", snapshot.region),
                "create it, or run lifeline provision",
            )
            .fix(aws(snapshot, format_args!("sns create-topic --name {name}{fifo}")))
        }
        Read::Denied(why) => Outcome::warn(format!("cannot tell whether topic {name} exists"), why),
        Read::Failed(why) => {
            Outcome::fail(format!("topic {name}: {why}"), "try again; if it stays, AWS's text says more")
        }
        Read::Skipped => return None,
    })
}

fn key(snapshot: &Snapshot) -> Option<Outcome> {
    let key = snapshot.topic.found()?.get("KmsMasterKeyId").filter(|key| !key.is_empty())?;
    let aws_managed = key == "alias/aws/sns" || key.ends_with(":alias/aws/sns");
    Some(Outcome::warn(
        format!("the topic is encrypted with {key}: whether the producer may use it cannot be seen here"),
        match aws_managed {
            true => "roles of this account may; services that publish, such as EventBridge, may not",
            false => "the producer's role needs kms:GenerateDataKey and kms:Decrypt on it",
        },
    ))
}

fn fifo(snapshot: &Snapshot) -> Option<Outcome> {
    let (topic, queue) = (&snapshot.target.topic, &snapshot.target.queue);
    match (topic.is_fifo(), queue.is_fifo()) {
        (false, false) => None,
        (true, true) => Some(Outcome::ok("topic and queue are FIFO")),
        (false, true) => Some(Outcome::fail(
            format!("queue {} is FIFO, topic {} is not", queue.name(), topic.name()),
            "SNS does not subscribe a FIFO queue to a standard topic; use a topic whose name ends in .fifo",
        )),
        (true, false) => Some(Outcome::warn(
            format!("topic {} is FIFO, queue {} is not", topic.name(), queue.name()),
            "messages lose their order and may arrive twice; use a queue whose name ends in .fifo",
        )),
    }
}
