//! How many connections the server keeps, and how long it waits for each.

use std::time::Duration;

/// What clients may take. The default is meant for probes, Prometheus and people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Connections at a time (512: half of the 1024 file descriptors that a process commonly has). One holds up to
    /// 8 KiB of a request here, all together 4 MiB of answers, and one up to 48 KiB in the kernel.
    pub connections: usize,
    /// From a connection to its first byte, and from the first byte of a request to its last (5 s).
    pub head: Duration,
    /// Between an answer and the next request on the same connection (75 s, more than a usual scrape interval).
    pub idle: Duration,
    /// For a client to take an answer (5 s).
    pub answer: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 512,
            head: Duration::from_secs(5),
            idle: Duration::from_secs(75),
            answer: Duration::from_secs(5),
        }
    }
}
