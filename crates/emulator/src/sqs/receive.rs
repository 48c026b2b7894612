//! ReceiveMessage: what was taken, with the attributes that were asked for. Waiting is not done here.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{locate, send::count};
use crate::{
    action::Action,
    call::{Call, Int},
    error::{Result, sqs},
    model::{
        attribute::{self, Attribute, Raw},
        lease::LONGEST_VISIBILITY,
        message::Message,
        receive::Receive,
        world::World,
    },
};

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ReceiveMessage {
    queue_url: Option<String>,
    attribute_names: Vec<String>,
    message_system_attribute_names: Vec<String>,
    message_attribute_names: Vec<String>,
    max_number_of_messages: Option<Int>,
    visibility_timeout: Option<Int>,
    wait_time_seconds: Option<Int>,
    receive_request_attempt_id: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Received {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) messages: Vec<ReceivedMessage>,
}

#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct ReceivedMessage {
    message_id: String,
    receipt_handle: String,
    #[serde(rename = "MD5OfBody")]
    md5_of_body: String,
    body: std::sync::Arc<str>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<&'static str, String>,
    #[serde(rename = "MD5OfMessageAttributes", skip_serializing_if = "Option::is_none")]
    md5_of_attributes: Option<String>,
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    message_attributes: BTreeMap<String, Raw>,
}

/// A receive that was checked, ready to be tried as often as it takes.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) arn: String,
    /// Seconds to wait for a message.
    pub(crate) wait: u64,
    receive: Receive,
    system: Wanted,
    attributes: Wanted,
}

/// Names of attributes that are wanted.
#[derive(Debug)]
struct Wanted {
    all: bool,
    names: Vec<String>,
    prefixes: Vec<String>,
}

impl Wanted {
    fn new(names: impl IntoIterator<Item = String>) -> Self {
        let mut wanted = Self { all: false, names: Vec::new(), prefixes: Vec::new() };
        for name in names {
            match name.strip_suffix(".*") {
                _ if matches!(name.as_str(), "All" | ".*" | "*") => wanted.all = true,
                Some(prefix) => wanted.prefixes.push(prefix.into()),
                None => wanted.names.push(name),
            }
        }
        wanted
    }

    fn has(&self, name: &str) -> bool {
        self.all
            || self.names.iter().any(|wanted| wanted == name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix.as_str()))
    }
}

/// Checks a receive as SQS does.
pub(crate) fn prepare(world: &mut World, call: &Call, request: ReceiveMessage) -> Result<Prepared> {
    let arn = locate(call, request.queue_url.as_deref())?;
    count(world, &arn, Action::ReceiveMessage, call)?;
    let settings = &world.queue(&arn)?.settings;
    let wait = match request.wait_time_seconds {
        None => settings.wait,
        Some(Int(wait)) => u64::try_from(wait).ok().filter(|wait| *wait <= 20).ok_or_else(|| {
            sqs::invalid_value(wait, "WaitTimeSeconds", "Must be >= 0 and <= 20, if provided.")
        })?,
    };
    let Int(most) = request.max_number_of_messages.unwrap_or(Int(1));
    let most = usize::try_from(most).ok().filter(|most| (1..=10).contains(most)).ok_or_else(|| {
        sqs::invalid_value(most, "MaxNumberOfMessages", "Must be between 1 and 10, if provided.")
    })?;
    let visibility = match request.visibility_timeout {
        None => None,
        Some(Int(seconds)) => {
            let fits = u64::try_from(seconds).ok().filter(|seconds| *seconds <= LONGEST_VISIBILITY);
            Some(fits.ok_or_else(|| {
                let reason = format!("Must be >= 0 and <= {LONGEST_VISIBILITY}, if provided.");
                sqs::invalid_value(seconds, "VisibilityTimeout", reason)
            })?)
        }
    };
    let attempt = request.receive_request_attempt_id.filter(|_| settings.fifo);
    Ok(Prepared {
        arn,
        wait,
        receive: Receive { most, visibility, attempt, waits: wait > 0, dead_letters: false },
        system: Wanted::new(
            request.attribute_names.into_iter().chain(request.message_system_attribute_names),
        ),
        attributes: Wanted::new(request.message_attribute_names),
    })
}

/// Takes what is there now.
pub(crate) fn take(world: &mut World, call: &Call, prepared: &Prepared) -> Result<Received> {
    let taken = world.receive(&prepared.arn, prepared.receive.clone(), call.now)?;
    let messages = taken
        .messages
        .into_iter()
        .filter_map(|(key, receipt)| Some(prepared.present(world.message(&prepared.arn, key)?, receipt)));
    Ok(Received { messages: messages.collect() })
}

impl Prepared {
    fn present(&self, message: &Message, receipt_handle: String) -> ReceivedMessage {
        let wanted: Vec<(&String, &Attribute)> =
            message.attributes.iter().filter(|(name, _)| self.attributes.has(name)).collect();
        ReceivedMessage {
            message_id: message.id.clone(),
            receipt_handle,
            md5_of_body: attribute::md5(&message.body),
            body: message.body.clone(),
            attributes: self.system_attributes(message),
            md5_of_attributes: attribute::digest(wanted.iter().copied()),
            message_attributes: wanted
                .into_iter()
                .map(|(name, attribute)| (name.clone(), attribute.raw()))
                .collect(),
        }
    }

    fn system_attributes(&self, message: &Message) -> BTreeMap<&'static str, String> {
        if !self.system.all && self.system.names.is_empty() {
            return BTreeMap::new();
        }
        let text = |text: &Option<std::sync::Arc<str>>| text.as_ref().map(ToString::to_string);
        let all = [
            ("SenderId", Some(message.sender.to_string())),
            ("SentTimestamp", Some(message.sent.0.to_string())),
            ("ApproximateReceiveCount", Some(message.receives.to_string())),
            ("ApproximateFirstReceiveTimestamp", message.first_received.map(|at| at.0.to_string())),
            ("SequenceNumber", message.sequence.clone()),
            ("MessageDeduplicationId", text(&message.deduplication)),
            ("MessageGroupId", text(&message.group)),
            ("AWSTraceHeader", message.trace_header.clone()),
            ("DeadLetterQueueSourceArn", message.dead_letter_source.clone()),
        ];
        all.into_iter()
            .filter(|(name, _)| self.system.has(name))
            .filter_map(|(name, value)| Some((name, value?)))
            .collect()
    }
}
