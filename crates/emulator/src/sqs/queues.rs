//! Queues: create, find, list, delete, purge; their attributes and tags.

use std::collections::BTreeMap;

use base64::{Engine, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{locate, url, url_of};
use crate::{
    call::{Call, Int, Nothing},
    error::{Result, sqs},
    model::{
        arn::Scope,
        queue::Queue,
        settings::{COMPUTED, Settings},
        world::World,
    },
};

/// Seconds before a queue's name may be used again, and between two purges.
const COOLDOWN: u64 = 60;
/// Queues of one page of a list.
const PAGE: usize = 1000;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateQueue {
    queue_name: Option<String>,
    attributes: BTreeMap<String, String>,
    #[serde(rename = "tags", alias = "Tags")]
    tags: BTreeMap<String, String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueUrl {
    queue_url: String,
}

fn check_name(name: &str, fifo: bool) -> Result<()> {
    let fits = |name: &str| {
        (1..=80).contains(&name.len())
            && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if fifo {
        let base = name.strip_suffix(".fifo").filter(|base| fits(base) && name.len() <= 80);
        return base.map(|_| ()).ok_or_else(|| {
            sqs::invalid_parameter(
                "The name of a FIFO queue can only include alphanumeric characters, hyphens, or underscores, must \
                 end with .fifo suffix and be 1 to 80 in length",
            )
        });
    }
    fits(name).then_some(()).ok_or_else(|| {
        sqs::invalid_parameter(
            "Can only include alphanumeric characters, hyphens, or underscores. 1 to 80 in length",
        )
    })
}

pub(crate) fn create(world: &mut World, call: &Call, request: CreateQueue) -> Result<QueueUrl> {
    let name = request.queue_name.ok_or_else(|| sqs::missing("QueueName"))?;
    let mut attributes = request.attributes;
    let fifo = attributes.get("FifoQueue").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if attributes.get("Policy").is_some_and(String::is_empty) {
        attributes.remove("Policy");
    }
    check_name(&name, fifo)?;
    let arn = call.scope.queue_arn(&name);
    if let Some(existing) = world.queues.get(&arn) {
        if let Some(attribute) = existing.settings.difference(&attributes)? {
            return Err(sqs::queue_exists(attribute));
        }
        return Ok(QueueUrl { queue_url: url(call, existing) });
    }
    world.deleted.retain(|_, at| at.plus_seconds(COOLDOWN) > call.now);
    if world.rules.cooldowns && world.deleted.contains_key(&arn) {
        return Err(sqs::deleted_recently());
    }
    let settings = Settings::new(fifo).with(&attributes)?;
    check_redrive(world, &arn, &settings, &attributes)?;
    let number = world.random.u64();
    let mut queue = Queue::new(call.scope.clone(), &name, number, settings, call.now);
    queue.tags = request.tags;
    let queue_url = url(call, &queue);
    world.add_queue(queue);
    Ok(QueueUrl { queue_url })
}

/// A redrive policy must name a queue of the same kind that allows it.
fn check_redrive(
    world: &World,
    source: &str,
    settings: &Settings,
    changes: &BTreeMap<String, String>,
) -> Result<()> {
    let (Some(policy), Some(text)) = (&settings.redrive, changes.get("RedrivePolicy")) else { return Ok(()) };
    let refuse = |reason: &str| Err(sqs::invalid_value(text, "RedrivePolicy", reason));
    let Some(target) = world.queues.get(&policy.target) else {
        return refuse("Dead letter target does not exist.");
    };
    if target.settings.fifo != settings.fifo {
        return refuse("Dead-letter queue must be same type of queue as the source.");
    }
    if !target.settings.redrive_allow.allows(source) {
        return refuse("Dead letter target does not allow this queue as a source (RedriveAllowPolicy).");
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetQueueUrl {
    queue_name: Option<String>,
    #[serde(rename = "QueueOwnerAWSAccountId")]
    owner: Option<String>,
}

pub(crate) fn find(world: &mut World, call: &Call, request: GetQueueUrl) -> Result<QueueUrl> {
    let name = request.queue_name.ok_or_else(|| sqs::missing("QueueName"))?;
    let scope = match request.owner.filter(|owner| !owner.is_empty()) {
        Some(owner) => Scope::new(&owner, &call.scope.region),
        None => call.scope.clone(),
    };
    world.queue(&scope.queue_arn(&name))?;
    Ok(QueueUrl { queue_url: url_of(call, &scope, &name) })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListQueues {
    queue_name_prefix: Option<String>,
    max_results: Option<Int>,
    next_token: Option<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueList {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    queue_urls: Vec<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

/// One page of names, and the token of the next.
pub(crate) fn page(
    mut all: Vec<String>,
    most: Option<Int>,
    token: Option<&str>,
) -> Result<(Vec<String>, Option<String>)> {
    let most = match most {
        None => PAGE,
        Some(Int(most)) => {
            usize::try_from(most).ok().filter(|most| (1..=PAGE).contains(most)).ok_or_else(|| {
                sqs::invalid_value(
                    most,
                    "MaxResults",
                    format!("MaxResults must be an integer from 1 to {PAGE}."),
                )
            })?
        }
    };
    if let Some(token) = token.filter(|token| !token.is_empty()) {
        let after = STANDARD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let after =
            after.ok_or_else(|| sqs::invalid_value(token, "NextToken", "Invalid or expired next token."))?;
        all.retain(|name| *name > after);
    }
    let next = (all.len() > most).then(|| STANDARD.encode(&all[most - 1]));
    all.truncate(most);
    Ok((all, next))
}

pub(crate) fn list(world: &mut World, call: &Call, request: ListQueues) -> Result<QueueList> {
    let prefix = request.queue_name_prefix.unwrap_or_default();
    let queues = world.queues.values().filter(|queue| queue.scope == call.scope);
    let names: Vec<String> =
        queues.filter(|queue| queue.name.starts_with(&prefix)).map(|queue| queue.name.clone()).collect();
    let (names, next_token) = page(names, request.max_results, request.next_token.as_deref())?;
    let queue_urls = names.iter().map(|name| url_of(call, &call.scope, name)).collect();
    Ok(QueueList { queue_urls, next_token: next_token.filter(|_| request.max_results.is_some()) })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OnQueue {
    queue_url: Option<String>,
}

pub(crate) fn delete(world: &mut World, call: &Call, request: OnQueue) -> Result<Nothing> {
    let arn = locate(call, request.queue_url.as_deref())?;
    let queue = world.queues.remove(&arn).ok_or_else(sqs::no_such_queue)?;
    // Receives that wait find the queue gone.
    queue.arrival.notify_waiters();
    world.deleted.insert(arn, call.now);
    Ok(Nothing {})
}

pub(crate) fn purge(world: &mut World, call: &Call, request: OnQueue) -> Result<Nothing> {
    let arn = locate(call, request.queue_url.as_deref())?;
    let cooldowns = world.rules.cooldowns;
    let queue = world.queue(&arn)?;
    if cooldowns && queue.purged.is_some_and(|at| at.plus_seconds(COOLDOWN) > call.now) {
        return Err(sqs::purge_in_progress(&queue.name));
    }
    queue.purged = Some(call.now);
    queue.clear();
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct GetQueueAttributes {
    queue_url: Option<String>,
    attribute_names: Vec<String>,
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueAttributes {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    attributes: BTreeMap<String, String>,
}

/// Names that a queue can be asked for.
const NAMES: [&str; 16] = [
    "All",
    "Policy",
    "VisibilityTimeout",
    "MaximumMessageSize",
    "MessageRetentionPeriod",
    "DelaySeconds",
    "ReceiveMessageWaitTimeSeconds",
    "RedrivePolicy",
    "FifoQueue",
    "ContentBasedDeduplication",
    "KmsMasterKeyId",
    "KmsDataKeyReusePeriodSeconds",
    "DeduplicationScope",
    "FifoThroughputLimit",
    "RedriveAllowPolicy",
    "SqsManagedSseEnabled",
];

pub(crate) fn attributes(
    world: &mut World,
    call: &Call,
    request: GetQueueAttributes,
) -> Result<QueueAttributes> {
    let arn = locate(call, request.queue_url.as_deref())?;
    world.run_move_tasks(call.now);
    let queue = world.queue(&arn)?;
    queue.advance(call.now);
    let asked = &request.attribute_names;
    if let Some(unknown) =
        asked.iter().find(|name| !NAMES.contains(&name.as_str()) && !COMPUTED.contains(&name.as_str()))
    {
        return Err(sqs::invalid_attribute_name(format!("Unknown Attribute {unknown}.")));
    }
    let counts = queue.counts();
    let mut all = queue.settings.values().clone();
    for (name, value) in COMPUTED.iter().zip([
        counts.visible.to_string(),
        counts.delayed.to_string(),
        counts.in_flight.to_string(),
        queue.created.seconds().to_string(),
        queue.modified.seconds().to_string(),
        queue.arn.clone(),
    ]) {
        all.insert((*name).into(), value);
    }
    if !asked.iter().any(|name| name == "All") {
        all.retain(|name, _| asked.contains(name));
    }
    Ok(QueueAttributes { attributes: all })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SetQueueAttributes {
    queue_url: Option<String>,
    attributes: BTreeMap<String, String>,
}

pub(crate) fn set_attributes(world: &mut World, call: &Call, request: SetQueueAttributes) -> Result<Nothing> {
    let arn = locate(call, request.queue_url.as_deref())?;
    let settings = world.queue(&arn)?.settings.with(&request.attributes)?;
    check_redrive(world, &arn, &settings, &request.attributes)?;
    let queue = world.queue(&arn)?;
    queue.advance(call.now);
    queue.set_settings(settings, call.now);
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct TagQueue {
    queue_url: Option<String>,
    tags: BTreeMap<String, String>,
}

pub(crate) fn tag(world: &mut World, call: &Call, request: TagQueue) -> Result<Nothing> {
    let queue = world.queue(&locate(call, request.queue_url.as_deref())?)?;
    if request.tags.is_empty() {
        return Err(sqs::missing("Tags"));
    }
    let mut tags = queue.tags.clone();
    tags.extend(request.tags);
    if tags.len() > 50 {
        return Err(sqs::invalid_parameter(format!("Too many tags added for queue {}.", queue.name)));
    }
    queue.tags = tags;
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct UntagQueue {
    queue_url: Option<String>,
    tag_keys: Vec<String>,
}

pub(crate) fn untag(world: &mut World, call: &Call, request: UntagQueue) -> Result<Nothing> {
    let queue = world.queue(&locate(call, request.queue_url.as_deref())?)?;
    queue.tags.retain(|key, _| !request.tag_keys.contains(key));
    Ok(Nothing {})
}

#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct QueueTags {
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    tags: BTreeMap<String, String>,
}

pub(crate) fn tags(world: &mut World, call: &Call, request: OnQueue) -> Result<QueueTags> {
    let queue = world.queue(&locate(call, request.queue_url.as_deref())?)?;
    Ok(QueueTags { tags: queue.tags.clone() })
}
