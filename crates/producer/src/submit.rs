//! Accepts messages: validates each one, waits for capacity (messages and bytes) within its deadline, and hands it to the
//! batcher. Everything that may wait for capacity waits here, so that nothing behind it grows.

use std::sync::Arc;
use std::time::Duration;

use lifeline_health::IntCounter;
use lifeline_messaging::span::Destination;
use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, timeout_at};

use crate::deduplication::DeduplicationIds;
use crate::entry::{Entry, FlushGuard, Permits, Reply};
use crate::error::PublishError;
use crate::message::{NewMessage, Outgoing};

/// What the batcher is handed.
pub(crate) enum Command {
    Publish(Entry),
    /// Sends what it has without lingering, and holds the guard until all of it has its result.
    Flush(FlushGuard),
}

/// Shared by all clones of a publisher.
pub(crate) struct Submit {
    pub(crate) commands: mpsc::UnboundedSender<Command>,
    pub(crate) messages: Arc<Semaphore>,
    pub(crate) bytes: Arc<Semaphore>,
    pub(crate) buffer: usize,
    pub(crate) buffer_bytes: usize,
    pub(crate) fifo: bool,
    pub(crate) deadline: Option<Duration>,
    pub(crate) ids: DeduplicationIds,
    pub(crate) destination: Destination,
    pub(crate) rejected: IntCounter,
}

impl Submit {
    /// Waits for capacity, unless a message's permit was acquired before, and for the message's bytes.
    pub(crate) async fn submit(
        &self,
        message: NewMessage,
        permit: Option<OwnedSemaphorePermit>,
        reply: Reply,
    ) -> Result<(), PublishError> {
        let outgoing = Arc::new(self.prepare(message)?);
        let since = Instant::now();
        let deadline = self.deadline(since);
        let permits = self.acquire(permit, outgoing.size);
        let permits = match deadline {
            None => permits.await,
            Some(deadline) => timeout_at(deadline, permits)
                .await
                .map_err(|_| PublishError::no_capacity(deadline - since, Arc::clone(&outgoing)))?,
        };
        let permits = permits.map_err(|_| PublishError::closed().of_outgoing(Arc::clone(&outgoing)))?;
        self.send(Entry::new(outgoing, reply, Some(permits), since, deadline))
    }

    /// Accepts a message whose permit was acquired before, without waiting for its bytes.
    pub(crate) fn submit_now(
        &self,
        message: NewMessage,
        permit: OwnedSemaphorePermit,
        reply: Reply,
    ) -> Result<(), (PublishError, Reply)> {
        let outgoing = match self.prepare(message) {
            Ok(outgoing) => Arc::new(outgoing),
            Err(error) => return Err((error, reply)),
        };
        let bytes = Arc::clone(&self.bytes).try_acquire_many_owned(self.byte_permits(outgoing.size));
        let permits = Permits { _message: permit, _bytes: bytes.ok() };
        let since = Instant::now();
        let entry = Entry::new(outgoing, reply, Some(permits), since, self.deadline(since));
        match self.commands.send(Command::Publish(entry)) {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendError(Command::Publish(entry))) => {
                Err((PublishError::closed().of_outgoing(entry.outgoing), entry.reply))
            }
            Err(_) => unreachable!("a publish was sent"),
        }
    }

    /// Waits until everything accepted so far has its result.
    pub(crate) async fn flush(&self) {
        let (guard, mut released) = mpsc::channel(1);
        if self.commands.send(Command::Flush(guard)).is_ok() {
            released.recv().await;
        }
    }

    fn prepare(&self, message: NewMessage) -> Result<Outgoing, PublishError> {
        let mut outgoing = Outgoing::new(message, self.fifo, &self.ids).map_err(|error| {
            let (invalid, message) = *error;
            self.rejected.inc();
            PublishError::invalid(invalid, Some(message))
        })?;
        outgoing.span.towards(&self.destination);
        Ok(outgoing)
    }

    fn deadline(&self, since: Instant) -> Option<Instant> {
        self.deadline.and_then(|after| since.checked_add(after))
    }

    fn send(&self, entry: Entry) -> Result<(), PublishError> {
        self.commands.send(Command::Publish(entry)).map_err(|mpsc::error::SendError(command)| match command {
            Command::Publish(entry) => PublishError::closed().of_outgoing(entry.outgoing),
            Command::Flush(_) => PublishError::closed(),
        })
    }

    async fn acquire(
        &self,
        permit: Option<OwnedSemaphorePermit>,
        size: usize,
    ) -> Result<Permits, AcquireError> {
        let message = match permit {
            Some(permit) => permit,
            None => Arc::clone(&self.messages).acquire_owned().await?,
        };
        let bytes = Arc::clone(&self.bytes).acquire_many_owned(self.byte_permits(size)).await?;
        Ok(Permits { _message: message, _bytes: Some(bytes) })
    }

    /// A message larger than the whole buffer may have all of it.
    fn byte_permits(&self, size: usize) -> u32 {
        permits(size.min(self.buffer_bytes))
    }
}

pub(crate) fn permits(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}
