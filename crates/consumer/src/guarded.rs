//! Guards the worker against a subscriber that panics, as `tracing_subscriber::fmt()` does when its output is closed: a log
//! line is never worth a message.

use std::panic::{AssertUnwindSafe, catch_unwind};

/// Logs; a panic in there ends there.
pub(crate) fn log(line: impl FnOnce()) {
    catch_unwind(AssertUnwindSafe(line)).ok();
}
