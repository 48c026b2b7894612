//! A failure: why a message was not handled, what that means for others, and when to try again.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::time::Duration;

/// A boxed error.
pub type BoxError = Box<dyn Error + Send + Sync>;

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum FailureKind {
    /// This message failed: it is redelivered after a growing delay, and uses up a receive.
    Failed,
    /// A dependency is down: the message stays leased and is tried again in place, and nothing new is received until an
    /// attempt succeeds. No receive is used up.
    Unavailable,
    /// This message will never work.
    Rejected,
}

/// Why a message was not handled, and when to try again. Any error turns into one with `?`: an [`io::Error`] about the
/// environment (refused, reset, unreachable, timed out, broken pipe, disk full, out of descriptors) in its chain means
/// *unavailable*, every other error *failed*. [`OrFailure`] states it at the call.
///
/// ```
/// use lifeline_consumer::{Failure, OrFailure};
///
/// async fn store(order: &str) -> Result<(), Failure> {
///     let number: u64 = order.parse().or_rejected()?; // this message will never work
///     if number == 0 {
///         return Err(Failure::failed("not priced yet"));
///     }
///     std::fs::write("/orders/last", order).or_unavailable()?; // neither would any other message
///     Ok(())
/// }
/// ```
#[derive(Debug)]
pub struct Failure {
    kind: Option<FailureKind>,
    reason: String,
    retry_after: Option<Duration>,
    interrupted: bool,
}

impl Failure {
    /// A failure in words, of this message.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { kind: None, reason: reason.into(), retry_after: None, interrupted: false }
    }

    /// This message failed.
    pub fn failed(error: impl Into<BoxError>) -> Self {
        Self::of(FailureKind::Failed, error)
    }

    /// A dependency of the handler is unavailable.
    pub fn unavailable(error: impl Into<BoxError>) -> Self {
        Self::of(FailureKind::Unavailable, error)
    }

    /// This message will never work.
    pub fn rejected(error: impl Into<BoxError>) -> Self {
        Self::of(FailureKind::Rejected, error)
    }

    fn of(kind: FailureKind, error: impl Into<BoxError>) -> Self {
        let error: BoxError = error.into();
        Self { kind: Some(kind), reason: chain(&*error), retry_after: None, interrupted: false }
    }

    /// Sets the delay of a failed message instead of the worker's growing one, or the shortest pause before an unavailable
    /// dependency is tried again. Whole seconds, rounded up, at least one; at most what is left of the 12 hours that SQS
    /// keeps a message invisible.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    /// The dependency went away while it was at work on this message, and perhaps because of it: a connection that ended without
    /// a response. Once the dependency is back, the message is tried with no other beside it; if it goes away again, the message
    /// has failed. For [`Failure::unavailable`] only.
    #[must_use]
    pub fn interrupted(self) -> Self {
        Self { interrupted: true, ..self }
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted
    }

    /// What it is about, if it was stated; one that was not is *failed*.
    pub fn kind(&self) -> Option<FailureKind> {
        self.kind
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        // at once would be in the dead-letter queue within milliseconds
        self.retry_after.map(|delay| delay.max(Duration::from_secs(1)))
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

// not an Error itself, or this would overlap with `From<T> for T`
impl<E: Error + 'static> From<E> for Failure {
    fn from(error: E) -> Self {
        let kind = is_environment(&error).then_some(FailureKind::Unavailable);
        Self { kind, reason: chain(&error), retry_after: None, interrupted: false }
    }
}

/// States what an error is about, where it happens.
pub trait OrFailure<T> {
    /// This message failed.
    ///
    /// # Errors
    /// A [`Failure`] of that kind.
    fn or_failed(self) -> Result<T, Failure>;

    /// A dependency of the handler is unavailable.
    ///
    /// # Errors
    /// A [`Failure`] of that kind.
    fn or_unavailable(self) -> Result<T, Failure>;

    /// This message will never work.
    ///
    /// # Errors
    /// A [`Failure`] of that kind.
    fn or_rejected(self) -> Result<T, Failure>;
}

impl<T, E: Into<BoxError>> OrFailure<T> for Result<T, E> {
    fn or_failed(self) -> Result<T, Failure> {
        self.map_err(Failure::failed)
    }

    fn or_unavailable(self) -> Result<T, Failure> {
        self.map_err(Failure::unavailable)
    }

    fn or_rejected(self) -> Result<T, Failure> {
        self.map_err(Failure::rejected)
    }
}

/// Whether an error's chain has an [`io::Error`] that is about the machine or the network: it would meet any message.
pub(crate) fn is_environment(error: &(dyn Error + 'static)) -> bool {
    std::iter::successors(Some(error), |&error| error.source())
        .filter_map(|error| error.downcast_ref::<io::Error>())
        .any(|error| {
            is_environment_kind(error)
                || error.raw_os_error().is_some_and(is_environment_code)
                // what it was made of is not its source
                || error.get_ref().is_some_and(|inner| is_environment(inner))
        })
}

fn is_environment_kind(error: &io::Error) -> bool {
    use io::ErrorKind as Kind;
    matches!(
        error.kind(),
        Kind::ConnectionRefused
            | Kind::ConnectionReset
            | Kind::ConnectionAborted
            | Kind::HostUnreachable
            | Kind::NetworkUnreachable
            | Kind::NetworkDown
            | Kind::AddrNotAvailable
            | Kind::NotConnected
            | Kind::TimedOut
            | Kind::BrokenPipe
            | Kind::StorageFull
            | Kind::QuotaExceeded
            | Kind::ReadOnlyFilesystem
            | Kind::StaleNetworkFileHandle
    )
}

/// EIO, ENFILE, EMFILE: kinds that the standard library does not name.
fn is_environment_code(code: i32) -> bool {
    matches!(code, 5 | 23 | 24)
}

fn chain(error: &dyn Error) -> String {
    lifeline_messaging::call::chain(error)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_of_the_environment_is_unavailable() {
        for code in [5, 23, 24, 28, 32, 99, 101, 104, 107, 110, 111, 113, 122] {
            let error = io::Error::from_raw_os_error(code);
            assert_eq!(Failure::from(error).kind(), Some(FailureKind::Unavailable), "errno {code}");
        }
        let inner = io::Error::from(io::ErrorKind::ConnectionRefused);
        let outer = io::Error::other(inner);
        assert_eq!(Failure::from(outer).kind(), Some(FailureKind::Unavailable), "also deep in the chain");
    }

    #[test]
    fn every_other_error_is_not_stated() {
        for error in [io::Error::from(io::ErrorKind::NotFound), io::Error::other("as scripted")] {
            assert_eq!(Failure::from(error).kind(), None);
        }
        assert_eq!(Failure::from("x".parse::<u64>().unwrap_err()).kind(), None);
    }

    #[test]
    fn a_failure_is_stated_at_the_call() {
        let refused = || Err::<(), _>(io::Error::from(io::ErrorKind::ConnectionRefused));
        assert_eq!(refused().or_failed().unwrap_err().kind(), Some(FailureKind::Failed));
        assert_eq!(refused().or_unavailable().unwrap_err().kind(), Some(FailureKind::Unavailable));
        assert_eq!(refused().or_rejected().unwrap_err().kind(), Some(FailureKind::Rejected));
        assert_eq!(Err::<(), _>("text").or_rejected().unwrap_err().to_string(), "text");
    }

    #[test]
    fn a_delay_is_never_zero() {
        assert_eq!(Failure::new("busy").retry_after(Duration::ZERO).delay(), Some(Duration::from_secs(1)));
    }
}
