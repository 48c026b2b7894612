//! Creates what is missing; the only file that changes anything on AWS.

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::json;

use super::error::{TopologyError, about};
use super::inspect::{
    Queue, describe, find_topic, queue_attributes, queue_url, subscription, topic_attributes,
};
use super::names::{QueueRef, QueueSpec, TopicRef, dead_letter_name};
use super::policy::admitting_policy;
use crate::call::{Fault, bounded};
use crate::client::Clients;

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
