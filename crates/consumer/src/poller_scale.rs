//! Poller scaling: one poller when the queue is idle, more while receives come back full.
//!
//! Each poller of an idle queue costs three calls per minute and finds nothing, and one poller of a full queue receives ten
//! messages per round trip and no more. So a full receive starts one more poller, an empty one stops the poller that made
//! it, and a failure stops all but one, so that a struggling endpoint gets one request at a time.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The number of pollers wanted.
#[derive(Debug)]
pub(crate) struct PollerScale {
    most: usize,
    wanted: AtomicUsize,
    changed: Notify,
}

impl PollerScale {
    /// One poller at first, at most `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self { most: most.max(1), wanted: AtomicUsize::new(1), changed: Notify::new() }
    }

    pub(crate) fn most(&self) -> usize {
        self.most
    }

    /// Whether poller `number` (from 1) should work.
    pub(crate) fn wants(&self, number: usize) -> bool {
        number <= self.wanted.load(Ordering::Relaxed)
    }

    /// A receive of poller `number` came back full: one more than it may work.
    pub(crate) fn full(&self, number: usize) {
        let more = (number + 1).min(self.most);
        if self.wanted.fetch_max(more, Ordering::Relaxed) < more {
            self.changed.notify_waiters();
        }
    }

    /// A receive of poller `number` was empty: it and those after it may go, but never the first.
    pub(crate) fn empty(&self, number: usize) {
        self.wanted.fetch_min(number.saturating_sub(1).max(1), Ordering::Relaxed);
    }

    /// A receive failed.
    pub(crate) fn failed(&self) {
        self.wanted.store(1, Ordering::Relaxed);
    }

    /// Completes when poller `number` is wanted.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn until_wanted(&self, number: usize) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.wants(number) {
                return;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_when_idle_and_more_while_receives_come_back_full() {
        let scale = PollerScale::new(4);
        assert!(scale.wants(1) && !scale.wants(2));
        scale.full(1);
        scale.full(2);
        scale.full(1);
        assert!(scale.wants(3) && !scale.wants(4), "a full receive of the first does not stop the third");
        scale.full(3);
        scale.full(4);
        assert!(scale.wants(4) && !scale.wants(5));
        scale.empty(3);
        assert!(scale.wants(2) && !scale.wants(3));
        scale.empty(1);
        assert!(scale.wants(1) && !scale.wants(2), "the first always stays");
        scale.full(1);
        scale.failed();
        assert!(scale.wants(1) && !scale.wants(2));
    }

    #[tokio::test]
    async fn a_poller_that_is_wanted_starts() {
        let scale = std::sync::Arc::new(PollerScale::new(2));
        let waiting = tokio::spawn({
            let scale = std::sync::Arc::clone(&scale);
            async move { scale.until_wanted(2).await }
        });
        tokio::task::yield_now().await;
        scale.full(1);
        waiting.await.unwrap();
    }
}
