//! Options: the numbers of a worker, their bounds, and what follows from them.

use std::time::Duration;

use lifeline_messaging::envelope::Envelope;

use crate::batch::LARGEST;

/// The longest poll that SQS knows.
const LONGEST_WAIT: Duration = Duration::from_secs(20);

/// The longest that SQS keeps a message invisible; no grace period or timeout need be longer.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// The most messages in flight that SQS allows a standard queue.
const MOST_IN_FLIGHT: usize = 120_000;

#[derive(Debug, Clone)]
pub(crate) struct Options {
    pub(crate) pollers: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) wait_time: Duration,
    pub(crate) envelope: Envelope,
    pub(crate) handler_timeout: Duration,
    pub(crate) grace: Duration,
    pub(crate) body_limit: usize,
    /// Leases on a thread of their own.
    pub(crate) lease_thread: bool,
    /// The most messages of a batch, and how long they are waited for.
    pub(crate) batch: Option<(usize, Duration)>,
    /// The time between two runs of the handler, at least.
    pub(crate) rate: Option<Duration>,
}

/// What an attempt needs of them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Handling {
    /// How long a handler may run.
    pub(crate) timeout: Duration,
    /// How long a handler that was asked to stop may take to do so.
    pub(crate) wind_down: Duration,
    /// How many bytes of a body the log shows.
    pub(crate) body_limit: usize,
    /// The time between two runs, at least.
    pub(crate) rate: Option<Duration>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            pollers: 4,
            max_in_flight: 64,
            wait_time: LONGEST_WAIT,
            envelope: Envelope::Detect,
            handler_timeout: Duration::from_secs(5 * 60),
            grace: Duration::from_secs(25),
            body_limit: 1024,
            lease_thread: false,
            batch: None,
            rate: None,
        }
    }
}

impl Options {
    /// Every number within its bounds, and a wait that a shutdown can finish.
    pub(crate) fn within_bounds(mut self) -> Self {
        self.pollers = self.pollers.clamp(1, MOST_IN_FLIGHT);
        self.max_in_flight = self.max_in_flight.clamp(1, MOST_IN_FLIGHT);
        self.wait_time = Duration::from_secs(self.wait_time.min(LONGEST_WAIT).as_secs());
        self.handler_timeout = self.handler_timeout.min(LONGEST);
        self.grace = self.grace.min(LONGEST);
        let longest = self.grace.saturating_sub(self.reserve()).saturating_sub(Duration::from_secs(1));
        if self.wait_time > longest {
            self.wait_time = Duration::from_secs(longest.as_secs());
        }
        self
    }

    /// What one receive brings, which starts within a few milliseconds.
    pub(crate) fn batch(&self) -> (usize, Duration) {
        self.batch.unwrap_or((LARGEST.min(self.max_in_flight), Duration::from_millis(5)))
    }

    pub(crate) fn handling(&self) -> Handling {
        Handling {
            rate: self.rate,
            timeout: self.handler_timeout,
            wind_down: self.reserve() / 2,
            body_limit: self.body_limit,
        }
    }

    /// How much of the grace period is kept for cancelling and releasing: a fifth, at most 2 s. Half of it is for
    /// handlers to stop, the other half for releasing their messages.
    pub(crate) fn reserve(&self) -> Duration {
        (self.grace / 5).min(Duration::from_secs(2))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_wait_that_a_shutdown_could_not_finish_is_shortened() {
        let wait = |grace: u64, wait: u64| {
            let options = Options {
                grace: SECOND * grace as u32,
                wait_time: SECOND * wait as u32,
                ..Options::default()
            };
            options.within_bounds().wait_time.as_secs()
        };
        assert_eq!(wait(25, 20), 20);
        assert_eq!(wait(5, 20), 3);
        assert_eq!(wait(1, 20), 0);
        assert_eq!(wait(60, 30), 20, "SQS knows no longer poll");
    }

    #[test]
    fn the_largest_numbers_are_cut_and_overflow_nothing() {
        let options = Options {
            pollers: usize::MAX,
            max_in_flight: usize::MAX,
            wait_time: Duration::MAX,
            envelope: Envelope::Detect,
            handler_timeout: Duration::MAX,
            grace: Duration::MAX,
            body_limit: usize::MAX,
            lease_thread: false,
            ..Options::default()
        };
        let options = options.within_bounds();
        assert_eq!((options.max_in_flight, options.grace), (MOST_IN_FLIGHT, LONGEST));
        let smallest = Options { pollers: 0, max_in_flight: 0, grace: Duration::ZERO, ..options };
        let smallest = smallest.within_bounds();
        assert_eq!((smallest.pollers, smallest.max_in_flight, smallest.wait_time), (1, 1, Duration::ZERO));
    }
}
