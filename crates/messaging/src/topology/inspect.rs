//! What exists: topic, queue, their attributes, and the subscription between them. Changes nothing.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::Value;

use super::error::{TopologyError, about};
use super::names::{QueueRef, arn_name};
use crate::call::{CallError, bounded};
use crate::client::Clients;

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

    /// The URL of its dead-letter queue, if it has one. A redrive policy names a queue of the same account and region, so the
    /// URL differs in the last part alone:
    /// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-dead-letter-queues.html>.
    pub fn dead_letter_url(&self) -> Option<String> {
        let name = arn_name(&self.redrive.as_ref()?.dead_letter_arn);
        let base = self.url.rsplit_once('/').map_or("", |(base, _)| base);
        Some(format!("{base}/{name}"))
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

impl fmt::Display for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.arn)
    }
}

/// Pages of a listing that are read at most: ten times the topics that an account may have.
const MAX_PAGES: usize = 10_000;

/// Where a listing is, and where it was.
#[derive(Default)]
pub(super) struct Pages {
    token: Option<String>,
    seen: HashSet<String>,
}

impl Pages {
    pub(super) fn token(&self) -> Option<String> {
        self.token.clone()
    }

    /// Whether there is another page.
    ///
    /// # Errors
    /// The listing does not end: a token that came before, or too many pages.
    pub(super) fn next(
        &mut self,
        token: Option<String>,
        action: &str,
        subject: impl Fn() -> String,
    ) -> Result<bool, TopologyError> {
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(false) };
        let nonsense = |detail: String| Err(TopologyError::Nonsense { subject: subject(), detail });
        if !self.seen.insert(token.clone()) {
            return nonsense(format!("{action} returned the same NextToken twice{}", advice(action)));
        }
        if self.seen.len() >= MAX_PAGES {
            let advice = advice(action);
            return nonsense(format!("{action} returned {MAX_PAGES} pages and did not end{advice}"));
        }
        self.token = Some(token);
        Ok(true)
    }
}

fn advice(action: &str) -> &'static str {
    if action == "ListTopics" { "; set TOPIC_ARN to avoid the search" } else { "" }
}

/// The attributes of a topic, by name.
///
/// # Errors
/// The call's.
pub async fn topic_attributes(clients: &Clients, arn: &str) -> Result<HashMap<String, String>, CallError> {
    let call = clients.sns.get_topic_attributes().topic_arn(arn).send();
    Ok(bounded("GetTopicAttributes", clients.call_timeout, call).await?.attributes.unwrap_or_default())
}

/// Whether the topic has a confirmed subscription. One that is pending or deleted receives nothing.
///
/// # Errors
/// The call's, or that the listing does not end.
pub async fn has_subscription(clients: &Clients, topic_arn: &str) -> Result<bool, TopologyError> {
    let subject = || format!("subscriptions of {topic_arn}");
    let mut pages = Pages::default();
    loop {
        let call =
            clients.sns.list_subscriptions_by_topic().topic_arn(topic_arn).set_next_token(pages.token());
        let page = bounded("ListSubscriptionsByTopic", clients.call_timeout, call.send()).await;
        let page = page.map_err(about(subject()))?;
        // instead of an ARN it says PendingConfirmation or Deleted
        let confirmed = |arn: Option<&str>| arn.is_some_and(|arn| arn.starts_with("arn:"));
        if page.subscriptions().iter().any(|subscription| confirmed(subscription.subscription_arn())) {
            return Ok(true);
        }
        if !pages.next(page.next_token, "ListSubscriptionsByTopic", subject)? {
            return Ok(false);
        }
    }
}

pub(super) async fn queue_url(clients: &Clients, queue: &QueueRef) -> Result<String, TopologyError> {
    let name = match queue {
        QueueRef::Url(url) => return Ok(url.clone()),
        QueueRef::Name(name) => name,
    };
    let subject = format!("queue {name}");
    let call = clients.sqs.get_queue_url().queue_name(name).send();
    let answer = bounded("GetQueueUrl", clients.call_timeout, call).await.map_err(about(&subject))?;
    answer.queue_url.ok_or(TopologyError::Missing { subject })
}

/// The queue as it was named.
///
/// # Errors
/// [`TopologyError`].
pub async fn look_up(clients: &Clients, queue: &QueueRef) -> Result<Queue, TopologyError> {
    describe(clients, &queue_url(clients, queue).await?).await
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

/// The subscription of a queue to a topic, by its ARN.
///
/// # Errors
/// The call's, or that the listing does not end.
pub async fn subscription(
    clients: &Clients,
    topic_arn: &str,
    queue_arn: &str,
) -> Result<Option<String>, TopologyError> {
    let subject = || format!("subscription of {queue_arn} to {topic_arn}");
    let mut pages = Pages::default();
    loop {
        let call =
            clients.sns.list_subscriptions_by_topic().topic_arn(topic_arn).set_next_token(pages.token());
        let page = bounded("ListSubscriptionsByTopic", clients.call_timeout, call.send()).await;
        let page = page.map_err(about(subject()))?;
        let found = page.subscriptions().iter().find(|s| s.endpoint() == Some(queue_arn));
        if let Some(subscription) = found {
            return Ok(Some(subscription.subscription_arn().unwrap_or_default().to_owned()));
        }
        if !pages.next(page.next_token, "ListSubscriptionsByTopic", subject)? {
            return Ok(None);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
