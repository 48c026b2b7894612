//! Why a message was not published, and whether it may have been published anyway.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use lifeline_escape::Line;

use crate::invalid_message::InvalidMessage;
use crate::message::{NewMessage, Outgoing};

/// Why a message was not published. It returns the message: [`into_message`](Self::into_message).
#[derive(Debug)]
pub struct PublishError(Box<Inner>);

#[derive(Debug)]
struct Inner {
    reason: Reason,
    attempts: u32,
    may_have_been_published: bool,
    message: Option<Kept>,
}

#[derive(Debug)]
enum Reason {
    Invalid(InvalidMessage),
    Rejected { code: String, text: String },
    TimedOut { after: Duration, last: String },
    Abandoned { last: String },
    Closed,
}

/// The message, before or after it was prepared for sending.
#[derive(Debug)]
enum Kept {
    New(NewMessage),
    Outgoing(Arc<Outgoing>),
}

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum PublishErrorKind {
    /// Not sent, because SNS would refuse it. Final: it would be invalid again.
    Invalid,
    /// SNS rejected this message. Final: it would be rejected again.
    Rejected,
    /// Not confirmed within the publisher's deadline.
    TimedOut,
    /// Not confirmed when the publisher was abandoned.
    Abandoned,
    /// The publisher was closed before it accepted the message.
    Closed,
}

impl PublishError {
    fn new(reason: Reason, attempts: u32, message: Option<Kept>) -> Self {
        Self(Box::new(Inner { reason, attempts, may_have_been_published: false, message }))
    }

    pub(crate) fn invalid(invalid: InvalidMessage, message: Option<NewMessage>) -> Self {
        Self::new(Reason::Invalid(invalid), 0, message.map(Kept::New))
    }

    pub(crate) fn too_large(invalid: InvalidMessage, attempts: u32, message: Arc<Outgoing>) -> Self {
        Self::new(Reason::Invalid(invalid), attempts, Some(Kept::Outgoing(message)))
    }

    pub(crate) fn rejected(code: String, text: String, attempts: u32, message: Arc<Outgoing>) -> Self {
        Self::new(Reason::Rejected { code, text }, attempts, Some(Kept::Outgoing(message)))
    }

    pub(crate) fn no_capacity(after: Duration, message: Arc<Outgoing>) -> Self {
        let last = "the buffer had no capacity".to_owned();
        Self::new(Reason::TimedOut { after, last }, 0, Some(Kept::Outgoing(message)))
    }

    pub(crate) fn timed_out(after: Duration, last: String, attempts: u32, message: Arc<Outgoing>) -> Self {
        Self::new(Reason::TimedOut { after, last }, attempts, Some(Kept::Outgoing(message)))
    }

    pub(crate) fn abandoned(last: String, attempts: u32, message: Option<Arc<Outgoing>>) -> Self {
        Self::new(Reason::Abandoned { last }, attempts, message.map(Kept::Outgoing))
    }

    pub(crate) fn closed() -> Self {
        Self::new(Reason::Closed, 0, None)
    }

    /// With the message that it is about.
    pub(crate) fn of(mut self, message: NewMessage) -> Self {
        self.0.message = Some(Kept::New(message));
        self
    }

    pub(crate) fn of_outgoing(mut self, message: Arc<Outgoing>) -> Self {
        self.0.message = Some(Kept::Outgoing(message));
        self
    }

    pub(crate) fn published_perhaps(mut self, perhaps: bool) -> Self {
        self.0.may_have_been_published = perhaps;
        self
    }

    /// What kind of failure it is.
    pub fn kind(&self) -> PublishErrorKind {
        match self.0.reason {
            Reason::Invalid(_) => PublishErrorKind::Invalid,
            Reason::Rejected { .. } => PublishErrorKind::Rejected,
            Reason::TimedOut { .. } => PublishErrorKind::TimedOut,
            Reason::Abandoned { .. } => PublishErrorKind::Abandoned,
            Reason::Closed => PublishErrorKind::Closed,
        }
    }

    /// Whether the topic may have the message: true if a call that contained it was sent and SNS's response to it is
    /// not known. On a FIFO topic a second try within five minutes duplicates nothing, for
    /// [`into_message`](Self::into_message) keeps its deduplication id.
    pub fn may_have_been_published(&self) -> bool {
        self.0.may_have_been_published
    }

    /// Whether another try would fail in the same way: the kinds `Invalid` and `Rejected`.
    pub fn is_final(&self) -> bool {
        matches!(self.kind(), PublishErrorKind::Invalid | PublishErrorKind::Rejected)
    }

    /// How many calls contained the message; 0 if it was never sent.
    pub fn attempts(&self) -> u32 {
        self.0.attempts
    }

    /// SNS's error code, such as `InvalidParameter`, if SNS rejected the message.
    pub fn code(&self) -> Option<&str> {
        match &self.0.reason {
            Reason::Rejected { code, .. } => Some(code),
            _ => None,
        }
    }

    /// What is wrong with an invalid message.
    pub fn as_invalid(&self) -> Option<&InvalidMessage> {
        match &self.0.reason {
            Reason::Invalid(invalid) => Some(invalid),
            _ => None,
        }
    }

    /// The message, to be kept or sent again. None if the publisher never had it, or its task panicked.
    pub fn into_message(self) -> Option<NewMessage> {
        Some(match self.0.message? {
            Kept::New(message) => message,
            Kept::Outgoing(message) => message.to_message(),
        })
    }
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let attempts = self.0.attempts;
        match &self.0.reason {
            Reason::Invalid(invalid) => write!(f, "not sent: {invalid}"),
            Reason::Rejected { code, text } => write!(f, "SNS rejected it: {code}: {}", Line::new(text)),
            Reason::TimedOut { after, last } => {
                let last = Line::new(last);
                write!(f, "not confirmed within {after:?}, after {attempts} attempts: {last}")
            }
            Reason::Abandoned { last } => {
                let last = Line::new(last);
                write!(f, "not confirmed at shutdown, after {attempts} attempts: {last}")
            }
            Reason::Closed => f.write_str("the publisher is closed"),
        }
    }
}

impl Error for PublishError {
    /// Of what is not about the message, an error of the system: whoever asks what an error means for other messages finds it.
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        static TIMED_OUT: LazyLock<io::Error> = LazyLock::new(|| io::ErrorKind::TimedOut.into());
        static NOT_CONNECTED: LazyLock<io::Error> = LazyLock::new(|| io::ErrorKind::NotConnected.into());
        match self.kind() {
            PublishErrorKind::Invalid | PublishErrorKind::Rejected => None,
            PublishErrorKind::TimedOut => Some(&*TIMED_OUT),
            PublishErrorKind::Abandoned | PublishErrorKind::Closed => Some(&*NOT_CONNECTED),
        }
    }
}
