//! What the tests of the binary share: a process that ends with its test, and waiting for what it does.

use std::process::Child;
use std::time::{Duration, Instant};

/// How long anything may take that is expected to happen.
pub(crate) const SOON: Duration = Duration::from_secs(30);

/// A process that ends with whoever holds it.
pub(crate) struct Process(pub(crate) Child);

impl Drop for Process {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[track_caller]
pub(crate) fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
