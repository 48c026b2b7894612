//! Why the topology is not as it must be.

use std::fmt::Display;

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
