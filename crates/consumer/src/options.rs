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
    /// The numbers that are out of their bounds.
    pub(crate) fn problems(&self) -> impl Iterator<Item = String> {
        let count = |name, value: usize| {
            let ok = (1..=MOST_IN_FLIGHT).contains(&value);
            (!ok).then(|| format!("{name}({value}): invalid value; expected 1 to {MOST_IN_FLIGHT}"))
        };
        let time = |name, value: Duration, least: Duration, most: Duration| {
            let ok = (least..=most).contains(&value);
            (!ok).then(|| format!("{name}({value:?}): invalid value; expected {least:?} to {most:?}"))
        };
        let rate = self.rate.is_some_and(|rate| rate > LONGEST);
        [
            count("pollers", self.pollers),
            count("max_in_flight", self.max_in_flight),
            time("wait_time", self.wait_time, Duration::ZERO, LONGEST_WAIT),
            time("handler_timeout", self.handler_timeout, Duration::from_millis(1), LONGEST),
            time("shutdown_grace", self.grace, Duration::ZERO, LONGEST),
            rate.then(|| "rate_limit(…): invalid value; expected at least one run in 12 hours".to_owned()),
        ]
        .into_iter()
        .flatten()
    }

    /// Whole seconds of a wait, and one that a shutdown can finish.
    pub(crate) fn with_fitting_wait(mut self) -> Self {
        self.wait_time = Duration::from_secs(self.wait_time.as_secs());
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
            options.with_fitting_wait().wait_time.as_secs()
        };
        assert_eq!(wait(25, 20), 20);
        assert_eq!(wait(5, 20), 3);
        assert_eq!(wait(1, 20), 0);
    }

    #[test]
    fn what_is_out_of_bounds_is_named_with_its_value_and_nothing_overflows() {
        let largest = Options {
            pollers: usize::MAX,
            max_in_flight: usize::MAX,
            wait_time: Duration::MAX,
            handler_timeout: Duration::MAX,
            grace: Duration::MAX,
            body_limit: usize::MAX,
            rate: Some(Duration::MAX),
            ..Options::default()
        };
        assert_eq!(largest.problems().count(), 6);
        let smallest = Options { pollers: 0, max_in_flight: 0, handler_timeout: Duration::ZERO, ..largest };
        let problems: Vec<_> = smallest.problems().collect();
        assert_eq!(problems[0], "pollers(0): invalid value; expected 1 to 120000");
        assert_eq!(
            problems[2],
            format!("wait_time({:?}): invalid value; expected 0ns to 20s", Duration::MAX)
        );
        assert_eq!(problems[3], "handler_timeout(0ns): invalid value; expected 1ms to 43200s");
        smallest.with_fitting_wait();
        assert_eq!(Options::default().problems().count(), 0);
    }
}
