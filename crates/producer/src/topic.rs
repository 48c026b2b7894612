//! Finding the topic and what it takes; creating it where that is allowed; waiting until somebody hears it.
//!
//! The batcher starts a [`Finder`] when it begins, when SNS says that the topic is gone, and, with `PROVISION`, when
//! the endpoint could not be reached: it may have come back empty, and half set up by others. A message published to a
//! topic without subscriptions is lost without a trace, so that a provisioning producer waits for one.

use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Condition;
use lifeline_messaging::call::Outage;
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::call::{CallError, Fault};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, TopicRef, TopologyError};
use tokio::time::Instant;

/// A topic's maximum where it does not say: SNS's default, and that of emulators that do not know the attribute.
pub(crate) const DEFAULT_MAXIMUM: usize = 262_144;

/// How long a provisioning producer waits for the first subscription of a topic that has just begun.
const NEW_TOPIC: Duration = Duration::from_secs(10);

/// How long it waits where the topic was there before: a consumer may have created it a moment ago and be about to
/// subscribe, or it may be that nobody ever does.
const OLD_TOPIC: Duration = Duration::from_secs(2);

/// The topic, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) arn: String,
    /// `MaximumMessageSize`: bytes of a message with its attributes, and of a batch of them.
    pub(crate) maximum: usize,
}

/// Finds a topic. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Finder {
    pub(crate) clients: Clients,
    pub(crate) topic: TopicRef,
    pub(crate) provision: bool,
    /// It was there, and vanished or was out of reach.
    pub(crate) again: bool,
    pub(crate) topology: Condition,
    pub(crate) outage: Arc<Outage>,
}

impl Finder {
    /// Tries until it has the topic: never an error, for what is missing now may be created later.
    ///
    /// # Cancel safety
    /// It may be dropped at any time and begun again.
    pub(crate) async fn find(self) -> Topic {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        loop {
            match self.look().await {
                Ok(topic) => {
                    self.outage.succeeded();
                    self.topology.met();
                    return topic;
                }
                Err(error) => {
                    let fault = error.fault();
                    self.outage.failed(&told(&error));
                    self.topology.unmet(error.to_string());
                    tokio::time::sleep(backoff.next(fault.backoff_cap())).await;
                }
            }
        }
    }

    async fn look(&self) -> Result<Topic, TopologyError> {
        let (arn, created) = match &self.topic {
            // by its ARN it needs no finding: a policy may allow sns:Publish and nothing else
            TopicRef::Arn(arn) if !self.provision => (arn.clone(), false),
            topic => {
                let found = topology::topic(&self.clients, topic, self.provision).await?;
                (found.arn, found.created)
            }
        };
        let maximum = self.maximum(&arn).await?;
        if self.provision {
            let new = created || self.again;
            self.wait_for_a_subscription(&arn, if new { NEW_TOPIC } else { OLD_TOPIC }).await;
        }
        Ok(Topic { arn, maximum })
    }

    async fn maximum(&self, arn: &str) -> Result<usize, TopologyError> {
        let subject = || format!("topic {}", self.topic.name());
        match topology::topic_attributes(&self.clients, arn).await {
            Ok(attributes) => Ok(attributes
                .get("MaximumMessageSize")
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(DEFAULT_MAXIMUM)),
            // publishing may be all that a policy allows; what is larger than the default then is refused here
            Err(error) if error.fault == Fault::Denied => {
                tracing::warn!(%error, maximum = DEFAULT_MAXIMUM, "the topic's maximum message size is not known; allow sns:GetTopicAttributes");
                Ok(DEFAULT_MAXIMUM)
            }
            Err(error) if error.fault == Fault::Missing => Err(TopologyError::Missing { subject: subject() }),
            Err(error) => Err(TopologyError::Call { subject: subject(), error }),
        }
    }

    async fn wait_for_a_subscription(&self, arn: &str, most: Duration) {
        let begun = Instant::now();
        let mut pause = Duration::from_millis(50);
        loop {
            // an error says nothing about subscriptions; what it means shows when publishing
            let heard = topology::has_subscription(&self.clients, arn).await.unwrap_or(true);
            if heard {
                return;
            }
            if begun.elapsed() + pause > most {
                tracing::warn!(topic_arn = arn, waited = ?most, "nobody has subscribed to the topic: what is published now is lost");
                return;
            }
            self.topology.unmet("nobody has subscribed to the topic yet");
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }
}

/// The outage's log speaks of calls.
fn told(error: &TopologyError) -> CallError {
    match error {
        TopologyError::Call { error, .. } => error.clone(),
        other => CallError::local("finding the topic", other.fault(), other.to_string()),
    }
}
