//! Batch handlers: a handler that takes a [`Batch`] gets several messages at once, and says of each how it ended.
//!
//! Each message stays an attempt of its own, with its lease, its place in the breaker and its outcome. The attempts of a batch share
//! one future, the run of the handler, which is driven by whichever of them is polled, and dropped with the last of them.

use std::fmt;
use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use futures_util::FutureExt;
use futures_util::future::{BoxFuture, Shared};
use lifeline_messaging::message::Message;
use tokio::sync::{Notify, oneshot};

use crate::context::Context;
use crate::failure::Failure;
use crate::handler::{BoxHandler, DynHandler, Handler, HandlerInput, Handling};
use crate::input::FromMessage;

/// Messages that are handled together. [`Builder::batch`](crate::Builder::batch) says how many, and how long they are waited for.
///
/// A message that cannot be decoded fails alone, before the batch is formed. On a FIFO queue a batch has at most one message of each
/// group, so that order is kept. A handler that returns an error fails all.
///
/// ```
/// use lifeline_consumer::{Batch, Failure, Json, OrFailure, Settled};
///
/// async fn store(batch: Batch<Json<u64>>) -> Result<Settled, Failure> {
///     let refused = insert_all(batch.iter().map(|Json(id)| *id)).await.or_unavailable()?;
///     Ok(batch.settle(|index, _| if refused.contains(&index) { Err(Failure::failed("refused")) } else { Ok(()) }))
/// }
///
/// # async fn insert_all(_: impl Iterator<Item = u64>) -> Result<Vec<usize>, std::io::Error> { Ok(Vec::new()) }
/// # use lifeline_consumer::IntoHandler;
/// # let _handler = store.boxed();
/// ```
#[derive(Debug)]
pub struct Batch<M> {
    messages: Vec<M>,
}

/// How each message of a [`Batch`] ended. Only the batch makes one, so that none is left out.
#[derive(Debug)]
#[must_use = "return it: it says which messages are deleted"]
pub struct Settled {
    outcomes: Vec<Result<(), Failure>>,
}

impl<M> Batch<M> {
    /// A batch outside of a worker, for tests of handlers.
    #[cfg(any(test, feature = "testing"))]
    pub fn for_test(messages: impl IntoIterator<Item = M>) -> Self {
        Self { messages: messages.into_iter().collect() }
    }

    /// The messages, in the order in which they were received.
    pub fn iter(&self) -> std::slice::Iter<'_, M> {
        self.messages.iter()
    }

    /// How many they are: at least one.
    #[allow(clippy::len_without_is_empty, reason = "there is no empty batch")]
    pub fn len(&self) -> usize {
        self.messages.len()
    }

    /// All succeeded: they are deleted.
    pub fn succeed(self) -> Settled {
        self.settle(|_, _| Ok::<(), Failure>(()))
    }

    /// Says of each message, by its index in the batch, how it ended.
    pub fn settle<E: Into<Failure>>(self, mut outcome: impl FnMut(usize, &M) -> Result<(), E>) -> Settled {
        let outcomes = self.messages.iter().enumerate();
        Settled {
            outcomes: outcomes.map(|(index, message)| outcome(index, message).map_err(Into::into)).collect(),
        }
    }

    /// Handles one message after the other.
    ///
    /// ```
    /// use lifeline_consumer::{Batch, Failure, Message, Settled};
    ///
    /// async fn handle(batch: Batch<Message>) -> Result<Settled, Failure> {
    ///     Ok(batch.settle_each(|message| store(message.body)).await)
    /// }
    ///
    /// # async fn store(_: String) -> Result<(), Failure> { Ok(()) }
    /// # use lifeline_consumer::IntoHandler;
    /// # let _handler = handle.boxed();
    /// ```
    ///
    /// # Cancel safety
    /// Dropped, no message of the batch is settled.
    pub async fn settle_each<E, F>(self, mut handle: impl FnMut(M) -> F) -> Settled
    where
        E: Into<Failure>,
        F: Future<Output = Result<(), E>>,
    {
        let mut outcomes = Vec::with_capacity(self.messages.len());
        for message in self.messages {
            outcomes.push(handle(message).await.map_err(Into::into));
        }
        Settled { outcomes }
    }
}

impl<'a, M> IntoIterator for &'a Batch<M> {
    type Item = &'a M;
    type IntoIter = std::slice::Iter<'a, M>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl Settled {
    /// The messages that did not succeed, by their index in the batch.
    pub fn failures(&self) -> impl Iterator<Item = (usize, &Failure)> {
        let outcomes = self.outcomes.iter().enumerate();
        outcomes.filter_map(|(index, outcome)| Some((index, outcome.as_ref().err()?)))
    }
}

impl<M: FromMessage> HandlerInput for Batch<M> {
    type Success = Settled;

    fn erase<H: Handler<Self>>(handler: H) -> BoxHandler {
        BoxHandler(Arc::new(Batching { handler: Arc::new(handler), gathering: Arc::default() }))
    }
}

/// A handler of batches, as one of single messages.
struct Batching<H, M> {
    handler: Arc<H>,
    gathering: Arc<Mutex<Option<Gathering<M>>>>,
}

/// A batch that is not full yet, and its run.
struct Gathering<M> {
    open: Arc<Open<M>>,
    run: Run,
}

type Run = Shared<BoxFuture<'static, ()>>;

struct Open<M> {
    members: Mutex<Vec<Member<M>>>,
    full: Notify,
}

struct Member<M> {
    message: M,
    context: Context,
    outcome: oneshot::Sender<Result<(), Failure>>,
}

impl<H, M> DynHandler for Batching<H, M>
where
    H: Handler<Batch<M>>,
    M: FromMessage,
{
    fn handle<'a>(&'a self, message: &'a Message, context: Context) -> Handling<'a> {
        Box::pin(async move {
            let message = M::from_message(message).map_err(Into::into)?;
            let (outcome, mine) = oneshot::channel();
            self.join(Member { message, context, outcome }).await;
            mine.await.unwrap_or_else(|_| Err(Failure::new("the batch ended without this message")))
        })
    }
}

impl<H, M> Batching<H, M>
where
    H: Handler<Batch<M>>,
    M: FromMessage,
{
    /// Adds a message to the batch that gathers, or begins one.
    fn join(&self, member: Member<M>) -> Run {
        let (most, wait) = member.context.batch();
        let mut gathering = locked(&self.gathering);
        let Gathering { open, run } = gathering.get_or_insert_with(|| {
            let open = Arc::new(Open { members: Mutex::default(), full: Notify::new() });
            let run =
                work(Arc::clone(&self.handler), Arc::clone(&open), Arc::downgrade(&self.gathering), wait);
            Gathering { open, run: run.boxed().shared() }
        });
        let run = run.clone();
        let mut members = locked(&open.members);
        members.push(member);
        if members.len() >= most {
            open.full.notify_one();
            drop(members);
            *gathering = None;
        }
        run
    }
}

/// Waits until the batch is full, and runs the handler.
async fn work<H, M>(
    handler: Arc<H>,
    open: Arc<Open<M>>,
    gathering: Weak<Mutex<Option<Gathering<M>>>>,
    wait: Duration,
) where
    H: Handler<Batch<M>>,
    M: FromMessage,
{
    tokio::select! {
        biased;
        () = open.full.notified() => {}
        () = tokio::time::sleep(wait) => {}
    }
    // from here on nobody joins; a run that its own batch kept alive ends with this
    let closed = gathering
        .upgrade()
        .and_then(|gathering| locked(&gathering).take_if(|gathering| Arc::ptr_eq(&gathering.open, &open)));
    let members = std::mem::take(&mut *locked(&open.members));
    drop((closed, open, gathering));
    // an attempt that was cancelled meanwhile is not waited for
    let members = members.into_iter().filter(|member| !member.outcome.is_closed());
    let (mut messages, mut contexts, mut outcomes) = (Vec::new(), Vec::new(), Vec::new());
    for Member { message, context, outcome } in members {
        messages.push(message);
        contexts.push(context);
        outcomes.push(outcome);
    }
    let Some(context) = Context::of_batch(&contexts) else { return };
    let handling = async { handler.handle(Batch { messages }, context).await };
    let failure = match AssertUnwindSafe(handling).catch_unwind().await {
        Ok(Ok(settled)) if settled.outcomes.len() == outcomes.len() => {
            for (outcome, result) in outcomes.into_iter().zip(settled.outcomes) {
                outcome.send(result).ok();
            }
            return;
        }
        Ok(Ok(_)) => Failure::new("the handler settled another batch than this"),
        Ok(Err(failure)) => failure,
        Err(panic) => Failure::panicked(&*panic),
    };
    for outcome in outcomes {
        outcome.send(Err(failure.again())).ok();
    }
}

/// Nothing under these locks can panic half-way.
fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<H, M> fmt::Debug for Batching<H, M> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Batching")
    }
}
