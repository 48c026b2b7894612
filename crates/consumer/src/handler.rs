//! What a user of the worker writes: a handler.

use std::fmt;
use std::future::Future;
use std::marker::PhantomData;
use std::pin::Pin;
use std::sync::Arc;

use lifeline_messaging::message::Message;

use crate::context::Context;
use crate::failure::Failure;
use crate::input::FromMessage;

/// Does the work that a message asks for. A function or a closure needs no `impl`: [`IntoHandler`](crate::IntoHandler) says
/// which. Write one for a type that has state.
///
/// `Ok` deletes the message. An error, a panic or a timeout makes it come back after a growing delay, until the
/// queue's redrive policy moves it to the dead-letter queue. SQS delivers at least once: a handler must bear to
/// see a message again.
///
/// The future is dropped when `HANDLER_TIMEOUT` is over, when the grace of a shutdown is, and soon after the lease
/// is lost; [`Context::cancelled`] tells it a moment before, except for the timeout.
///
/// ```
/// use std::sync::atomic::{AtomicU64, Ordering};
///
/// use lifeline_consumer::{Context, Failure, Handler, Json};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     cents: u64,
/// }
///
/// #[derive(Default)]
/// struct Revenue {
///     cents: AtomicU64,
/// }
///
/// impl Handler<Json<Order>> for Revenue {
///     async fn handle(&self, Json(order): Json<Order>, _: Context) -> Result<(), Failure> {
///         self.cents.fetch_add(order.cents, Ordering::Relaxed);
///         Ok(())
///     }
/// }
/// # use lifeline_consumer::IntoHandler;
/// # let _handler = Revenue::default().boxed();
/// ```
pub trait Handler<M: HandlerInput = Message>: Send + Sync + 'static {
    /// Handles one input.
    fn handle(&self, input: M, context: Context) -> impl Future<Output = Result<M::Success, Failure>> + Send;
}

/// What a handler takes: every type that implements [`FromMessage`], or a [`Batch`](crate::Batch) of one.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`",
    label = "this handler takes `{Self}`",
    note = "what a batch holds must be `Message`, `String`, `Json<T>` of a type `T` that derives `serde::Deserialize`, or a type that implements `FromMessage`"
)]
pub trait HandlerInput: Send + Sized + 'static {
    /// What a handler of this input returns when it succeeded.
    type Success: Send;

    /// The handler without its type.
    #[doc(hidden)]
    fn erase<H: Handler<Self>>(handler: H) -> BoxHandler;
}

impl<M: FromMessage> HandlerInput for M {
    type Success = ();

    fn erase<H: Handler<Self>>(handler: H) -> BoxHandler {
        BoxHandler(Arc::new(Single { handler, input: PhantomData::<fn() -> M> }))
    }
}

/// A handler whose type is not known: for a choice at run time.
///
/// ```
/// use lifeline_consumer::{BoxHandler, Failure, IntoHandler, Message};
///
/// async fn store(message: Message) -> Result<(), Failure> {
///     println!("{}", message.body);
///     Ok(())
/// }
///
/// async fn count(body: String) -> Result<(), Failure> {
///     println!("{} bytes", body.len());
///     Ok(())
/// }
///
/// fn chosen(dry_run: bool) -> BoxHandler {
///     if dry_run { count.boxed() } else { store.boxed() }
/// }
/// # let _handlers = [chosen(true), chosen(false)];
/// ```
#[derive(Clone)]
pub struct BoxHandler(pub(crate) Arc<dyn DynHandler>);

impl fmt::Debug for BoxHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("BoxHandler")
    }
}

/// The future of one run of a handler.
pub(crate) type Handling<'a> = Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + 'a>>;

/// A handler without its type, so that only a few lines of the worker are generic.
pub(crate) trait DynHandler: Send + Sync + 'static {
    fn handle<'a>(&'a self, message: &'a Message, context: Context) -> Handling<'a>;
}

/// A handler of single messages.
struct Single<H, M> {
    handler: H,
    input: PhantomData<fn() -> M>,
}

impl<H, M> DynHandler for Single<H, M>
where
    H: Handler<M>,
    M: FromMessage,
{
    fn handle<'a>(&'a self, message: &'a Message, context: Context) -> Handling<'a> {
        Box::pin(async move {
            let input = M::from_message(message).map_err(Into::into)?;
            self.handler.handle(input, context).await
        })
    }
}
