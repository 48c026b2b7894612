//! The context of a message: what a handler may ask about its lease.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::time::Instant;

use crate::lease::view::{Cancelled, View};

/// What a handler may ask about the lease of its message. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    view: Arc<View>,
    timeout_at: Instant,
    cutoff: Arc<OnceLock<Instant>>,
}

impl Context {
    pub(crate) fn new(view: Arc<View>, timeout_at: Instant, cutoff: Arc<OnceLock<Instant>>) -> Self {
        Self { view, timeout_at, cutoff }
    }

    /// Until when the handler may run: `HANDLER_TIMEOUT` from its start, or the moment at which a shutdown that has begun
    /// cancels handlers. Ask again after waiting: a shutdown may have begun meanwhile.
    ///
    /// ```
    /// use lifeline_consumer::{Context, Failure, Message};
    ///
    /// async fn handle(message: Message, context: Context) -> Result<(), Failure> {
    ///     tokio::time::timeout_at(context.deadline(), store(&message.body)).await?;
    ///     Ok(())
    /// }
    /// # async fn store(_: &str) {}
    /// ```
    pub fn deadline(&self) -> Instant {
        self.cutoff.get().map_or(self.timeout_at, |&cutoff| cutoff.min(self.timeout_at))
    }

    /// Completes when the handler should stop, with the reason. A handler that goes on is dropped soon after: a
    /// second, or half of what a short grace period has left.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost by dropping it and asking again.
    pub async fn cancelled(&self) -> Cancelled {
        self.view.cancelled().await
    }

    /// Whether the lease is lost: the message may be handled elsewhere, and will not be deleted from here.
    pub fn lease_lost(&self) -> bool {
        self.view.is_lost()
    }

    /// For how long the message is ours as things stand. It is extended before it ends, up to 12 hours from the
    /// receive, as long as SQS responds.
    pub fn lease_remaining(&self) -> Duration {
        self.view.remaining()
    }
}
