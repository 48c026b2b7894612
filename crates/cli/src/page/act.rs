//! What a person does at the page: send, redrive, purge, faults and switches.

use std::collections::BTreeMap;
use std::sync::Arc;

use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::topology::{arn_account, arn_name};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::guard;
use super::pipeline::{Pipeline, Switch};

/// The fault that nothing can be reached with.
const CUT_OFF: &str = "*: reset";

/// What is asked for, as the page sends it.
#[derive(Debug, Deserialize)]
#[serde(tag = "do", rename_all = "kebab-case", deny_unknown_fields)]
pub(super) enum Act {
    /// Publishes to a topic, or sends to a queue, by ARN.
    Send(Message),
    /// Starts to move a dead-letter queue's messages to where they came from.
    Redrive { queue: String },
    /// Deletes all messages of a queue.
    Purge { queue: String },
    /// Adds faults, one a line.
    Fault { text: String },
    /// Takes a fault back.
    TakeBack { id: u64 },
    /// Makes SNS and SQS unreachable, or reachable again.
    CutOff { on: bool },
    /// Breaks the pipeline, or mends it.
    Switch { switch: Switch, on: bool },
}

/// A message to be sent.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Message {
    to: String,
    body: String,
    #[serde(default)]
    attributes: BTreeMap<String, String>,
    #[serde(default)]
    group: Option<String>,
    #[serde(default)]
    deduplication: Option<String>,
}

/// Whether the faults in force cut SNS and SQS off.
pub(super) fn is_cut_off(emulator: &Emulator) -> bool {
    emulator.faults().iter().any(|fault| fault.text == CUT_OFF)
}

/// Does it. What to tell the person, or why it was not done.
pub(super) async fn act(
    emulator: &Emulator,
    pipeline: Option<Arc<dyn Pipeline>>,
    act: Act,
) -> Result<String, String> {
    match act {
        Act::Send(message) => send(emulator, message).await,
        Act::Redrive { queue } => redrive(emulator, &queue).await,
        Act::Purge { queue } => {
            called(emulator, Action::PurgeQueue, json!({"QueueUrl": queue_url(emulator, &queue)})).await?;
            Ok("purged".to_owned())
        }
        Act::Fault { text } => {
            let faults = Fault::parse_all(&text).map_err(|error| error.to_string())?;
            if faults.is_empty() {
                return Err("write a fault, such as ReceiveMessage: nth=3 hang".to_owned());
            }
            for fault in faults {
                emulator.inject(fault);
            }
            Ok("in force".to_owned())
        }
        Act::TakeBack { id } if emulator.take_back(id) => Ok("taken back".to_owned()),
        Act::TakeBack { .. } => Err("no such fault is in force".to_owned()),
        Act::CutOff { on } => {
            for fault in emulator.faults().into_iter().filter(|fault| fault.text == CUT_OFF) {
                emulator.take_back(fault.id);
            }
            if on {
                emulator.inject(Fault::on_every_action().reset());
            }
            Ok(if on { "SNS and SQS cannot be reached" } else { "SNS and SQS can be reached" }.to_owned())
        }
        Act::Switch { switch, on } => match pipeline {
            Some(pipeline) => pipeline.switch(switch, on).await.map(|()| "switched".to_owned()),
            None => Err("there is no pipeline here; lifeline up has one".to_owned()),
        },
    }
}

/// Without a rate a move task ends at once. One that fails says why: what was sent to the queue directly, for
/// instance, has no queue to go back to.
async fn redrive(emulator: &Emulator, queue: &str) -> Result<String, String> {
    let request = json!({"SourceArn": queue});
    called(emulator, Action::StartMessageMoveTask, request.clone()).await?;
    let tasks = called(emulator, Action::ListMessageMoveTasks, request).await?;
    let task = &tasks["Results"][0];
    let moved = task["ApproximateNumberOfMessagesMoved"].as_u64().unwrap_or_default();
    match task["FailureReason"].as_str() {
        Some(reason) => Err(format!("redrive failed after {moved} messages: {reason}")),
        None => Ok(format!("redrive: {moved} moved")),
    }
}

async fn send(emulator: &Emulator, message: Message) -> Result<String, String> {
    let attributes = message.attributes.into_iter();
    let attributes: Map<_, _> =
        attributes.map(|(name, value)| (name, json!({"DataType": "String", "StringValue": value}))).collect();
    let mut request = json!({"MessageAttributes": attributes});
    if let Some(group) = message.group {
        request["MessageGroupId"] = group.into();
    }
    if message.to.ends_with(".fifo") {
        let id = message.deduplication.map_or_else(guard::random, Ok).map_err(|error| error.to_string())?;
        request["MessageDeduplicationId"] = id.into();
    }
    let action = if message.to.contains(":sqs:") {
        request["QueueUrl"] = queue_url(emulator, &message.to).into();
        request["MessageBody"] = message.body.into();
        Action::SendMessage
    } else {
        request["TopicArn"] = message.to.into();
        request["Message"] = message.body.into();
        Action::Publish
    };
    let answer = called(emulator, action, request).await?;
    Ok(format!("sent {}", answer["MessageId"].as_str().unwrap_or_default()))
}

async fn called(emulator: &Emulator, action: Action, request: Value) -> Result<Value, String> {
    emulator.call(action, request).await.map_err(|refused| refused.to_string())
}

fn queue_url(emulator: &Emulator, arn: &str) -> String {
    format!("{}/{}/{}", emulator.url(), arn_account(arn).unwrap_or_default(), arn_name(arn))
}
