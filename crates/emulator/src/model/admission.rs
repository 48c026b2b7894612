//! Whether a topic may deliver to a queue: the queue's policy and its encryption key decide, as they do at AWS.

use lifeline_policy::{Decision, Policy, Request};

use super::settings::Settings;

/// The answer to whether a topic may deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// With what is missing.
    No(String),
}

/// The key that AWS manages for SQS: its policy cannot let SNS in.
const AWS_MANAGED_KEY: &str = "alias/aws/sqs";

/// Whether a message of `topic` may be delivered to the queue of this name, ARN and settings.
pub(crate) fn decide(name: &str, arn: &str, settings: &Settings, topic: &str) -> Admission {
    if settings.get("KmsMasterKeyId") == Some(AWS_MANAGED_KEY) {
        return Admission::No(format!(
            "{name} is encrypted with the AWS managed key {AWS_MANAGED_KEY}, which SNS may not use; use a customer managed \
             key or SqsManagedSseEnabled"
        ));
    }
    let policy = settings.get("Policy");
    let decision = match policy.map(Policy::parse) {
        None => Decision::Denied(None),
        Some(Ok(policy)) => policy.evaluate(&Request::sns_delivery(topic, arn)),
        Some(Err(malformed)) => malformed.into(),
    };
    match decision {
        Decision::Allowed(_) => Admission::Yes,
        Decision::Denied(Some(statement)) => {
            Admission::No(format!("the policy of {name} denies it by {statement}"))
        }
        Decision::Denied(None) => Admission::No(missing(name, arn, topic)),
        cannot_tell => {
            tracing::warn!(
                queue = arn,
                topic,
                "the emulator delivers although it cannot tell what AWS would decide: {cannot_tell}"
            );
            Admission::Yes
        }
    }
}

/// Names the statement that would let the topic in.
fn missing(name: &str, arn: &str, topic: &str) -> String {
    let statement = lifeline_policy::topics_statement(arn, &[topic]);
    format!("the policy of {name} does not allow it; add the statement {statement}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::Time,
        model::{arn::Scope, queue::Queue},
    };

    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:events";

    fn queue(attributes: &[(&str, &str)]) -> Queue {
        let scope = Scope::new("000000000000", "us-east-1");
        let mut queue = Queue::new(scope, "orders", 1, Settings::new(false), Time(0));
        for (name, value) in attributes {
            queue.put_attribute(name, Some((*value).into()));
        }
        queue
    }

    fn allow(topic: &str) -> String {
        let queue = "arn:aws:sqs:us-east-1:000000000000:orders";
        let statement = lifeline_policy::topics_statement(queue, &[topic]);
        format!(r#"{{"Version":"2012-10-17","Statement":[{statement}]}}"#)
    }

    #[test]
    fn only_a_statement_for_the_topic_lets_it_in_and_the_missing_one_is_named() {
        let Admission::No(reason) = queue(&[]).admits(TOPIC) else { panic!("admitted without a policy") };
        assert!(reason.contains("sqs:SendMessage") && reason.contains(TOPIC), "{reason}");
        assert_eq!(queue(&[("Policy", &allow(TOPIC))]).admits(TOPIC), Admission::Yes);
        let other = allow("arn:aws:sns:us-east-1:000000000000:other");
        assert_ne!(queue(&[("Policy", &other)]).admits(TOPIC), Admission::Yes);
    }

    #[test]
    fn a_changed_policy_decides_anew() {
        let mut queue = queue(&[]);
        assert_ne!(queue.admits(TOPIC), Admission::Yes);
        queue.put_attribute("Policy", Some(allow(TOPIC)));
        assert_eq!(queue.admits(TOPIC), Admission::Yes);
    }

    #[test]
    fn the_aws_managed_key_keeps_sns_out() {
        let policy = allow(TOPIC);
        let mut queue = queue(&[("Policy", &policy), ("KmsMasterKeyId", AWS_MANAGED_KEY)]);
        assert!(matches!(queue.admits(TOPIC), Admission::No(reason) if reason.contains("AWS managed key")));
    }
}
