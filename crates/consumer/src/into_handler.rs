//! Plain functions as handlers: `async fn(M)` and `async fn(M, Context)`, where `M` is a message in the form that the
//! function wants it in.

use std::future::Future;
use std::marker::PhantomData;

use lifeline_messaging::message::Message;
use serde::de::DeserializeOwned;

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::Handler;

/// What a handler may take: made from a message. A message of which it cannot be made is failed, not rejected, because a
/// new version with a wrong struct would otherwise move the whole queue into the dead-letter queue.
#[diagnostic::on_unimplemented(
    message = "a handler cannot take `{Self}`: it does not implement `FromMessage`",
    label = "this handler takes `{Self}`",
    note = "for a JSON body, take `Json<T>` of a type `T` that derives `serde::Deserialize`; for all of the message, take `Message`",
    note = "a `Context` is the second argument, after the message"
)]
pub trait FromMessage: Sized + Send + 'static {
    /// Why a message has not this form.
    type Error: Into<Failure>;

    /// Reads the message.
    ///
    /// # Errors
    /// It has not this form.
    fn from_message(message: &Message) -> Result<Self, Self::Error>;
}

/// The body of a message, read as JSON.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Json<T>(pub T);

impl FromMessage for Message {
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.clone())
    }
}

/// The body.
impl FromMessage for String {
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.body.clone())
    }
}

impl<T: DeserializeOwned + Send + 'static> FromMessage for Json<T> {
    type Error = serde_json::Error;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        serde_json::from_str(&message.body).map(Self)
    }
}

/// The body as JSON, beside the attributes and all else that is known about the message.
///
/// ```
/// use lifeline_consumer::{Failure, Json, Message};
///
/// #[derive(serde::Deserialize)]
/// struct Order {
///     id: u64,
/// }
///
/// async fn handle(message: Message<Json<Order>>) -> Result<(), Failure> {
///     println!("{:?} {}", message.attribute("kind"), message.body.0.id);
///     Ok(())
/// }
/// # let _handler = lifeline_consumer::into_handler(handle);
/// ```
impl<T: DeserializeOwned + Send + 'static> FromMessage for Message<Json<T>> {
    type Error = serde_json::Error;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(message.with_body(Json::from_message(message)?))
    }
}

/// The handler decides what an unreadable message means.
impl<M: FromMessage> FromMessage for Result<M, M::Error>
where
    M::Error: Send + 'static,
{
    type Error = std::convert::Infallible;

    fn from_message(message: &Message) -> Result<Self, Self::Error> {
        Ok(M::from_message(message))
    }
}

/// A function that can be a handler. `Form` is inferred. Neither input nor output is bounded here, so that a wrong one is
/// reported as what it is.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "expected `async fn(M) -> Result<(), E>` or `async fn(M, Context) -> Result<(), E>`",
    note = "share state through a closure that clones it"
)]
pub trait IntoHandler<Form>: Send + Sync + 'static {
    /// What it takes.
    type Input;
    /// What it returns.
    type Output;
    /// The future of that.
    type Future: Future<Output = Self::Output>;

    /// Runs it once.
    fn call(&self, input: Self::Input, context: Context) -> Self::Future;
}

#[diagnostic::do_not_recommend]
impl<F, M, R> IntoHandler<fn(M)> for F
where
    F: Fn(M) -> R + Send + Sync + 'static,
    R: Future,
{
    type Input = M;
    type Output = R::Output;
    type Future = R;

    fn call(&self, input: M, _: Context) -> R {
        self(input)
    }
}

#[diagnostic::do_not_recommend]
impl<F, M, R> IntoHandler<fn(M, Context)> for F
where
    F: Fn(M, Context) -> R + Send + Sync + 'static,
    R: Future,
{
    type Input = M;
    type Output = R::Output;
    type Future = R;

    fn call(&self, input: M, context: Context) -> R {
        self(input, context)
    }
}

/// What a handler may return.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "expected `Result<(), E>`, where `E` is `Failure` or converts into it",
    note = "a handler that cannot fail returns `Ok::<(), Failure>(())`: that is what deletes the message"
)]
pub trait IntoOutcome {
    /// The outcome of the attempt.
    ///
    /// # Errors
    /// The message was not handled.
    fn into_outcome(self) -> Result<(), Failure>;
}

impl<E: Into<Failure>> IntoOutcome for Result<(), E> {
    fn into_outcome(self) -> Result<(), Failure> {
        self.map_err(Into::into)
    }
}

/// A [`Handler`] made of a function.
pub fn into_handler<H, Form>(handler: H) -> impl Handler
where
    H: IntoHandler<Form>,
    H::Input: FromMessage,
    H::Output: IntoOutcome,
    H::Future: Send + 'static,
    Form: 'static,
{
    Function { handler, form: PhantomData::<fn() -> Form> }
}

struct Function<H, Form> {
    handler: H,
    form: PhantomData<fn() -> Form>,
}

impl<H, Form> Handler for Function<H, Form>
where
    H: IntoHandler<Form>,
    H::Input: FromMessage,
    H::Output: IntoOutcome,
    H::Future: Send + 'static,
    Form: 'static,
{
    async fn handle(&self, message: Message, context: Context) -> Result<(), Failure> {
        let input = H::Input::from_message(&message).map_err(Into::into)?;
        drop(message);
        self.handler.call(input, context).await.into_outcome()
    }
}
