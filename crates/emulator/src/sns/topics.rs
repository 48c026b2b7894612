//! Topics: create, list, delete, and their attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{check_arn, page, topic};
use crate::{
    call::{Call, Nothing},
    error::{Result, sns},
    model::{
        topic::{EFFECTIVE_DELIVERY_POLICY, Topic, checked},
        world::World,
    },
};

/// A tag of a request or an answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct Tag {
    pub(crate) key: String,
    #[serde(default)]
    pub(crate) value: String,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct CreateTopic {
    name: Option<String>,
    attributes: BTreeMap<String, String>,
    tags: Vec<Tag>,
    data_protection_policy: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TopicArn {
    topic_arn: String,
}

pub(crate) fn create(world: &mut World, call: &Call, request: CreateTopic) -> Result<TopicArn> {
    let name = request.name.unwrap_or_default();
    let mut attributes = request.attributes;
    let fifo = attributes.get("FifoTopic").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    if !fifo {
        attributes.remove("FifoTopic");
    }
    let base = if fifo { name.strip_suffix(".fifo") } else { Some(name.as_str()) };
    let fits = |base: &str| {
        !base.is_empty()
            && name.len() <= 256
            && base.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_'))
    };
    if !base.is_some_and(fits) {
        return Err(sns::invalid("Topic Name"));
    }
    let arn = call.scope.topic_arn(&name);
    if let Some(existing) = world.topics.get(&arn) {
        return same(existing, &attributes, &request.tags).map(|()| TopicArn { topic_arn: arn });
    }
    let mut topic = Topic::new(call.scope.clone(), &name, fifo);
    for (name, value) in &attributes {
        topic.set(name, value, true)?;
    }
    topic.tags = request.tags.into_iter().map(|tag| (tag.key, tag.value)).collect();
    topic.data_protection = request.data_protection_policy;
    world.topics.insert(arn.clone(), topic);
    Ok(TopicArn { topic_arn: arn })
}

/// A topic may be created again with the same attributes and tags, or fewer.
fn same(existing: &Topic, attributes: &BTreeMap<String, String>, tags: &[Tag]) -> Result<()> {
    for (name, value) in attributes {
        let value = checked(name, value, existing.fifo, true)?;
        if existing.attributes.get(name) != Some(&value) {
            return Err(sns::invalid("Attributes Reason: Topic already exists with different attributes"));
        }
    }
    if tags.iter().any(|tag| existing.tags.get(&tag.key) != Some(&tag.value)) {
        return Err(sns::invalid("Tags Reason: Topic already exists with different tags"));
    }
    Ok(())
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OnTopic {
    topic_arn: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TopicAttributes {
    attributes: BTreeMap<String, String>,
}

pub(crate) fn attributes(world: &mut World, call: &Call, request: OnTopic) -> Result<TopicAttributes> {
    let topic = topic(world, call, request.topic_arn.as_deref())?;
    let mut attributes = topic.attributes.clone();
    attributes.insert("TopicArn".into(), topic.arn.clone());
    attributes.insert("Owner".into(), topic.scope.account.to_string());
    attributes.insert("SubscriptionsDeleted".into(), topic.unsubscribed.to_string());
    let effective =
        attributes.get("DeliveryPolicy").map_or(EFFECTIVE_DELIVERY_POLICY, String::as_str).to_string();
    attributes.insert("EffectiveDeliveryPolicy".into(), effective);
    let arns = topic.subscriptions.clone();
    let pending =
        arns.iter().filter(|arn| world.subscriptions.get(*arn).is_some_and(|found| found.pending)).count();
    attributes.insert("SubscriptionsPending".into(), pending.to_string());
    attributes.insert("SubscriptionsConfirmed".into(), (arns.len() - pending).to_string());
    Ok(TopicAttributes { attributes })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SetTopicAttributes {
    topic_arn: Option<String>,
    attribute_name: Option<String>,
    attribute_value: Option<String>,
}

pub(crate) fn set_attributes(world: &mut World, call: &Call, request: SetTopicAttributes) -> Result<Nothing> {
    let topic = topic(world, call, request.topic_arn.as_deref())?;
    let name = request.attribute_name.unwrap_or_default();
    topic.set(&name, &request.attribute_value.unwrap_or_default(), false)?;
    Ok(Nothing {})
}

pub(crate) fn delete(world: &mut World, call: &Call, request: OnTopic) -> Result<Nothing> {
    let arn = check_arn(call, request.topic_arn.as_deref())?;
    if let Some(topic) = world.topics.remove(&arn) {
        for subscription in topic.subscriptions {
            world.subscriptions.remove(&subscription);
        }
    }
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListTopics {
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct TopicList {
    topics: Vec<TopicArn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

pub(crate) fn list(world: &mut World, call: &Call, request: ListTopics) -> Result<TopicList> {
    let topics = world.topics.values().filter(|topic| topic.scope == call.scope);
    let (arns, next_token) =
        page(topics.map(|topic| topic.arn.clone()).collect(), request.next_token.as_deref())?;
    let topics = arns.into_iter().map(|topic_arn| TopicArn { topic_arn }).collect();
    Ok(TopicList { topics, next_token })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct DataProtection {
    resource_arn: Option<String>,
    #[serde(default)]
    data_protection_policy: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DataProtectionPolicy {
    #[serde(skip_serializing_if = "Option::is_none")]
    data_protection_policy: Option<String>,
}

pub(crate) fn data_protection(
    world: &mut World,
    call: &Call,
    request: DataProtection,
) -> Result<DataProtectionPolicy> {
    let topic = topic(world, call, request.resource_arn.as_deref())?;
    Ok(DataProtectionPolicy { data_protection_policy: topic.data_protection.clone() })
}

/// Keeps the policy. It is not applied: messages are neither masked nor blocked, and the log says so.
pub(crate) fn set_data_protection(
    world: &mut World,
    call: &Call,
    request: DataProtection,
) -> Result<Nothing> {
    let topic = topic(world, call, request.resource_arn.as_deref())?;
    tracing::warn!(topic = topic.arn, "the emulator keeps a data protection policy and does not apply it");
    topic.data_protection = request.data_protection_policy;
    Ok(Nothing {})
}
