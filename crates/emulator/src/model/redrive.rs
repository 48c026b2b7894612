//! Redrive policies (which queue gets the dead letters, after how many receives) and redrive allow policies (which
//! queues may use a queue for theirs).

use serde_json::Value;

use super::arn::Arn;
use crate::error::{Result, sqs};

/// A queue's `RedrivePolicy`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct RedrivePolicy {
    pub(crate) target: String,
    pub(crate) max_receives: u32,
}

impl RedrivePolicy {
    /// Reads the attribute's text. `maxReceiveCount` may be a number or text, as SQS accepts both.
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: String| sqs::invalid_value(text, "RedrivePolicy", reason);
        let policy: Value = serde_json::from_str(text)
            .map_err(|_| refuse("Redrive policy is not a valid JSON map.".into()))?;
        if !policy.is_object() {
            return Err(refuse("Redrive policy is not a valid JSON map.".into()));
        }
        let Some(target) = policy["deadLetterTargetArn"].as_str().filter(|target| !target.is_empty()) else {
            return Err(refuse(
                "Redrive policy does not contain mandatory attribute: deadLetterTargetArn.".into(),
            ));
        };
        let count = match &policy["maxReceiveCount"] {
            Value::Null => {
                return Err(refuse(
                    "Redrive policy does not contain mandatory attribute: maxReceiveCount.".into(),
                ));
            }
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let max_receives = count.parse().ok().filter(|count| (1..=1000).contains(count)).ok_or_else(|| {
            refuse(format!(
                "Invalid value for maxReceiveCount: {count}, valid values are from 1 to 1000 both inclusive."
            ))
        })?;
        if Arn::parse(target).is_none_or(|arn| arn.service != "sqs") {
            return Err(refuse("Invalid value for deadLetterTargetArn.".into()));
        }
        Ok(Self { target: target.into(), max_receives })
    }
}

/// A dead-letter queue's `RedriveAllowPolicy`: who may name it as a target.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) enum RedriveAllowPolicy {
    #[default]
    All,
    None,
    Queues(Vec<String>),
}

impl RedriveAllowPolicy {
    pub(crate) fn parse(text: &str) -> Result<Self> {
        let refuse = |reason: &str| sqs::invalid_value(text, "RedriveAllowPolicy", reason);
        let policy: Value = serde_json::from_str(text).map_err(|_| {
            refuse("Amazon SQS can't create the redrive allow policy, as it’s not a valid JSON map.")
        })?;
        let sources = policy.get("sourceQueueArns");
        match policy["redrivePermission"].as_str() {
            Some("allowAll") if sources.is_none() => Ok(Self::All),
            Some("denyAll") if sources.is_none() => Ok(Self::None),
            Some("allowAll" | "denyAll") => {
                Err(refuse("sourceQueueArns can only be specified when redrivePermission is byQueue."))
            }
            Some("byQueue") => {
                let list =
                    sources.and_then(Value::as_array).filter(|list| !list.is_empty() && list.len() <= 10);
                let names: Option<Vec<_>> =
                    list.map(|list| list.iter().filter_map(|arn| arn.as_str().map(String::from)).collect());
                names.map(Self::Queues).ok_or_else(|| refuse("sourceQueueArns must name 1 to 10 queues."))
            }
            _ => Err(refuse("redrivePermission must be allowAll, denyAll or byQueue.")),
        }
    }

    pub(crate) fn allows(&self, source: &str) -> bool {
        match self {
            Self::All => true,
            Self::None => false,
            Self::Queues(queues) => queues.iter().any(|arn| arn == source),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TARGET: &str = "arn:aws:sqs:us-east-1:000000000000:dead";

    #[test]
    fn a_count_may_be_a_number_or_text() {
        for count in ["3", "\"3\""] {
            let text = format!(r#"{{"deadLetterTargetArn":"{TARGET}","maxReceiveCount":{count}}}"#);
            assert_eq!(RedrivePolicy::parse(&text).unwrap().max_receives, 3);
        }
    }

    #[test]
    fn wrong_policies_are_refused_with_their_reason() {
        for (text, reason) in [
            ("nonsense".to_string(), "JSON"),
            (r#"{"maxReceiveCount":3}"#.to_string(), "deadLetterTargetArn"),
            (format!(r#"{{"deadLetterTargetArn":"{TARGET}"}}"#), "maxReceiveCount"),
            (format!(r#"{{"deadLetterTargetArn":"{TARGET}","maxReceiveCount":0}}"#), "from 1 to 1000"),
            (format!(r#"{{"deadLetterTargetArn":"{TARGET}","maxReceiveCount":1001}}"#), "from 1 to 1000"),
            (r#"{"deadLetterTargetArn":"dead","maxReceiveCount":1}"#.to_string(), "deadLetterTargetArn"),
        ] {
            let error = RedrivePolicy::parse(&text).unwrap_err();
            assert!(error.message.contains(reason), "{text}: {}", error.message);
        }
    }

    #[test]
    fn an_allow_policy_decides_by_the_source() {
        let policy = format!(r#"{{"redrivePermission":"byQueue","sourceQueueArns":["{TARGET}"]}}"#);
        let policy = RedriveAllowPolicy::parse(&policy).unwrap();
        assert!(policy.allows(TARGET) && !policy.allows("arn:aws:sqs:us-east-1:000000000000:other"));
        assert!(!RedriveAllowPolicy::parse(r#"{"redrivePermission":"denyAll"}"#).unwrap().allows(TARGET));
        assert!(RedriveAllowPolicy::default().allows(TARGET));
        assert!(RedriveAllowPolicy::parse(r#"{"redrivePermission":"byQueue"}"#).is_err());
    }
}
