//! Capacity: permits for the messages in flight, taken before a receive, so that nothing is received that could not start.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use crate::batch::LARGEST;

/// How long a poller that has a permit for one message waits for more: a receive for one costs as much as one for ten.
const LINGER: Duration = Duration::from_millis(5);

/// One permit for each message that may be in flight. Cheap to clone; clones are the same permits.
#[derive(Debug, Clone)]
pub(crate) struct Capacity {
    permits: Arc<Semaphore>,
    most: usize,
    /// Held by the poller that gathers: what comes free would be dealt out one by one to all that wait, and each would
    /// ask for one message.
    turn: Arc<Mutex<()>>,
}

impl Capacity {
    pub(crate) fn new(most: usize) -> Self {
        let most = most.clamp(1, Semaphore::MAX_PERMITS);
        Self { permits: Arc::new(Semaphore::new(most)), most, turn: Arc::default() }
    }

    /// Permits for one to ten messages.
    ///
    /// # Cancel safety
    /// Safe: permits go back.
    pub(crate) async fn take(&self) -> OwnedSemaphorePermit {
        let _turn = self.turn.lock().await;
        let one = Arc::clone(&self.permits).acquire_owned().await;
        let mut taken = one.expect("the semaphore is never closed");
        let wanted = LARGEST.min(self.most) - 1;
        if self.permits.available_permits() < wanted {
            // handlers that finish in this moment make the receive a fuller one
            let rest = Arc::clone(&self.permits).acquire_many_owned(u32::try_from(wanted).unwrap_or(0));
            if let Ok(Ok(rest)) = timeout(LINGER, rest).await {
                taken.merge(rest);
                return taken;
            }
        }
        let rest = u32::try_from(wanted.min(self.permits.available_permits())).unwrap_or(0);
        if let Ok(rest) = Arc::clone(&self.permits).try_acquire_many_owned(rest) {
            taken.merge(rest);
        }
        taken
    }

    /// Completes when all permits are back: every message received has its outcome.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn all_free(&self) {
        let mut taken = Vec::new();
        let mut left = self.most;
        // a semaphore hands out no more than `u32::MAX` at once
        while left > 0 {
            let part = u32::try_from(left).unwrap_or(u32::MAX);
            let permits = self.permits.acquire_many(part).await;
            taken.push(permits.expect("the semaphore is never closed"));
            left -= part as usize;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_receive_gets_what_is_free_and_at_most_ten() {
        let capacity = Capacity::new(14);
        let ten = capacity.take().await;
        assert_eq!(ten.num_permits(), 10);
        let four = capacity.take().await;
        assert_eq!(four.num_permits(), 4);
        assert!(capacity.take().now_or_never().is_none(), "nothing is free");
        drop(ten);
        drop(four);
        capacity.all_free().await;
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_comes_free_waits_a_moment_for_others() {
        let capacity = Capacity::new(10);
        let mut all = capacity.take().await;
        let waiting = tokio::spawn({
            let capacity = capacity.clone();
            async move { capacity.take().await.num_permits() }
        });
        tokio::task::yield_now().await;
        drop(all.split(1));
        tokio::time::sleep(Duration::from_millis(1)).await;
        drop(all);
        assert_eq!(waiting.await.expect("it ends"), 10);
    }

    #[test]
    fn more_than_a_semaphore_can_count_is_cut_to_it() {
        assert_eq!(Capacity::new(usize::MAX).most, Semaphore::MAX_PERMITS);
        assert_eq!(Capacity::new(0).most, 1);
    }
}
