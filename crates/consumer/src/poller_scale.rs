//! How many pollers work: one when the queue is idle, more while receives come back full.
//!
//! Every poller of an idle queue costs three calls a minute and finds nothing, and one poller of a full queue
//! receives ten messages a round trip and no more. So a full receive calls one more poller in, an empty one sends the
//! poller that made it home, and a failure sends home all but one: an endpoint in trouble is asked by one.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The number wanted, and the bell that rings when it changes.
#[derive(Debug)]
pub(crate) struct Crew {
    most: usize,
    wanted: AtomicUsize,
    changed: Notify,
    /// Held by the poller that gathers room: see `Poller::room`.
    pub(crate) gathering: tokio::sync::Mutex<()>,
}

impl Crew {
    /// One poller at first, at most `most`.
    pub(crate) fn new(most: usize) -> Self {
        Self {
            most: most.max(1),
            wanted: AtomicUsize::new(1),
            changed: Notify::new(),
            gathering: tokio::sync::Mutex::new(()),
        }
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
    pub(crate) async fn called(&self, number: usize) {
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
        let crew = Crew::new(4);
        assert!(crew.wants(1) && !crew.wants(2));
        crew.full(1);
        crew.full(2);
        crew.full(1);
        assert!(crew.wants(3) && !crew.wants(4), "a full receive of the first does not send the third home");
        crew.full(3);
        crew.full(4);
        assert!(crew.wants(4) && !crew.wants(5));
        crew.empty(3);
        assert!(crew.wants(2) && !crew.wants(3));
        crew.empty(1);
        assert!(crew.wants(1) && !crew.wants(2), "the first always stays");
        crew.full(1);
        crew.failed();
        assert!(crew.wants(1) && !crew.wants(2));
    }

    #[tokio::test]
    async fn a_poller_that_is_called_wakes() {
        let crew = std::sync::Arc::new(Crew::new(2));
        let waiting = tokio::spawn({
            let crew = std::sync::Arc::clone(&crew);
            async move { crew.called(2).await }
        });
        tokio::task::yield_now().await;
        crew.full(1);
        waiting.await.unwrap();
    }
}
