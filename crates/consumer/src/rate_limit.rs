//! A rate limit for the handler: its runs start at least this far apart.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// Hands out turns, evenly spaced.
#[derive(Debug)]
pub(crate) struct RateLimit {
    interval: Duration,
    next: Mutex<Instant>,
}

impl RateLimit {
    pub(crate) fn new(interval: Duration) -> Self {
        Self { interval, next: Mutex::new(Instant::now()) }
    }

    /// Completes when it is the caller's turn.
    ///
    /// # Cancel safety
    /// Safe: the turn is lost.
    pub(crate) async fn turn(&self) {
        let turn = {
            // nothing under this lock can panic half-way
            let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
            let turn = (*next).max(Instant::now());
            *next = turn + self.interval;
            turn
        };
        if turn > Instant::now() {
            sleep_until(turn).await;
        }
    }
}
