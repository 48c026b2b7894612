//! What each role may do, and on what: the one table behind the policies that `lifeline provision --print` writes, the page
//! for EKS, and what `lifeline doctor` says of a call that is not allowed.

use serde_json::{Value, json};

/// Who calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The producer.
    Producer,
    /// The consumer.
    Consumer,
    /// What scales the consumers by the queue's length, such as KEDA.
    Scaler,
    /// A person with this command: `doctor`, `send`, `dlq`, `tail`.
    Operator,
}

/// What is called.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum On {
    /// The topic.
    Topic,
    /// The queue.
    Queue,
    /// The dead-letter queue.
    DeadLetters,
    /// The queues of `lifeline tail`: every name that begins with `lifeline-tail-`.
    Temporary,
}

/// Actions of one role on one resource.
#[derive(Debug, Clone, Copy)]
pub struct Permission {
    /// Who calls.
    pub role: Role,
    /// What is called.
    pub on: On,
    /// The actions, as in a policy.
    pub actions: &'static [&'static str],
    /// What does not work without them.
    pub without: &'static str,
}

const fn may(role: Role, on: On, actions: &'static [&'static str], without: &'static str) -> Permission {
    Permission { role, on, actions, without }
}

/// Every permission. Encryption with a key of your own needs more: `kms:Decrypt` and, to send, `kms:GenerateDataKey`.
pub const PERMISSIONS: &[Permission] = &[
    may(Role::Producer, On::Topic, &["sns:Publish"], "nothing is published"),
    may(
        Role::Producer,
        On::Topic,
        &["sns:GetTopicAttributes"],
        "the maximum message size counts as 256 KiB, and a missing topic shows when it is published to",
    ),
    may(
        Role::Consumer,
        On::Queue,
        &["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:ChangeMessageVisibility", "sqs:GetQueueAttributes"],
        "nothing is received, or everything is received again",
    ),
    may(
        Role::Consumer,
        On::DeadLetters,
        &["sqs:GetQueueUrl", "sqs:GetQueueAttributes"],
        "no `consumer_dead_letter_messages`, and `LifelineDeadLetters` never fires",
    ),
    may(
        Role::Consumer,
        On::DeadLetters,
        &["sqs:SendMessage"],
        "a message that a handler rejects is retried `MAX_RECEIVES` times first",
    ),
    may(Role::Scaler, On::Queue, &["sqs:GetQueueAttributes"], "KEDA keeps the present consumers"),
    may(
        Role::Operator,
        On::Topic,
        &["sns:GetTopicAttributes", "sns:ListSubscriptionsByTopic", "sns:GetSubscriptionAttributes"],
        "`lifeline doctor` warns of what it could not look at",
    ),
    may(
        Role::Operator,
        On::Queue,
        &["sqs:GetQueueUrl", "sqs:GetQueueAttributes"],
        "`lifeline doctor` warns of what it could not look at",
    ),
    may(
        Role::Operator,
        On::DeadLetters,
        &["sqs:GetQueueUrl", "sqs:GetQueueAttributes"],
        "`lifeline doctor` warns of what it could not look at",
    ),
    may(Role::Operator, On::Topic, &["sns:Publish"], "no `lifeline send`"),
    may(
        Role::Operator,
        On::DeadLetters,
        &["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility"],
        "no `lifeline dlq list` and `show`",
    ),
    may(
        Role::Operator,
        On::DeadLetters,
        &[
            "sqs:StartMessageMoveTask",
            "sqs:ListMessageMoveTasks",
            "sqs:CancelMessageMoveTask",
            "sqs:DeleteMessage",
            "sqs:PurgeQueue",
        ],
        "no `lifeline dlq redrive` and `purge`",
    ),
    may(Role::Operator, On::Queue, &["sqs:SendMessage"], "no `lifeline dlq redrive`"),
    may(Role::Operator, On::Topic, &["sns:Subscribe", "sns:Unsubscribe"], "no `lifeline tail topic`"),
    may(
        Role::Operator,
        On::Temporary,
        &[
            "sqs:CreateQueue",
            "sqs:TagQueue",
            "sqs:ListQueueTags",
            "sqs:SetQueueAttributes",
            "sqs:GetQueueAttributes",
            "sqs:ReceiveMessage",
            "sqs:DeleteMessage",
            "sqs:DeleteQueue",
        ],
        "no `lifeline tail topic`",
    ),
];

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Producer, Self::Consumer, Self::Scaler, Self::Operator];

    /// The name of its policy.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Producer => "lifeline-producer",
            Self::Consumer => "lifeline-consumer",
            Self::Scaler => "lifeline-keda",
            Self::Operator => "lifeline-operator",
        }
    }

    /// Its identity policy: one statement for each resource, whose ARN may be a reference in the language of a template.
    #[must_use]
    pub fn policy(self, arn: impl Fn(On) -> Value) -> Value {
        let statement = |on: On| {
            let own = PERMISSIONS.iter().filter(|permission| permission.role == self && permission.on == on);
            let actions: Vec<_> = own.flat_map(|permission| permission.actions).collect();
            (!actions.is_empty()).then(|| json!({"Effect": "Allow", "Action": actions, "Resource": arn(on)}))
        };
        let statements: Vec<_> = [On::Topic, On::Queue, On::DeadLetters, On::Temporary]
            .into_iter()
            .filter_map(statement)
            .collect();
        json!({"Version": "2012-10-17", "Statement": statements})
    }
}
