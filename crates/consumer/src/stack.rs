//! tower: its layers around a handler, and its services as handlers. The feature `tower`.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as TaskContext, Poll};

use lifeline_messaging::message::Message;
use tokio::sync::Mutex;
use tower_layer::Layer;
use tower_service::Service;

use crate::context::Context;
use crate::failure::{BoxError, Failure};
use crate::handler::{BoxHandler, DynHandler, Handling};
use crate::idempotency::IdempotencyStore;
use crate::into_handler::IntoHandler;

/// One run of a handler, as tower's request.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Attempt {
    /// The message.
    pub message: Message,
    /// Its context.
    pub context: Context,
}

/// A handler as tower's service. Its error is the handler's, boxed, so that a [`Failure`] is found in it again.
#[derive(Debug, Clone)]
pub struct HandlerService(BoxHandler);

impl Service<Attempt> for HandlerService {
    type Response = ();
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<(), BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut TaskContext<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, Attempt { message, context }: Attempt) -> Self::Future {
        let BoxHandler(handler) = self.0.clone();
        Box::pin(async move { handler.handle(&message, context).await.map_err(BoxError::from) })
    }
}

/// A handler with tower's layers around it.
///
/// The worker has one service and waits until it is ready before each call, so that layers need no `Clone` and no buffer. What a layer
/// waits for counts against the handler's timeout; [`Builder::rate_limit`](crate::Builder::rate_limit) does not.
///
/// ```
/// use std::time::Duration;
///
/// use lifeline_consumer::{Failure, IntoHandler, Message, handler};
/// use tower::timeout::TimeoutLayer;
///
/// async fn handle(message: Message) -> Result<(), Failure> {
///     println!("{}", message.body);
///     Ok(())
/// }
///
/// // each layer goes around those before it
/// let _handler = handler(handle).layer(TimeoutLayer::new(Duration::from_secs(10))).boxed();
/// ```
#[derive(Debug, Clone)]
#[must_use = "it is a handler: give it to a worker"]
pub struct Stack<S> {
    service: S,
}

/// Any handler, to put layers around it.
pub fn handler<Form>(handler: impl IntoHandler<Form>) -> Stack<HandlerService> {
    Stack { service: HandlerService(handler.boxed()) }
}

impl<S> Stack<S> {
    /// A service of your own.
    pub fn service(service: S) -> Self {
        Self { service }
    }

    /// The handler without its type.
    pub fn boxed(self) -> BoxHandler
    where
        Self: IntoHandler<Stacked>,
    {
        IntoHandler::boxed(self)
    }

    /// Claims the key of each message before what is in here runs: [`BoxHandler::idempotent`]. Layers that are put around it later
    /// run for every message.
    pub fn idempotent(
        self,
        store: impl IdempotencyStore,
        key: impl Fn(&Message) -> Option<String> + Send + Sync + 'static,
    ) -> Stack<HandlerService>
    where
        Self: IntoHandler<Stacked>,
    {
        handler(self.boxed().idempotent(store, key))
    }

    /// Puts a layer around it.
    pub fn layer<L: Layer<S>>(self, layer: L) -> Stack<L::Service> {
        Stack { service: layer.layer(self.service) }
    }
}

/// The form of a [`Stack`].
#[derive(Debug)]
pub enum Stacked {}

#[diagnostic::do_not_recommend]
impl<S> IntoHandler<Stacked> for Stack<S>
where
    S: Service<Attempt, Response = ()> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn boxed(self) -> BoxHandler {
        BoxHandler(Arc::new(Served(Mutex::new(self.service))))
    }
}

struct Served<S>(Mutex<S>);

impl<S> DynHandler for Served<S>
where
    S: Service<Attempt, Response = ()> + Send + 'static,
    S::Error: Into<BoxError>,
    S::Future: Send + 'static,
{
    fn handle<'a>(&'a self, message: &'a Message, context: Context) -> Handling<'a> {
        Box::pin(async move {
            let attempt = Attempt { message: message.clone(), context };
            let called = {
                let mut service = self.0.lock().await;
                poll_fn(|task| service.poll_ready(task))
                    .await
                    .map_err(|error| Failure::from(error.into()))?;
                service.call(attempt)
            };
            called.await.map_err(|error| Failure::from(error.into()))
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tower::ServiceBuilder;
    use tower::timeout::TimeoutLayer;

    use super::*;
    use crate::failure::FailureKind;

    async fn run<S>(stack: Stack<S>) -> Result<(), Failure>
    where
        Stack<S>: IntoHandler<Stacked>,
    {
        let BoxHandler(handler) = stack.boxed();
        handler.handle(&Message::new("one"), Context::for_test()).await
    }

    #[tokio::test(start_paused = true)]
    async fn a_failure_keeps_its_kind_through_layers() {
        async fn fails(message: Message) -> Result<(), Failure> {
            assert_eq!(message.body, "one");
            Err(Failure::unavailable("the bank is closed").retry_after(Duration::from_secs(7)))
        }
        let long = || TimeoutLayer::new(Duration::from_secs(10));
        let failure = run(handler(fails).layer(long()).layer(long())).await.unwrap_err();
        assert_eq!(failure.kind(), Some(FailureKind::Unavailable), "{failure}");
        assert_eq!(failure.delay(), Some(Duration::from_secs(7)));
        assert!(failure.to_string().contains("the bank is closed"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_layer_may_end_an_attempt() {
        async fn sleeps(_: Message) -> Result<(), Failure> {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Ok(())
        }
        let failure =
            run(handler(sleeps).layer(TimeoutLayer::new(Duration::from_secs(1)))).await.unwrap_err();
        assert!(failure.to_string().contains("timed out"), "{failure}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_service_that_is_busy_is_waited_for() {
        async fn sleeps(_: Message) -> Result<(), Failure> {
            tokio::time::sleep(Duration::from_secs(1)).await;
            Ok(())
        }
        let one_at_a_time = ServiceBuilder::new().concurrency_limit(1);
        let BoxHandler(handler) = handler(sleeps).layer(one_at_a_time).boxed();
        let (first, second) = (Message::new("1"), Message::new("2"));
        let begun = tokio::time::Instant::now();
        let both = tokio::join!(
            handler.handle(&first, Context::for_test()),
            handler.handle(&second, Context::for_test())
        );
        assert!(both.0.is_ok() && both.1.is_ok());
        assert_eq!(begun.elapsed().as_secs(), 2);
    }
}
