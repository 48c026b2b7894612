//! Company: whether what is under way could still join a batch that waits to fill.
//!
//! A delete lingers for others. Where no handler runs and no receive is in the air none can come, and to linger is to
//! stand still: with room for one message, a quick handler and 3 ms of lingering there would be 300 messages a second.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

/// Counts what is under way. Cheap to clone; clones are one count.
#[derive(Debug, Clone, Default)]
pub(crate) struct Company(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    handlers: AtomicU64,
    receives: AtomicU64,
    fewer: Notify,
}

/// Counts until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    of: Arc<Counts>,
    which: fn(&Counts) -> &AtomicU64,
}

impl Company {
    /// A handler that is about to run.
    pub(crate) fn handler(&self) -> UnderWay {
        self.count(|counts| &counts.handlers)
    }

    /// A receive that is about to be made.
    pub(crate) fn receive(&self) -> UnderWay {
        self.count(|counts| &counts.receives)
    }

    fn count(&self, which: fn(&Counts) -> &AtomicU64) -> UnderWay {
        which(&self.0).fetch_add(1, Ordering::AcqRel);
        UnderWay { of: Arc::clone(&self.0), which }
    }

    /// Handlers that run now, or are about to.
    pub(crate) fn handlers(&self) -> u64 {
        self.0.handlers.load(Ordering::Acquire)
    }

    /// Completes when no handler runs and no receive is in the air; of a FIFO queue, when no handler runs, since the
    /// next of a group waits for the delete of the one before.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn none(&self, fifo: bool) {
        loop {
            let fewer = self.0.fewer.notified();
            tokio::pin!(fewer);
            fewer.as_mut().enable();
            if self.handlers() == 0 && (fifo || self.0.receives.load(Ordering::Acquire) == 0) {
                return;
            }
            fewer.await;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        if (self.which)(&self.of).fetch_sub(1, Ordering::AcqRel) == 1 {
            self.of.fewer.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test]
    async fn a_fifo_queue_does_not_wait_for_receives() {
        let company = Company::default();
        let (handler, receive) = (company.handler(), company.receive());
        let mut none = Box::pin(company.none(false));
        let mut none_of_fifo = Box::pin(company.none(true));
        assert!(none.as_mut().now_or_never().is_none() && none_of_fifo.as_mut().now_or_never().is_none());
        drop(handler);
        assert!(none.as_mut().now_or_never().is_none());
        assert!(none_of_fifo.now_or_never().is_some());
        drop(receive);
        assert!(none.now_or_never().is_some());
    }
}
