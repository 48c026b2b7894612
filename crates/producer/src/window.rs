//! How much may be in the air: additive increase, multiplicative decrease.
//!
//! SNS's quota counts messages a second and is not published to the client, so it is felt for: each throttling halves
//! the window, each success widens it a little. Below one batch the window becomes a pause between batches, so that
//! a quota far under one batch a round trip is met too, and not by trial and error at full speed.

use std::time::Duration;

use tokio::time::Instant;

/// The narrowest: one batch in the time of 64 round trips.
const NARROWEST: f64 = 1.0 / 64.0;
/// A round trip counts for at least this much in pauses: an emulator answers in less, and its quota is as real.
const SHORTEST_TRIP: Duration = Duration::from_millis(20);

#[derive(Debug)]
pub(crate) struct Window {
    widest: f64,
    width: f64,
    /// A moving average over successful calls.
    trip: Duration,
    next_launch: Option<Instant>,
}

impl Window {
    pub(crate) fn new(widest: usize) -> Self {
        let widest = widest.max(1) as f64;
        Self { widest, width: widest.min(4.0), trip: SHORTEST_TRIP, next_launch: None }
    }

    /// How many batches may be in the air: 1 or more.
    pub(crate) fn batches(&self) -> usize {
        // positive and small: the conversion is exact
        self.width.max(1.0) as usize
    }

    /// Before this, no batch may be launched.
    pub(crate) fn opens(&self) -> Option<Instant> {
        self.next_launch
    }

    pub(crate) fn succeeded(&mut self, trip: Duration, now: Instant) {
        self.trip = (self.trip * 7 + trip.max(SHORTEST_TRIP)) / 8;
        let growth = if self.width < 1.0 { self.width / 8.0 } else { 1.0 / self.width };
        self.width = (self.width + growth).min(self.widest);
        self.next_launch = (self.width < 1.0).then(|| now + self.trip.mul_f64(1.0 / self.width - 1.0));
    }

    pub(crate) fn throttled(&mut self) {
        self.width = (self.width / 2.0).max(NARROWEST);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRIP: Duration = Duration::from_millis(20);

    #[tokio::test(start_paused = true)]
    async fn throttling_halves_the_window_and_success_recovers_it() {
        let now = Instant::now();
        let mut window = Window::new(16);
        (0..200).for_each(|_| window.succeeded(TRIP, now));
        assert_eq!(window.batches(), 16);
        window.throttled();
        window.throttled();
        assert_eq!(window.batches(), 4);
        (0..200).for_each(|_| window.succeeded(TRIP, now));
        assert_eq!(window.batches(), 16, "and never wider");
    }

    #[tokio::test(start_paused = true)]
    async fn below_one_batch_it_pauses_and_it_never_closes() {
        let now = Instant::now();
        let mut window = Window::new(16);
        (0..100).for_each(|_| window.throttled());
        assert_eq!(window.batches(), 1);
        window.succeeded(TRIP, now);
        let pause = window.opens().unwrap() - now;
        assert!(pause > TRIP && pause < TRIP * 64, "{pause:?}");
        (0..100).for_each(|_| window.succeeded(TRIP, now));
        assert_eq!(window.opens(), None);
    }
}
