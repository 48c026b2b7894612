//! Call monitor: what a finished call means for the log, for readiness, and for the queue watch.

use std::sync::Arc;

use lifeline_health::{Condition, IntCounterVec};
use lifeline_messaging::call::Outage;
use lifeline_messaging::call::{CallError, Fault};
use tokio::sync::Notify;

use crate::guarded;

/// Watches one kind of call. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct CallMonitor {
    /// Logs a lasting failure once.
    outage: Arc<Outage>,
    aws: Condition,
    /// Wakes the queue watch: a call found the queue missing.
    queue_missing: Arc<Notify>,
    calls: IntCounterVec,
}

impl CallMonitor {
    /// For calls that the log names `what`.
    pub(crate) fn new(
        what: &'static str,
        aws: Condition,
        queue_missing: Arc<Notify>,
        calls: IntCounterVec,
    ) -> Self {
        Self { outage: Arc::new(Outage::new(what)), aws, queue_missing, calls }
    }

    /// Notes how a call ended; `ok` is the outcome of one that worked.
    pub(crate) fn note<T>(&self, result: &Result<T, CallError>, ok: impl FnOnce(&T) -> &'static str) {
        match result {
            Ok(response) => {
                self.calls.with_label_values(&[ok(response)]).inc();
                self.aws.met();
                guarded::log(|| self.outage.succeeded());
            }
            Err(error) => {
                self.calls.with_label_values(&[error.fault.label()]).inc();
                self.aws.unmet(format!("{} failed: {}", error.action, error.fault.label()));
                guarded::log(|| self.outage.failed(error));
                if error.fault == Fault::Missing {
                    self.queue_missing.notify_one();
                }
            }
        }
    }

    /// Counts entries that failed in a response that did not.
    pub(crate) fn entries_failed(&self, entries: usize) {
        if entries > 0 {
            let failed = self.calls.with_label_values(&["entry_failed"]);
            failed.inc_by(u64::try_from(entries).unwrap_or(u64::MAX));
        }
    }
}
