//! What a user of the worker writes: a handler.

use std::fmt::{self, Display};
use std::future::Future;
use std::time::Duration;

use lifeline_messaging::message::Message;

use crate::context::Context;

/// Does the work that a message asks for.
///
/// `Ok` deletes the message. An error, a panic or a timeout makes it come back after a growing delay, until the
/// queue's redrive policy moves it to the dead-letter queue. SQS delivers at least once: a handler must bear to
/// see a message again.
///
/// The future is dropped when `HANDLER_TIMEOUT` is over, when the grace of a shutdown is, and soon after the lease
/// is lost; [`Context::cancelled`] tells it a moment before, except for the timeout.
///
/// ```
/// use lifeline_consumer::{Context, Failure, Handler, Message};
///
/// struct Orders;
///
/// impl Handler for Orders {
///     async fn handle(&self, message: Message, _context: Context) -> Result<(), Failure> {
///         let order: u64 = message.body.parse()?; // any error fails the message
///         println!("order {order}, received {} times", message.receive_count);
///         Ok(())
///     }
/// }
/// ```
pub trait Handler: Send + Sync + 'static {
    /// Handles one message.
    fn handle(&self, message: Message, context: Context) -> impl Future<Output = Result<(), Failure>> + Send;
}

impl<F, R> Handler for F
where
    F: Fn(Message, Context) -> R + Send + Sync + 'static,
    R: Future<Output = Result<(), Failure>> + Send,
{
    fn handle(&self, message: Message, context: Context) -> impl Future<Output = Result<(), Failure>> + Send {
        self(message, context)
    }
}

/// Why a message was not handled, and when to try again. Any error turns into one with `?`.
#[derive(Debug)]
pub struct Failure {
    reason: String,
    retry_after: Option<Duration>,
}

impl Failure {
    /// A failure in words.
    pub fn new(reason: impl Into<String>) -> Self {
        Self { reason: reason.into(), retry_after: None }
    }

    /// Sets the delay instead of the worker's growing one. Whole seconds, rounded up; at most what is left of the
    /// 12 hours that SQS keeps a message invisible.
    #[must_use]
    pub fn retry_after(self, delay: Duration) -> Self {
        Self { retry_after: Some(delay), ..self }
    }

    pub(crate) fn delay(&self) -> Option<Duration> {
        self.retry_after
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.reason)
    }
}

// not an Error itself, or this would overlap with `From<T> for T`
impl<E: std::error::Error> From<E> for Failure {
    fn from(error: E) -> Self {
        Self::new(lifeline_messaging::call::chain(&error))
    }
}
