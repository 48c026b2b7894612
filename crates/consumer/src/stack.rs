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
