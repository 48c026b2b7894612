//! A check: a stable code, what it looks at, and a function from a snapshot to an outcome.

use super::snapshot::Snapshot;

/// One thing that keeps messages from flowing, or will.
pub struct Check {
    /// Stable: scripts and documentation refer to it.
    pub code: &'static str,
    /// The part of the path that it is about.
    pub group: Group,
    /// `None` if there is nothing to look at, for example the policy of a queue that does not exist.
    pub run: fn(&Snapshot) -> Option<Outcome>,
}

/// The parts of a message's path, in order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Group {
    /// Account, region, endpoint, identity and permissions.
    Access,
    /// The topic.
    Topic,
    /// The subscription of the queue to the topic.
    Subscription,
    /// The queue, its policy and its key.
    Queue,
    /// The redrive policy and the dead-letter queue.
    DeadLetters,
    /// What `--probe` sent.
    Probe,
}

impl Group {
    /// The heading in the text report.
    pub fn heading(self) -> &'static str {
        match self {
            Self::Access => "access",
            Self::Topic => "topic",
            Self::Subscription => "subscription",
            Self::Queue => "queue",
            Self::DeadLetters => "dead letters",
            Self::Probe => "probe",
        }
    }
}

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Messages flow, or whether they do cannot be told.
    Warn,
    /// Messages do not flow, or are lost.
    Fail,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Outcome {
    /// How bad it is.
    pub status: Status,
    /// What was found, on one line.
    pub message: String,
    /// What it means or what to do, on one line.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The command or the policy statement that changes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fix: Option<String>,
}

impl Outcome {
    /// As it should be.
    pub fn ok(message: impl Into<String>) -> Self {
        Self { status: Status::Ok, message: message.into(), hint: None, fix: None }
    }

    /// Messages flow, or whether they do cannot be told.
    pub fn warn(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: Status::Warn, message: message.into(), hint: Some(hint.into()), fix: None }
    }

    /// Messages do not flow, or are lost.
    pub fn fail(message: impl Into<String>, hint: impl Into<String>) -> Self {
        Self { status: Status::Fail, ..Self::warn(message, hint) }
    }

    /// With the command or statement that changes it.
    #[must_use]
    pub fn fix(self, fix: impl Into<String>) -> Self {
        Self { fix: Some(fix.into()), ..self }
    }
}
