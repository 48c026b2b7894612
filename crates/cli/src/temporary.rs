//! Temporary queues: a queue subscribed to a topic for as long as a command runs.
//!
//! Each carries two tags from the moment it exists: the topic, and when it expires. The command that made it renews the second
//! and removes subscription and queue when it ends. If it is killed, both stay until a [`sweep`] after that time.

use std::collections::HashMap;
use std::time::{Duration, SystemTime};

use anyhow::Context;
use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology;
use lifeline_policy::with_topic;

use crate::retry::retrying;

/// How the names of temporary queues begin.
pub(crate) const PREFIX: &str = "lifeline-tail-";
/// The tag with the topic's ARN.
const TOPIC: &str = "lifeline:topic";
/// The tag with the time, in seconds since 1970, after which a sweep may remove the queue.
const EXPIRES: &str = "lifeline:expires";
/// How long a queue is nobody's before a sweep removes it.
const LIFETIME: Duration = Duration::from_secs(600);
/// How often the tag is renewed.
pub(crate) const RENEW: Duration = Duration::from_secs(120);
/// How long messages are kept that the command does not receive.
const RETENTION: &str = "300";

/// A queue subscribed to a topic for as long as a command runs.
pub(crate) struct TemporaryQueue {
    clients: Clients,
    pub(crate) url: String,
    pub(crate) name: String,
    subscription: Option<String>,
}

fn expires() -> String {
    let at = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default() + LIFETIME;
    at.as_secs().to_string()
}

impl TemporaryQueue {
    /// Creates and subscribes it, encrypted with a key if there is one. A queue that cannot be subscribed is removed again.
    pub(crate) async fn subscribe(
        clients: &Clients,
        topic_arn: &str,
        filter_policy: Option<&str>,
        key: Option<&str>,
    ) -> anyhow::Result<Self> {
        let fifo = topic_arn.ends_with(".fifo");
        let name = format!("{PREFIX}{:016x}{}", fastrand::u64(..), if fifo { ".fifo" } else { "" });
        let create = || {
            let call = clients
                .sqs
                .create_queue()
                .queue_name(&name)
                .attributes(QueueAttributeName::MessageRetentionPeriod, RETENTION)
                .tags(TOPIC, topic_arn)
                .tags(EXPIRES, expires());
            let call = if fifo { call.attributes(QueueAttributeName::FifoQueue, "true") } else { call };
            let call = match key {
                Some(key) => call.attributes(QueueAttributeName::KmsMasterKeyId, key),
                None => call,
            };
            bounded("CreateQueue", clients.call_timeout, call.send())
        };
        let created = retrying(create).await?;
        let url = created.queue_url.context("CreateQueue answered without a URL")?;
        let mut queue = Self { clients: clients.clone(), url, name, subscription: None };
        match queue.connect(topic_arn, filter_policy).await {
            Ok(()) => Ok(queue),
            Err(error) => {
                queue.remove().await.ok();
                Err(error)
            }
        }
    }

    async fn connect(&mut self, topic_arn: &str, filter_policy: Option<&str>) -> anyhow::Result<()> {
        let (clients, url) = (&self.clients, &self.url);
        let arn = topology::describe(clients, url).await?.arn;
        // SNS discards what it may not deliver
        let policy = with_topic("", &arn, topic_arn)?.unwrap_or_default();
        let allow = || {
            let call = clients
                .sqs
                .set_queue_attributes()
                .queue_url(url)
                .attributes(QueueAttributeName::Policy, &policy);
            bounded("SetQueueAttributes", clients.call_timeout, call.send())
        };
        retrying(allow).await?;
        let subscribe = || {
            let call = clients
                .sns
                .subscribe()
                .topic_arn(topic_arn)
                .protocol("sqs")
                .endpoint(&arn)
                .return_subscription_arn(true);
            let call = match filter_policy {
                Some(policy) => call.attributes("FilterPolicy", policy),
                None => call,
            };
            bounded("Subscribe", clients.call_timeout, call.send())
        };
        self.subscription = retrying(subscribe).await?.subscription_arn;
        Ok(())
    }

    /// Puts its expiry off.
    pub(crate) async fn renew(&self) -> Result<(), CallError> {
        let renew = || {
            let call = self.clients.sqs.tag_queue().queue_url(&self.url).tags(EXPIRES, expires());
            bounded("TagQueue", self.clients.call_timeout, call.send())
        };
        retrying(renew).await.map(drop)
    }

    /// Removes the subscription and then the queue, so that none points nowhere.
    pub(crate) async fn remove(&self) -> anyhow::Result<()> {
        if let Some(subscription) = &self.subscription {
            unsubscribe(&self.clients, subscription).await?;
        }
        delete(&self.clients, &self.url).await
    }
}

async fn unsubscribe(clients: &Clients, subscription: &str) -> anyhow::Result<()> {
    let unsubscribe = || {
        let call = clients.sns.unsubscribe().subscription_arn(subscription).send();
        bounded("Unsubscribe", clients.call_timeout, call)
    };
    Ok(missing_is_fine(retrying(unsubscribe).await.map(drop))?)
}

async fn delete(clients: &Clients, url: &str) -> anyhow::Result<()> {
    let delete =
        || bounded("DeleteQueue", clients.call_timeout, clients.sqs.delete_queue().queue_url(url).send());
    Ok(missing_is_fine(retrying(delete).await.map(drop))?)
}

fn missing_is_fine(result: Result<(), CallError>) -> Result<(), CallError> {
    match result {
        Err(error) if error.fault == Fault::Missing => Ok(()),
        result => result,
    }
}

/// A temporary queue whose command is gone.
#[derive(Debug, Clone, serde::Serialize)]
pub(crate) struct Expired {
    /// The queue's URL.
    pub(crate) queue: String,
    /// Its subscription, if there is one.
    pub(crate) subscription: Option<String>,
}

/// The temporary queues of this account and region that have expired by `now`.
pub(crate) async fn expired(clients: &Clients, now: SystemTime) -> anyhow::Result<Vec<Expired>> {
    let now = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let mut found = Vec::new();
    let mut token: Option<String> = None;
    loop {
        let list = || {
            let call = clients.sqs.list_queues().queue_name_prefix(PREFIX).max_results(1000);
            bounded("ListQueues", clients.call_timeout, call.set_next_token(token.clone()).send())
        };
        let page = retrying(list).await?;
        for url in page.queue_urls.unwrap_or_default() {
            let tags = || {
                bounded(
                    "ListQueueTags",
                    clients.call_timeout,
                    clients.sqs.list_queue_tags().queue_url(&url).send(),
                )
            };
            let tags: HashMap<_, _> = match retrying(tags).await {
                Ok(tags) => tags.tags.unwrap_or_default(),
                // its command has just removed it
                Err(error) if error.fault == Fault::Missing => continue,
                Err(error) => return Err(error.into()),
            };
            // without the tag it is not one of ours
            let Some(expires) = tags.get(EXPIRES).and_then(|at| at.parse::<u64>().ok()) else { continue };
            if expires < now {
                let subscription = match tags.get(TOPIC) {
                    Some(topic) => subscription(clients, topic, &url).await?,
                    None => None,
                };
                found.push(Expired { queue: url, subscription });
            }
        }
        token = page.next_token.filter(|token| !token.is_empty());
        if token.is_none() {
            return Ok(found);
        }
    }
}

async fn subscription(clients: &Clients, topic_arn: &str, url: &str) -> anyhow::Result<Option<String>> {
    let arn = topology::describe(clients, url).await?.arn;
    match topology::subscription(clients, topic_arn, &arn).await {
        Ok(found) => Ok(found.filter(|arn| arn.starts_with("arn:"))),
        // the topic is gone, and its subscriptions with it
        Err(error) if error.fault() == Fault::Missing => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// Removes an expired queue and its subscription.
pub(crate) async fn sweep(clients: &Clients, expired: &Expired) -> anyhow::Result<()> {
    if let Some(subscription) = &expired.subscription {
        unsubscribe(clients, subscription).await?;
    }
    delete(clients, &expired.queue).await
}
