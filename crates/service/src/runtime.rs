//! The runtime of a service: how many threads its tasks share.
//!
//! The default is one thread: waking another costs a message more than that thread saves it (`bench/README.md`), and a pod
//! has one CPU anyway. Health, signals, input and trace export have threads of their own and do not count.

use std::io;

use tokio::runtime::{Builder, Runtime};

/// `THREADS`: 1 or more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Threads(usize);

impl Threads {
    /// At least one.
    #[must_use]
    pub fn new(threads: usize) -> Self {
        Self(threads.max(1))
    }

    /// A runtime with this many threads. A single one is the thread that calls `block_on`.
    ///
    /// # Errors
    /// The system has no thread or descriptor to give.
    pub fn runtime(self) -> io::Result<Runtime> {
        match self.0 {
            // without the queues that others steal from, and their locks
            1 => Builder::new_current_thread().enable_all().build(),
            threads => Builder::new_multi_thread().worker_threads(threads).enable_all().build(),
        }
    }
}
