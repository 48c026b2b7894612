//! Publishes a stream of messages without a task or an allocation for each result.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedSemaphorePermit;
use tokio::time::timeout;

use crate::entry::{OnResult, Reply};
use crate::error::PublishError;
use crate::message::NewMessage;
use crate::submit::{Submit, permits};

/// How long a request for several permits waits for more than one.
const GATHERING: Duration = Duration::from_millis(5);

/// Accepts messages with a tag, and calls back with the tag and the result. See [`Publisher::sink`](crate::Publisher::sink).
#[derive(Clone)]
pub struct Sink {
    pub(crate) submit: Arc<Submit>,
    pub(crate) on_result: OnResult,
}

/// Capacity for messages, acquired before there is anything to put in, so that input is not read past the buffer.
#[derive(Debug)]
#[must_use = "dropped, the capacity is free again"]
pub struct Reservation(OwnedSemaphorePermit);

impl Reservation {
    /// For how many messages.
    pub fn len(&self) -> usize {
        self.0.num_permits()
    }

    /// Whether it is used up.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl Sink {
    /// Waits for capacity for one message, and takes capacity for up to `most` if there is. With a full buffer it may wait
    /// 5 ms longer, for a sixteenth of it: a caller that woke for every message that leaves would do nothing else.
    ///
    /// # Errors
    /// Of the kind `Closed`.
    ///
    /// # Cancel safety
    /// Dropped, no capacity was taken.
    pub async fn reserve(&self, most: usize) -> Result<Reservation, PublishError> {
        let messages = &self.submit.messages;
        let closed = |_| PublishError::closed();
        let first = Arc::clone(messages).acquire_owned().await.map_err(closed)?;
        let mut taken = Reservation(first);
        let more = most.saturating_sub(1);
        let worthwhile = more.min(self.submit.buffer / 16);
        if messages.available_permits() < worthwhile {
            let gathered = Arc::clone(messages).acquire_many_owned(permits(worthwhile));
            if let Ok(gathered) = timeout(GATHERING, gathered).await {
                taken.0.merge(gathered.map_err(closed)?);
            }
        }
        let more = more.saturating_sub(taken.len() - 1).min(messages.available_permits());
        if more > 0
            && let Ok(more) = Arc::clone(messages).try_acquire_many_owned(permits(more))
        {
            taken.0.merge(more);
        }
        Ok(taken)
    }

    /// Accepts a message, waiting only for capacity for its bytes. Takes one from the reservation, and waits for capacity
    /// if that is used up.
    ///
    /// # Errors
    /// `Invalid`, `Closed`, or `TimedOut` if there was no capacity within the deadline. Then this is the message's result,
    /// and the callback is not called.
    ///
    /// # Cancel safety
    /// Dropped, the message was not accepted.
    pub async fn send_into(
        &self,
        reservation: &mut Reservation,
        tag: u64,
        message: NewMessage,
    ) -> Result<(), PublishError> {
        let permit = reservation.0.split(1);
        self.submit.submit(message, permit, self.reply(tag)).await
    }

    /// Accepts a message, waiting for capacity.
    ///
    /// # Errors
    /// As [`send_into`](Self::send_into).
    ///
    /// # Cancel safety
    /// Dropped, the message was not accepted.
    pub async fn send(&self, tag: u64, message: NewMessage) -> Result<(), PublishError> {
        self.submit.submit(message, None, self.reply(tag)).await
    }

    fn reply(&self, tag: u64) -> Reply {
        Reply::Tagged { tag, on_result: Arc::clone(&self.on_result) }
    }
}

impl fmt::Debug for Sink {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sink").finish_non_exhaustive()
    }
}
