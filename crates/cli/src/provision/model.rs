//! The topology that is printed: names and numbers, from which every writer takes the same.

use lifeline_messaging::topology::{QueueSpec, dead_letter_name};
use serde_json::{Value, json};

use crate::permissions::On;
use crate::temporary::PREFIX;

/// Seconds that dead letters are kept: 14 days, the most there is.
pub(super) const DEAD_LETTER_RETENTION: u32 = 1_209_600;

/// Topic, queue, dead-letter queue, and what connects them.
#[derive(Debug, Clone)]
pub(super) struct Topology {
    pub(super) topic: String,
    pub(super) queue: String,
    pub(super) dead_letters: String,
    pub(super) max_receives: u32,
    pub(super) raw_delivery: bool,
    pub(super) region: String,
    pub(super) account: String,
}

impl Topology {
    pub(super) fn of(spec: &QueueSpec, region: String, account: String) -> Self {
        Self {
            topic: spec.topic.name().to_owned(),
            queue: spec.queue.name().to_owned(),
            dead_letters: dead_letter_name(spec.queue.name()),
            max_receives: spec.max_receives,
            raw_delivery: spec.raw_delivery,
            region,
            account,
        }
    }

    pub(super) fn is_fifo_topic(&self) -> bool {
        self.topic.ends_with(".fifo")
    }

    pub(super) fn is_fifo_queue(&self) -> bool {
        self.queue.ends_with(".fifo")
    }

    /// The partition of the region.
    fn partition(&self) -> &'static str {
        match &self.region {
            region if region.starts_with("cn-") => "aws-cn",
            region if region.starts_with("us-gov-") => "aws-us-gov",
            _ => "aws",
        }
    }

    /// The ARN of a resource.
    pub(super) fn arn(&self, on: On) -> String {
        let Self { topic, queue, dead_letters, region, account, .. } = self;
        let (service, name) = match on {
            On::Topic => ("sns", topic.as_str()),
            On::Queue => ("sqs", queue.as_str()),
            On::DeadLetters => ("sqs", dead_letters.as_str()),
            On::Temporary => return format!("arn:{}:sqs:{region}:{account}:{PREFIX}*", self.partition()),
        };
        format!("arn:{}:{service}:{region}:{account}:{name}", self.partition())
    }
}

/// The queue's policy: the topic may send to it. The statement is the one that `lifeline provision` adds.
pub(super) fn queue_policy(topic: &Value, queue: &Value) -> Value {
    json!({"Version": "2012-10-17", "Statement": [{
        "Sid": "LifelineTopics",
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic}},
    }]})
}
