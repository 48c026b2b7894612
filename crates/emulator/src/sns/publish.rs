//! Publish and PublishBatch: what SNS refuses, sizes, deduplication, and the hand-over to delivery.

use std::{collections::BTreeMap, sync::Arc};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{check_arn, topic};
use crate::{
    call::Call,
    error::{AwsError, Result, not_implemented, sns},
    model::{
        attribute::{self, Raw},
        deduplication::First,
        delivery::content_hash,
        notification::{Body, Notification},
        world::World,
    },
};

/// A message of a request: all of Publish, or an entry of PublishBatch.
#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Publish {
    topic_arn: Option<String>,
    target_arn: Option<String>,
    phone_number: Option<String>,
    id: Option<String>,
    message: Option<String>,
    subject: Option<String>,
    message_structure: Option<String>,
    message_attributes: BTreeMap<String, Raw>,
    message_deduplication_id: Option<String>,
    message_group_id: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Published {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    message_id: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    sequence_number: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct PublishBatch {
    topic_arn: Option<String>,
    publish_batch_request_entries: Vec<Publish>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct PublishedBatch {
    successful: Vec<Published>,
    failed: Vec<crate::sqs::FailedEntry>,
}

pub(crate) fn publish(world: &mut World, call: &Call, request: Publish) -> Result<Published> {
    if request.phone_number.is_some() {
        return Err(not_implemented("Publish to a phone number"));
    }
    let arn = request.topic_arn.clone().or_else(|| request.target_arn.clone());
    if arn.as_deref().is_some_and(|arn| arn.contains(":endpoint/")) {
        return Err(sns::invalid("TargetArn Reason: No endpoint found for the target arn specified"));
    }
    check_text(&request)?;
    let attributes = attribute::for_sns(&request.message_attributes, None)?;
    let arn = check_arn(call, arn.as_deref())?;
    if !arn.ends_with(".fifo") && request.message_deduplication_id.is_some() {
        return Err(not_for_standard());
    }
    let (fifo, content_based, largest) = {
        let topic = topic(world, call, Some(&arn))?;
        (topic.fifo, topic.content_based_deduplication(), topic.largest())
    };
    if request.size() > largest {
        return Err(sns::invalid("Message too long"));
    }
    if fifo {
        check_fifo(&request, content_based)?;
    }
    check_ids(&request)?;
    let body = body(&request)?;
    Ok(hand_over(world, call, &arn, &request, body, Arc::new(attributes)))
}

pub(crate) fn publish_batch(world: &mut World, call: &Call, request: PublishBatch) -> Result<PublishedBatch> {
    let entries = request.publish_batch_request_entries;
    check_entries(&entries)?;
    let (arn, fifo, content_based, largest) = {
        let topic = topic(world, call, request.topic_arn.as_deref())?;
        (topic.arn.clone(), topic.fifo, topic.content_based_deduplication(), topic.largest())
    };
    let mut ready = Vec::with_capacity(entries.len());
    for (place, entry) in entries.iter().enumerate() {
        check_text(entry)?;
        let attributes = attribute::for_sns(&entry.message_attributes, Some(place + 1))?;
        if fifo {
            check_fifo(entry, content_based)?;
        } else if entry.message_deduplication_id.is_some() {
            return Err(not_for_standard());
        }
        check_ids(entry)?;
        ready.push((body(entry)?, Arc::new(attributes)));
    }
    if entries.iter().map(Publish::size).sum::<usize>() > largest {
        let text = "The length of all the messages put together is more than the limit.";
        return Err(AwsError::new(400, "BatchRequestTooLong", text));
    }
    let successful = entries.iter().zip(ready).map(|(entry, (body, attributes))| {
        let published = hand_over(world, call, &arn, entry, body, attributes);
        Published { id: entry.id.clone(), ..published }
    });
    Ok(PublishedBatch { successful: successful.collect(), failed: Vec::new() })
}

fn check_entries(entries: &[Publish]) -> Result<()> {
    let refuse = |code: &'static str, text: String| Err(AwsError::new(400, code, text));
    if entries.is_empty() {
        return refuse("EmptyBatchRequest", "The batch request doesn't contain any entries.".into());
    }
    if entries.len() > 10 {
        let text = "The batch request contains more entries than permissible.";
        return refuse("TooManyEntriesInBatchRequest", text.into());
    }
    let mut seen = std::collections::HashSet::new();
    for entry in entries {
        let id = entry.id.as_deref().unwrap_or_default();
        if !seen.insert(id) {
            let text = "Two or more batch entries in the request have the same Id.";
            return refuse("BatchEntryIdsNotDistinct", text.into());
        }
    }
    for id in entries.iter().map(|entry| entry.id.as_deref().unwrap_or_default()) {
        if id.len() > 80 {
            return refuse(
                "InvalidBatchEntryId",
                format!("The Id of a batch entry in the batch request is too long: {id}"),
            );
        }
        let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if id.is_empty() || !id.chars().all(accepted) {
            return refuse(
                "InvalidBatchEntryId",
                format!(
                    "The Id of a batch entry in the batch request contains an impermissible character: {id}"
                ),
            );
        }
    }
    Ok(())
}

fn not_for_standard() -> AwsError {
    sns::invalid(
        "MessageDeduplicationId Reason: The request includes MessageDeduplicationId parameter that is not valid for \
         this topic type",
    )
}

fn check_text(request: &Publish) -> Result<()> {
    if let Some(subject) = &request.subject {
        let fits = (1..=100).contains(&subject.chars().count())
            && !subject.chars().any(char::is_control)
            && !subject.starts_with(' ');
        if !fits {
            return Err(sns::invalid("Subject"));
        }
    }
    if request.message.as_deref().is_none_or(str::is_empty) {
        return Err(sns::invalid("Empty message"));
    }
    Ok(())
}

fn check_fifo(request: &Publish, content_based: bool) -> Result<()> {
    if request.message_group_id.as_deref().is_none_or(str::is_empty) {
        return Err(sns::invalid("The MessageGroupId parameter is required for FIFO topics"));
    }
    if !content_based && request.message_deduplication_id.as_deref().is_none_or(str::is_empty) {
        return Err(sns::invalid(
            "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided \
             explicitly",
        ));
    }
    Ok(())
}

fn check_ids(request: &Publish) -> Result<()> {
    for (name, id) in [
        ("MessageGroupId", &request.message_group_id),
        ("MessageDeduplicationId", &request.message_deduplication_id),
    ] {
        let Some(id) = id else { continue };
        if !(1..=128).contains(&id.len()) || !id.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(sns::invalid(format!(
                "{name} Reason: {name} can only include alphanumeric and punctuation characters. 1 to 128 in length."
            )));
        }
    }
    Ok(())
}

impl Publish {
    /// Bytes of message and attributes.
    fn size(&self) -> usize {
        let length = |text: &Option<String>| text.as_ref().map_or(0, String::len);
        let attributes = self.message_attributes.iter().map(|(name, raw)| {
            let binary = raw.binary_value.as_ref().map_or(0, |text| {
                text.len() / 4 * 3 - text.bytes().rev().take_while(|byte| *byte == b'=').count()
            });
            name.len() + length(&raw.data_type) + length(&raw.string_value) + binary
        });
        length(&self.message) + attributes.sum::<usize>()
    }
}

/// The text for all protocols, or with `MessageStructure=json` one for each.
fn body(request: &Publish) -> Result<Body> {
    let message = request.message.as_deref().unwrap_or_default();
    if request.message_structure.as_deref() != Some("json") {
        return Ok(Body::Text(message.into()));
    }
    let parsed: Value = serde_json::from_str(message)
        .map_err(|_| sns::invalid("Message Structure - JSON message body failed to parse"))?;
    let texts: BTreeMap<String, Arc<str>> = parsed
        .as_object()
        .into_iter()
        .flatten()
        .filter_map(|(protocol, text)| Some((protocol.clone(), text.as_str()?.into())))
        .collect();
    if !texts.contains_key("default") {
        return Err(sns::invalid("Message Structure - No default entry in JSON message body"));
    }
    Ok(Body::ByProtocol(texts))
}

/// Accepts a message that was checked: from here on it is published.
fn hand_over(
    world: &mut World,
    call: &Call,
    arn: &str,
    request: &Publish,
    body: Body,
    attributes: Arc<attribute::Attributes>,
) -> Published {
    let id = world.random.uuid();
    let mut notification = Notification {
        id: id.clone(),
        subject: request.subject.clone(),
        attributes,
        group: request.message_group_id.as_deref().map(Arc::from),
        deduplication: request.message_deduplication_id.as_deref().map(Arc::from),
        sequence: None,
        trace_header: call.trace_header.clone(),
        body,
    };
    let fifo = world.topics.get(arn).is_some_and(|topic| topic.fifo);
    if fifo {
        let text = request.message.as_deref().unwrap_or_default();
        let key = notification.deduplication.clone().unwrap_or_else(|| content_hash(text));
        let sequence = world.next_sequence();
        if let Some(topic) = world.topics.get_mut(arn) {
            let by_group = topic.deduplicates_by_group();
            let group = notification.group.as_ref().filter(|_| by_group);
            if let Some(first) = topic.deduplication.find(group, &key, call.now) {
                return Published {
                    id: None,
                    message_id: first.message_id.clone(),
                    sequence_number: first.sequence.clone(),
                };
            }
            let first = First { message_id: id.clone(), sequence: Some(sequence.clone()) };
            topic.deduplication.add(group, &key, first, call.now);
        }
        notification.sequence = Some(sequence);
    }
    world.fan_out(arn, &notification, call.now, &call.host);
    Published { id: None, message_id: id, sequence_number: notification.sequence }
}
