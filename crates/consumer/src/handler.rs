//! What a user of the worker writes: a handler.

use std::future::Future;

use lifeline_messaging::message::Message;

use crate::context::Context;
use crate::failure::Failure;

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
