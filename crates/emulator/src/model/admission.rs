//! Whether a topic may deliver to a queue: the queue's policy and its encryption key decide, as they do at AWS.

use super::queue::Queue;

/// The answer to whether a topic may deliver.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Admission {
    Yes,
    /// With what is missing.
    No(String),
}

/// Decides for a message of `topic`. This is the only place that reads a policy for a delivery.
pub(crate) fn admits(queue: &Queue, topic: &str) -> Admission {
    if let Some(key) = queue.settings.get("KmsMasterKeyId")
        && matches!(key, "alias/aws/sqs")
    {
        return Admission::No(format!(
            "{} is encrypted with the AWS managed key {key}, which SNS may not use; use a customer managed key \
             or SqsManagedSseEnabled",
            queue.name
        ));
    }
    let Some(_policy) = queue.settings.get("Policy") else {
        return Admission::No(missing(queue, topic));
    };
    Admission::Yes
}

/// Names the statement that would let the topic in.
fn missing(queue: &Queue, topic: &str) -> String {
    format!(
        r#"the policy of {} does not allow it; add the statement {{"Effect":"Allow","Principal":{{"Service":"sns.amazonaws.com"}},"Action":"sqs:SendMessage","Resource":"{}","Condition":{{"ArnEquals":{{"aws:SourceArn":"{topic}"}}}}}}"#,
        queue.name, queue.arn
    )
}
