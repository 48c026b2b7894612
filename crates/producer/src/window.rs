//! Limits concurrent calls and their size: additive increase, multiplicative decrease (AIMD).
//!
//! SNS does not tell clients its quota, which counts messages per second, and no link tells its capacity. Both are probed:
//! throttling and timeouts halve the number of concurrent calls, success widens it step by step. Calls that take long
//! already are not joined by more: on a link that is full, one more call makes all of them slower. Below one call the
//! limit becomes a pause between calls, for quotas far below one batch per round trip. A timeout also halves the bytes
//! that a batch may have.

use std::time::Duration;

use tokio::time::Instant;

/// The narrowest: one call in the time of 64 round trips.
const NARROWEST: f64 = 1.0 / 64.0;
/// A round trip counts for at least this much in pauses: an emulator answers in less, and its quota is as real.
const SHORTEST_TRIP: Duration = Duration::from_millis(20);
/// Bytes of a batch: never less than this because of timeouts.
const SMALLEST_FILL: usize = 16 << 10;
/// And unlimited from here on: SNS's largest batch.
const LARGEST_FILL: usize = 1 << 20;

#[derive(Debug)]
pub(crate) struct Window {
    widest: f64,
    width: f64,
    /// Until the first throttling or timeout: one more concurrent call for each success.
    slow_start: bool,
    /// A moving average over successful calls.
    trip: Duration,
    next_launch: Option<Instant>,
    fill: usize,
}

impl Window {
    pub(crate) fn new(widest: usize) -> Self {
        let widest = widest.max(1) as f64;
        Self {
            widest,
            width: widest.min(2.0),
            slow_start: true,
            trip: SHORTEST_TRIP,
            next_launch: None,
            fill: LARGEST_FILL,
        }
    }

    /// How many calls may be in flight: 1 or more.
    pub(crate) fn calls(&self) -> usize {
        // positive and small: the conversion is exact
        self.width.max(1.0) as usize
    }

    /// Bytes that a batch of several messages may have.
    pub(crate) fn fill(&self) -> usize {
        self.fill
    }

    /// Before this, no call may be launched.
    pub(crate) fn opens(&self) -> Option<Instant> {
        self.next_launch
    }

    /// A call took `trip` of the `limit` that it had.
    pub(crate) fn succeeded(&mut self, trip: Duration, limit: Duration, now: Instant) {
        self.trip = (self.trip * 7 + trip.max(SHORTEST_TRIP)) / 8;
        // a slow call leaves the window as it is, one near its limit narrows it
        if trip * 4 <= limit {
            let growth = match self.slow_start {
                true if trip * 16 <= limit => 1.0,
                _ if self.width < 1.0 => self.width / 8.0,
                _ => 1.0 / self.width,
            };
            self.width = (self.width + growth).min(self.widest);
            self.fill = (self.fill + self.fill / 4).min(LARGEST_FILL);
        } else if trip * 2 > limit && self.width > 1.0 {
            self.width = (self.width * 0.75).max(1.0);
            self.slow_start = false;
        }
        self.next_launch = (self.width < 1.0).then(|| now + self.trip.mul_f64(1.0 / self.width - 1.0));
    }

    pub(crate) fn throttled(&mut self) {
        self.slow_start = false;
        self.width = (self.width / 2.0).max(NARROWEST);
    }

    /// A call of so many bytes timed out.
    pub(crate) fn timed_out(&mut self, bytes: usize) {
        self.slow_start = false;
        self.width = (self.width / 2.0).max(self.width.min(1.0));
        self.fill = (bytes.min(self.fill) / 2).max(SMALLEST_FILL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(20);
    const LIMIT: Duration = Duration::from_secs(5);

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_window_and_success_recovers_it() {
        let now = Instant::now();
        let mut window = Window::new(16);
        (0..14).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        assert_eq!(window.calls(), 16, "one more for each success at first");
        window.throttled();
        window.throttled();
        assert_eq!(window.calls(), 4);
        (0..8).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        assert!((5..=6).contains(&window.calls()), "then step by step: {}", window.calls());
        (0..200).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        assert_eq!(window.calls(), 16, "and never wider");
    }

    #[tokio::test(start_paused = true)]
    async fn below_one_call_it_pauses_and_it_never_closes() {
        let now = Instant::now();
        let mut window = Window::new(16);
        (0..100).for_each(|_| window.throttled());
        assert_eq!(window.calls(), 1);
        window.succeeded(TRIP, LIMIT, now);
        let pause = window.opens().unwrap() - now;
        assert!(pause > TRIP && pause < TRIP * 64, "{pause:?}");
        (0..100).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        assert_eq!(window.opens(), None);
    }

    #[tokio::test(start_paused = true)]
    async fn a_timeout_makes_calls_fewer_and_smaller_and_success_grows_both() {
        let now = Instant::now();
        let mut window = Window::new(16);
        (0..14).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        window.timed_out(256 << 10);
        assert_eq!((window.calls(), window.fill()), (8, 128 << 10));
        (0..20).for_each(|_| window.timed_out(1));
        assert_eq!((window.calls(), window.fill(), window.opens()), (1, SMALLEST_FILL, None));
        (0..200).for_each(|_| window.succeeded(TRIP, LIMIT, now));
        assert_eq!((window.calls(), window.fill()), (16, LARGEST_FILL));
    }

    #[tokio::test(start_paused = true)]
    async fn a_full_link_is_not_given_more_calls() {
        let now = Instant::now();
        let mut window = Window::new(16);
        let before = window.calls();
        (0..50).for_each(|_| window.succeeded(LIMIT / 3, LIMIT, now));
        assert_eq!(window.calls(), before);
        (0..50).for_each(|_| window.succeeded(LIMIT * 3 / 4, LIMIT, now));
        assert_eq!(window.calls(), 1, "near their limit they become fewer before they time out");
    }
}
