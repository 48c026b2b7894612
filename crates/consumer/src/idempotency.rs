//! Idempotency: a key of each message is claimed before its handler runs, so that a message that is delivered twice is handled once.
//!
//! A process that dies between the handler's effect and the end of its claim runs the handler again. Only the effect and the key in
//! one transaction of your database close that gap, and that needs none of this: insert the message's id in the same transaction, and
//! succeed if it is there already (`insert … on conflict do nothing`).

use std::collections::{HashMap, VecDeque};
use std::future::Future;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeline_messaging::message::Message;
use tokio::time::{Instant, sleep};

use crate::context::Context;
use crate::failure::{BoxError, Failure, FailureKind};
use crate::handler::{BoxHandler, DynHandler, Handling};

/// How long a claim lasts that is not extended. It is extended three times as often while its handler runs.
const LASTS: Duration = Duration::from_secs(60);

/// What is known of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Claim {
    /// It was free, or this claim's already: the handler runs.
    New,
    /// Another claim holds it: the message is redelivered when that ends.
    Running {
        /// When that is, at the latest.
        for_at_most: Duration,
    },
    /// Its handler succeeded: the message is deleted without running it.
    Done,
}

/// Names one claim: that of one delivery of a message, over the attempts that are made in place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClaimId(pub u128);

/// Remembers which keys are being handled and which are done. [`BoxHandler::idempotent`] asks it. An error of it is *unavailable*:
/// no handler runs without a claim.
///
/// Over a database a claim is one conditional write:
///
/// ```sql
/// insert into claims (key, id, state, until) values ($1, $2, 'running', now() + $3)
///   on conflict (key) do update set id = $2, until = now() + $3
///   where claims.state = 'running' and (claims.until < now() or claims.id = $2) returning key;
/// ```
///
/// A row back is [`Claim::New`]; without one, read its state.
pub trait IdempotencyStore: Send + Sync + 'static {
    /// Claims a key for `lasts`.
    fn claim(
        &self,
        key: &str,
        id: ClaimId,
        lasts: Duration,
    ) -> impl Future<Output = Result<Claim, BoxError>> + Send;

    /// Lets a claim last for `lasts` from now.
    fn extend(
        &self,
        key: &str,
        id: ClaimId,
        lasts: Duration,
    ) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The handler succeeded: from now on the key is done. One that another claim has taken over stays its.
    fn complete(&self, key: &str, id: ClaimId) -> impl Future<Output = Result<(), BoxError>> + Send;

    /// The handler failed: the key is free.
    fn release(&self, key: &str, id: ClaimId) -> impl Future<Output = Result<(), BoxError>> + Send;
}

impl BoxHandler {
    /// Claims the key of each message before the handler runs. `key` returns `None` for a message that needs no claim.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// use lifeline_consumer::{Failure, IntoHandler, MemoryStore, Message};
    ///
    /// async fn charge(message: Message) -> Result<(), Failure> {
    ///     println!("charged for {}", message.body);
    ///     Ok(())
    /// }
    ///
    /// let store = MemoryStore::new(100_000, Duration::from_secs(3600));
    /// let _handler = charge.boxed().idempotent(store, |message| Some(message.id.clone()));
    /// ```
    #[must_use]
    pub fn idempotent(
        self,
        store: impl IdempotencyStore,
        key: impl Fn(&Message) -> Option<String> + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(Idempotent { handler: self, store, key, process: fastrand::u128(..) }))
    }
}

struct Idempotent<S, K> {
    handler: BoxHandler,
    store: S,
    key: K,
    /// Tells the claims of this handler from those of others.
    process: u128,
}

impl<S, K> DynHandler for Idempotent<S, K>
where
    S: IdempotencyStore,
    K: Fn(&Message) -> Option<String> + Send + Sync + 'static,
{
    fn handle<'a>(&'a self, message: &'a Message, context: Context) -> Handling<'a> {
        Box::pin(async move {
            let Some(key) = (self.key)(message) else { return self.handler.0.handle(message, context).await };
            let id = ClaimId(self.process.wrapping_add(u128::from(context.delivery())));
            match self.store.claim(&key, id, LASTS).await.map_err(Failure::unavailable)? {
                Claim::New => {}
                Claim::Done => return Ok(()),
                Claim::Running { for_at_most } => {
                    let elsewhere = Failure::failed(format!("{key:?} is being handled elsewhere"));
                    return Err(elsewhere.retry_after(for_at_most));
                }
            }
            let extended = async {
                loop {
                    sleep(LASTS / 3).await;
                    // one that fails is tried again before the claim ends
                    self.store.extend(&key, id, LASTS).await.ok();
                }
            };
            let classifiers = context.classifiers();
            let result = tokio::select! {
                biased;
                result = self.handler.0.handle(message, context) => result.map_err(|failure| classifiers.apply(failure)),
                () = extended => unreachable!("extending never ends"),
            };
            let noted = match &result {
                Ok(()) => self.store.complete(&key, id).await,
                // it is tried again in place, under the same claim
                Err(failure) if failure.kind() == Some(FailureKind::Unavailable) => Ok(()),
                Err(_) => self.store.release(&key, id).await,
            };
            if let Err(error) = noted {
                crate::guarded::log(|| {
                    tracing::warn!(target: "consumer", message_id = %message.id, %error,
                        "the end of an idempotency claim was not noted; it ends by itself within {LASTS:?}");
                });
            }
            result
        })
    }
}

/// Protects one process only: keys are lost with it, and another process does not see them. Bounded by their number and age; the oldest
/// that is done is forgotten first, one that is being handled never.
#[derive(Debug)]
pub struct MemoryStore {
    most: usize,
    age: Duration,
    keys: Mutex<Keys>,
}

#[derive(Debug, Default)]
struct Keys {
    states: HashMap<String, State>,
    /// The keys that are done, the oldest first.
    done: VecDeque<(Instant, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Running { id: ClaimId, until: Instant },
    Done,
}

impl MemoryStore {
    /// At most `keys` that are done, each for `age` at most.
    pub fn new(keys: usize, age: Duration) -> Self {
        Self { most: keys, age, keys: Mutex::default() }
    }

    fn keys(&self) -> MutexGuard<'_, Keys> {
        // nothing under this lock can panic half-way
        let mut keys = self.keys.lock().unwrap_or_else(PoisonError::into_inner);
        while keys.done.len() > self.most || keys.done.front().is_some_and(|(at, _)| at.elapsed() > self.age)
        {
            if let Some((_, key)) = keys.done.pop_front() {
                keys.states.remove(&key);
            }
        }
        keys
    }
}

impl IdempotencyStore for MemoryStore {
    async fn claim(&self, key: &str, id: ClaimId, lasts: Duration) -> Result<Claim, BoxError> {
        let now = Instant::now();
        let mut keys = self.keys();
        match keys.states.get(key) {
            Some(State::Done) => return Ok(Claim::Done),
            Some(State::Running { id: other, until }) if *other != id && *until > now => {
                return Ok(Claim::Running { for_at_most: *until - now });
            }
            _ => {}
        }
        keys.states.insert(key.to_owned(), State::Running { id, until: now + lasts });
        Ok(Claim::New)
    }

    async fn extend(&self, key: &str, id: ClaimId, lasts: Duration) -> Result<(), BoxError> {
        if let Some(State::Running { id: owner, until }) = self.keys().states.get_mut(key)
            && *owner == id
        {
            *until = Instant::now() + lasts;
        }
        Ok(())
    }

    async fn complete(&self, key: &str, id: ClaimId) -> Result<(), BoxError> {
        let mut keys = self.keys();
        if keys.states.get(key).is_some_and(|state| state.is_of(id)) {
            keys.states.insert(key.to_owned(), State::Done);
            keys.done.push_back((Instant::now(), key.to_owned()));
        }
        Ok(())
    }

    async fn release(&self, key: &str, id: ClaimId) -> Result<(), BoxError> {
        let mut keys = self.keys();
        if keys.states.get(key).is_some_and(|state| state.is_of(id)) {
            keys.states.remove(key);
        }
        Ok(())
    }
}

impl State {
    fn is_of(self, id: ClaimId) -> bool {
        matches!(self, Self::Running { id: owner, .. } if owner == id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);
    const MINUTE: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn a_key_is_new_then_running_then_done() {
        let store = MemoryStore::new(10, HOUR);
        let (one, two) = (ClaimId(1), ClaimId(2));
        assert_eq!(store.claim("a", one, MINUTE).await.unwrap(), Claim::New);
        assert_eq!(store.claim("a", one, MINUTE).await.unwrap(), Claim::New, "its own");
        assert_eq!(store.claim("a", two, MINUTE).await.unwrap(), Claim::Running { for_at_most: MINUTE });
        store.complete("a", one).await.unwrap();
        assert_eq!(store.claim("a", two, MINUTE).await.unwrap(), Claim::Done);
        tokio::time::advance(HOUR + MINUTE).await;
        assert_eq!(store.claim("a", two, MINUTE).await.unwrap(), Claim::New, "it was forgotten");
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_that_was_taken_over_is_not_completed_by_its_first_owner() {
        let store = MemoryStore::new(10, HOUR);
        let (one, two) = (ClaimId(1), ClaimId(2));
        store.claim("a", one, MINUTE).await.unwrap();
        store.extend("a", one, 2 * MINUTE).await.unwrap();
        tokio::time::advance(MINUTE).await;
        assert_eq!(store.claim("a", two, MINUTE).await.unwrap(), Claim::Running { for_at_most: MINUTE });
        tokio::time::advance(MINUTE).await;
        assert_eq!(store.claim("a", two, MINUTE).await.unwrap(), Claim::New);
        store.complete("a", one).await.unwrap();
        store.release("a", one).await.unwrap();
        assert!(matches!(store.claim("a", one, MINUTE).await.unwrap(), Claim::Running { .. }));
    }

    #[tokio::test(start_paused = true)]
    async fn the_oldest_done_key_is_forgotten_first_and_a_running_one_never() {
        let store = MemoryStore::new(2, HOUR);
        let id = ClaimId(1);
        store.claim("running", id, HOUR).await.unwrap();
        for key in ["a", "b", "c"] {
            store.claim(key, id, MINUTE).await.unwrap();
            store.complete(key, id).await.unwrap();
        }
        let other = ClaimId(2);
        for (key, claim) in [("a", Claim::New), ("b", Claim::Done), ("c", Claim::Done)] {
            assert_eq!(store.claim(key, other, MINUTE).await.unwrap(), claim, "{key}");
        }
        assert!(matches!(store.claim("running", other, MINUTE).await.unwrap(), Claim::Running { .. }));
    }
}
