//! A topic: its attributes, what may be set, and what it remembers of messages.

use std::collections::BTreeMap;

use super::{arn::Scope, deduplication::Deduplication, notification::Notification};
use crate::{
    clock::Time,
    error::{Result, sns},
};

/// What a topic takes from the start, in bytes, and the most that it can be set to.
const DEFAULT_LARGEST: usize = 262_144;
const LARGEST: usize = 1_048_576;

/// Beyond this size a topic delivers to SQS, Lambda and Firehose alone, and to 100 subscribers at most.
pub(crate) const LARGE: usize = DEFAULT_LARGEST;

/// Attributes that may be set.
const SETTABLE: [&str; 12] = [
    "ArchivePolicy",
    "ContentBasedDeduplication",
    "DataProtectionPolicy",
    "DeliveryPolicy",
    "DisplayName",
    "FifoThroughputScope",
    "FifoTopic",
    "KmsMasterKeyId",
    "MaximumMessageSize",
    "Policy",
    "SignatureVersion",
    "TracingConfig",
];

/// A topic.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) arn: String,
    pub(crate) scope: Scope,
    pub(crate) fifo: bool,
    /// What was set, by name; `Policy` always is.
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    pub(crate) data_protection: Option<String>,
    /// ARNs, in the order in which they subscribed.
    pub(crate) subscriptions: Vec<String>,
    pub(crate) unsubscribed: u64,
    pub(crate) deduplication: Deduplication,
    /// What it accepted, where a test asked for it.
    pub(crate) published: Vec<(Time, Notification)>,
}

impl Topic {
    pub(crate) fn new(scope: Scope, name: &str, fifo: bool) -> Self {
        let arn = scope.topic_arn(name);
        let mut attributes = BTreeMap::from([
            ("DisplayName".into(), String::new()),
            ("Policy".into(), default_policy(&arn, &scope.account)),
        ]);
        if fifo {
            attributes.insert("FifoTopic".into(), "true".into());
            attributes.insert("ContentBasedDeduplication".into(), "false".into());
        }
        Self {
            arn,
            scope,
            fifo,
            attributes,
            tags: BTreeMap::new(),
            data_protection: None,
            subscriptions: Vec::new(),
            unsubscribed: 0,
            deduplication: Deduplication::default(),
            published: Vec::new(),
        }
    }

    pub(crate) fn content_based_deduplication(&self) -> bool {
        self.attributes.get("ContentBasedDeduplication").is_some_and(|value| value == "true")
    }

    /// Deduplication ids count within a message group.
    pub(crate) fn deduplicates_by_group(&self) -> bool {
        self.attributes.get("FifoThroughputScope").is_some_and(|value| value == "MessageGroup")
    }

    /// The largest message, and the largest batch, that it takes.
    pub(crate) fn largest(&self) -> usize {
        self.attributes
            .get("MaximumMessageSize")
            .and_then(|size| size.parse().ok())
            .unwrap_or(DEFAULT_LARGEST)
    }

    pub(crate) fn signature_version(&self) -> &str {
        self.attributes.get("SignatureVersion").map_or("1", String::as_str)
    }

    /// Sets one attribute. `creating` allows what only `CreateTopic` may set.
    pub(crate) fn set(&mut self, name: &str, value: &str, creating: bool) -> Result<()> {
        let value = checked(name, value, self.fifo, creating)?;
        if name == "Policy" && value.is_empty() {
            let policy = default_policy(&self.arn, &self.scope.account);
            self.attributes.insert(name.into(), policy);
        } else if value.is_empty() && name != "DisplayName" {
            self.attributes.remove(name);
        } else {
            self.attributes.insert(name.into(), value);
        }
        Ok(())
    }
}

/// The value as it is stored.
pub(crate) fn checked(name: &str, value: &str, fifo: bool, creating: bool) -> Result<String> {
    let prefix = if creating { "Attributes Reason: " } else { "" };
    let delivery_status = ["HTTP", "Firehose", "Lambda", "Application", "SQS"].iter().any(|protocol| {
        name.strip_prefix(protocol).is_some_and(|rest| {
            matches!(rest, "SuccessFeedbackRoleArn" | "FailureFeedbackRoleArn" | "SuccessFeedbackSampleRate")
        })
    });
    if !delivery_status && !SETTABLE.contains(&name) || name == "FifoTopic" && !creating {
        return Err(sns::invalid(format!("{prefix}AttributeName")));
    }
    let wrong = |reason: &str| Err(sns::invalid(format!("{prefix}{name} Reason: {reason}")));
    match name {
        "FifoTopic" | "ContentBasedDeduplication" => {
            let lower = value.to_ascii_lowercase();
            if !matches!(lower.as_str(), "true" | "false") {
                return wrong("must be true or false");
            }
            if name == "ContentBasedDeduplication" && !fifo {
                return wrong("Content-based deduplication can only be set for FIFO topics");
            }
            return Ok(lower);
        }
        "MaximumMessageSize"
            if value.parse().ok().is_none_or(|size: usize| !(1024..=LARGEST).contains(&size)) =>
        {
            return wrong("must be from 1024 to 1048576");
        }
        "SignatureVersion" if !matches!(value, "1" | "2") => return wrong("must be 1 or 2"),
        "FifoThroughputScope" if !matches!(value, "Topic" | "MessageGroup") => {
            return wrong("must be Topic or MessageGroup");
        }
        "TracingConfig" if !matches!(value, "PassThrough" | "Active") => {
            return wrong("must be PassThrough or Active");
        }
        "Policy" | "DeliveryPolicy" | "ArchivePolicy" if !value.is_empty() => {
            let parsed: Option<serde_json::Value> = serde_json::from_str(value).ok();
            if !parsed.is_some_and(|policy| policy.is_object()) {
                return wrong("failed to parse JSON");
            }
        }
        _ => {}
    }
    Ok(value.into())
}

/// The policy that SNS gives a new topic: its account may do everything. Written out, to keep AWS's order of fields.
fn default_policy(arn: &str, account: &str) -> String {
    format!(
        r#"{{"Version":"2008-10-17","Id":"__default_policy_ID","Statement":[{{"Sid":"__default_statement_ID","Effect":"Allow","Principal":{{"AWS":"*"}},"Action":["SNS:GetTopicAttributes","SNS:SetTopicAttributes","SNS:AddPermission","SNS:RemovePermission","SNS:DeleteTopic","SNS:Subscribe","SNS:ListSubscriptionsByTopic","SNS:Publish"],"Resource":"{arn}","Condition":{{"StringEquals":{{"AWS:SourceOwner":"{account}"}}}}}}]}}"#
    )
}

/// What HTTP subscribers get unless a `DeliveryPolicy` says otherwise.
pub(crate) const EFFECTIVE_DELIVERY_POLICY: &str = r#"{"http":{"defaultHealthyRetryPolicy":{"minDelayTarget":20,"maxDelayTarget":20,"numRetries":3,"numMaxDelayRetries":0,"numNoDelayRetries":0,"numMinDelayRetries":0,"backoffFunction":"linear"},"disableSubscriptionOverrides":false,"defaultRequestPolicy":{"headerContentType":"text/plain; charset=UTF-8"}}}"#;
