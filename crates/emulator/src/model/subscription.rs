//! A subscription: where a topic's messages go, in which form, and which of them.

use std::collections::BTreeMap;

use super::{
    arn::{Arn, Scope},
    filter::{self, FilterPolicy},
};
use crate::error::{Result, sns};

/// The attributes that may be set.
pub(crate) const SETTABLE: [&str; 7] = [
    "DeliveryPolicy",
    "FilterPolicy",
    "FilterPolicyScope",
    "RawMessageDelivery",
    "RedrivePolicy",
    "ReplayPolicy",
    "SubscriptionRoleArn",
];

/// A subscription.
#[derive(Debug, Clone)]
pub(crate) struct Subscription {
    pub(crate) arn: String,
    pub(crate) topic: String,
    pub(crate) protocol: String,
    pub(crate) endpoint: String,
    pub(crate) owner: Scope,
    /// Nothing is delivered before it is confirmed.
    pub(crate) pending: bool,
    pub(crate) token: String,
    /// What was set, by name.
    pub(crate) attributes: BTreeMap<String, String>,
    /// The filter policy, read.
    pub(crate) filter: Option<FilterPolicy>,
}

impl Subscription {
    pub(crate) fn raw(&self) -> bool {
        self.attributes.get("RawMessageDelivery").is_some_and(|value| value == "true")
    }

    /// The queue that gets what cannot be delivered.
    pub(crate) fn dead_letter_queue(&self) -> Option<String> {
        let policy: serde_json::Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        policy["deadLetterTargetArn"].as_str().map(String::from)
    }

    fn scope(&self) -> filter::Scope {
        self.attributes
            .get("FilterPolicyScope")
            .and_then(|text| filter::Scope::parse(text))
            .unwrap_or_default()
    }

    /// Checks and sets one attribute. `subscribing` changes the wording of errors.
    pub(crate) fn set(&mut self, name: &str, value: &str, subscribing: bool) -> Result<()> {
        let value = self.checked(name, value, subscribing)?;
        if value.is_empty() {
            self.attributes.remove(name);
        } else {
            self.attributes.insert(name.into(), value);
        }
        if !subscribing {
            self.read_filter(false)?;
        }
        Ok(())
    }

    /// Reads the filter policy by the scope that is set.
    pub(crate) fn read_filter(&mut self, subscribing: bool) -> Result<()> {
        self.filter = match self.attributes.get("FilterPolicy") {
            None => None,
            Some(text) if text.trim() == "{}" => None,
            Some(text) => {
                let policy = FilterPolicy::parse(text, self.scope());
                Some(policy.map_err(|reason| sns::invalid(format!("{}{reason}", prefix(subscribing))))?)
            }
        };
        Ok(())
    }

    fn checked(&self, name: &str, value: &str, subscribing: bool) -> Result<String> {
        let refuse = |text: String| Err(sns::invalid(format!("{}{text}", prefix(subscribing))));
        if !SETTABLE.contains(&name) {
            return refuse("AttributeName".into());
        }
        match name {
            "FilterPolicy" if !value.is_empty() => {
                if serde_json::from_str::<serde_json::Value>(value).is_err() {
                    return refuse("FilterPolicy: failed to parse JSON.".into());
                }
                if !subscribing {
                    FilterPolicy::parse(value, self.scope())
                        .map_err(|reason| sns::invalid(reason.as_str()))?;
                }
            }
            "FilterPolicyScope" if filter::Scope::parse(value).is_none() => {
                return refuse(format!(
                    "FilterPolicyScope: Invalid value [{value}]. Please use either MessageBody or \
                     MessageAttributes"
                ));
            }
            "RawMessageDelivery" => {
                let lower = value.to_ascii_lowercase();
                if !matches!(lower.as_str(), "true" | "false") {
                    return refuse(format!(
                        "RawMessageDelivery: Invalid value [{value}]. Must be true or false."
                    ));
                }
                return Ok(lower);
            }
            "RedrivePolicy" if !value.is_empty() => self.check_redrive(value, subscribing)?,
            "DeliveryPolicy"
                if !value.is_empty() && serde_json::from_str::<serde_json::Value>(value).is_err() =>
            {
                return refuse("DeliveryPolicy: failed to parse JSON.".into());
            }
            _ => {}
        }
        Ok(value.into())
    }

    fn check_redrive(&self, value: &str, subscribing: bool) -> Result<()> {
        let refuse = |text: &str| Err(sns::invalid(format!("{}RedrivePolicy: {text}", prefix(subscribing))));
        let Ok(policy) = serde_json::from_str::<serde_json::Value>(value) else {
            return refuse("failed to parse JSON.");
        };
        let target = policy["deadLetterTargetArn"].as_str().and_then(Arn::parse);
        let Some(target) = target else { return refuse("deadLetterTargetArn is an invalid arn") };
        let fifo = self.topic.ends_with(".fifo") && self.endpoint.ends_with(".fifo");
        if fifo && (target.service != "sqs" || !target.resource.ends_with(".fifo")) {
            return refuse("must use a FIFO queue as DLQ for a FIFO Subscription to a FIFO Topic.");
        }
        Ok(())
    }
}

fn prefix(subscribing: bool) -> &'static str {
    if subscribing { "Attributes Reason: " } else { "" }
}
