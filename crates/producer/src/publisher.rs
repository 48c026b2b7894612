//! The way in: what a caller holds. Room is taken here, so that a caller waits and nothing else grows; all the rest is
//! the batcher's.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use lifeline_health::{Health, IntCounter};
use lifeline_messaging::call::Outage;
use lifeline_messaging::client::Clients;
use lifeline_messaging::span::Destination;
use lifeline_messaging::topology::TopicRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::batcher::Batcher;
use crate::batcher::PULSE_BOUND;
use crate::deduplication::DeduplicationIds;
use crate::entry::{Held, Outcome, Receipt, Room, Tell, Waiter};
use crate::error::PublishError;
use crate::message::{Message, Outgoing};
use crate::metrics::PublisherMetrics;
use crate::send_queue::Queue;
use crate::topic::Finder;
use crate::window::Window;

/// How long an asker for many places waits for more than one.
const GATHERING: Duration = Duration::from_millis(5);

/// Publishes to one topic. Cheap to clone; clones share the buffer, the batches and the connections.
///
/// When the last clone is dropped, what it took is still published; [`close`](Self::close) waits for that.
#[derive(Clone)]
pub struct Publisher {
    shared: Arc<Shared>,
}

struct Shared {
    intake: mpsc::UnboundedSender<Held>,
    places: Arc<Semaphore>,
    bytes: Arc<Semaphore>,
    buffer: usize,
    all_bytes: usize,
    fifo: bool,
    deadline: Option<Duration>,
    ids: DeduplicationIds,
    destination: Destination,
    rejected: IntCounter,
    closing: CancellationToken,
    abandoned: CancellationToken,
    done: CancellationToken,
}

/// How a publisher works. See [`Publisher::builder`].
#[derive(Debug, Clone)]
#[must_use]
pub struct Builder {
    clients: Clients,
    topic: TopicRef,
    linger: Duration,
    buffer: usize,
    buffer_bytes: usize,
    in_air: usize,
    deadline: Option<Duration>,
    provision: bool,
    health: Health,
}

impl Publisher {
    /// A publisher to `topic`, with the defaults that each setter names.
    pub fn builder(clients: Clients, topic: TopicRef) -> Builder {
        Builder {
            clients,
            topic,
            linger: Duration::from_millis(5),
            buffer: 1000,
            buffer_bytes: 8 << 20,
            in_air: 16,
            deadline: Some(Duration::from_secs(120)),
            provision: false,
            health: Health::new(env!("CARGO_PKG_VERSION")),
        }
    }

    /// Publishes one message and waits for SNS's word. Many at once are batched: call it from many tasks, or use
    /// [`enqueue`](Self::enqueue) or a [`Sink`].
    ///
    /// # Errors
    /// [`PublishError`], whose [`is_final`](PublishError::is_final) says whether the message's fate is known.
    ///
    /// # Cancel safety
    /// Dropped while it waits for room, nothing was sent. Dropped later, the message is published all the same, and
    /// only the word is lost.
    pub async fn publish(&self, message: Message) -> Outcome {
        self.enqueue(message).await?.await
    }

    /// Hands a message over, waiting only for room; the fate comes with [`Pending`].
    ///
    /// # Errors
    /// [`PublishError::Refused`], [`PublishError::Closed`], or [`PublishError::Expired`] when there was no room
    /// within the deadline.
    ///
    /// # Cancel safety
    /// Dropped, the message was not handed over.
    pub async fn enqueue(&self, message: Message) -> Result<Pending, PublishError> {
        let (sender, outcome) = oneshot::channel();
        self.hold(message, None, Waiter::One(sender)).await?;
        Ok(Pending { outcome })
    }

    /// For streams: messages go in with a tag, and `tell` is called once for each with its tag and its fate, in no
    /// order. It runs in the task that fills the batches: it must be quick and must not block.
    pub fn sink(&self, tell: impl Fn(u64, Outcome) + Send + Sync + 'static) -> Sink {
        Sink { publisher: self.clone(), tell: Arc::new(tell) }
    }

    /// Takes no more messages, and waits until the fate of all that it took is told. Nothing lingers any more. May be
    /// called again, by any clone.
    ///
    /// # Cancel safety
    /// Dropped, it goes on closing; call it again to wait.
    pub async fn close(&self) {
        self.shared.closing.cancel();
        self.shared.places.close();
        self.shared.bytes.close();
        self.shared.done.cancelled().await;
    }

    /// Ends at once: what is not confirmed by now fails with [`PublishError::Abandoned`].
    pub async fn abandon(&self) {
        self.shared.abandoned.cancel();
        self.close().await;
    }

    /// Messages that it holds now.
    pub fn buffered(&self) -> usize {
        self.shared.buffer.saturating_sub(self.shared.places.available_permits())
    }

    async fn hold(
        &self,
        message: Message,
        place: Option<OwnedSemaphorePermit>,
        waiter: Waiter,
    ) -> Result<(), PublishError> {
        let shared = &self.shared;
        let outgoing = Outgoing::new(message, shared.fifo, &shared.ids);
        let mut outgoing = outgoing.inspect_err(|_| shared.rejected.inc())?;
        outgoing.span.towards(&shared.destination);
        let since = Instant::now();
        let deadline = shared.deadline.and_then(|after| since.checked_add(after));
        let room = self.room(place, outgoing.size);
        let room = match deadline {
            None => room.await?,
            Some(deadline) => tokio::time::timeout_at(deadline, room).await.map_err(|_| {
                let last = "there was no room in the buffer".to_owned();
                PublishError::Expired { after: deadline - since, tries: 0, last }
            })??,
        };
        let outgoing = Arc::new(outgoing);
        let held = Held {
            outgoing,
            waiter,
            room: Some(room),
            since,
            waits_since: Instant::now(),
            deadline,
            tries: 0,
            last_failure: None,
        };
        shared.intake.send(held).map_err(|_| PublishError::Closed)
    }

    async fn room(&self, place: Option<OwnedSemaphorePermit>, size: usize) -> Result<Room, PublishError> {
        let place = match place {
            Some(place) => place,
            None => {
                let places = Arc::clone(&self.shared.places);
                places.acquire_owned().await.map_err(|_| PublishError::Closed)?
            }
        };
        // one that is larger than all the room may have all of it
        let size = permits(size.min(self.shared.all_bytes));
        let bytes = Arc::clone(&self.shared.bytes);
        let bytes = bytes.acquire_many_owned(size).await.map_err(|_| PublishError::Closed)?;
        Ok(Room { _place: place, _bytes: bytes })
    }
}

impl Builder {
    /// How long a message may wait for its batch to fill; 5 ms.
    pub fn linger(mut self, linger: Duration) -> Self {
        self.linger = linger;
        self
    }

    /// Messages held at most, at least 1; 1,000. Callers wait for room.
    pub fn buffer(mut self, messages: usize) -> Self {
        self.buffer = messages.clamp(1, Semaphore::MAX_PERMITS);
        self
    }

    /// Bytes of messages held at most, at least 1; 8 MiB.
    pub fn buffer_bytes(mut self, bytes: usize) -> Self {
        self.buffer_bytes = bytes.clamp(1, u32::MAX as usize);
        self
    }

    /// Batches in the air at most, at least 1; 16. Throttling lowers it for a while.
    pub fn in_air(mut self, batches: usize) -> Self {
        self.in_air = batches.max(1);
        self
    }

    /// How long a message may take, waiting for room and all tries included; 2 minutes. `None` is for ever.
    pub fn deadline(mut self, deadline: impl Into<Option<Duration>>) -> Self {
        self.deadline = deadline.into();
        self
    }

    /// Creates the topic where it is missing, at start and again when it vanishes; `false`.
    pub fn provision(mut self, provision: bool) -> Self {
        self.provision = provision;
        self
    }

    /// Where it tells how it is: pulse `batcher`, conditions `topology` and `aws`, metrics `producer_…`. Otherwise
    /// nobody hears.
    pub fn health(mut self, health: &Health) -> Self {
        self.health = health.clone();
        self
    }

    /// Starts it. It looks for the topic at once, and takes messages meanwhile.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn start(self) -> Publisher {
        let (intake, taken) = mpsc::unbounded_channel();
        let (closing, abandoned, done) =
            (CancellationToken::new(), CancellationToken::new(), CancellationToken::new());
        let fifo = self.topic.is_fifo();
        let destination = Destination::new(self.topic.name());
        let metrics = PublisherMetrics::new(&self.health.metrics);
        let rejected = metrics.rejected.clone();
        let batcher = Batcher {
            intake: taken,
            finder: Finder {
                clients: self.clients,
                topic: self.topic,
                provision: self.provision,
                again: false,
                topology: self.health.readiness.condition("topology"),
                outage: Arc::new(Outage::new("looking for the topic")),
            },
            queue: Queue::new(fifo, self.linger),
            window: Window::new(self.in_air),
            pulse: self.health.pulses.start("batcher", PULSE_BOUND),
            aws: self.health.readiness.condition("aws"),
            metrics,
            closing: closing.clone(),
            abandoned: abandoned.clone(),
        };
        let finished = done.clone().drop_guard();
        tokio::spawn(async move {
            // also when it panics: whoever waits for the end must not wait for ever
            let _finished = finished;
            batcher.run().await;
        });
        Publisher {
            shared: Arc::new(Shared {
                intake,
                places: Arc::new(Semaphore::new(self.buffer)),
                bytes: Arc::new(Semaphore::new(self.buffer_bytes)),
                buffer: self.buffer,
                all_bytes: self.buffer_bytes,
                fifo,
                deadline: self.deadline,
                ids: DeduplicationIds::new(),
                destination,
                rejected,
                closing,
                abandoned,
                done,
            }),
        }
    }
}

/// A message that was handed over: a future of its fate.
#[derive(Debug)]
#[must_use = "the message is published without it, but nobody learns whether"]
pub struct Pending {
    outcome: oneshot::Receiver<Outcome>,
}

impl Future for Pending {
    type Output = Result<Receipt, PublishError>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // the batcher tells every fate; should it ever end without, nothing is known of this one
        let unknown = || PublishError::Abandoned { tries: 0, last: "the batcher ended".to_owned() };
        Pin::new(&mut self.outcome).poll(context).map(|told| told.unwrap_or_else(|_| Err(unknown())))
    }
}

/// Hands over a stream of messages without a task or an allocation for each answer. See [`Publisher::sink`].
#[derive(Clone)]
pub struct Sink {
    publisher: Publisher,
    tell: Tell,
}

/// Places in the buffer, taken before there is anything to put in them, so that input is not read past it.
#[derive(Debug)]
pub struct Places(OwnedSemaphorePermit);

impl Places {
    /// How many are left.
    pub fn len(&self) -> usize {
        self.0.num_permits()
    }

    /// Whether none is left.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Sink {
    /// Waits for room for one message, and takes room for up to `most` where there is. In a buffer that is full it may wait
    /// 5 ms longer, for a sixteenth of it: an asker who woke for every message that leaves would wake for nothing else.
    ///
    /// # Errors
    /// [`PublishError::Closed`].
    ///
    /// # Cancel safety
    /// Dropped, no room was taken.
    pub async fn reserve(&self, most: usize) -> Result<Places, PublishError> {
        let shared = &self.publisher.shared;
        let places = &shared.places;
        let first = Arc::clone(places).acquire_owned().await.map_err(|_| PublishError::Closed)?;
        let mut taken = Places(first);
        let more = most.saturating_sub(1);
        let worthwhile = more.min(shared.buffer / 16);
        if places.available_permits() < worthwhile {
            let gathered = Arc::clone(places).acquire_many_owned(permits(worthwhile));
            if let Ok(gathered) = timeout(GATHERING, gathered).await {
                taken.0.merge(gathered.map_err(|_| PublishError::Closed)?);
            }
        }
        let more = more.saturating_sub(taken.len() - 1).min(places.available_permits());
        if more > 0
            && let Ok(more) = Arc::clone(places).try_acquire_many_owned(permits(more))
        {
            taken.0.merge(more);
        }
        Ok(taken)
    }

    /// Hands over a message into a place taken before, waiting only for room for its bytes.
    ///
    /// # Errors
    /// [`PublishError::Refused`] and [`PublishError::Closed`], and then its fate is told here and not again;
    /// [`PublishError::Expired`] likewise. A place is used up in any case.
    ///
    /// # Panics
    /// If no place is left.
    ///
    /// # Cancel safety
    /// Dropped, the message was not handed over.
    pub async fn send_into(
        &self,
        places: &mut Places,
        tag: u64,
        message: Message,
    ) -> Result<(), PublishError> {
        let place = places.0.split(1).expect("a place is left: the caller looked");
        let waiter = Waiter::Tagged { tag, tell: Arc::clone(&self.tell) };
        self.publisher.hold(message, Some(place), waiter).await
    }

    /// Hands over a message, waiting for room.
    ///
    /// # Errors
    /// As [`send_into`](Self::send_into).
    ///
    /// # Cancel safety
    /// Dropped, the message was not handed over.
    pub async fn send(&self, tag: u64, message: Message) -> Result<(), PublishError> {
        let waiter = Waiter::Tagged { tag, tell: Arc::clone(&self.tell) };
        self.publisher.hold(message, None, waiter).await
    }
}

fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

impl fmt::Debug for Publisher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").field("buffered", &self.buffered()).finish_non_exhaustive()
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").field("publisher", &self.publisher).finish_non_exhaustive()
    }
}
