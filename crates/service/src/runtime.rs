//! The runtime of a service: how many threads its tasks share.
//!
//! One, unless `THREADS` says more: to wake another thread costs a message more than what that one takes off it
//! (`bench/README.md`), and a pod has one processor anyway. Health, signals, input and exported spans have threads of their
//! own and do not count.

use std::io;

use tokio::runtime::{Builder, Runtime};

use crate::settings::{Reader, Setting, count};

/// The row of the table.
pub const SETTINGS: &[Setting] = &[Setting {
    name: "THREADS",
    default: Some("1"),
    help: "threads that work, 1 to 256: more are faster for large messages, and cost more processor time",
}];

/// `THREADS`: 1 to 256.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads(usize);

impl Threads {
    /// Reads `THREADS`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        Self(reader.read("THREADS", count(1..=256)))
    }

    /// A runtime of so many: of one, that which calls `block_on`.
    ///
    /// # Errors
    /// The system has no thread or descriptor to give.
    pub fn runtime(self) -> io::Result<Runtime> {
        match self.0 {
            // without the queues that others steal from, and the locks of these
            1 => Builder::new_current_thread().enable_all().build(),
            threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        }
    }
}
