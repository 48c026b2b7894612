//! Subscriptions: subscribe, confirm, list, end, and their attributes.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{check_arn, page, topic};
use crate::{
    call::{Call, Nothing, flag},
    error::{Result, not_implemented, sns},
    model::{
        arn::Arn,
        filter,
        subscription::Subscription,
        topic::{EFFECTIVE_DELIVERY_POLICY, LARGE},
        world::World,
    },
};

/// All protocols of SNS.
const PROTOCOLS: [&str; 9] =
    ["http", "https", "email", "email-json", "sms", "sqs", "application", "lambda", "firehose"];
/// Subscribers of a topic that takes messages of more than 256 KiB.
const LARGE_SUBSCRIBERS: usize = 100;

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Subscribe {
    topic_arn: Option<String>,
    protocol: Option<String>,
    endpoint: Option<String>,
    attributes: BTreeMap<String, String>,
    #[serde(deserialize_with = "flag")]
    return_subscription_arn: bool,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubscriptionArn {
    subscription_arn: String,
}

fn check_endpoint(protocol: &str, endpoint: &str, topic: &str) -> Result<()> {
    if !PROTOCOLS.contains(&protocol) {
        return Err(sns::invalid(format!("Amazon SNS does not support this protocol string: {protocol}")));
    }
    match protocol {
        "http" | "https" if !endpoint.starts_with(&format!("{protocol}://")) => {
            return Err(sns::invalid("Endpoint must match the specified protocol"));
        }
        "sms" => {
            let digits = endpoint.strip_prefix('+').unwrap_or(endpoint);
            let fits = (2..=15).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
            if !fits || digits.starts_with('0') {
                return Err(crate::error::AwsError::new(
                    400,
                    "InvalidParameter",
                    format!("Invalid SMS endpoint: {endpoint}"),
                ));
            }
        }
        "sqs" if Arn::parse(endpoint).is_none_or(|arn| arn.service != "sqs") => {
            return Err(sns::invalid("SQS endpoint ARN"));
        }
        "application" if Arn::parse(endpoint).is_none() => {
            return Err(sns::invalid("ApplicationEndpoint ARN"));
        }
        _ => {}
    }
    if protocol == "sqs" && endpoint.ends_with(".fifo") && !topic.ends_with(".fifo") {
        return Err(sns::invalid(
            "Invalid parameter: Endpoint Reason: FIFO SQS Queues can not be subscribed to standard SNS topics",
        ));
    }
    if topic.ends_with(".fifo") && protocol != "sqs" {
        return Err(sns::invalid(format!(
            "Invalid parameter: Endpoint Reason: {protocol} can not be subscribed to FIFO SNS topics"
        )));
    }
    Ok(())
}

pub(crate) fn subscribe(world: &mut World, call: &Call, request: Subscribe) -> Result<SubscriptionArn> {
    let topic_arn = topic(world, call, request.topic_arn.as_deref())?.arn.clone();
    let Some(endpoint) = request.endpoint.filter(|endpoint| !endpoint.is_empty()) else {
        return Err(sns::invalid("Endpoint"));
    };
    let protocol = request.protocol.unwrap_or_default();
    check_endpoint(&protocol, &endpoint, &topic_arn)?;
    let mut subscription = Subscription {
        arn: format!("{topic_arn}:{}", world.random.uuid()),
        topic: topic_arn.clone(),
        protocol,
        endpoint,
        owner: call.scope.clone(),
        pending: false,
        token: token(&call.scope.region, &world.random.hex(288)),
        attributes: BTreeMap::new(),
        filter: None,
    };
    for (name, value) in &request.attributes {
        subscription.set(name, value, true)?;
    }
    subscription.read_filter(true)?;
    if matches!(subscription.protocol.as_str(), "application" | "lambda" | "firehose") {
        return Err(not_implemented(&format!("delivery to the protocol {}", subscription.protocol)));
    }
    if let Some(existing) = existing(world, &subscription) {
        return again(existing, &subscription.attributes, &request.attributes);
    }
    let topic = topic(world, call, Some(&topic_arn))?;
    if topic.largest() > LARGE {
        if !matches!(subscription.protocol.as_str(), "sqs" | "lambda" | "firehose") {
            return Err(sns::invalid(
                "Protocol Reason: not supported by a topic with MaximumMessageSize above 262144",
            ));
        }
        if topic.subscriptions.len() >= LARGE_SUBSCRIBERS {
            return Err(sns::invalid(format!(
                "Endpoint Reason: a topic with MaximumMessageSize above 262144 has at most {LARGE_SUBSCRIBERS} subscriptions"
            )));
        }
    }
    topic.subscriptions.push(subscription.arn.clone());
    if subscription.protocol == "sms" {
        tracing::warn!(
            topic = topic_arn,
            endpoint = subscription.endpoint,
            "the emulator sends no SMS: as in AWS's SMS sandbox with a number that is not verified, no message is delivered to this subscription"
        );
    } else if subscription.protocol != "sqs" {
        subscription.pending = true;
        tracing::warn!(
            topic = topic_arn,
            endpoint = subscription.endpoint,
            "the emulator delivers to SQS alone: this subscription stays pending, no confirmation is sent, and nothing is delivered to it"
        );
    }
    let shown = if subscription.pending && !request.return_subscription_arn {
        "pending confirmation".into()
    } else {
        subscription.arn.clone()
    };
    world.subscriptions.insert(subscription.arn.clone(), subscription);
    Ok(SubscriptionArn { subscription_arn: shown })
}

/// The region leads a token, so that another region's topic is told from it; 288 digits, as AWS's.
fn token(region: &str, noise: &str) -> String {
    let region: String = region.bytes().map(|byte| format!("{byte:02x}")).collect();
    let mut token = format!("{region}2f{noise}");
    token.truncate(288);
    token
}

fn existing<'a>(world: &'a World, wanted: &Subscription) -> Option<&'a Subscription> {
    let topic = world.topics.get(&wanted.topic)?;
    let found = topic.subscriptions.iter().filter_map(|arn| world.subscriptions.get(arn));
    found.into_iter().find(|found| found.endpoint == wanted.endpoint && found.protocol == wanted.protocol)
}

/// Subscribing again is the same subscription, unless it asks for other attributes.
fn again(
    existing: &Subscription,
    wanted: &BTreeMap<String, String>,
    asked: &BTreeMap<String, String>,
) -> Result<SubscriptionArn> {
    let default = |name: &str| match name {
        "RawMessageDelivery" => Some("false"),
        "FilterPolicyScope" => Some(filter::Scope::default().name()),
        _ => None,
    };
    let has = |name: &str| existing.attributes.get(name).map(String::as_str).or_else(|| default(name));
    let differs = |name: &&String| {
        asked.get(*name).is_some_and(|value| !value.is_empty())
            && wanted.get(*name).map(String::as_str) != has(name)
    };
    if asked.keys().any(|name| differs(&name)) {
        return Err(sns::invalid("Attributes Reason: Subscription already exists with different attributes"));
    }
    Ok(SubscriptionArn { subscription_arn: existing.arn.clone() })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct OnSubscription {
    subscription_arn: Option<String>,
}

pub(crate) fn unsubscribe(world: &mut World, _: &Call, request: OnSubscription) -> Result<Nothing> {
    let Some(arn) = request.subscription_arn else {
        return Err(sns::invalid("SubscriptionArn Reason: no value for required parameter"));
    };
    let elements = arn.split(':').count();
    if Arn::parse(&arn).is_none() {
        return Err(sns::invalid(format!(
            "SubscriptionArn Reason: An ARN must have at least 6 elements, not {elements}"
        )));
    }
    if elements == 6 {
        return Err(sns::invalid("SubscriptionId"));
    }
    if let Some(subscription) = world.subscriptions.remove(&arn)
        && let Some(topic) = world.topics.get_mut(&subscription.topic)
    {
        topic.subscriptions.retain(|other| *other != arn);
        topic.unsubscribed += 1;
    }
    Ok(Nothing {})
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubscriptionAttributes {
    attributes: BTreeMap<String, String>,
}

fn find<'a>(world: &'a mut World, arn: Option<&str>) -> Result<&'a mut Subscription> {
    let missing = || sns::not_found("Subscription");
    world.subscriptions.get_mut(arn.unwrap_or_default()).ok_or_else(missing)
}

pub(crate) fn attributes(
    world: &mut World,
    _: &Call,
    request: OnSubscription,
) -> Result<SubscriptionAttributes> {
    let found = find(world, request.subscription_arn.as_deref())?;
    let mut attributes = found.attributes.clone();
    if attributes.contains_key("FilterPolicy") {
        attributes
            .entry("FilterPolicyScope".into())
            .or_insert_with(|| filter::Scope::default().name().into());
    } else {
        attributes.remove("FilterPolicyScope");
    }
    attributes.entry("RawMessageDelivery".into()).or_insert_with(|| "false".into());
    for (name, value) in [
        ("SubscriptionArn", found.arn.clone()),
        ("TopicArn", found.topic.clone()),
        ("Protocol", found.protocol.clone()),
        ("Endpoint", found.endpoint.clone()),
        ("Owner", found.owner.account.to_string()),
        ("PendingConfirmation", found.pending.to_string()),
        ("SubscriptionPrincipal", found.owner.user()),
    ] {
        attributes.insert(name.into(), value);
    }
    if !found.pending {
        attributes.insert("ConfirmationWasAuthenticated".into(), "true".into());
    }
    if found.protocol.starts_with("http") {
        attributes
            .entry("EffectiveDeliveryPolicy".into())
            .or_insert_with(|| EFFECTIVE_DELIVERY_POLICY.into());
    }
    Ok(SubscriptionAttributes { attributes })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct SetSubscriptionAttributes {
    subscription_arn: Option<String>,
    attribute_name: Option<String>,
    attribute_value: Option<String>,
}

pub(crate) fn set_attributes(
    world: &mut World,
    _: &Call,
    request: SetSubscriptionAttributes,
) -> Result<Nothing> {
    let found = find(world, request.subscription_arn.as_deref())?;
    let name = request.attribute_name.unwrap_or_default();
    found.set(&name, &request.attribute_value.unwrap_or_default(), false)?;
    Ok(Nothing {})
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct ListSubscriptions {
    topic_arn: Option<String>,
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct SubscriptionList {
    subscriptions: Vec<Listed>,
    #[serde(skip_serializing_if = "Option::is_none")]
    next_token: Option<String>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    subscription_arn: String,
    owner: String,
    protocol: String,
    endpoint: String,
    topic_arn: String,
}

pub(crate) fn list(world: &mut World, call: &Call, request: ListSubscriptions) -> Result<SubscriptionList> {
    let all = world.subscriptions.values().filter(|found| found.owner == call.scope);
    let arns = all.map(|found| found.arn.clone()).collect();
    present(world, arns, request.next_token.as_deref())
}

pub(crate) fn list_by_topic(
    world: &mut World,
    call: &Call,
    request: ListSubscriptions,
) -> Result<SubscriptionList> {
    let arns = topic(world, call, request.topic_arn.as_deref())?.subscriptions.clone();
    present(world, arns, request.next_token.as_deref())
}

fn present(world: &World, arns: Vec<String>, token: Option<&str>) -> Result<SubscriptionList> {
    let (arns, next_token) = page(arns, token)?;
    let found = arns.iter().filter_map(|arn| world.subscriptions.get(arn));
    let subscriptions = found.map(|found| Listed {
        subscription_arn: if found.pending { "PendingConfirmation".into() } else { found.arn.clone() },
        owner: found.owner.account.to_string(),
        protocol: found.protocol.clone(),
        endpoint: found.endpoint.clone(),
        topic_arn: found.topic.clone(),
    });
    Ok(SubscriptionList { subscriptions: subscriptions.collect(), next_token })
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub(crate) struct Confirm {
    topic_arn: Option<String>,
    token: Option<String>,
}

pub(crate) fn confirm(world: &mut World, call: &Call, request: Confirm) -> Result<SubscriptionArn> {
    let arn = request.topic_arn.as_deref().unwrap_or_default();
    let parsed = Arn::parse(arn).ok_or_else(|| sns::invalid("Topic"))?;
    let token = request.token.unwrap_or_default();
    let region = token.split_once("2f").map(|(region, _)| region);
    let expected: String = parsed.region.bytes().map(|byte| format!("{byte:02x}")).collect();
    let is_hex = token.bytes().all(|byte| byte.is_ascii_hexdigit());
    match region.filter(|_| is_hex) {
        None => return Err(sns::invalid("Token")),
        Some(region) if region != expected => return Err(sns::invalid("Topic")),
        Some(_) => {}
    }
    let found = world.subscriptions.values_mut().find(|found| found.token == token && found.topic == arn);
    let found = found.ok_or_else(|| sns::invalid("Token"))?;
    check_arn(call, Some(arn))?;
    found.pending = false;
    Ok(SubscriptionArn { subscription_arn: found.arn.clone() })
}
