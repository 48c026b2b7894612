//! From topics to queues: what rustack's SNS calls to hand a message to a queue.
//!
//! rustack refuses to publish a message with attributes when a subscription is raw, since its hook carries none. So
//! it is never told that one is raw: it always composes the envelope, [`Delivery`] knows the raw subscriptions, and
//! takes the message and its attributes out of the envelope again for these.

use std::{
    borrow::Cow,
    collections::{HashMap, HashSet},
    sync::{Arc, PoisonError, RwLock},
};

use async_trait::async_trait;
use base64::{Engine, engine::general_purpose::STANDARD};
use rustack_sns_core::publisher::{DeliveryError, SqsPublisher};
use rustack_sqs_core::provider::RustackSqs;
use rustack_sqs_model::{input::SendMessageInput, types::MessageAttributeValue};
use serde::Deserialize;

use super::backlog::Backlog;

/// The attribute that carries a body too long for rustack's queues; receives put it back. See [`super::queues`].
pub(crate) const OVERSIZE: &str = "lifeline.body";
/// rustack's bound on a body. AWS' is 1 MiB, which an envelope of 256 KiB of text never reaches.
const RUSTACK_LIMIT: usize = 262_144;

#[derive(Debug)]
pub(crate) struct Delivery {
    sqs: Arc<RustackSqs>,
    backlog: Arc<Backlog>,
    /// Topics with a raw subscription, by the ARN of the queue.
    raw: RwLock<HashMap<String, HashSet<String>>>,
}

/// The parts of an SNS envelope that a raw delivery needs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Envelope<'a> {
    #[serde(borrow)]
    topic_arn: Cow<'a, str>,
    #[serde(borrow)]
    message: Cow<'a, str>,
    #[serde(default)]
    message_attributes: HashMap<String, Attribute>,
}

#[derive(Deserialize)]
struct Attribute {
    #[serde(rename = "Type")]
    data_type: String,
    #[serde(rename = "Value")]
    value: String,
}

impl Delivery {
    pub(crate) fn new(sqs: Arc<RustackSqs>, backlog: Arc<Backlog>) -> Self {
        Self { sqs, backlog, raw: RwLock::default() }
    }

    pub(crate) fn set_raw(&self, topic: &str, queue: &str, raw: bool) {
        let mut all = self.raw.write().unwrap_or_else(PoisonError::into_inner);
        if raw {
            all.entry(queue.into()).or_default().insert(topic.into());
        } else if let Some(topics) = all.get_mut(queue) {
            topics.remove(topic);
        }
    }

    pub(crate) fn is_raw(&self, topic: &str, queue: &str) -> bool {
        let all = self.raw.read().unwrap_or_else(PoisonError::into_inner);
        all.get(queue).is_some_and(|topics| topics.contains(topic))
    }

    pub(crate) fn forget_topic(&self, topic: &str) {
        let mut all = self.raw.write().unwrap_or_else(PoisonError::into_inner);
        all.values_mut().for_each(|topics| topics.retain(|t| t != topic));
    }

    fn any_raw(&self, queue: &str) -> bool {
        let all = self.raw.read().unwrap_or_else(PoisonError::into_inner);
        all.get(queue).is_some_and(|topics| !topics.is_empty())
    }

    /// The body and attributes to put into the queue.
    fn compose(&self, queue: &str, envelope: &str) -> (String, HashMap<String, MessageAttributeValue>) {
        if self.any_raw(queue)
            && let Ok(parts) = serde_json::from_str::<Envelope<'_>>(envelope)
            && self.is_raw(&parts.topic_arn, queue)
        {
            let attributes = parts.message_attributes.into_iter().map(|(name, a)| (name, a.into()));
            return (parts.message.into_owned(), attributes.collect());
        }
        if envelope.len() <= RUSTACK_LIMIT {
            return (envelope.into(), HashMap::new());
        }
        let whole = MessageAttributeValue {
            data_type: "String".into(),
            string_value: Some(envelope.into()),
            binary_value: None,
        };
        (OVERSIZE.into(), HashMap::from([(OVERSIZE.into(), whole)]))
    }
}

impl From<Attribute> for MessageAttributeValue {
    fn from(Attribute { data_type, value }: Attribute) -> Self {
        if data_type.starts_with("Binary") {
            let binary_value = STANDARD.decode(&value).ok();
            return Self { data_type, string_value: None, binary_value };
        }
        Self { data_type, string_value: Some(value), binary_value: None }
    }
}

#[async_trait]
impl SqsPublisher for Delivery {
    fn validate(&self, arn: &str) -> Result<(), DeliveryError> {
        let url = self.sqs.queue_url_for_arn(arn);
        url.map(drop).map_err(|error| DeliveryError::Unsupported(error.to_string()))
    }

    async fn send_message(
        &self,
        queue_arn: &str,
        envelope: &str,
        group: Option<&str>,
        deduplication: Option<&str>,
    ) -> Result<(), DeliveryError> {
        let failed = |error: rustack_sqs_model::error::SqsError| DeliveryError::SqsDeliveryFailed {
            queue_arn: queue_arn.to_owned(),
            reason: error.to_string(),
        };
        let (message_body, message_attributes) = self.compose(queue_arn, envelope);
        let sent = self.sqs.send_message(SendMessageInput {
            queue_url: self.sqs.queue_url_for_arn(queue_arn).map_err(failed)?,
            message_body,
            message_attributes,
            message_group_id: group.map(str::to_owned),
            message_deduplication_id: deduplication.map(str::to_owned),
            ..SendMessageInput::default()
        });
        let message_id = sent.await.map_err(failed)?.message_id.unwrap_or_default();
        let queue = queue_arn.rsplit(':').next().unwrap_or_default();
        self.backlog.delivered(&message_id, envelope.len(), &queue.into());
        Ok(())
    }
}
