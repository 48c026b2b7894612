//! Limits messages per second, evenly: time that was lost is not made up for in a burst.
//!
//! The input is read at the rate, one message a turn, and batches are sent at the rate, so that what was buffered during an
//! outage does not leave all at once after it.

use std::time::Duration;

use tokio::time::Instant;
#[cfg(feature = "service")]
use tokio::time::sleep_until;

use crate::limits::MAX_ENTRIES;

/// How far the input may be behind and still catch up: timers wake a millisecond late, and a rate above 1,000 needs several
/// messages a wake.
const SLACK: Duration = Duration::from_millis(10);

/// Messages taken together if the rate does not say.
#[cfg(feature = "service")]
const MOST: f64 = 64.0;

/// The longest time between two messages: a rate that is lower counts as this one.
const LONGEST: Duration = Duration::from_secs(100 * 365 * 86_400);

#[derive(Debug)]
pub(crate) struct RateLimit {
    /// `None` is unlimited.
    interval: Option<Duration>,
    slack: Duration,
    due: Instant,
}

impl RateLimit {
    /// `rate` messages per second; none, or 0, is unlimited.
    pub(crate) fn new(rate: Option<f64>) -> Self {
        let interval = rate.filter(|rate| *rate > 0.0).map(|rate| {
            Duration::try_from_secs_f64(1.0 / rate).unwrap_or(LONGEST).clamp(Duration::from_nanos(1), LONGEST)
        });
        Self { interval, slack: SLACK, due: Instant::now() }
    }

    /// Of a limit that is applied a batch at a time: a batch may leave if it is due, and the next one is due later.
    pub(crate) fn for_batches(rate: Option<f64>) -> Self {
        let limit = Self::new(rate);
        let batch = limit.interval.unwrap_or_default().saturating_mul(MAX_ENTRIES as u32);
        Self { slack: SLACK.max(batch.min(Duration::from_secs(1))), ..limit }
    }

    /// Waits for the next message's turn.
    ///
    /// # Cancel safety
    /// Dropped, the turn is not taken.
    #[cfg(feature = "service")]
    pub(crate) async fn turn(&mut self) {
        if self.interval.is_none() {
            return;
        }
        let now = Instant::now();
        if self.due > now {
            sleep_until(self.due).await;
        }
        self.take(1, now);
    }

    /// Nothing may leave before this.
    pub(crate) fn opens(&self) -> Option<Instant> {
        self.interval.map(|_| self.due)
    }

    /// So many messages leave now.
    pub(crate) fn take(&mut self, messages: usize, now: Instant) {
        let Some(interval) = self.interval else { return };
        let behind = now.checked_sub(self.slack).unwrap_or(now);
        let taken = interval.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX)).min(LONGEST);
        self.due = self.due.max(behind) + taken;
    }

    /// So many messages were taken and did not leave.
    pub(crate) fn put_back(&mut self, messages: usize) {
        let Some(interval) = self.interval else { return };
        let taken = interval.saturating_mul(u32::try_from(messages).unwrap_or(u32::MAX)).min(LONGEST);
        self.due = self.due.checked_sub(taken).unwrap_or(self.due);
    }

    /// How many messages to read together: what is due within the slack, so that few wait for their turn when the end
    /// comes.
    #[cfg(feature = "service")]
    pub(crate) fn most(&self) -> usize {
        let due = self.interval.map_or(MOST, |interval| SLACK.as_secs_f64() / interval.as_secs_f64());
        // between 1 and 64: exact
        due.clamp(1.0, MOST) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_rate_is_steady_and_a_delay_is_not_made_up_for_in_a_burst() {
        let begun = Instant::now();
        let mut rate = RateLimit::new(Some(10.0));
        for n in 0..20 {
            rate.turn().await;
            let expected = Duration::from_millis(100) * n;
            let late = begun.elapsed().saturating_sub(expected);
            assert!(begun.elapsed() >= expected && late < Duration::from_millis(5), "{n}: {late:?}");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let resumed = Instant::now();
        for _ in 0..11 {
            rate.turn().await;
        }
        assert!(resumed.elapsed() >= Duration::from_millis(890), "{:?}", resumed.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_above_the_timers_grain_is_met() {
        let begun = Instant::now();
        let mut rate = RateLimit::new(Some(5000.0));
        for _ in 0..5000 {
            rate.turn().await;
        }
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(950) && took < Duration::from_millis(1050), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_wait() {
        let begun = Instant::now();
        let mut rate = RateLimit::new(None);
        for _ in 0..1000 {
            rate.turn().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!(
            (rate.most(), RateLimit::new(Some(1.0)).most(), RateLimit::new(Some(2000.0)).most()),
            (64, 1, 20)
        );
    }

    #[tokio::test(start_paused = true)]
    async fn every_rate_works() {
        for rate in [f64::MIN_POSITIVE, 1e-300, 1e-9, 0.001, 0.3, 999_999.9, 1e6, 1e300, f64::INFINITY] {
            let mut limit = RateLimit::for_batches(Some(rate));
            limit.turn().await;
            limit.take(10, Instant::now());
            limit.put_back(10);
            assert!(limit.opens().is_some() && (1..=64).contains(&limit.most()), "{rate}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_backlog_leaves_at_the_rate() {
        let mut limit = RateLimit::for_batches(Some(20.0));
        tokio::time::advance(Duration::from_secs(60)).await;
        let begun = Instant::now();
        for _ in 0..32 {
            if let Some(opens) = limit.opens() {
                sleep_until(opens).await;
            }
            limit.take(10, Instant::now());
        }
        let took = begun.elapsed();
        assert!(took >= Duration::from_secs(15), "320 messages in {took:?}");
    }
}
