//! The topology: topic, queue, dead-letter queue, the policy that lets the topic in, and the subscription.
//!
//! With `PROVISION` what is missing is created, at start and again when it vanishes; what exists is never changed,
//! but for one statement added to a queue's policy beside the others that it has (ThreeDotsLabs/watermill-aws
//! overwrites them, and the first topic silently stops delivering). Without it, what is missing is an error
//! that says what to do. Every function here may be called again at any time.

use std::collections::HashMap;
use std::fmt::{self, Display};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};

use crate::aws::Clients;
use crate::call::{CallError, Fault, bounded};
use crate::settings::{self, Reader, Setting, Values};

/// The rows that both programs have.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "TOPIC_NAME",
        default: Some("events"),
        help: "the topic's name; one that ends in .fifo is a FIFO topic",
    },
    Setting { name: "TOPIC_ARN", default: None, help: "the topic's ARN, instead of its name" },
    Setting {
        name: "PROVISION",
        default: None,
        help: "create what is missing; true where AWS_ENDPOINT_URL is set, else false",
    },
];

/// The rows of a consumer.
pub const QUEUE_SETTINGS: &[Setting] = &[
    Setting {
        name: "QUEUE_NAME",
        default: Some("events-consumer"),
        help: "the queue's name; one that ends in .fifo is a FIFO queue",
    },
    Setting { name: "QUEUE_URL", default: None, help: "the queue's URL, instead of its name" },
    Setting {
        name: "MAX_RECEIVES",
        default: Some("5"),
        help: "when provisioning: receives before the dead-letter queue",
    },
    Setting {
        name: "RAW_DELIVERY",
        default: Some("false"),
        help: "when provisioning the subscription; both forms are always understood",
    },
];

/// A topic as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By ARN.
    Arn(String),
}

impl TopicRef {
    /// Reads `TOPIC_ARN` or `TOPIC_NAME`.
    pub fn read(reader: &mut Reader<'_>, values: &Values) -> Self {
        let arn = reader.optional(
            "TOPIC_ARN",
            settings::Accept::new(
                "an SNS topic's ARN, like arn:aws:sns:eu-west-1:123456789012:events",
                |text| {
                    let parts: Vec<_> = text.split(':').collect();
                    (parts.len() == 6 && parts[0] == "arn" && parts[2] == "sns" && !parts[5].is_empty())
                        .then(|| text.to_owned())
                },
            ),
        );
        let name = reader.read("TOPIC_NAME", resource_name(256));
        match arn {
            Some(_) if values.is_given("TOPIC_NAME") => {
                reader.object("TOPIC_ARN", "TOPIC_NAME is set too; set one of them");
                Self::Name(name)
            }
            Some(arn) => Self::Arn(arn),
            None => Self::Name(name),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn.rsplit(':').next().unwrap_or(arn),
        }
    }

    /// Whether it is a FIFO topic: SNS reserves the ending `.fifo` for them.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

/// Reads `PROVISION`, whose default depends on the endpoint.
pub fn read_provision(reader: &mut Reader<'_>, values: &Values) -> bool {
    reader.optional("PROVISION", settings::boolean()).unwrap_or_else(|| values.is_given("AWS_ENDPOINT_URL"))
}

/// Names of topics and queues: letters, digits, `-`, `_`, and `.fifo` at the end.
/// Bounds: CreateTopic 256, CreateQueue 80 characters, the ending included.
fn resource_name(longest: usize) -> settings::Accept<String> {
    settings::Accept::new(
        format!("a name of 1 to {longest} letters, digits, - and _, with .fifo at its end for FIFO"),
        move |text| {
            let stem = text.strip_suffix(".fifo").unwrap_or(text);
            let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (!stem.is_empty() && text.len() <= longest && stem.bytes().all(valid)).then(|| text.to_owned())
        },
    )
}

/// What a consumer needs around its queue.
#[derive(Debug, Clone)]
pub struct QueueSpec {
    /// The queue.
    pub queue: QueueRef,
    /// The topic that feeds it.
    pub topic: TopicRef,
    /// Create what is missing.
    pub provision: bool,
    /// `maxReceiveCount` of a redrive policy that is created: 1 to 1,000.
    pub max_receives: u32,
    /// `RawMessageDelivery` of a subscription that is created.
    pub raw_delivery: bool,
}

/// A queue as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By URL.
    Url(String),
}

impl QueueRef {
    /// The queue's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Url(url) => url.rsplit('/').next().unwrap_or(url),
        }
    }

    /// Whether it is a FIFO queue: SQS reserves the ending `.fifo` for them.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

impl QueueSpec {
    /// Reads the settings of topic, queue and provisioning.
    pub fn read(reader: &mut Reader<'_>, values: &Values) -> Self {
        let topic = TopicRef::read(reader, values);
        let url = reader.optional("QUEUE_URL", settings::url());
        let name = reader.read("QUEUE_NAME", resource_name(80));
        let queue = match url {
            Some(_) if values.is_given("QUEUE_NAME") => {
                reader.object("QUEUE_URL", "QUEUE_NAME is set too; set one of them");
                QueueRef::Name(name)
            }
            Some(url) => QueueRef::Url(url),
            None => QueueRef::Name(name),
        };
        let provision = read_provision(reader, values);
        if provision && queue.is_fifo() && !topic.is_fifo() {
            let topic = topic.name();
            reader.object("QUEUE_NAME", format!("a FIFO queue takes no messages of the standard topic {topic}; use a topic that ends in .fifo"));
        }
        Self {
            queue,
            topic,
            provision,
            max_receives: u32::try_from(reader.read("MAX_RECEIVES", settings::integer(1..=1000)))
                .unwrap_or(5),
            raw_delivery: reader.read("RAW_DELIVERY", settings::boolean()),
        }
    }
}

/// A queue as it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Queue {
    /// Its URL, which the calls take.
    pub url: String,
    /// Its ARN.
    pub arn: String,
    /// Its own visibility timeout: the length of a lease.
    pub visibility: Duration,
    /// Where its poison goes, if anywhere.
    pub redrive: Option<Redrive>,
}

impl Queue {
    /// Whether it is a FIFO queue.
    pub fn is_fifo(&self) -> bool {
        self.arn.ends_with(".fifo")
    }
}

/// A queue's redrive policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Redrive {
    /// The dead-letter queue's ARN.
    pub dead_letter_arn: String,
    /// Receives before a message goes there.
    pub max_receives: u32,
}

/// Why the topology is not as it must be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopologyError {
    /// A call failed.
    #[error("{subject}: {error}")]
    Call {
        /// What it was about: `queue events-consumer`.
        subject: String,
        /// The call and its failure.
        error: CallError,
    },
    /// Something is missing and was not to be created.
    #[error("{subject} does not exist; create it, or set PROVISION=true where that is allowed")]
    Missing {
        /// What is missing.
        subject: String,
    },
    /// AWS answered something that makes no sense.
    #[error("{subject}: {detail}")]
    Nonsense {
        /// What it was about.
        subject: String,
        /// What was wrong.
        detail: String,
    },
}

impl TopologyError {
    /// What it means for a retry loop.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Call { error, .. } => error.fault,
            Self::Missing { .. } => Fault::Missing,
            Self::Nonsense { .. } => Fault::Server,
        }
    }
}

fn about(subject: impl Display) -> impl FnOnce(CallError) -> TopologyError {
    move |error| match error.fault {
        Fault::Missing => TopologyError::Missing { subject: subject.to_string() },
        _ => TopologyError::Call { subject: subject.to_string(), error },
    }
}

/// A topic, and whether this call made it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTopic {
    /// Its ARN.
    pub arn: String,
    /// It did not exist before.
    pub created: bool,
}

/// Finds the topic, and with `provision` creates it where it is missing.
///
/// # Errors
/// [`TopologyError`]; the caller backs off by its [`fault`](TopologyError::fault) and tries again.
pub async fn topic(
    clients: &Clients,
    topic: &TopicRef,
    provision: bool,
) -> Result<FoundTopic, TopologyError> {
    let subject = format!("topic {}", topic.name());
    match topic {
        TopicRef::Arn(arn) => match topic_attributes(clients, arn).await {
            Ok(_) => Ok(FoundTopic { arn: arn.clone(), created: false }),
            Err(error) if error.fault == Fault::Missing && provision => create_topic(clients, topic).await,
            Err(error) => Err(about(subject)(error)),
        },
        TopicRef::Name(name) => match find_topic(clients, name).await.map_err(about(&subject))? {
            Some(arn) => Ok(FoundTopic { arn, created: false }),
            None if provision => create_topic(clients, topic).await,
            None => Err(TopologyError::Missing { subject }),
        },
    }
}

async fn find_topic(clients: &Clients, name: &str) -> Result<Option<String>, CallError> {
    let mut next = None;
    loop {
        let page = clients.sns.list_topics().set_next_token(next).send();
        let page = bounded("ListTopics", clients.call_timeout, page).await?;
        let mut arns = page.topics().iter().filter_map(|t| t.topic_arn());
        if let Some(arn) = arns.find(|arn| arn.rsplit(':').next() == Some(name)) {
            return Ok(Some(arn.to_owned()));
        }
        next = page.next_token;
        if next.as_deref().is_none_or(str::is_empty) {
            return Ok(None);
        }
    }
}

async fn create_topic(clients: &Clients, topic: &TopicRef) -> Result<FoundTopic, TopologyError> {
    let mut call = clients.sns.create_topic().name(topic.name());
    if topic.is_fifo() {
        call = call.attributes("FifoTopic", "true");
    }
    let answer = bounded("CreateTopic", clients.call_timeout, call.send()).await;
    let answer = answer.map_err(about(format_args!("topic {}", topic.name())))?;
    let arn = answer.topic_arn.ok_or_else(|| TopologyError::Nonsense {
        subject: format!("topic {}", topic.name()),
        detail: "CreateTopic answered without an ARN".to_owned(),
    })?;
    tracing::info!(topic_arn = arn, "created the topic");
    Ok(FoundTopic { arn, created: true })
}

/// The attributes of a topic, by name.
///
/// # Errors
/// The call's.
pub async fn topic_attributes(clients: &Clients, arn: &str) -> Result<HashMap<String, String>, CallError> {
    let call = clients.sns.get_topic_attributes().topic_arn(arn).send();
    Ok(bounded("GetTopicAttributes", clients.call_timeout, call).await?.attributes.unwrap_or_default())
}

/// Whether anybody has subscribed to the topic.
///
/// # Errors
/// The call's.
pub async fn has_subscription(clients: &Clients, topic_arn: &str) -> Result<bool, CallError> {
    let call = clients.sns.list_subscriptions_by_topic().topic_arn(topic_arn).send();
    Ok(!bounded("ListSubscriptionsByTopic", clients.call_timeout, call).await?.subscriptions().is_empty())
}

/// Finds the queue, and with `provision` creates what is missing around it: dead-letter queue, queue, topic, policy
/// and subscription, in that order, so that no message is published to a topic that this queue does not yet hear.
///
/// # Errors
/// [`TopologyError`]; the caller backs off by its [`fault`](TopologyError::fault) and tries again.
pub async fn queue(clients: &Clients, spec: &QueueSpec) -> Result<Queue, TopologyError> {
    let url = match queue_url(clients, &spec.queue).await {
        Ok(url) => url,
        Err(TopologyError::Missing { .. }) if spec.provision => create_queues(clients, spec).await?,
        Err(error) => return Err(error),
    };
    let queue = match describe(clients, &url).await {
        // QueueRef::Url is not looked up, so this is where its absence shows
        Err(TopologyError::Missing { .. }) if spec.provision => {
            describe(clients, &create_queues(clients, spec).await?).await?
        }
        described => described?,
    };
    if spec.provision {
        connect(clients, spec, &queue).await?;
    }
    Ok(queue)
}

async fn queue_url(clients: &Clients, queue: &QueueRef) -> Result<String, TopologyError> {
    let name = match queue {
        QueueRef::Url(url) => return Ok(url.clone()),
        QueueRef::Name(name) => name,
    };
    let subject = format!("queue {name}");
    let call = clients.sqs.get_queue_url().queue_name(name).send();
    let answer = bounded("GetQueueUrl", clients.call_timeout, call).await.map_err(about(&subject))?;
    answer.queue_url.ok_or(TopologyError::Missing { subject })
}

/// The queue as it is now.
///
/// # Errors
/// [`TopologyError`].
pub async fn describe(clients: &Clients, url: &str) -> Result<Queue, TopologyError> {
    let attributes = queue_attributes(
        clients,
        url,
        &[
            QueueAttributeName::QueueArn,
            QueueAttributeName::VisibilityTimeout,
            QueueAttributeName::RedrivePolicy,
        ],
    )
    .await?;
    let arn =
        attributes.get(&QueueAttributeName::QueueArn).cloned().ok_or_else(|| TopologyError::Nonsense {
            subject: format!("queue {url}"),
            detail: "GetQueueAttributes answered without an ARN".to_owned(),
        })?;
    let visibility =
        attributes.get(&QueueAttributeName::VisibilityTimeout).and_then(|s| s.parse().ok()).unwrap_or(30);
    let redrive = attributes.get(&QueueAttributeName::RedrivePolicy).and_then(|policy| redrive(policy));
    Ok(Queue { url: url.to_owned(), arn, visibility: Duration::from_secs(visibility), redrive })
}

/// Attributes of a queue.
///
/// # Errors
/// [`TopologyError`].
pub async fn queue_attributes(
    clients: &Clients,
    url: &str,
    names: &[QueueAttributeName],
) -> Result<HashMap<QueueAttributeName, String>, TopologyError> {
    let call =
        clients.sqs.get_queue_attributes().queue_url(url).set_attribute_names(Some(names.to_vec())).send();
    let answer = bounded("GetQueueAttributes", clients.call_timeout, call).await;
    let subject = format!("queue {}", QueueRef::Url(url.to_owned()).name());
    Ok(answer.map_err(about(subject))?.attributes.unwrap_or_default())
}

fn redrive(policy: &str) -> Option<Redrive> {
    let policy: Value = serde_json::from_str(policy).ok()?;
    // SQS takes and returns the count as a number or as a string
    let count = &policy["maxReceiveCount"];
    let max_receives = count.as_u64().or_else(|| count.as_str()?.parse().ok())?;
    Some(Redrive {
        dead_letter_arn: policy["deadLetterTargetArn"].as_str()?.to_owned(),
        max_receives: u32::try_from(max_receives).ok()?,
    })
}

/// `orders` → `orders-dlq`, `orders.fifo` → `orders-dlq.fifo`: the dead letters of a FIFO queue need one too.
pub fn dead_letter_name(queue: &str) -> String {
    match queue.strip_suffix(".fifo") {
        Some(stem) => format!("{stem}-dlq.fifo"),
        None => format!("{queue}-dlq"),
    }
}

async fn create_queues(clients: &Clients, spec: &QueueSpec) -> Result<String, TopologyError> {
    let name = spec.queue.name();
    let dead_letters = dead_letter_name(name);
    // 14 days, the most there is: a dead letter waits for a person
    let retention = [(QueueAttributeName::MessageRetentionPeriod, "1209600".to_owned())];
    let dead_letter_url = match queue_url(clients, &QueueRef::Name(dead_letters.clone())).await {
        Err(TopologyError::Missing { .. }) => create_queue(clients, &dead_letters, retention).await?,
        found => found?,
    };
    let dead_letter_arn = describe(clients, &dead_letter_url).await?.arn;
    let redrive = json!({"deadLetterTargetArn": dead_letter_arn, "maxReceiveCount": spec.max_receives});
    create_queue(clients, name, [(QueueAttributeName::RedrivePolicy, redrive.to_string())]).await
}

async fn create_queue(
    clients: &Clients,
    name: &str,
    attributes: impl IntoIterator<Item = (QueueAttributeName, String)>,
) -> Result<String, TopologyError> {
    let mut call = clients.sqs.create_queue().queue_name(name);
    for (attribute, value) in attributes {
        call = call.attributes(attribute, value);
    }
    if name.ends_with(".fifo") {
        call = call.attributes(QueueAttributeName::FifoQueue, "true");
    }
    let subject = format!("queue {name}");
    let answer = bounded("CreateQueue", clients.call_timeout, call.send()).await.map_err(about(&subject))?;
    tracing::info!(queue = name, "created the queue");
    answer
        .queue_url
        .ok_or(TopologyError::Nonsense { subject, detail: "CreateQueue answered without a URL".to_owned() })
}

/// Policy first, then the subscription: SNS discards what it may not deliver.
async fn connect(clients: &Clients, spec: &QueueSpec, queue: &Queue) -> Result<(), TopologyError> {
    let topic_arn = topic(clients, &spec.topic, true).await?.arn;
    admit(clients, queue, &topic_arn).await?;
    subscribe(clients, spec, queue, &topic_arn).await
}

async fn admit(clients: &Clients, queue: &Queue, topic_arn: &str) -> Result<(), TopologyError> {
    let attributes = queue_attributes(clients, &queue.url, &[QueueAttributeName::Policy]).await?;
    let existing = attributes.get(&QueueAttributeName::Policy).map_or("", String::as_str);
    let Some(policy) = admitting_policy(existing, &queue.arn, topic_arn) else { return Ok(()) };
    let call = clients
        .sqs
        .set_queue_attributes()
        .queue_url(&queue.url)
        .attributes(QueueAttributeName::Policy, policy)
        .send();
    bounded("SetQueueAttributes", clients.call_timeout, call)
        .await
        .map_err(about(format_args!("queue {}", queue.arn)))?;
    tracing::info!(queue_arn = queue.arn, topic_arn, "let the topic into the queue");
    Ok(())
}

/// The statement by which a queue lets one topic in.
pub fn admission(queue_arn: &str, topic_arn: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    })
}

/// The policy with the topic let in beside whatever it says already; `None` if it lets the topic in as it is.
pub fn admitting_policy(existing: &str, queue_arn: &str, topic_arn: &str) -> Option<String> {
    let mut policy: Value = serde_json::from_str(existing).unwrap_or(Value::Null);
    if !policy.is_object() {
        policy = json!({"Version": "2012-10-17"});
    }
    let mut statements = match policy["Statement"].take() {
        Value::Array(statements) => statements,
        Value::Null => Vec::new(),
        single => vec![single],
    };
    if statements.iter().any(|s| admits(s, topic_arn)) {
        return None;
    }
    statements.push(admission(queue_arn, topic_arn));
    policy["Statement"] = Value::Array(statements);
    Some(policy.to_string())
}

/// Whether a statement lets SNS send for this topic. Conservative: a form that it does not know is not counted, and
/// then a statement that says the same again is added, which does no harm.
fn admits(statement: &Value, topic_arn: &str) -> bool {
    let names = |value: &Value, wanted: &str| match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|i| i.as_str() == Some(wanted)),
        _ => false,
    };
    let action = &statement["Action"];
    let sends =
        ["sqs:SendMessage", "SQS:SendMessage", "sqs:*", "SQS:*", "*"].iter().any(|a| names(action, a));
    let conditions = statement["Condition"].as_object();
    let for_topic = conditions.is_some_and(|c| {
        c.values().any(|c| names(&c["aws:SourceArn"], topic_arn) || names(&c["AWS:SourceArn"], topic_arn))
    });
    statement["Effect"] == "Allow" && sends && for_topic
}

async fn subscribe(
    clients: &Clients,
    spec: &QueueSpec,
    queue: &Queue,
    topic_arn: &str,
) -> Result<(), TopologyError> {
    let subject = || format!("subscription of {} to {topic_arn}", queue.arn);
    if subscription(clients, topic_arn, &queue.arn).await.map_err(about(subject()))?.is_some() {
        return Ok(());
    }
    let mut call = clients.sns.subscribe().topic_arn(topic_arn).protocol("sqs").endpoint(&queue.arn);
    if spec.raw_delivery {
        call = call.attributes("RawMessageDelivery", "true");
    }
    bounded("Subscribe", clients.call_timeout, call.send()).await.map_err(about(subject()))?;
    tracing::info!(
        queue_arn = queue.arn,
        topic_arn,
        raw_delivery = spec.raw_delivery,
        "subscribed the queue to the topic"
    );
    Ok(())
}

/// The subscription of a queue to a topic, by its ARN.
///
/// # Errors
/// The call's.
pub async fn subscription(
    clients: &Clients,
    topic_arn: &str,
    queue_arn: &str,
) -> Result<Option<String>, CallError> {
    let mut next = None;
    loop {
        let page = clients.sns.list_subscriptions_by_topic().topic_arn(topic_arn).set_next_token(next).send();
        let page = bounded("ListSubscriptionsByTopic", clients.call_timeout, page).await?;
        let found = page.subscriptions().iter().find(|s| s.endpoint() == Some(queue_arn));
        if let Some(subscription) = found {
            return Ok(Some(subscription.subscription_arn().unwrap_or_default().to_owned()));
        }
        next = page.next_token;
        if next.as_deref().is_none_or(str::is_empty) {
            return Ok(None);
        }
    }
}

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:t";

    #[test]
    fn a_second_topic_keeps_the_first_ones_statement() {
        let first = admitting_policy("", QUEUE, TOPIC).unwrap();
        let second_topic = "arn:aws:sns:us-east-1:000000000000:t2";
        let second = admitting_policy(&first, QUEUE, second_topic).unwrap();
        let statements: Value = serde_json::from_str(&second).unwrap();
        let statements = statements["Statement"].as_array().unwrap();
        assert_eq!(statements, &[admission(QUEUE, TOPIC), admission(QUEUE, second_topic)]);
        assert_eq!(admitting_policy(&second, QUEUE, TOPIC), None, "nothing is added twice");
    }

    #[test]
    fn a_policy_of_someone_else_survives() {
        let theirs = r#"{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"a","Effect":"Deny","Principal":"*","Action":"sqs:*","Resource":"r"}}"#;
        let policy: Value = serde_json::from_str(&admitting_policy(theirs, QUEUE, TOPIC).unwrap()).unwrap();
        assert_eq!(policy["Id"], "x");
        assert_eq!(policy["Statement"][0]["Sid"], "a");
        assert_eq!(policy["Statement"][1], admission(QUEUE, TOPIC));
    }

    #[test]
    fn a_dead_letter_queue_of_a_fifo_queue_is_fifo() {
        assert_eq!(dead_letter_name("orders"), "orders-dlq");
        assert_eq!(dead_letter_name("orders.fifo"), "orders-dlq.fifo");
    }

    #[test]
    fn both_forms_of_a_receive_count_are_read() {
        for count in ["5", "\"5\""] {
            let policy = format!(r#"{{"deadLetterTargetArn":"arn:d","maxReceiveCount":{count}}}"#);
            assert_eq!(
                redrive(&policy),
                Some(Redrive { dead_letter_arn: "arn:d".to_owned(), max_receives: 5 })
            );
        }
        assert_eq!(redrive("{}"), None);
    }
}
