//! Where messages go that always fail.

use serde_json::{Value, json};

use super::{aws, number, set_queue_attributes, span};
use crate::doctor::check::{Check, Group, Outcome};
use crate::doctor::snapshot::{Read, Snapshot};
use lifeline_messaging::topology::arn_name;

pub(super) const CHECKS: &[Check] = &[
    Check { code: "redrive-policy", group: Group::DeadLetters, run: redrive_policy },
    Check { code: "dead-letter-queue", group: Group::DeadLetters, run: dead_letter_queue },
    Check { code: "redrive-allowed", group: Group::DeadLetters, run: redrive_allowed },
    Check { code: "dead-letter-retention", group: Group::DeadLetters, run: retention },
    Check { code: "dead-letters", group: Group::DeadLetters, run: dead_letters },
];

fn redrive_policy(snapshot: &Snapshot) -> Option<Outcome> {
    let Some(text) = snapshot.queue.found()?.get("RedrivePolicy").filter(|policy| !policy.is_empty()) else {
        return Some(Outcome::warn(
            "the queue has no redrive policy",
            "messages that always fail are retried until their retention ends; configure a dead-letter queue",
        ));
    };
    let policy: Value = serde_json::from_str(text).unwrap_or_default();
    // SQS takes and returns the count as a number or as a string
    let count = &policy["maxReceiveCount"];
    let receives = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    let Some(arn) = snapshot.dead_letter_arn() else {
        return Some(Outcome::fail(format!("the redrive policy names no queue: {text}"), "set it again"));
    };
    let set = json!({"deadLetterTargetArn": arn, "maxReceiveCount": 5}).to_string();
    Some(match receives {
        Some(receives) if receives >= 3 => {
            Outcome::ok(format!("messages go to {arn} after {receives} receives"))
        }
        _ => Outcome::warn(
            format!("maxReceiveCount is {count}"),
            "a rollout or two may send healthy messages to the dead-letter queue; 5 is a good value",
        )
        .fix(set_queue_attributes(snapshot, &json!({ "RedrivePolicy": set }))),
    })
}

fn dead_letter_queue(snapshot: &Snapshot) -> Option<Outcome> {
    let arn = snapshot.dead_letter_arn()?;
    let name = arn_name(&arn);
    let fifo = name.ends_with(".fifo");
    if fifo != snapshot.target.queue.is_fifo() {
        return Some(Outcome::fail(
            format!("dead-letter queue {name} is of another type than the queue"),
            "a FIFO queue needs a FIFO dead-letter queue, a standard queue a standard one",
        ));
    }
    Some(match &snapshot.dead_letters {
        Read::Found(_) => Outcome::ok(format!("dead-letter queue {name}")),
        Read::Missing => {
            let fifo = if fifo { ",FifoQueue=true" } else { "" };
            Outcome::fail(
                format!("dead-letter queue {name} does not exist"),
                "messages that always fail are retried until their retention ends; create the queue",
            )
            .fix(aws(
                snapshot,
                format_args!(
                    "sqs create-queue --queue-name {name} --attributes MessageRetentionPeriod=1209600{fifo}"
                ),
            ))
        }
        Read::Denied(why) => {
            Outcome::warn(format!("cannot tell whether dead-letter queue {name} exists"), why)
        }
        Read::Failed(why) => Outcome::warn(format!("dead-letter queue {name}: {why}"), "try again"),
        Read::Skipped => return None,
    })
}

fn redrive_allowed(snapshot: &Snapshot) -> Option<Outcome> {
    let dead_letters = snapshot.dead_letters.found()?;
    let queue = snapshot.queue_arn()?;
    let policy: Value = serde_json::from_str(dead_letters.get("RedriveAllowPolicy")?).ok()?;
    let listed =
        || policy["sourceQueueArns"].as_array().is_some_and(|arns| arns.iter().any(|arn| arn == queue));
    let denied = match policy["redrivePermission"].as_str() {
        Some("denyAll") => true,
        Some("byQueue") => !listed(),
        _ => false,
    };
    denied.then(|| {
        Outcome::fail(
            "the dead-letter queue's RedriveAllowPolicy does not allow this queue",
            format!("add {queue} to its sourceQueueArns, or remove the policy"),
        )
    })
}

/// A message that SQS moves keeps its age, except on FIFO queues.
fn retention(snapshot: &Snapshot) -> Option<Outcome> {
    let queue = number(snapshot.queue.found()?, "MessageRetentionPeriod")?;
    let dead_letters = snapshot.dead_letters.found()?;
    let kept = number(dead_letters, "MessageRetentionPeriod")?;
    (kept <= queue && !snapshot.target.queue.is_fifo()).then(|| {
        let url = snapshot.dead_letter_url.as_deref().unwrap_or_default();
        let call = format!("sqs set-queue-attributes --queue-url {url} --attributes MessageRetentionPeriod=1209600");
        Outcome::warn(
            format!("dead letters are kept for {}, messages in the queue for {}", span(kept), span(queue)),
            "a dead letter keeps the age it had in the queue, and may be deleted soon after it is moved; 14 d is a good value",
        )
        .fix(aws(snapshot, call))
    })
}

fn dead_letters(snapshot: &Snapshot) -> Option<Outcome> {
    let count = number(snapshot.dead_letters.found()?, "ApproximateNumberOfMessages")?;
    Some(match count {
        0 => Outcome::ok("no dead letters"),
        count => Outcome::warn(
            format!("{count} dead letters"),
            "lifeline dlq list has the reasons; repair the cause, then lifeline dlq redrive",
        ),
    })
}
