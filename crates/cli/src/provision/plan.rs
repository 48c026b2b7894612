//! The plan: what is missing, what is there, and what is there but otherwise.

use std::fmt::Write;

use lifeline_messaging::topology::{QueueSpec, arn_name, dead_letter_name, topic_may_send};
use lifeline_policy::Decision;

use crate::doctor::{Read, Snapshot};

/// What becomes of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Action {
    /// It is missing, and will be made.
    Create,
    /// Something will be added to it.
    Change,
    /// It is as it should be.
    Keep,
    /// It is otherwise than it would have been made, and stays so.
    Differs,
}

/// One line of the plan.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub(super) struct Step {
    pub(super) action: Action,
    pub(super) resource: String,
    /// What it gets, or how it differs.
    pub(super) details: Vec<String>,
}

/// Everything that `provision` looks after, in the order in which it is made.
#[derive(Debug, Clone, serde::Serialize)]
pub(super) struct Plan {
    pub(super) region: String,
    pub(super) account: Option<String>,
    pub(super) steps: Vec<Step>,
}

fn step(action: Action, resource: impl Into<String>, details: impl IntoIterator<Item = String>) -> Step {
    Step { action, resource: resource.into(), details: details.into_iter().collect() }
}

impl Plan {
    /// What is missing. `dead_letters_exist` is whether the queue that a new queue would use for its dead letters exists.
    ///
    /// # Errors
    /// What could not be looked at.
    pub(super) fn of(
        snapshot: &Snapshot,
        spec: &QueueSpec,
        dead_letters_exist: bool,
    ) -> Result<Self, String> {
        for unread in [unread(&snapshot.queue), unread(&snapshot.topic), unread(&snapshot.subscription)] {
            unread.map_or(Ok(()), Err)?;
        }
        let steps = [topic(snapshot, spec), dead_letters(snapshot, spec, dead_letters_exist)]
            .into_iter()
            .flatten()
            .chain([queue(snapshot, spec), policy(snapshot), subscription(snapshot, spec)]);
        Ok(Self {
            region: snapshot.region.clone(),
            account: snapshot.account.clone(),
            steps: steps.collect(),
        })
    }

    fn count(&self, action: Action) -> usize {
        self.steps.iter().filter(|step| step.action == action).count()
    }

    /// Whether something is to be made or changed.
    pub(super) fn is_pending(&self) -> bool {
        self.count(Action::Create) + self.count(Action::Change) > 0
    }

    pub(super) fn text(&self) -> String {
        let mut text =
            format!("region {}, account {}\n\n", self.region, self.account.as_deref().unwrap_or("unknown"));
        for Step { action, resource, details } in &self.steps {
            let sign = match action {
                Action::Create => '+',
                Action::Change => '~',
                Action::Keep => '=',
                Action::Differs => '!',
            };
            writeln!(text, "  {sign} {resource}").expect("a string takes everything");
            for detail in details {
                writeln!(text, "      {detail}").expect("a string takes everything");
            }
        }
        let counts = [Action::Create, Action::Change, Action::Keep, Action::Differs].map(|a| self.count(a));
        let [create, change, keep, differ] = counts;
        writeln!(text, "\nPlan: {create} to create, {change} to change, {keep} to keep, {differ} different and left alone.")
            .expect("a string takes everything");
        text
    }
}

/// Why something could not be looked at, if it could not.
fn unread<T>(read: &Read<T>) -> Option<String> {
    match read {
        Read::Denied(why) | Read::Failed(why) => Some(why.clone()),
        Read::Found(_) | Read::Missing | Read::Skipped => None,
    }
}

fn topic(snapshot: &Snapshot, spec: &QueueSpec) -> Option<Step> {
    let name = format!("topic {}", spec.topic.name());
    let fifo = spec.topic.is_fifo().then(|| "FifoTopic = true".to_owned());
    Some(match &snapshot.topic {
        Read::Found(_) => step(Action::Keep, name, []),
        _ => step(Action::Create, name, fifo),
    })
}

/// Only a queue that is made gets a dead-letter queue: the redrive policy of an existing one is its owner's.
fn dead_letters(snapshot: &Snapshot, spec: &QueueSpec, exist: bool) -> Option<Step> {
    let name = dead_letter_name(spec.queue.name());
    match &snapshot.queue {
        Read::Found(_) => {
            let arn = snapshot.dead_letter_arn()?;
            let name = arn_name(&arn);
            Some(match &snapshot.dead_letters {
                Read::Missing => step(
                    Action::Differs,
                    format!("queue {name}"),
                    ["the redrive policy names it, but it does not exist".to_owned()],
                ),
                _ => step(Action::Keep, format!("queue {name}"), []),
            })
        }
        _ if exist => Some(step(Action::Keep, format!("queue {name}"), [])),
        _ => Some(step(
            Action::Create,
            format!("queue {name}"),
            ["MessageRetentionPeriod = 1209600 (14 d)".to_owned()],
        )),
    }
}

fn queue(snapshot: &Snapshot, spec: &QueueSpec) -> Step {
    let name = format!("queue {}", spec.queue.name());
    let Some(attributes) = snapshot.queue.found() else {
        let dead_letters = dead_letter_name(spec.queue.name());
        let fifo = spec.queue.is_fifo().then(|| "FifoQueue = true".to_owned());
        let redrive = format!("RedrivePolicy = {dead_letters} after {} receives", spec.max_receives);
        return step(Action::Create, name, fifo.into_iter().chain([redrive]));
    };
    let redrive =
        attributes.get("RedrivePolicy").and_then(|text| serde_json::from_str::<serde_json::Value>(text).ok());
    let Some(redrive) = redrive else {
        return step(
            Action::Differs,
            name,
            ["it has no redrive policy: messages that always fail are retried forever".to_owned()],
        );
    };
    let count = &redrive["maxReceiveCount"];
    let count = count.as_u64().or_else(|| count.as_str()?.parse().ok());
    match count {
        Some(count) if count == u64::from(spec.max_receives) => step(Action::Keep, name, []),
        count => {
            let count = count.map_or("?".to_owned(), |count| count.to_string());
            let differs = format!("maxReceiveCount is {count}, and would be {}", spec.max_receives);
            step(Action::Differs, name, [differs])
        }
    }
}

fn policy(snapshot: &Snapshot) -> Step {
    let name = "queue policy".to_owned();
    let topic = snapshot.topic_arn.as_deref();
    let add = || {
        let topic = topic.unwrap_or("the topic");
        format!("statement LifelineTopics: sns.amazonaws.com may sqs:SendMessage for {topic}")
    };
    let (Some(attributes), Some(queue), Some(topic)) = (snapshot.queue.found(), snapshot.queue_arn(), topic)
    else {
        return step(Action::Create, name, [add()]);
    };
    let text = attributes.get("Policy").map_or("", String::as_str);
    let listed =
        || lifeline_policy::topics(text, queue).is_ok_and(|topics| topics.iter().any(|t| t == topic));
    match topic_may_send(text, queue, topic, snapshot.now) {
        Decision::Allowed(_) => step(Action::Keep, name, []),
        Decision::Denied(Some(statement)) => {
            step(Action::Differs, name, [format!("it denies the topic by {statement}, and a Deny wins")])
        }
        Decision::CannotTell { reason, .. } if listed() => step(
            Action::Differs,
            name,
            [format!("it allows the topic, but another statement may deny it: {reason}")],
        ),
        Decision::Denied(None) | Decision::CannotTell { .. } if text.is_empty() => {
            step(Action::Create, name, [add()])
        }
        Decision::Denied(None) | Decision::CannotTell { .. } => {
            step(Action::Change, name, [format!("+ {}", add()), "other statements are kept".to_owned()])
        }
    }
}

fn subscription(snapshot: &Snapshot, spec: &QueueSpec) -> Step {
    let name = format!("subscription of {} to {}", spec.queue.name(), spec.topic.name());
    let raw = |raw| format!("RawMessageDelivery = {raw}");
    match &snapshot.subscription {
        Read::Found(subscription) => {
            let attributes = subscription.attributes.found();
            let is_raw =
                attributes.and_then(|all| all.get("RawMessageDelivery")).is_some_and(|raw| raw == "true");
            if !subscription.arn.starts_with("arn:") {
                return step(Action::Differs, name, [format!("it is {}", subscription.arn)]);
            }
            if attributes.is_some() && is_raw != spec.raw_delivery {
                return step(
                    Action::Differs,
                    name,
                    [format!("{}, and would be {}", raw(is_raw), spec.raw_delivery)],
                );
            }
            step(Action::Keep, name, [])
        }
        _ => step(Action::Create, name, [raw(spec.raw_delivery)]),
    }
}
