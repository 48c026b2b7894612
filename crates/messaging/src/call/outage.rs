//! A failure that lasts: said once when it begins, now and then while it lasts, once when it is over.
//!
//! Every loop that calls AWS has one. A log that grows a line a retry is the second outage of the night.

use std::sync::Mutex;
use std::time::Duration;

use tokio::time::Instant;

use super::{CallError, Fault};

/// How often a lasting failure is said again.
const REMINDER: Duration = Duration::from_secs(30);

/// The state of one kind of call.
#[derive(Debug)]
pub struct Outage {
    what: &'static str,
    state: Mutex<Option<Lasting>>,
}

#[derive(Debug)]
struct Lasting {
    fault: Fault,
    since: Instant,
    said: Instant,
    failures: u64,
}

impl Outage {
    /// Of what, as the log names it: `receive`, `publish`.
    pub fn new(what: &'static str) -> Self {
        Self { what, state: Mutex::new(None) }
    }

    /// Counts a failure, and logs it if it is the first, of another kind than the last, or due for a reminder.
    pub fn failed(&self, error: &CallError) {
        let now = Instant::now();
        let mut state = self.state.lock().expect("no panic while it is held");
        let lasting = state.get_or_insert(Lasting { fault: error.fault, since: now, said: now, failures: 0 });
        lasting.failures += 1;
        let news = lasting.failures == 1 || lasting.fault != error.fault;
        if news || now.duration_since(lasting.said) >= REMINDER {
            lasting.fault = error.fault;
            lasting.said = now;
            tracing::warn!(failures = lasting.failures, since = ?now.duration_since(lasting.since), %error, "{} is failing; trying again", self.what);
        }
    }

    /// Ends the failure, if there was one.
    pub fn succeeded(&self) {
        if let Some(lasting) = self.state.lock().expect("no panic while it is held").take() {
            tracing::info!(failures = lasting.failures, lasted = ?lasting.since.elapsed(), "{} works again", self.what);
        }
    }
}
