//! SNS' actions, in its query protocol, and the deliveries that publishing causes.

use std::{collections::BTreeMap, time::Duration};

use serde_json::{Value, json};
use tokio::time::Instant;

use crate::{
    Shared, State,
    calls::Entry,
    fault::{Fault, ServiceError},
    query::{element, entries as entries_xml, text},
    queue::Message,
    text_of,
};

pub(crate) const NAMESPACE: &str = "http://sns.amazonaws.com/doc/2010-03-31/";

type Answer = Result<String, ServiceError>;

/// A message that a topic accepted.
#[derive(Debug, Clone)]
pub struct Published {
    /// The id that the publisher got.
    pub message_id: String,
    /// The message, byte for byte.
    pub message: String,
    /// The subject, if any.
    pub subject: Option<String>,
    /// Attributes by name: `DataType` and `StringValue` or `BinaryValue` (base64).
    pub attributes: BTreeMap<String, Value>,
    /// FIFO group.
    pub group: Option<String>,
    /// Deduplication id.
    pub deduplication: Option<String>,
    /// When it was accepted.
    pub at: Instant,
}

impl Published {
    /// A string attribute's value.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<&str> {
        self.attributes.get(name)?["StringValue"].as_str()
    }

    fn size(&self) -> usize {
        let attribute = |(name, value): (&String, &Value)| {
            let texts =
                ["DataType", "StringValue", "BinaryValue"].map(|key| value[key].as_str().map_or(0, str::len));
            name.len() + texts.iter().sum::<usize>()
        };
        self.message.len() + self.attributes.iter().map(attribute).sum::<usize>()
    }
}

#[derive(Debug, Default)]
pub(crate) struct Topic {
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) published: Vec<Published>,
    deduplication: BTreeMap<String, (Instant, String)>,
}

#[derive(Debug)]
pub(crate) struct Subscription {
    topic: String,
    protocol: String,
    endpoint: String,
    attributes: BTreeMap<String, String>,
}

/// Performs one action; nothing here waits.
pub(crate) fn perform(shared: &Shared, action: &str, request: &Value, fault: Option<&Fault>) -> Answer {
    let mut state = shared.state();
    let answer = dispatch(&mut state, action, request, fault);
    drop(state);
    shared.touch();
    answer
}

fn dispatch(state: &mut State, action: &str, request: &Value, fault: Option<&Fault>) -> Answer {
    let arn = text_of(request, "TopicArn");
    match action {
        "CreateTopic" => create(state, request),
        "DeleteTopic" => {
            delete(state, &arn);
            Ok(String::new())
        }
        "ListTopics" => {
            let members: String =
                state.topics.keys().map(|arn| element("member", &text("TopicArn", arn))).collect();
            Ok(element("Topics", &members))
        }
        "GetTopicAttributes" => {
            let topic = topic(state, &arn)?;
            let mut all = topic.attributes.clone();
            all.insert("TopicArn".into(), arn.clone());
            all.insert("Owner".into(), crate::ACCOUNT.into());
            let confirmed = state.subscriptions.values().filter(|s| s.topic == arn).count();
            all.insert("SubscriptionsConfirmed".into(), confirmed.to_string());
            Ok(entries_xml("Attributes", &all))
        }
        "SetTopicAttributes" => {
            let (name, value) = (text_of(request, "AttributeName"), text_of(request, "AttributeValue"));
            topic(state, &arn)?.attributes.insert(name, value);
            Ok(String::new())
        }
        "Subscribe" => subscribe(state, request),
        "Unsubscribe" => {
            state.subscriptions.remove(&text_of(request, "SubscriptionArn"));
            Ok(String::new())
        }
        "ListSubscriptionsByTopic" => {
            topic(state, &arn)?;
            Ok(listed(state, |s| s.topic == arn))
        }
        "ListSubscriptions" => Ok(listed(state, |_| true)),
        "GetSubscriptionAttributes" => {
            let (arn, subscription) = subscription(state, request)?;
            let mut all = subscription.attributes.clone();
            all.extend(
                [
                    ("SubscriptionArn", arn),
                    ("TopicArn", subscription.topic.clone()),
                    ("Protocol", subscription.protocol.clone()),
                    ("Endpoint", subscription.endpoint.clone()),
                    ("Owner", crate::ACCOUNT.into()),
                    ("PendingConfirmation", "false".into()),
                ]
                .map(|(k, v)| (k.to_string(), v)),
            );
            all.entry("RawMessageDelivery".into()).or_insert_with(|| "false".into());
            Ok(entries_xml("Attributes", &all))
        }
        "SetSubscriptionAttributes" => {
            let (name, value) = (text_of(request, "AttributeName"), text_of(request, "AttributeValue"));
            subscription(state, request)?.1.attributes.insert(name, value);
            Ok(String::new())
        }
        "TagResource" | "UntagResource" => Ok(String::new()),
        "ListTagsForResource" => Ok(element("Tags", "")),
        "Publish" => {
            if let Some(Fault::FailEntries(_, error)) = fault {
                return Err(error.clone());
            }
            let arn = request["TargetArn"].as_str().map_or(arn, Into::into);
            let limit = limit(topic(state, &arn)?);
            let published = published(request);
            if published.size() > limit {
                return Err(invalid("Message too long"));
            }
            publish(state, &arn, published, fault).map(|id| text("MessageId", &id))
        }
        "PublishBatch" => publish_batch(state, &arn, request, fault),
        _ => Err(ServiceError::sender(
            "InvalidAction",
            &format!("The action {action} is not in this endpoint."),
        )),
    }
}

/// The entries of a publish call.
pub(crate) fn entries(request: &Value) -> Vec<Entry> {
    let single = [request.clone()];
    let listed = request["PublishBatchRequestEntries"].as_array().map_or(&single[..], Vec::as_slice);
    listed.iter().map(as_entry).collect()
}

fn as_entry(value: &Value) -> Entry {
    Entry {
        id: text_of(value, "Id"),
        body: text_of(value, "Message"),
        value: value.clone(),
        ..Entry::default()
    }
}

fn create(state: &mut State, request: &Value) -> Answer {
    let name = text_of(request, "Name");
    let attributes = attributes(request);
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    let fifo = attributes.get("FifoTopic").is_some_and(|v| v == "true");
    if name.is_empty()
        || name.len() > 256
        || !name.trim_end_matches(".fifo").chars().all(legal)
        || fifo != name.ends_with(".fifo")
    {
        return Err(invalid("Topic Name"));
    }
    let arn = crate::topic_arn(&name);
    let topic = state.topics.entry(arn.clone()).or_default();
    topic.attributes.extend(attributes);
    Ok(text("TopicArn", &arn))
}

fn subscribe(state: &mut State, request: &Value) -> Answer {
    let arn = text_of(request, "TopicArn");
    topic(state, &arn)?;
    let (protocol, endpoint) = (text_of(request, "Protocol"), text_of(request, "Endpoint"));
    let same = state
        .subscriptions
        .iter()
        .find(|(_, s)| s.topic == arn && s.protocol == protocol && s.endpoint == endpoint);
    if let Some((subscription, _)) = same {
        return Ok(text("SubscriptionArn", subscription));
    }
    let subscription = format!("{arn}:{}", crate::uuid());
    let attributes = attributes(request);
    state
        .subscriptions
        .insert(subscription.clone(), Subscription { topic: arn, protocol, endpoint, attributes });
    Ok(text("SubscriptionArn", &subscription))
}

pub(crate) fn delete(state: &mut State, topic: &str) {
    state.topics.remove(topic);
    state.subscriptions.retain(|_, subscription| subscription.topic != topic);
}

pub(crate) fn subscribe_queue(state: &mut State, topic: &str, queue: &str, raw: bool) {
    let subscription = Subscription {
        topic: topic.into(),
        protocol: "sqs".into(),
        endpoint: queue.into(),
        attributes: BTreeMap::from([("RawMessageDelivery".into(), raw.to_string())]),
    };
    state.subscriptions.insert(format!("{topic}:{}", crate::uuid()), subscription);
}

fn listed(state: &State, fits: impl Fn(&Subscription) -> bool) -> String {
    let member = |(arn, s): (&String, &Subscription)| {
        let fields = [
            ("SubscriptionArn", arn.as_str()),
            ("TopicArn", &s.topic),
            ("Protocol", &s.protocol),
            ("Endpoint", &s.endpoint),
            ("Owner", crate::ACCOUNT),
        ];
        element("member", &fields.map(|(k, v)| text(k, v)).concat())
    };
    let members: String = state.subscriptions.iter().filter(|(_, s)| fits(s)).map(member).collect();
    element("Subscriptions", &members)
}

fn publish_batch(state: &mut State, arn: &str, request: &Value, fault: Option<&Fault>) -> Answer {
    let limit = limit(topic(state, arn)?);
    let listed = request["PublishBatchRequestEntries"].as_array().cloned().unwrap_or_default();
    let ids: Vec<String> = listed.iter().map(|entry| text_of(entry, "Id")).collect();
    crate::sqs::check_batch(&ids)?;
    let messages: Vec<Published> = listed.iter().map(published).collect();
    let size: usize = messages.iter().map(Published::size).sum();
    if size > limit {
        let text = format!("Batch requests cannot be longer than {limit} bytes. You have sent {size} bytes.");
        return Err(ServiceError::sender("BatchRequestTooLong", &text));
    }
    let (mut successful, mut failed) = (String::new(), String::new());
    for ((value, id), message) in listed.iter().zip(ids).zip(messages) {
        let scripted = match fault {
            Some(Fault::FailEntries(test, error)) => (test.0)(&as_entry(value)).then(|| error.clone()),
            _ => None,
        };
        match scripted.map_or_else(|| publish(state, arn, message, fault), Err) {
            Ok(message_id) => {
                successful += &element("member", &(text("Id", &id) + &text("MessageId", &message_id)))
            }
            Err(e) => {
                let fields = [
                    text("Id", &id),
                    text("Code", &e.code),
                    text("Message", &e.message),
                    text("SenderFault", &e.sender_fault.to_string()),
                ];
                failed += &element("member", &fields.concat());
            }
        }
    }
    Ok(element("Successful", &successful) + &element("Failed", &failed))
}

fn publish(state: &mut State, arn: &str, message: Published, fault: Option<&Fault>) -> Answer {
    if message.message.is_empty() {
        return Err(invalid("Empty message"));
    }
    // XML 1.0's range, which is what SNS takes.
    let legal = |c: char| matches!(c, '\t' | '\n' | '\r' | ' '..='\u{D7FF}' | '\u{E000}'..='\u{FFFD}' | '\u{10000}'..);
    if !message.message.chars().all(legal) {
        return Err(invalid("Message contains characters outside of the XML range"));
    }
    let topic = topic(state, arn)?;
    if arn.ends_with(".fifo") {
        if message.group.is_none() {
            return Err(invalid("The MessageGroupId parameter is required for FIFO topics"));
        }
        let content = topic.attributes.get("ContentBasedDeduplication").is_some_and(|v| v == "true");
        let id = message.deduplication.clone().or_else(|| content.then(|| message.message.clone()));
        let Some(id) = id else {
            return Err(invalid(
                "The topic should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly",
            ));
        };
        topic.deduplication.retain(|_, (at, _)| at.elapsed() < Duration::from_secs(300));
        if let Some((_, earlier)) = topic.deduplication.get(&id) {
            return Ok(earlier.clone());
        }
        topic.deduplication.insert(id, (message.at, message.message_id.clone()));
    }
    let times = if matches!(fault, Some(Fault::DuplicateEntries)) { 2 } else { 1 };
    for _ in 0..times {
        deliver(state, arn, &message);
    }
    let id = message.message_id.clone();
    let frugal = state.frugal;
    let topic = self::topic(state, arn)?;
    topic.accepted(message, frugal);
    Ok(id)
}

impl Topic {
    fn accepted(&mut self, message: Published, frugal: bool) {
        if !frugal {
            self.published.push(message);
        }
    }
}

/// Delivers to every subscribed queue of this endpoint. As in SNS, what a queue refuses is dropped without a word.
fn deliver(state: &mut State, arn: &str, published: &Published) {
    let url = state.url.clone();
    let enforce = state.enforce_policies;
    for (subscription, s) in state.subscriptions.iter().filter(|(_, s)| s.topic == arn && s.protocol == "sqs")
    {
        let Some(queue) = state.queues.get_mut(crate::name_of(&s.endpoint)) else { continue };
        let raw = s.attributes.get("RawMessageDelivery").is_some_and(|v| v == "true");
        if enforce && !admits(queue.attributes.get("Policy").map_or("", String::as_str), arn) {
            continue;
        }
        let mut message = if raw {
            Message { attributes: published.attributes.clone(), ..Message::new(&published.message) }
        } else {
            Message::new(envelope(published, arn, subscription, &url))
        };
        message.group = published.group.clone();
        if queue.fifo() {
            message.deduplication =
                published.deduplication.clone().or_else(|| Some(published.message_id.clone()));
        }
        queue.send(message, published.at).ok();
    }
}

/// Whether a queue's policy lets a topic send to it. Knows the statements that people write: `Allow`, an action of
/// SQS, and a condition on `aws:SourceArn`, or none.
fn admits(policy: &str, topic: &str) -> bool {
    let policy: Value = serde_json::from_str(policy).unwrap_or_default();
    let listed = |value: &Value| -> Vec<String> {
        let many = value.as_array().map(|a| a.iter().filter_map(Value::as_str).map(Into::into).collect());
        many.unwrap_or_else(|| value.as_str().map(Into::into).into_iter().collect())
    };
    let statements = match &policy["Statement"] {
        Value::Array(statements) => statements.clone(),
        one => vec![one.clone()],
    };
    statements.iter().any(|statement| {
        let action = listed(&statement["Action"]).iter().any(|a| {
            let a = a.to_ascii_lowercase();
            a == "*" || a == "sqs:*" || a == "sqs:sendmessage"
        });
        let conditions = statement["Condition"].as_object().cloned().unwrap_or_default();
        let source = conditions.values().filter_map(Value::as_object).flatten().all(|(key, value)| {
            key.eq_ignore_ascii_case("aws:SourceArn")
                && listed(value).iter().any(|p| {
                    p == topic || p.strip_suffix('*').is_some_and(|prefix| topic.starts_with(prefix))
                })
        });
        statement["Effect"] == "Allow" && action && source
    })
}

fn envelope(published: &Published, arn: &str, subscription: &str, url: &str) -> String {
    let mut envelope = json!({
        "Type": "Notification",
        "MessageId": published.message_id,
        "TopicArn": arn,
        "Message": published.message,
        "Timestamp": timestamp(),
        "UnsubscribeURL": format!("{url}/?Action=Unsubscribe&SubscriptionArn={subscription}"),
    });
    if let Some(subject) = &published.subject {
        envelope["Subject"] = json!(subject);
    }
    if arn.ends_with(".fifo") {
        envelope["SequenceNumber"] = json!("10000000000000000000");
    } else {
        envelope["SignatureVersion"] = json!("1");
        envelope["Signature"] = json!("EXAMPLE");
        envelope["SigningCertURL"] =
            json!("https://sns.us-east-1.amazonaws.com/SimpleNotificationService-0.pem");
    }
    if !published.attributes.is_empty() {
        let attribute = |(name, value): (&String, &Value)| {
            let content =
                if value["StringValue"].is_string() { &value["StringValue"] } else { &value["BinaryValue"] };
            (name.clone(), json!({"Type": value["DataType"], "Value": content}))
        };
        envelope["MessageAttributes"] = Value::Object(published.attributes.iter().map(attribute).collect());
    }
    envelope.to_string()
}

fn published(value: &Value) -> Published {
    let attributes = value["MessageAttributes"].as_array().cloned().unwrap_or_default();
    Published {
        message_id: crate::uuid(),
        message: text_of(value, "Message"),
        subject: value["Subject"].as_str().map(Into::into),
        attributes: attributes.into_iter().map(|a| (text_of(&a, "Name"), a["Value"].clone())).collect(),
        group: value["MessageGroupId"].as_str().map(Into::into),
        deduplication: value["MessageDeduplicationId"].as_str().map(Into::into),
        at: Instant::now(),
    }
}

/// Attributes of a create or subscribe call: `entry` lists of `key` and `value`.
fn attributes(request: &Value) -> BTreeMap<String, String> {
    let listed = request["Attributes"].as_array().cloned().unwrap_or_default();
    listed.into_iter().map(|a| (text_of(&a, "key"), text_of(&a, "value"))).collect()
}

fn limit(topic: &Topic) -> usize {
    topic.attributes.get("MaximumMessageSize").and_then(|v| v.parse().ok()).unwrap_or(262_144)
}

fn topic<'a>(state: &'a mut State, arn: &str) -> Result<&'a mut Topic, ServiceError> {
    state.topics.get_mut(arn).ok_or_else(|| ServiceError::not_found("NotFound", "Topic does not exist"))
}

fn subscription<'a>(
    state: &'a mut State,
    request: &Value,
) -> Result<(String, &'a mut Subscription), ServiceError> {
    let arn = text_of(request, "SubscriptionArn");
    let subscription = state.subscriptions.get_mut(&arn);
    let subscription =
        subscription.ok_or_else(|| ServiceError::not_found("NotFound", "Subscription does not exist"))?;
    Ok((arn, subscription))
}

fn invalid(what: &str) -> ServiceError {
    ServiceError::sender("InvalidParameter", &format!("Invalid parameter: {what}"))
}

/// Now, as SNS writes it: `2026-11-22T13:38:47.123Z`.
fn timestamp() -> String {
    crate::iso8601(std::time::SystemTime::now())
}
