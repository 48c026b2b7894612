//! Creates what is missing; the only file that changes anything on AWS.

use std::time::SystemTime;

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_policy::{Decision, topics, with_topic};
use serde_json::json;

use super::error::{TopologyError, about};
use super::find_topic::{find_topic, own_account};
use super::inspect::{Queue, describe, queue_attributes, queue_url, subscription, topic_attributes};
use super::names::{QueueRef, QueueSpec, TopicRef, dead_letter_name};
use super::place::Place;
use super::policy::topic_may_send;
use crate::call::{Fault, bounded};
use crate::client::Clients;

/// A topic that exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FoundTopic {
    /// Its ARN.
    pub arn: String,
}

/// Finds the topic, and with `provision` creates it if it is missing.
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
        TopicRef::Arn(arn) => {
            check_topic_region(clients, topic)?;
            let subject = format!("topic {arn}");
            match topic_attributes(clients, arn).await {
                Ok(_) => Ok(FoundTopic { arn: arn.clone() }),
                Err(error) if error.fault == Fault::Missing && provision => {
                    if let Some(place) = Place::of_topic(topic) {
                        check_account(clients, &place, &subject).await?;
                    }
                    create_topic(clients, topic).await
                }
                Err(error) => Err(about(subject)(error)),
            }
        }
        TopicRef::Name(name) => {
            if provision {
                // CreateTopic returns the ARN of a topic that exists: no search through all topics of the account
                match create_topic(clients, topic).await {
                    // it may exist with other attributes, or be for others to create
                    Err(TopologyError::Call { error, .. })
                        if matches!(error.fault, Fault::Refused | Fault::Denied) =>
                    {
                        return match find_topic(clients, name).await {
                            Ok(Some(arn)) => Ok(FoundTopic { arn }),
                            // why it could not be created says more than that it is missing
                            Ok(None) => Err(TopologyError::Call { subject, error }),
                            Err(error) => Err(error),
                        };
                    }
                    created => return created,
                }
            }
            match find_topic(clients, name).await? {
                Some(arn) => Ok(FoundTopic { arn }),
                None => Err(TopologyError::Missing { subject }),
            }
        }
    }
}

/// That a topic is not named as one of another region, for callers that do not look it up.
///
/// # Errors
/// [`TopologyError::Elsewhere`].
pub fn check_topic_region(clients: &Clients, topic: &TopicRef) -> Result<(), TopologyError> {
    match (Place::of_topic(topic), topic) {
        (Some(place), TopicRef::Arn(arn)) => check_region(clients, &place, &format!("topic {arn}")),
        _ => Ok(()),
    }
}

fn check_region(clients: &Clients, there: &Place, subject: &str) -> Result<(), TopologyError> {
    match &there.region {
        Some(region) if *region != clients.region => Err(TopologyError::Elsewhere {
            subject: subject.to_owned(),
            there: there.clone(),
            here: Place { region: Some(clients.region.clone()), account: None },
        }),
        _ => Ok(()),
    }
}

/// That something may be created here: it is of the account whose credentials these are.
async fn check_account(clients: &Clients, there: &Place, subject: &str) -> Result<(), TopologyError> {
    let Some(account) = &there.account else { return Ok(()) };
    let here = own_account(clients, subject).await?;
    if here == *account {
        return Ok(());
    }
    Err(TopologyError::Elsewhere {
        subject: subject.to_owned(),
        there: there.clone(),
        here: Place { region: Some(clients.region.clone()), account: Some(here) },
    })
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
    Ok(FoundTopic { arn })
}

/// Finds the queue, and with `provision` creates what is missing around it: dead-letter queue, queue, topic, policy
/// and subscription, in that order, so that no message is published to a topic that this queue does not yet hear.
///
/// # Errors
/// [`TopologyError`]; the caller backs off by its [`fault`](TopologyError::fault) and tries again.
pub async fn queue(clients: &Clients, spec: &QueueSpec) -> Result<Queue, TopologyError> {
    let queue = find_queue(clients, spec).await?;
    if spec.provision {
        connect(clients, spec, &queue).await?;
    }
    Ok(queue)
}

/// The first half of [`queue`]: finds the queue, and with `provision` creates it and its dead-letter queue. It can be
/// received from then, whatever [`connect`] finds.
///
/// # Errors
/// As of [`queue`].
pub async fn find_queue(clients: &Clients, spec: &QueueSpec) -> Result<Queue, TopologyError> {
    let place = Place::of_queue(&spec.queue);
    if let (Some(place), QueueRef::Url(url)) = (&place, &spec.queue) {
        check_region(clients, place, &format!("queue {url}"))?;
    }
    let url = match queue_url(clients, &spec.queue).await {
        Ok(url) => url,
        Err(TopologyError::Missing { .. }) if spec.provision => create_queues(clients, spec).await?,
        Err(error) => return Err(error),
    };
    match describe(clients, &url).await {
        // QueueRef::Url is not looked up, so this is where its absence shows
        Err(TopologyError::Missing { .. }) if spec.provision => {
            if let Some(place) = &place {
                check_account(clients, place, &format!("queue {url}")).await?;
            }
            describe(clients, &create_queues(clients, spec).await?).await
        }
        described => described,
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

/// The second half of [`queue`]: topic, policy and subscription. The policy comes first: SNS discards what it may not
/// deliver.
///
/// # Errors
/// As of [`queue`].
pub async fn connect(clients: &Clients, spec: &QueueSpec, queue: &Queue) -> Result<(), TopologyError> {
    let topic_arn = topic(clients, &spec.topic, true).await?.arn;
    allow(clients, queue, &topic_arn).await?;
    subscribe(clients, spec, queue, &topic_arn).await
}

/// Adds the topic to the queue's policy unless it is allowed for certain, and reads back what was written: another service
/// may write its own statement at the same moment.
async fn allow(clients: &Clients, queue: &Queue, topic_arn: &str) -> Result<(), TopologyError> {
    #[allow(
        clippy::disallowed_methods,
        reason = "AWS evaluates conditions on its date, which is near the system's"
    )]
    let may_send = |policy: &str| topic_may_send(policy, &queue.arn, topic_arn, SystemTime::now());
    let denied = |decision| TopologyError::TopicDenied {
        queue_arn: queue.arn.clone(),
        topic_arn: topic_arn.to_owned(),
        decision,
    };
    let malformed = |reason| TopologyError::Policy { queue_arn: queue.arn.clone(), reason };
    let existing = policy(clients, queue).await?;
    match may_send(&existing) {
        Decision::Allowed(_) => return Ok(()),
        decision @ Decision::Denied(Some(_)) => return Err(denied(decision)),
        Decision::Denied(None) | Decision::CannotTell { .. } => {}
    }
    // listed already: what is in doubt is a Deny of somebody else
    let Some(merged) = with_topic(&existing, &queue.arn, topic_arn).map_err(malformed)? else {
        return Ok(());
    };
    let call = clients
        .sqs
        .set_queue_attributes()
        .queue_url(&queue.url)
        .attributes(QueueAttributeName::Policy, merged)
        .send();
    bounded("SetQueueAttributes", clients.call_timeout, call).await.map_err(|mut error| {
        // 20 statements, or 8 KiB: it takes a person, and no waiting
        if error.code.as_deref().is_some_and(|code| code.ends_with("OverLimit")) {
            error.fault = Fault::Refused;
        }
        about(format_args!("queue {}", queue.arn))(error)
    })?;
    let written = policy(clients, queue).await?;
    let decision = may_send(&written);
    let listed = topics(&written, &queue.arn).map_err(malformed)?.iter().any(|topic| topic == topic_arn);
    match decision {
        Decision::Denied(Some(_)) => return Err(denied(decision)),
        Decision::Allowed(_) => {}
        _ if listed => tracing::warn!(
            queue_arn = queue.arn, topic_arn, %decision,
            "added the queue policy statement that allows the topic to send, but another statement may deny it"
        ),
        _ => {
            return Err(TopologyError::Nonsense {
                subject: format!("queue {}", queue.arn),
                detail: "its policy does not have the statement that was just written to it".to_owned(),
            });
        }
    }
    tracing::info!(
        queue_arn = queue.arn,
        topic_arn,
        "added the queue policy statement that allows the topic to send"
    );
    Ok(())
}

async fn policy(clients: &Clients, queue: &Queue) -> Result<String, TopologyError> {
    let mut attributes = queue_attributes(clients, &queue.url, &[QueueAttributeName::Policy]).await?;
    Ok(attributes.remove(&QueueAttributeName::Policy).unwrap_or_default())
}

async fn subscribe(
    clients: &Clients,
    spec: &QueueSpec,
    queue: &Queue,
    topic_arn: &str,
) -> Result<(), TopologyError> {
    let subject = || format!("subscription of {} to {topic_arn}", queue.arn);
    if subscription(clients, topic_arn, &queue.arn).await?.is_some() {
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
