//! Looks up the topic and its maximum message size; creates it if that is allowed; waits for its first subscription.
//!
//! The batcher starts a [`TopicLookup`] when it begins, when SNS reports that the topic is missing, when the topic's maximum
//! seems to have changed, and, with `PROVISION`, when the endpoint could not be reached: it may have come back empty. SNS
//! discards what is published to a topic without subscriptions, so a provisioning producer waits for one.

use std::sync::Arc;
use std::time::Duration;

use lifeline_escape::unescaped;
use lifeline_health::Condition;
use lifeline_messaging::call::Outage;
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::call::{CallError, Fault};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, TopicRef, TopologyError};
use tokio::time::{Instant, sleep};

/// A topic's maximum if it does not say: SNS's default, and that of emulators that do not know the attribute.
pub(crate) const DEFAULT_MAXIMUM: usize = 262_144;

/// How long a topic may be without a subscription before that is logged.
const SUBSCRIPTION_EXPECTED: Duration = Duration::from_secs(2);

/// How often the log repeats that there is no subscription.
const REMINDER: Duration = Duration::from_secs(30);

/// What `/ready` shows while there is none.
const NO_SUBSCRIPTION: &str = "topic has no confirmed subscription and messages published now would be lost; \
    subscribe a queue, or set WAIT_FOR_SUBSCRIPTION=false";

/// The topic, as it was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Topic {
    pub(crate) arn: String,
    /// `MaximumMessageSize`: bytes of a message with its attributes, and of a batch of them.
    pub(crate) maximum: usize,
}

/// Finds a topic. Cheap to clone.
#[derive(Clone)]
pub(crate) struct TopicLookup {
    pub(crate) clients: Clients,
    topic: TopicRef,
    pub(crate) provision: bool,
    wait_for_subscription: bool,
    pub(crate) topology: Condition,
    outage: Arc<Outage>,
}

impl TopicLookup {
    pub(crate) fn new(
        clients: Clients,
        topic: TopicRef,
        provision: bool,
        wait_for_subscription: bool,
        topology: Condition,
    ) -> Self {
        Self {
            clients,
            topic,
            provision,
            wait_for_subscription,
            topology,
            outage: Arc::new(Outage::new("looking up the topic")),
        }
    }

    /// Tries until it has the topic: never an error, for what is missing now may be created later.
    ///
    /// # Cancel safety
    /// It may be dropped at any time and begun again.
    pub(crate) async fn find(self) -> Topic {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        loop {
            match self.try_find().await {
                Ok(topic) => {
                    self.outage.succeeded();
                    self.topology.met();
                    return topic;
                }
                Err(error) => {
                    let fault = error.fault();
                    self.outage.failed(&to_call_error(&error));
                    self.topology.unmet(error.to_string());
                    sleep(backoff.next(fault.backoff_cap())).await;
                }
            }
        }
    }

    async fn try_find(&self) -> Result<Topic, TopologyError> {
        let arn = match &self.topic {
            // an ARN needs no lookup: a policy may allow sns:Publish and nothing else
            topic @ TopicRef::Arn(arn) if !self.provision => {
                topology::check_topic_region(&self.clients, topic)?;
                arn.clone()
            }
            topic => topology::topic(&self.clients, topic, self.provision).await?.arn,
        };
        let maximum = self.maximum(&arn).await?;
        if self.provision && self.wait_for_subscription {
            self.wait_for_subscription(&arn).await?;
        }
        Ok(Topic { arn, maximum })
    }

    async fn maximum(&self, arn: &str) -> Result<usize, TopologyError> {
        match topology::topic_attributes(&self.clients, arn).await {
            Ok(attributes) => Ok(attributes
                .get("MaximumMessageSize")
                .and_then(|bytes| bytes.parse().ok())
                .unwrap_or(DEFAULT_MAXIMUM)),
            // publishing may be all that a policy allows; what is larger than the default is refused here then
            Err(error) if error.fault == Fault::Denied => {
                tracing::warn!(%error, maximum = DEFAULT_MAXIMUM, "the topic's maximum message size is not known; allow sns:GetTopicAttributes");
                Ok(DEFAULT_MAXIMUM)
            }
            Err(error) => Err(self.about(error)),
        }
    }

    async fn wait_for_subscription(&self, arn: &str) -> Result<(), TopologyError> {
        let mut pause = Duration::from_millis(50);
        // a consumer that starts at the same moment subscribes within a second or two: that is no reason to warn
        let mut next_warning = Instant::now() + SUBSCRIPTION_EXPECTED;
        loop {
            match topology::has_subscription(&self.clients, arn).await {
                Ok(true) => return Ok(()),
                Ok(false) => {}
                Err(error) if error.fault() == Fault::Denied => {
                    tracing::warn!(%error, "publishing without knowing whether the topic has a subscription; allow sns:ListSubscriptionsByTopic");
                    return Ok(());
                }
                // the topic itself may have disappeared meanwhile
                Err(error) => return Err(error),
            }
            self.topology.unmet(NO_SUBSCRIPTION);
            if Instant::now() >= next_warning {
                tracing::warn!(topic_arn = arn, "waiting for a subscription: {NO_SUBSCRIPTION}");
                next_warning = Instant::now() + REMINDER;
            }
            sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(1));
        }
    }

    fn about(&self, error: CallError) -> TopologyError {
        let subject = format!("topic {}", self.topic.name());
        match error.fault {
            Fault::Missing => TopologyError::Missing { subject },
            _ => TopologyError::Call { subject, error },
        }
    }
}

/// An outage's log is about calls.
fn to_call_error(error: &TopologyError) -> CallError {
    match error {
        TopologyError::Call { error, .. } => error.clone(),
        other => CallError::local("looking up the topic", other.fault(), unescaped(other)),
    }
}
