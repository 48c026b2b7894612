//! What AWS says at one moment about a topic, a queue and what lies between them. Reads only; changes nothing.
//!
//! A call that is not allowed is not a failure of the topology: the checks report what they could not look at.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, QueueRef, TopicRef, TopologyError, arn_account, arn_name};

/// What is looked at.
#[derive(Debug, Clone)]
pub struct Target {
    /// The topic.
    pub topic: TopicRef,
    /// The queue.
    pub queue: QueueRef,
    /// The longest that a handler may run.
    pub handler_timeout: Duration,
}

/// The answer to one read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Read<T> {
    /// It exists.
    Found(T),
    /// AWS says that it does not exist.
    Missing,
    /// The caller may not look.
    Denied(String),
    /// The call failed.
    Failed(String),
    /// Not asked, because something else was missing.
    Skipped,
}

/// Attributes by AWS's names.
pub type Attributes = HashMap<String, String>;

/// A subscription of the queue to the topic.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Subscription {
    /// Its ARN, or `PendingConfirmation` or `Deleted`, as AWS lists it.
    pub arn: String,
    /// The account that owns it.
    pub owner: String,
    /// Its attributes.
    pub attributes: Read<Attributes>,
}

/// Everything that the checks look at.
#[derive(Debug, Clone)]
pub struct Snapshot {
    /// What was asked for.
    pub target: Target,
    /// The region in force.
    pub region: String,
    /// An endpoint other than AWS's own.
    pub endpoint: Option<String>,
    /// The caller, by ARN.
    pub identity: Read<String>,
    /// The account, from the caller's identity or else from the queue's or the topic's ARN.
    pub account: Option<String>,
    /// When the snapshot was taken.
    pub now: SystemTime,
    /// The topic's ARN: found, given, or derived from the queue's account and region.
    pub topic_arn: Option<String>,
    /// Whether `topic_arn` is known to exist.
    pub topic: Read<Attributes>,
    /// The queue's URL.
    pub queue_url: Option<String>,
    /// The queue's attributes.
    pub queue: Read<Attributes>,
    /// The queue's subscription to the topic.
    pub subscription: Read<Subscription>,
    /// Attributes of the dead-letter queue that the queue's redrive policy names.
    pub dead_letters: Read<Attributes>,
    /// The dead-letter queue's URL.
    pub dead_letter_url: Option<String>,
}

impl<T> Read<T> {
    /// What was found.
    pub fn found(&self) -> Option<&T> {
        match self {
            Self::Found(found) => Some(found),
            _ => None,
        }
    }

    fn map<U>(self, convert: impl FnOnce(T) -> U) -> Read<U> {
        match self {
            Self::Found(found) => Read::Found(convert(found)),
            Self::Missing => Read::Missing,
            Self::Denied(why) => Read::Denied(why),
            Self::Failed(why) => Read::Failed(why),
            Self::Skipped => Read::Skipped,
        }
    }

    fn of(result: Result<T, CallError>) -> Self {
        result.map_or_else(|error| Self::not_found(error.fault, &error), Self::Found)
    }

    fn of_topology(result: Result<T, TopologyError>) -> Self {
        result.map_or_else(|error| Self::not_found(error.fault(), &error), Self::Found)
    }

    fn not_found(fault: Fault, error: &dyn std::fmt::Display) -> Self {
        match fault {
            Fault::Missing => Self::Missing,
            Fault::Denied => Self::Denied(error.to_string()),
            _ => Self::Failed(error.to_string()),
        }
    }
}

impl Snapshot {
    /// Takes it. At most ten calls, one after another; after a call that got no answer the rest is skipped.
    pub async fn take(clients: &Clients, endpoint: Option<String>, target: Target) -> Self {
        let mut snapshot = Self {
            target,
            region: clients.region.clone(),
            endpoint,
            identity: Read::Skipped,
            account: None,
            now: SystemTime::now(),
            topic_arn: None,
            topic: Read::Skipped,
            queue_url: None,
            queue: Read::Skipped,
            subscription: Read::Skipped,
            dead_letters: Read::Skipped,
            dead_letter_url: None,
        };
        snapshot.read_queue(clients).await;
        if matches!(snapshot.queue, Read::Failed(_)) {
            return snapshot;
        }
        snapshot.read_identity(clients).await;
        snapshot.read_topic(clients).await;
        snapshot.read_subscription(clients).await;
        snapshot.read_dead_letters(clients).await;
        snapshot
    }

    /// The queue's ARN, if the queue exists.
    pub fn queue_arn(&self) -> Option<&str> {
        self.queue.found()?.get("QueueArn").map(String::as_str)
    }

    async fn read_identity(&mut self, clients: &Clients) {
        let sts = aws_sdk_sts::Client::new(&clients.config);
        let call = sts.get_caller_identity().send();
        let identity = Read::of(bounded("GetCallerIdentity", clients.call_timeout, call).await);
        self.account = match &identity {
            Read::Found(identity) => identity.account.clone(),
            _ => self.queue_arn().and_then(arn_account).map(str::to_owned),
        };
        self.identity = identity.map(|identity| identity.arn.unwrap_or_default());
    }

    async fn read_queue(&mut self, clients: &Clients) {
        let url = match &self.target.queue {
            QueueRef::Url(url) => Read::Found(url.clone()),
            QueueRef::Name(name) => queue_url(clients, name, None).await,
        };
        self.queue = match &url {
            Read::Found(url) => queue_attributes(clients, url).await,
            _ => url.clone().map(|_| Attributes::new()),
        };
        self.queue_url = url.found().cloned();
    }

    async fn read_topic(&mut self, clients: &Clients) {
        match topology::topic(clients, &self.target.topic, false).await {
            Ok(topic) => {
                self.topic = Read::of(topology::topic_attributes(clients, &topic.arn).await);
                self.topic_arn = Some(topic.arn);
            }
            Err(error) => {
                self.topic = Read::of_topology(Err(error));
                self.topic_arn = self.derived_topic_arn();
            }
        }
    }

    /// A role that cannot look up the topic may still look at the queue's policy for the topic that it means.
    fn derived_topic_arn(&self) -> Option<String> {
        match &self.target.topic {
            TopicRef::Arn(arn) => Some(arn.clone()),
            TopicRef::Name(name) => {
                let mut parts = self.queue_arn()?.split(':');
                let (partition, region, account) = (parts.nth(1)?, parts.nth(1)?, parts.next()?);
                Some(format!("arn:{partition}:sns:{region}:{account}:{name}"))
            }
        }
    }

    async fn read_subscription(&mut self, clients: &Clients) {
        let (Read::Found(_), Some(topic_arn)) = (&self.topic, self.topic_arn.clone()) else { return };
        let Some(queue_arn) = self.queue_arn().map(str::to_owned) else { return };
        let mut next = None;
        loop {
            let page =
                clients.sns.list_subscriptions_by_topic().topic_arn(&topic_arn).set_next_token(next).send();
            let page = match bounded("ListSubscriptionsByTopic", clients.call_timeout, page).await {
                Ok(page) => page,
                Err(error) => {
                    self.subscription = Read::of(Err(error));
                    return;
                }
            };
            let found = page.subscriptions().iter().find(|s| s.endpoint() == Some(queue_arn.as_str()));
            if let Some(found) = found {
                let arn = found.subscription_arn().unwrap_or_default().to_owned();
                let attributes = match arn.starts_with("arn:") {
                    true => subscription_attributes(clients, &arn).await,
                    false => Read::Skipped,
                };
                let owner = found.owner().unwrap_or_default().to_owned();
                self.subscription = Read::Found(Subscription { arn, owner, attributes });
                return;
            }
            next = page.next_token;
            if next.as_deref().is_none_or(str::is_empty) {
                self.subscription = Read::Missing;
                return;
            }
        }
    }

    async fn read_dead_letters(&mut self, clients: &Clients) {
        let Some(arn) = self.dead_letter_arn() else { return };
        let url = queue_url(clients, arn_name(&arn), arn_account(&arn)).await;
        self.dead_letters = match &url {
            Read::Found(url) => queue_attributes(clients, url).await,
            _ => url.clone().map(|_| Attributes::new()),
        };
        self.dead_letter_url = url.found().cloned();
    }

    /// The ARN in the queue's redrive policy.
    pub fn dead_letter_arn(&self) -> Option<String> {
        let policy = self.queue.found()?.get("RedrivePolicy")?;
        let policy: serde_json::Value = serde_json::from_str(policy).ok()?;
        policy["deadLetterTargetArn"].as_str().map(str::to_owned)
    }
}

async fn queue_url(clients: &Clients, name: &str, owner: Option<&str>) -> Read<String> {
    let owner = owner.filter(|owner| !owner.is_empty()).map(str::to_owned);
    let call = clients.sqs.get_queue_url().queue_name(name).set_queue_owner_aws_account_id(owner).send();
    let answer = bounded("GetQueueUrl", clients.call_timeout, call).await;
    Read::of(answer.map(|answer| answer.queue_url.unwrap_or_default()))
}

async fn queue_attributes(clients: &Clients, url: &str) -> Read<Attributes> {
    let all = topology::queue_attributes(clients, url, &[QueueAttributeName::All]).await;
    Read::of_topology(all.map(|all| all.into_iter().map(|(k, v)| (k.as_str().to_owned(), v)).collect()))
}

async fn subscription_attributes(clients: &Clients, arn: &str) -> Read<Attributes> {
    let call = clients.sns.get_subscription_attributes().subscription_arn(arn).send();
    let answer = bounded("GetSubscriptionAttributes", clients.call_timeout, call).await;
    Read::of(answer.map(|answer| answer.attributes.unwrap_or_default()))
}
