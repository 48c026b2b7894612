//! A failure: why a message was not handled, what that means for others, and when to try again.

use std::error::Error;
use std::fmt::{self, Display};
use std::io;
use std::sync::Arc;
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
    /// This message will never work: a copy with the reason goes to the dead-letter queue, then the message is deleted.
    /// Without such a queue it has failed.
    Rejected,
}

/// Why a message was not handled, and when to try again.
///
/// `?` makes one of boxed errors, of `anyhow`'s (feature `anyhow`) and of the standard library's; [`OrFailure`] makes one of any error
/// and states what it means; and for your own error type you write `From`, which says which of its errors mean what. It is an
/// error itself, so that it may travel inside of others: the outermost in the chain that states a kind is heard. Where
/// none does, [`Builder::classify`](crate::Builder::classify) may know the type; else an [`io::Error`] about the environment (refused, reset, unreachable, timed out, broken pipe, disk full, out of
/// descriptors) means *unavailable*, every other error *failed*.
///
/// ```
/// use lifeline_consumer::{BoxError, Failure, FailureKind, OrFailure};
///
/// fn price(order: &str) -> Result<u64, Failure> {
///     let number: u64 = order.parse().or_rejected()?; // this message will never work
///     if number == 0 {
///         return Err(Failure::failed("not priced yet"));
///     }
///     std::fs::read_to_string("/no/such/prices").or_unavailable()?; // neither would any other message
///     Ok(number)
/// }
///
/// fn handle(order: &str) -> Result<(), BoxError> {
///     price(order)?; // boxed, and still what it was
///     let _receipt: u64 = "x".parse()?; // not stated: failed
///     Ok(())
/// }
///
/// assert_eq!(Failure::from(handle("seven").unwrap_err()).kind(), Some(FailureKind::Rejected));
/// assert_eq!(Failure::from(handle("0").unwrap_err()).kind(), Some(FailureKind::Failed));
/// assert_eq!(Failure::from(handle("7").unwrap_err()).kind(), Some(FailureKind::Unavailable));
/// ```
#[derive(Debug)]
pub struct Failure(Stated);

/// What was said about an error. As the source of a [`Failure`] it survives what hides the outermost type of an error:
/// `#[error(transparent)]`, and the conversion of `anyhow::Error` into a box.
#[derive(Debug)]
struct Stated {
    what: What,
    error: Arc<dyn Error + Send + Sync>,
}

#[derive(Debug, Clone, Copy, Default)]
struct What {
    kind: Option<FailureKind>,
    /// Nobody stated the kind; it follows from the type of an error.
    inferred: bool,
    retry_after: Option<Duration>,
    interrupted: bool,
    /// And is known to be gone since: it accepts no connection.
    gone: bool,
}

impl Failure {
    /// A failure in words, of this message.
    pub fn new(reason: impl Into<String>) -> Self {
        Self(Stated { what: What::default(), error: BoxError::from(reason.into()).into() })
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
        Self(Stated { what: What { kind: Some(kind), ..What::default() }, error: error.into().into() })
    }

    /// What an error states, or what follows from it.
    fn found(error: BoxError) -> Self {
        let what = stated(&*error).unwrap_or_else(|| {
            let kind = is_environment(&*error).then_some(FailureKind::Unavailable);
            What { kind, inferred: kind.is_some(), ..What::default() }
        });
        Self(Stated { what, error: error.into() })
    }

    /// With the kind that `classify` returns for the first error in its chain that it knows; a kind that was stated stays.
    pub(crate) fn classified(
        mut self,
        classify: impl Fn(&(dyn Error + 'static)) -> Option<FailureKind>,
    ) -> Self {
        let what = &mut self.0.what;
        if (what.kind.is_none() || what.inferred)
            && let Some(kind) = causes(&*self.0.error).find_map(classify)
        {
            (what.kind, what.inferred) = (Some(kind), false);
        }
        self
    }

    /// Sets the delay of a failed message instead of the worker's growing one, or the shortest pause before an unavailable
    /// dependency is tried again. Whole seconds, rounded up, at least one; at most what is left of the 12 hours that SQS
    /// keeps a message invisible.
    #[must_use]
    pub fn retry_after(mut self, delay: Duration) -> Self {
        self.0.what.retry_after = Some(delay);
        self
    }

    /// The dependency went away while it was at work on this message, and perhaps because of it: a connection that ended without
    /// a response. Once the dependency is back, the message is tried with no other beside it; if it goes away again, the message
    /// has failed: at once where another message succeeded meanwhile, else after the third time that it was seen gone and came
    /// back. For [`Failure::unavailable`] only.
    #[must_use]
    pub fn interrupted(mut self) -> Self {
        self.0.what.interrupted = true;
        self
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.0.what.interrupted
    }

    /// The dependency did not go on after it was interrupted: it is gone.
    #[cfg(feature = "service")]
    pub(crate) fn gone(mut self, gone: bool) -> Self {
        self.0.what.gone = gone;
        self
    }

    pub(crate) fn is_gone(&self) -> bool {
        self.0.what.gone
    }

    /// The handler panicked.
    pub(crate) fn panicked(panic: &(dyn std::any::Any + Send)) -> Self {
        Failure::new(format!("the handler panicked: {}", panic_text(panic)))
    }

    /// The same for another message.
    pub(crate) fn again(&self) -> Self {
        Self(Stated { what: self.0.what, error: Arc::clone(&self.0.error) })
    }

    /// What it is about, if it was stated; one that was not is *failed*.
    pub fn kind(&self) -> Option<FailureKind> {
        self.0.what.kind
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        // at once would be in the dead-letter queue within milliseconds
        self.0.what.retry_after.map(|delay| delay.max(Duration::from_secs(1)))
    }
}

/// What a panic says.
pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("without a message")
}

/// The error and what caused it, on one line.
impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&lifeline_messaging::call::chain(&*self.0.error))
    }
}

impl Error for Failure {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

impl Display for Stated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.error.fmt(f)
    }
}

impl Error for Stated {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&*self.error)
    }
}

/// What the outermost failure in an error's chain that states a kind says.
fn stated(error: &(dyn Error + 'static)) -> Option<What> {
    causes(error)
        .filter_map(|error| error.downcast_ref::<Stated>())
        .map(|stated| stated.what)
        .find(|what| what.kind.is_some() || what.retry_after.is_some())
}

fn causes<'a>(error: &'a (dyn Error + 'static)) -> impl Iterator<Item = &'a (dyn Error + 'static)> {
    let errors = std::iter::successors(Some(error), |&error| error.source());
    #[cfg(feature = "anyhow")]
    let errors = errors.map(|error| match error.downcast_ref::<Anyhow>() {
        Some(Anyhow(error)) => &**error,
        None => error,
    });
    errors
}

/// An error of anyhow with its outermost type, which a box made of it hides.
#[cfg(feature = "anyhow")]
#[derive(Debug)]
struct Anyhow(anyhow::Error);

#[cfg(feature = "anyhow")]
impl Display for Anyhow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

#[cfg(feature = "anyhow")]
impl Error for Anyhow {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        self.0.source()
    }
}

impl From<BoxError> for Failure {
    fn from(error: BoxError) -> Self {
        match error.downcast::<Failure>() {
            Ok(failure) => *failure,
            Err(error) => Self::found(error),
        }
    }
}

#[cfg(feature = "anyhow")]
impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        // no chain shows what a context is
        let what = error.downcast_ref::<Failure>().map(|failure| failure.0.what);
        let mut failure = Self::found(Box::new(Anyhow(error)));
        if let Some(what) = what {
            failure.0.what = what;
        }
        failure
    }
}

// a `From` for every error would forbid users their own, which says what their errors mean
macro_rules! from {
    ($($error:ty),* $(,)?) => {
        $(
            impl From<$error> for Failure {
                fn from(error: $error) -> Self {
                    Self::found(Box::new(error))
                }
            }
        )*
    };
}

from! {
    io::Error,
    fmt::Error,
    std::convert::Infallible,
    std::env::VarError,
    std::net::AddrParseError,
    std::num::ParseFloatError,
    std::num::ParseIntError,
    std::num::TryFromIntError,
    std::str::ParseBoolError,
    std::str::Utf8Error,
    std::string::FromUtf8Error,
    std::time::SystemTimeError,
    serde_json::Error,
    tokio::task::JoinError,
    tokio::time::error::Elapsed,
    lifeline_messaging::envelope::Unreadable,
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
    causes(error).filter_map(|error| error.downcast_ref::<io::Error>()).any(|error| {
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

    #[derive(Debug)]
    struct Wrapped(Failure);

    impl Display for Wrapped {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            self.0.fmt(f)
        }
    }

    /// As thiserror's `transparent` does it: the failure itself is not in the chain.
    impl Error for Wrapped {
        fn source(&self) -> Option<&(dyn Error + 'static)> {
            self.0.source()
        }
    }

    #[test]
    fn a_kind_survives_boxes_and_what_hides_the_outermost_type() {
        let delay = Duration::from_secs(60);
        let rejected = || Failure::rejected("negative total").retry_after(delay);
        let boxed: BoxError = Box::new(rejected());
        let hidden: BoxError = Box::new(Wrapped(rejected()));
        let within: BoxError = Box::new(io::Error::other(Wrapped(rejected())));
        for error in [boxed, hidden, within] {
            let failure = Failure::from(error);
            let found = (failure.kind(), failure.delay(), failure.to_string());
            assert_eq!(found, (Some(FailureKind::Rejected), Some(delay), "negative total".to_owned()));
        }
        let refused: BoxError = io::Error::from(io::ErrorKind::ConnectionRefused).into();
        assert_eq!(Failure::from(refused).kind(), Some(FailureKind::Unavailable));
        let text: BoxError = "text".into();
        assert_eq!(Failure::from(text).kind(), None);
    }

    #[test]
    fn the_outermost_statement_counts() {
        let inner: BoxError = Box::new(Failure::unavailable("refused"));
        let outer: BoxError = Box::new(Failure::failed(inner));
        assert_eq!(Failure::from(outer).kind(), Some(FailureKind::Failed));
    }

    #[cfg(feature = "anyhow")]
    #[test]
    fn a_kind_survives_anyhow() {
        use anyhow::Context as _;
        let plain = || Err::<(), _>(Failure::unavailable("refused"));
        let bare = anyhow::Error::from(plain().unwrap_err());
        let context = plain().context("charging").unwrap_err();
        let through_a_box = anyhow::anyhow!(BoxError::from(plain().context("charging").unwrap_err()));
        for error in [bare, context, through_a_box] {
            let failure = Failure::from(error);
            assert_eq!(failure.kind(), Some(FailureKind::Unavailable), "{failure}");
            assert!(failure.to_string().ends_with("refused"), "{failure}");
        }
        let added = anyhow::anyhow!("x").context(Failure::rejected("a context that states it"));
        assert_eq!(Failure::from(added).kind(), Some(FailureKind::Rejected));
        let refused = io::Error::from(io::ErrorKind::ConnectionRefused);
        assert_eq!(Failure::from(anyhow::Error::from(refused)).kind(), Some(FailureKind::Unavailable));
        assert_eq!(Failure::from(anyhow::anyhow!("x")).kind(), None);
    }
}
