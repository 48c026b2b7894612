//! The public entry point: `Publisher`, its builder, and the future of a result.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_util::stream::{self, Stream, StreamExt};
use lifeline_health::Health;
use lifeline_messaging::client::{Access, Clients, NoRegion};
use lifeline_messaging::span::Destination;
use lifeline_messaging::topology::TopicRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::batcher::{Batcher, PULSE_BOUND};
use crate::deduplication::DeduplicationIds;
use crate::entry::{Outcome, Receipt, Reply};
use crate::error::PublishError;
use crate::message::NewMessage;
use crate::metrics::PublisherMetrics;
use crate::rate_limit::RateLimit;
use crate::sink::Sink;
use crate::submit::Submit;
use crate::topic::TopicLookup;

/// Publishes to one topic. Cheap to clone; clones share the buffer, the batches and the connections.
///
/// When the last clone is dropped, what was accepted is published in the background; only [`close`](Self::close) waits
/// for it.
#[derive(Clone)]
pub struct Publisher {
    submit: Arc<Submit>,
    closing: CancellationToken,
    abandoned: CancellationToken,
    done: CancellationToken,
}

/// How a publisher works. See [`Publisher::to`].
#[derive(Debug, Clone)]
#[must_use = "nothing happens until it is started"]
pub struct PublisherBuilder {
    clients: Option<Clients>,
    topic: TopicRef,
    linger: Duration,
    buffer: usize,
    buffer_bytes: usize,
    concurrency: usize,
    rate: Option<f64>,
    deadline: Option<Duration>,
    provision: bool,
    wait_for_subscription: bool,
    name: Option<String>,
    health: Health,
}

impl Publisher {
    /// A publisher to the topic of this name or ARN, with the defaults that each setter names.
    pub fn to(topic: impl Into<TopicRef>) -> PublisherBuilder {
        PublisherBuilder {
            clients: None,
            topic: topic.into(),
            linger: Duration::from_millis(5),
            buffer: 1000,
            buffer_bytes: 8 << 20,
            concurrency: 16,
            rate: None,
            deadline: Some(Duration::from_secs(120)),
            provision: false,
            wait_for_subscription: true,
            name: None,
            health: Health::new(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Publishes one message and waits for SNS's confirmation. Concurrent calls share batches.
    ///
    /// # Errors
    /// [`PublishError`]: `Invalid` and `Rejected` are final; after the others
    /// [`may_have_been_published`](PublishError::may_have_been_published) says what is known.
    ///
    /// # Cancel safety
    /// Dropped while it waits for capacity, nothing was sent. Dropped later, the message is published anyway, and only
    /// its result is lost.
    pub async fn publish(&self, message: impl Into<NewMessage>) -> Outcome {
        self.enqueue(message).await?.await
    }

    /// Accepts a message, waiting only for capacity; its result comes with [`Pending`].
    ///
    /// # Errors
    /// `Invalid`, `Closed`, or `TimedOut` if there was no capacity within the deadline.
    ///
    /// # Cancel safety
    /// Dropped, the message was not accepted.
    pub async fn enqueue(&self, message: impl Into<NewMessage>) -> Result<Pending, PublishError> {
        let (sender, outcome) = oneshot::channel();
        self.submit.submit(message.into(), None, Reply::One(sender)).await?;
        Ok(Pending { outcome })
    }

    /// Waits for capacity for one message that is not there yet: for sources that must not be read ahead, such as a pipe
    /// or another queue.
    ///
    /// # Errors
    /// `Closed`.
    ///
    /// # Cancel safety
    /// Dropped, no capacity was taken.
    pub async fn reserve(&self) -> Result<Permit<'_>, PublishError> {
        let closed = |_| PublishError::closed();
        let message = Arc::clone(&self.submit.messages).acquire_owned().await.map_err(closed)?;
        // a permit never waits for the bytes of its message; so none is given out while there are none
        drop(self.submit.bytes.acquire().await.map_err(closed)?);
        Ok(Permit { publisher: self, message })
    }

    /// Publishes a stream. Results come in the order of the input, which is read only when there is capacity; at most
    /// [`buffer`](PublisherBuilder::buffer) results wait for an earlier one.
    ///
    /// ```no_run
    /// # async fn example(publisher: lifeline_producer::Publisher) {
    /// use futures_util::{StreamExt, stream};
    /// let mut results = std::pin::pin!(publisher.publish_all(stream::iter(["one", "two"])).enumerate());
    /// while let Some((at, result)) = results.next().await {
    ///     result.inspect_err(|error| eprintln!("message {at}: {error}")).ok();
    /// }
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// Dropped, messages that were read are published anyway, and only their results are lost.
    pub fn publish_all<S>(&self, messages: S) -> impl Stream<Item = Outcome> + Send + use<S>
    where
        S: Stream<Item: Into<NewMessage> + Send> + Send,
    {
        let publisher = self.clone();
        let results = stream::unfold((publisher, Box::pin(messages)), |(publisher, mut messages)| async {
            let permit = publisher.reserve().await;
            let message = messages.next().await?.into();
            let pending = match permit {
                Ok(permit) => permit.send(message),
                Err(error) => Pending::failed(error.of(message)),
            };
            Some((pending, (publisher, messages)))
        });
        results.buffered(self.submit.buffer)
    }

    /// For streams with a callback: messages go in with a tag, and `on_result` is called once for each with its tag and its
    /// result, in no order. It runs in the task that fills the batches: it must be quick and must not block.
    pub fn sink(&self, on_result: impl Fn(u64, Outcome) + Send + Sync + 'static) -> Sink {
        Sink { submit: Arc::clone(&self.submit), on_result: Arc::new(on_result) }
    }

    /// Sends what is buffered without lingering, and waits until everything accepted so far has its result. The publisher
    /// keeps accepting messages; those are not waited for.
    ///
    /// # Cancel safety
    /// Dropped, it only stops waiting.
    pub async fn flush(&self) {
        self.submit.flush().await;
    }

    /// Accepts no more messages, and waits until everything that was accepted has its result. May be called again, by any
    /// clone. Nothing happens before it is awaited; it borrows nothing, so that it may be handed to whoever ends last.
    ///
    /// # Cancel safety
    /// Dropped, the publisher still closes; call it again to wait.
    pub fn close(&self) -> impl Future<Output = ()> + Send + use<> {
        let Self { submit, closing, done, .. } = self.clone();
        async move {
            closing.cancel();
            submit.messages.close();
            submit.bytes.close();
            done.cancelled().await;
        }
    }

    /// Closes immediately: messages that are not confirmed by now fail with the kind `Abandoned`.
    ///
    /// # Cancel safety
    /// As [`close`](Self::close).
    pub async fn abandon(&self) {
        self.abandoned.cancel();
        self.close().await;
    }

    /// Messages that are buffered or in flight now.
    pub fn buffered(&self) -> usize {
        self.submit.buffer.saturating_sub(self.submit.messages.available_permits())
    }
}

impl PublisherBuilder {
    /// How AWS is reached; by the SDK's usual environment variables and files, with a timeout of 5 s for each call.
    pub fn clients(mut self, clients: Clients) -> Self {
        self.clients = Some(clients);
        self
    }

    /// How long a message may wait for its batch to fill; 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Most messages buffered or in flight, at least 1; 1,000. Callers wait for capacity.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Most bytes of messages buffered or in flight, at least 1; 8 MiB. Messages sent by a [`Permit`] do not wait for
    /// bytes, and may exceed it by one message each.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// Most concurrent `PublishBatch` calls, at least 1; 16. Throttling, timeouts and slow links lower it for a while.
    pub fn concurrency(mut self, calls: usize) -> Self {
        self.concurrency = calls.max(1);
        self
    }

    /// Most messages sent a second, retries included, however many are buffered; no limit. Not applied while closing.
    pub fn rate(mut self, messages_per_second: impl Into<Option<f64>>) -> Self {
        self.rate = messages_per_second.into();
        self
    }

    /// How long a message may take, waiting for capacity and all attempts included; 2 minutes. `None` is forever.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Creates the topic if it is missing, at start and again when it disappears; `false`.
    pub fn provision(mut self, provision: bool) -> Self {
        self.provision = provision;
        self
    }

    /// With [`provision`](Self::provision): publishes nothing before the topic has a confirmed subscription, since SNS
    /// discards what nobody has subscribed to; `true`.
    pub fn wait_for_subscription(mut self, wait: bool) -> Self {
        self.wait_for_subscription = wait;
        self
    }

    /// What it is called, where several publishers report to one [`Health`]: the pulse is `orders/batcher` then, the conditions are
    /// `orders/topology` and `orders/aws`, and metrics have the label `publisher="orders"`.
    pub fn name(mut self, name: impl Into<String>) -> Self {
        self.name = Some(name.into());
        self
    }

    /// Where it reports: the pulse `batcher`, the conditions `topology` and `aws`, the metrics `producer_…`; nowhere.
    pub fn health(mut self, health: &Health) -> Self {
        self.health = health.clone();
        self
    }

    /// Starts it. It looks up the topic first, and accepts messages meanwhile: a topic that is missing, or an AWS that does
    /// not respond, is no error here.
    ///
    /// # Errors
    /// No clients were given, and the environment names no region.
    ///
    /// # Cancel safety
    /// Dropped, nothing was started.
    pub async fn start(mut self) -> Result<Publisher, ConfigError> {
        if let Some(name) = &self.name {
            self.health = self.health.of_part("publisher", name);
        }
        let clients = match self.clients {
            Some(clients) => clients,
            None => Clients::connect(&Access::from_environment()).await?,
        };
        let (commands, received) = mpsc::unbounded_channel();
        let (closing, abandoned, done) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let metrics = PublisherMetrics::new(&self.health.metrics);
        let submit = Arc::new(Submit {
            commands,
            messages: Arc::new(Semaphore::new(self.buffer)),
            bytes: Arc::new(Semaphore::new(self.buffer_bytes)),
            buffer: self.buffer,
            buffer_bytes: self.buffer_bytes,
            fifo: self.topic.is_fifo(),
            deadline: self.deadline,
            ids: DeduplicationIds::new(),
            destination: Destination::new(self.topic.name()),
            rejected: metrics.rejected.clone(),
        });
        let batcher = Batcher {
            commands: received,
            fifo: self.topic.is_fifo(),
            linger: self.linger,
            concurrency: self.concurrency,
            rate: RateLimit::for_batches(self.rate),
            lookup: TopicLookup::new(
                clients,
                self.topic,
                self.provision,
                self.wait_for_subscription,
                self.health.readiness.condition("topology"),
            ),
            pulse: self.health.pulses.start("batcher", PULSE_BOUND),
            aws: self.health.readiness.condition("aws"),
            metrics,
            closing: closing.clone(),
            abandoned: abandoned.clone(),
        };
        let finished = done.clone().drop_guard();
        #[allow(clippy::disallowed_methods, reason = "`close` waits for it, by `done`")]
        tokio::spawn(async move {
            // also when it panics, so that nobody waits forever for its end
            let _finished = finished;
            batcher.run().await;
        });
        Ok(Publisher { submit, closing, abandoned, done })
    }
}

/// Why a publisher cannot start.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct ConfigError(#[from] NoRegion);

/// What kind of failure it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ConfigErrorKind {
    /// No clients were given, and nothing names a region.
    NoRegion,
}

impl ConfigError {
    /// What kind of failure it is.
    pub fn kind(&self) -> ConfigErrorKind {
        let Self(NoRegion) = self;
        ConfigErrorKind::NoRegion
    }
}

/// The future of an accepted message's result.
#[derive(Debug)]
#[must_use = "the message is published without it, but nobody gets its result"]
pub struct Pending {
    outcome: oneshot::Receiver<Outcome>,
}

impl Pending {
    fn failed(error: PublishError) -> Self {
        let (sender, outcome) = oneshot::channel();
        drop(sender.send(Err(error)));
        Self { outcome }
    }
}

impl Future for Pending {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // every message has its result; if the batcher panicked, nothing is known of this one
        let unknown =
            || PublishError::abandoned("the batcher ended".to_owned(), 0, None).published_perhaps(true);
        Pin::new(&mut self.outcome).poll(context).map(|sent| sent.unwrap_or_else(|_| Err(unknown())))
    }
}

/// Capacity for one message. See [`Publisher::reserve`].
#[derive(Debug)]
#[must_use = "dropped, the capacity is free again"]
pub struct Permit<'a> {
    publisher: &'a Publisher,
    message: OwnedSemaphorePermit,
}

impl Permit<'_> {
    /// Accepts the message without waiting. An invalid message's error is the result of the returned future.
    pub fn send(self, message: impl Into<NewMessage>) -> Pending {
        let (sender, outcome) = oneshot::channel();
        let submit = &self.publisher.submit;
        if let Err((error, reply)) = submit.submit_now(message.into(), self.message, Reply::One(sender)) {
            reply.send(Err(error));
        }
        Pending { outcome }
    }
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("buffered", &self.buffered()).finish_non_exhaustive()
    }
}
