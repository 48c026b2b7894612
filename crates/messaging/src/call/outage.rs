//! Logs a lasting failure when it begins, every 30 s while it lasts, and when it ends.
//!
//! Every loop that calls AWS uses one, so that retries do not flood the log.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

use super::CallError;

/// How often a lasting failure of one kind is logged again.
const REMINDER: Duration = Duration::from_secs(30);

/// The state of one kind of call.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    state: Mutex<Option<Lasting>>,
}

#[derive(Debug)]
struct Lasting {
    since: Instant,
    failures: u64,
    /// When each kind of failure was last logged: kinds that alternate are no news each time.
    logged: BTreeMap<&'static str, Instant>,
}

impl Outage {
    /// Of what, as the log names it: `receiving`, `publishing`.
    pub fn new(what: &'static str) -> Self {
        Self { what, state: Mutex::new(None) }
    }

    /// Counts a failure, and logs it if it is the first of its kind, or due for a reminder.
    pub fn failed(&self, error: &CallError) {
        let now = Instant::now();
        let mut state = self.state();
        let lasting =
            state.get_or_insert_with(|| Lasting { since: now, failures: 0, logged: BTreeMap::new() });
        lasting.failures += 1;
        let (failures, since) = (lasting.failures, now.duration_since(lasting.since));
        let last = lasting.logged.get(error.fault.label());
        if last.is_some_and(|at| now.duration_since(*at) < REMINDER) {
            return;
        }
        lasting.logged.insert(error.fault.label(), now);
        // not while it is locked: a subscriber that panics must not take the next failure with it
        drop(state);
        tracing::warn!(failures, ?since, %error, "{} is failing; trying again", self.what);
    }

    /// Ends the failure, if there was one.
    pub fn succeeded(&self) {
        let ended = self.state().take();
        if let Some(Lasting { since, failures, .. }) = ended {
            tracing::info!(failures, lasted = ?since.elapsed(), "{} works again", self.what);
        }
    }

    /// Nothing under this lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, Option<Lasting>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
