//! How the world of a run is set up: queue, topic, processes, handlers, traffic.

use std::fmt;
use std::time::Duration;

/// A world without faults.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Until the last fault has ended and all but a last message are published.
    pub length: Duration,
    pub(crate) fifo: bool,
    pub(crate) raw: bool,
    /// The processes create what is missing; else the operator has made it.
    pub(crate) provision: bool,
    /// The queue's visibility timeout, in seconds. Of a queue that is provisioned it is SQS's default.
    pub(crate) visibility: u64,
    pub(crate) max_receives: u32,
    pub(crate) pods: usize,
    pub(crate) pollers: usize,
    pub(crate) in_flight: usize,
    pub(crate) wait_time: Duration,
    pub(crate) handler_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) call_timeout: Duration,
    /// Between a process and AWS, one way.
    pub(crate) latency: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) buffer: usize,
    pub(crate) bursts: Vec<Burst>,
    pub(crate) temper: Temper,
}

/// Messages that are published together.
#[derive(Debug, Clone)]
pub(crate) struct Burst {
    pub(crate) at: Duration,
    pub(crate) messages: u32,
    pub(crate) bytes: usize,
    pub(crate) groups: u32,
}

/// What handlers do with messages, each in how many of a thousand.
#[derive(Debug, Clone)]
pub(crate) struct Temper {
    /// The longest that a handler works on an ordinary message.
    pub(crate) work: Duration,
    /// Works for longer than a lease.
    pub(crate) long: u32,
    /// Fails once or twice, then succeeds.
    pub(crate) fails: u32,
    /// Fails each time.
    pub(crate) poison: u32,
    /// Panics once.
    pub(crate) panics: u32,
    /// Never ends, once.
    pub(crate) hangs: u32,
    /// Ends the process each time.
    pub(crate) aborts: u32,
    /// Is rejected each time.
    pub(crate) rejects: u32,
}

impl Temper {
    /// No handler takes long.
    pub(crate) fn is_quick(&self) -> bool {
        self.work <= Duration::from_millis(200) && self.long == 0 && self.hangs == 0
    }
}

impl fmt::Display for Setting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.fifo { "FIFO" } else { "standard" };
        let form = if self.raw { "raw" } else { "wrapped" };
        let made = if self.provision { "provisioned" } else { "made by the operator" };
        let messages: u32 = self.bursts.iter().map(|burst| burst.messages).sum();
        write!(
            f,
            "{kind} queue, {form}, {made}, visibility {} s, {} receives; {} pods with {} in flight and {} pollers, wait {:?}, \
             handlers up to {:?}, grace {:?}; {messages} messages in {} bursts over {:?}; latency {:?}",
            self.visibility,
            self.max_receives,
            self.pods,
            self.in_flight,
            self.pollers,
            self.wait_time,
            self.handler_timeout,
            self.grace,
            self.bursts.len(),
            self.length,
            self.latency,
        )
    }
}
