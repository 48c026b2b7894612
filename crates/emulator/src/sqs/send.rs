//! SendMessage and SendMessageBatch: what SQS refuses, sizes, deduplication.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{FailedEntry, check_batch, locate};
use crate::{
    action::Action,
    call::{Call, Int},
    error::{Result, sqs},
    model::{
        attribute::{self, Attributes, Raw, Value},
        deduplication::First,
        delivery::content_hash,
        message::Message,
        queue::Queue,
        settings::LARGEST_MESSAGE,
        world::World,
    },
};

/// A message of a request: all of SendMessage, or an entry of SendMessageBatch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Send {
    queue_url: Option<String>,
    id: Option<String>,
    message_body: Option<String>,
    delay_seconds: Option<Int>,
    message_attributes: BTreeMap<String, Raw>,
    message_system_attributes: BTreeMap<String, Raw>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Sent {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    message_id: String,
    #[serde(rename = "MD5OfMessageBody")]
    md5_of_body: String,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(rename = "MD5OfMessageSystemAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_system_attributes: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SendBatch {
    queue_url: Option<String>,
    entries: Vec<Send>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SentBatch {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    successful: Vec<Sent>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    failed: Vec<FailedEntry>,
}

pub(crate) fn send(world: &mut World, call: &Call, request: Send) -> Result<Sent> {
    let arn = locate(call, request.queue_url.as_deref())?;
    count(world, &arn, Action::SendMessage, call)?;
    send_one(world, call, &arn, request)
}

pub(crate) fn send_batch(world: &mut World, call: &Call, request: SendBatch) -> Result<SentBatch> {
    let arn = locate(call, request.queue_url.as_deref())?;
    count(world, &arn, Action::SendMessageBatch, call)?;
    let settings = &world.queue(&arn)?.settings;
    check_batch("SendMessageBatch", request.entries.iter().map(|entry| entry.id.as_deref()))?;
    let given = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if settings.fifo {
        let content = settings.content_based_deduplication;
        if !content && !request.entries.iter().all(|entry| given(&entry.message_deduplication_id)) {
            return Err(no_deduplication_id());
        }
        if !request.entries.iter().all(|entry| given(&entry.message_group_id)) {
            return Err(sqs::invalid_parameter("The request must contain the parameter MessageGroupId."));
        }
    }
    let total: usize = request.entries.iter().map(Send::raw_size).sum();
    if total > LARGEST_MESSAGE {
        return Err(sqs::batch(
            "AWS.SimpleQueueService.BatchRequestTooLong",
            "BatchRequestTooLong",
            format!(
                "Batch requests cannot be longer than {LARGEST_MESSAGE} bytes. You have sent {total} bytes."
            ),
        ));
    }
    let mut answer = SentBatch::default();
    for mut entry in request.entries {
        let id = entry.id.take().unwrap_or_default();
        match send_one(world, call, &arn, entry) {
            Ok(sent) => answer.successful.push(Sent { id: Some(id), ..sent }),
            Err(error) => answer.failed.push(FailedEntry::new(&id, error)),
        }
    }
    Ok(answer)
}

/// Counts a call on a FIFO queue towards its quota.
pub(crate) fn count(world: &mut World, arn: &str, action: Action, call: &Call) -> Result<()> {
    let quotas = world.rules.quotas;
    let queue = world.queue(arn)?;
    if quotas && queue.settings.fifo && !queue.settings.throughput_by_group {
        queue.quota.count(action, call.now)?;
    }
    Ok(())
}

fn no_deduplication_id() -> crate::error::AwsError {
    sqs::invalid_parameter(
        "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
    )
}

/// Letters, digits and punctuation of ASCII, 1 to 128.
fn check_id(id: Option<&str>, parameter: &str) -> Result<()> {
    let Some(id) = id else { return Ok(()) };
    if (1..=128).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Ok(());
    }
    let reason =
        format!("{parameter} can only include alphanumeric and punctuation characters. 1 to 128 in length.");
    Err(sqs::invalid_value(id, parameter, reason))
}

impl Send {
    /// Bytes of body and attributes, before the attributes are checked.
    fn raw_size(&self) -> usize {
        let value = |raw: &Raw| {
            let text = raw.string_value.as_ref().map_or(0, String::len);
            let binary = raw.binary_value.as_ref().map_or(0, |text| text.len() / 4 * 3);
            raw.data_type.as_ref().map_or(0, String::len) + text + binary
        };
        let attributes = self.message_attributes.iter().map(|(name, raw)| name.len() + value(raw));
        self.message_body.as_ref().map_or(0, String::len) + attributes.sum::<usize>()
    }
}

/// The only system attribute that a sender may set.
fn trace_header(raw: &BTreeMap<String, Raw>) -> Result<(Option<String>, Option<String>)> {
    if let Some(other) = raw.keys().find(|name| *name != "AWSTraceHeader") {
        return Err(sqs::invalid_parameter(format!(
            "Message system attribute name '{other}' is invalid. Valid names are: [AWSTraceHeader]."
        )));
    }
    let checked: Attributes = attribute::for_sqs_system(raw)?;
    let header = checked.values().find_map(|attribute| match &attribute.value {
        Value::Text(text) => Some(text.clone()),
        Value::Binary(_) => None,
    });
    Ok((header, attribute::digest(&checked)))
}

fn send_one(world: &mut World, call: &Call, arn: &str, request: Send) -> Result<Sent> {
    let id = world.random.uuid();
    let queue = world.queue(arn)?;
    let Some(body) = request.message_body.as_deref().filter(|body| !body.is_empty()) else {
        return Err(sqs::missing("MessageBody"));
    };
    if request.raw_size() > queue.settings.largest {
        return Err(sqs::invalid_parameter(format!(
            "One or more parameters are invalid. Reason: Message must be shorter than {} bytes.",
            queue.settings.largest
        )));
    }
    if !attribute::is_valid_text(body) {
        return Err(sqs::invalid_contents());
    }
    let attributes = attribute::for_sqs(&request.message_attributes)?;
    let (header, md5_of_system_attributes) = trace_header(&request.message_system_attributes)?;
    check_id(request.message_deduplication_id.as_deref(), "MessageDeduplicationId")?;
    check_id(request.message_group_id.as_deref(), "MessageGroupId")?;
    let delay = delay(queue, request.delay_seconds)?;
    let mut sent = Sent {
        id: None,
        message_id: id.clone(),
        md5_of_body: attribute::md5(body),
        md5_of_attributes: attribute::digest(&attributes),
        md5_of_system_attributes,
        sequence_number: None,
    };
    let sender = Arc::clone(&call.scope.account);
    let mut message = Message::new(id, body.into(), Arc::new(attributes), sender, call.now);
    message.trace_header = header.or_else(|| call.trace_header.clone());
    message.group = request.message_group_id.as_deref().map(Arc::from);
    if queue.settings.fifo {
        let deduplication = deduplication(queue, &request, body)?;
        if let Some(first) = queue.duplicate_of(message.group.as_ref(), &deduplication, call.now) {
            sent.message_id = first.message_id;
            sent.sequence_number = first.sequence;
            return Ok(sent);
        }
        message.deduplication = Some(deduplication);
    } else if let Some(id) = &request.message_deduplication_id {
        let reason = "The request includes a parameter that is not valid for this queue type.";
        return Err(sqs::invalid_value(id, "MessageDeduplicationId", reason));
    }
    if message.deduplication.is_some() {
        message.sequence = Some(world.next_sequence());
        sent.sequence_number.clone_from(&message.sequence);
    }
    let queue = world.queue(arn)?;
    queue.advance(call.now);
    if let Some(id) = message.deduplication.clone() {
        let first = First { message_id: sent.message_id.clone(), sequence: sent.sequence_number.clone() };
        queue.remember(message.group.as_ref(), &id, first, call.now);
    }
    queue.put(message, delay, call.now);
    Ok(sent)
}

fn delay(queue: &Queue, asked: Option<Int>) -> Result<u64> {
    let Some(Int(asked)) = asked else { return Ok(queue.settings.delay) };
    if queue.settings.fifo {
        if asked != 0 {
            let reason = "The request include parameter that is not valid for this queue type.";
            return Err(sqs::invalid_value(asked, "DelaySeconds", reason));
        }
        return Ok(queue.settings.delay);
    }
    u64::try_from(asked)
        .ok()
        .filter(|seconds| *seconds <= 900)
        .ok_or_else(|| sqs::invalid_value(asked, "DelaySeconds", "DelaySeconds must be >= 0 and <= 900."))
}

fn deduplication(queue: &Queue, request: &Send, body: &str) -> Result<Arc<str>> {
    if request.message_group_id.is_none() {
        return Err(sqs::missing("MessageGroupId"));
    }
    match &request.message_deduplication_id {
        Some(id) => Ok(id.as_str().into()),
        None if queue.settings.content_based_deduplication => Ok(content_hash(body)),
        None => Err(no_deduplication_id()),
    }
}
