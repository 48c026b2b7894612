//! The discrete-event simulation: our consumer and our producer, event by event, on a wire and an endpoint.
//!
//! | part | file |
//! | --- | --- |
//! | what is simulated, and what came out | here |
//! | the order of events | `agenda` |
//! | permits, handed out as tokio's semaphore does | `room` |
//! | connections, handed out as hyper's pool does | `pool` |
//! | processor time | `processor` |
//! | pollers, handlers and deletes | `consumer` |
//! | the batcher and its window | `producer` |

mod agenda;
pub(crate) mod consumer;
mod pool;
mod processor;
pub(crate) mod producer;
mod room;

use std::time::Duration;

/// Nanoseconds since the beginning.
pub(crate) type Time = u64;

pub(crate) fn nanos(duration: Duration) -> Time {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// tokio's timers end at the next whole millisecond.
pub(crate) fn timer(at: Time) -> Time {
    at.next_multiple_of(1_000_000)
}

/// Where the calls go and what they cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Place {
    /// The wire's.
    pub(crate) round_trip: Duration,
    /// Round trips before a connection's first byte.
    pub(crate) setup_trips: u32,
    /// What a call takes beyond the wire: the endpoint's own time.
    pub(crate) service: Duration,
    /// Processor time a message on either side of the handler or of a publish, all together.
    pub(crate) message_cost: Duration,
    /// How many cores work on that.
    pub(crate) cores: usize,
}

impl Place {
    /// A call on an open connection.
    pub(crate) fn call(&self) -> Duration {
        self.round_trip + self.service
    }

    fn setup(&self) -> Duration {
        self.round_trip * self.setup_trips
    }
}

/// When how much of it was done, to tell the beginning from the steady state.
#[derive(Debug, Clone, Default)]
pub(crate) struct Course {
    done: Vec<(Time, u64)>,
}

impl Course {
    pub(crate) fn note(&mut self, at: Time, done: u64) {
        self.done.push((at, done));
    }

    /// Messages a second over the middle half.
    pub(crate) fn steady_rate(&self) -> f64 {
        let Some((_, all)) = self.done.last().copied() else { return 0.0 };
        let when = |share: f64| self.done.iter().find(|(_, done)| *done as f64 >= all as f64 * share);
        match (when(0.4), when(0.9)) {
            (Some((from, first)), Some((to, last))) if to > from => {
                (last - first) as f64 * 1e9 / (to - from) as f64
            }
            _ => 0.0,
        }
    }
}
