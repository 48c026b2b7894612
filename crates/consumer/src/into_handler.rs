//! Everything that can be a handler: functions, closures, and types that implement [`Handler`].
//!
//! The bounds are stated once, at the `impl` of [`IntoHandler`], and a part that does not hold is reported as what it is:
//! [`Shape`] fails for what has not the shape of a handler, whatever it takes and returns; what is wrong with the input, the
//! output or `Send` has a message of its own.

use std::future::{Future, Ready};
use std::marker::PhantomData;

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::{BoxHandler, Handler, HandlerInput};

/// What goes into [`Worker::run`](crate::Worker::run): an `async fn(M)` or `async fn(M, Context)`, a closure of that shape, or a
/// type that implements [`Handler<M>`](Handler). `Form` is inferred; it tells them apart.
///
/// | | |
/// | --- | --- |
/// | `M` | [`Message`](crate::Message), `String` (the body), [`Json<T>`](crate::Json), `Message<Json<T>>`, a `Result` of these, or your own type that implements [`FromMessage`](crate::FromMessage) |
/// | returns | `Result<(), E>`, where `E` is [`Failure`] or converts into it: `anyhow::Error` and boxed errors do |
///
/// ```
/// use lifeline_consumer::{BoxError, Context, IntoHandler, Json, Message};
///
/// async fn number(message: Message) -> Result<(), BoxError> {
///     let number: u64 = message.body.trim().parse()?;
///     println!("{number}, receive {}", message.receive_count);
///     Ok(())
/// }
///
/// async fn order(order: Message<Json<u64>>, context: Context) -> Result<(), BoxError> {
///     println!("{:?} {} until {:?}", order.attribute("kind"), order.body.0, context.deadline());
///     Ok(())
/// }
///
/// let stored = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
/// let store = move |body: String| {
///     let stored = stored.clone();
///     async move {
///         stored.lock().map_err(|_| "poisoned")?.push(body);
///         Ok::<(), BoxError>(())
///     }
/// };
/// let _handlers = [number.boxed(), order.boxed(), store.boxed()];
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "expected `async fn(M) -> Result<(), E>` or `async fn(M, Context) -> Result<(), E>`, or a type that implements `Handler<M>`",
    note = "share state through a struct that implements `Handler<M>`, or a closure that clones it"
)]
pub trait IntoHandler<Form>: Send + Sized + 'static {
    /// The handler without its type.
    fn boxed(self) -> BoxHandler;
}

impl<H, Form> IntoHandler<Form> for H
where
    H: Shape<Form>,
    H::Input: HandlerInput,
    H::Output: IntoOutcome<<H::Input as HandlerInput>::Success>,
    H::Future: Send + 'static,
    Form: 'static,
{
    fn boxed(self) -> BoxHandler {
        H::Input::erase(Shaped { handler: self, form: PhantomData::<fn() -> Form> })
    }
}

/// The form of a [`BoxHandler`].
#[derive(Debug)]
pub enum Boxed {}

#[diagnostic::do_not_recommend]
impl IntoHandler<Boxed> for BoxHandler {
    fn boxed(self) -> BoxHandler {
        self
    }
}

/// What has the shape of a handler. Neither input nor output is bounded here.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not a handler",
    label = "expected `async fn(M) -> Result<(), E>` or `async fn(M, Context) -> Result<(), E>`, or a type that implements `Handler<M>`",
    note = "share state through a struct that implements `Handler<M>`, or a closure that clones it"
)]
pub trait Shape<Form>: Send + Sync + Sized + 'static {
    /// What it takes.
    type Input;
    /// What it returns.
    type Output;
    /// The future of that.
    type Future;

    /// Runs it once.
    fn call(&self, input: Self::Input, context: Context) -> impl Future<Output = Self::Output> + Send
    where
        Self::Future: Send;
}

#[diagnostic::do_not_recommend]
impl<F, M, R> Shape<fn(M)> for F
where
    F: Fn(M) -> R + Send + Sync + 'static,
    R: Future,
{
    type Input = M;
    type Output = R::Output;
    type Future = R;

    fn call(&self, input: M, _: Context) -> impl Future<Output = R::Output> + Send
    where
        R: Send,
    {
        self(input)
    }
}

#[diagnostic::do_not_recommend]
impl<F, M, R> Shape<fn(M, Context)> for F
where
    F: Fn(M, Context) -> R + Send + Sync + 'static,
    R: Future,
{
    type Input = M;
    type Output = R::Output;
    type Future = R;

    fn call(&self, input: M, context: Context) -> impl Future<Output = R::Output> + Send
    where
        R: Send,
    {
        self(input, context)
    }
}

/// The form of a type that implements [`Handler<M>`](Handler).
#[derive(Debug)]
pub struct Implemented<M>(PhantomData<fn() -> M>);

#[diagnostic::do_not_recommend]
impl<H, M> Shape<Implemented<M>> for H
where
    H: Handler<M>,
    M: HandlerInput,
{
    type Input = M;
    type Output = Result<M::Success, Failure>;
    // the one of `handle` has no name; it is `Send`, as this one is
    type Future = Ready<()>;

    fn call(&self, input: M, context: Context) -> impl Future<Output = Self::Output> + Send {
        self.handle(input, context)
    }
}

/// What a handler may return: `Result<T, E>`, where `E` is [`Failure`] or converts into it. `T` is `()` for a message.
#[diagnostic::on_unimplemented(
    message = "a handler cannot return `{Self}`",
    label = "expected `Result<{T}, E>`, where `E` is `Failure` or converts into it",
    note = "return `lifeline::Result` or `anyhow::Result` to use `?` on any error; a handler that cannot fail returns `Ok(())`, which deletes the message",
    note = "to return an error type of your own, implement `From<YourError> for lifeline::Failure`: it says which errors are failed, unavailable or rejected"
)]
pub trait IntoOutcome<T> {
    /// The outcome of the attempt.
    ///
    /// # Errors
    /// The message was not handled.
    fn into_outcome(self) -> Result<T, Failure>;
}

#[diagnostic::do_not_recommend]
impl<T, E: Into<Failure>> IntoOutcome<T> for Result<T, E> {
    fn into_outcome(self) -> Result<T, Failure> {
        self.map_err(Into::into)
    }
}

/// A handler of any shape, as a [`Handler`].
struct Shaped<H, Form> {
    handler: H,
    form: PhantomData<fn() -> Form>,
}

impl<H, Form> Handler<H::Input> for Shaped<H, Form>
where
    H: Shape<Form>,
    H::Input: HandlerInput,
    H::Output: IntoOutcome<<H::Input as HandlerInput>::Success>,
    H::Future: Send + 'static,
    Form: 'static,
{
    async fn handle(
        &self,
        input: H::Input,
        context: Context,
    ) -> Result<<H::Input as HandlerInput>::Success, Failure> {
        self.handler.call(input, context).await.into_outcome()
    }
}
