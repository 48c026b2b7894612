//! Why the topology is not as it must be.

use std::fmt::Display;

use lifeline_policy::{Decision, Malformed};

use super::place::Place;
use crate::call::{CallError, Fault};

/// Why the topology is not as it must be.
#[derive(Debug, Clone, thiserror::Error)]
pub enum TopologyError {
    /// A call failed.
    #[error("{subject}: {error}")]
    Call {
        /// What it was about: `queue events-consumer`.
        subject: String,
        /// The call and its failure.
        error: CallError,
    },
    /// Something is missing and was not to be created.
    #[error("{subject} does not exist; create it, or set PROVISION=true where that is allowed")]
    Missing {
        /// What is missing.
        subject: String,
    },
    /// It is named as something of another place, which is neither used nor created here.
    #[error(
        "{subject} is in {there}, but this service works in {here}; name one that is here, or set AWS_REGION and the credentials \
         for there"
    )]
    Elsewhere {
        /// What it is about, as it was named.
        subject: String,
        /// Where it is.
        there: Place,
        /// Where the clients are.
        here: Place,
    },
    /// The queue's policy denies the topic, whatever else it allows.
    #[error(
        "queue {queue_arn}: its policy denies {topic_arn} ({decision}); SNS discards every message for it; change that statement"
    )]
    TopicDenied {
        /// The queue.
        queue_arn: String,
        /// The topic.
        topic_arn: String,
        /// What the policy says.
        decision: Decision,
    },
    /// The queue's policy could not be changed safely.
    #[error("queue {queue_arn}: {reason}; nothing was overwritten; correct the policy")]
    Policy {
        /// The queue.
        queue_arn: String,
        /// What is wrong with the policy.
        reason: Malformed,
    },
    /// AWS answered something that makes no sense.
    #[error("{subject}: {detail}")]
    Nonsense {
        /// What it was about.
        subject: String,
        /// What was wrong.
        detail: String,
    },
}

impl TopologyError {
    /// What it means for a retry loop.
    pub fn fault(&self) -> Fault {
        match self {
            Self::Call { error, .. } => error.fault,
            Self::Missing { .. } => Fault::Missing,
            Self::Elsewhere { .. } => Fault::Refused,
            Self::TopicDenied { .. } | Self::Policy { .. } => Fault::Denied,
            Self::Nonsense { .. } => Fault::Server,
        }
    }
}

pub(super) fn about(subject: impl Display) -> impl FnOnce(CallError) -> TopologyError {
    move |error| match error.fault {
        Fault::Missing => TopologyError::Missing { subject: subject.to_string() },
        _ => TopologyError::Call { subject: subject.to_string(), error },
    }
}
