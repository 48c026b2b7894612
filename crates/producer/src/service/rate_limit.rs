//! So many messages a second, evenly: a publisher that was held up does not make up for it in a burst.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

/// How far it may be behind and still catch up: timers wake a millisecond late, and a rate above 1,000 needs several
/// messages a wake.
const SLACK: Duration = Duration::from_millis(10);

/// Messages taken at once where the rate does not say.
const MOST: f64 = 64.0;

#[derive(Debug)]
pub(crate) struct Pace {
    /// `None` is as fast as it goes.
    interval: Option<Duration>,
    due: Instant,
}

impl Pace {
    /// `rate` messages a second; 0 is no limit.
    pub(crate) fn new(rate: f64) -> Self {
        let interval = (rate > 0.0).then(|| Duration::from_secs_f64(1.0 / rate));
        Self { interval, due: Instant::now() }
    }

    /// Waits for the next message's turn.
    ///
    /// # Cancel safety
    /// Dropped, the turn is not taken.
    pub(crate) async fn turn(&mut self) {
        let Some(interval) = self.interval else { return };
        let now = Instant::now();
        if self.due > now {
            sleep_until(self.due).await;
        }
        let behind = now.checked_sub(SLACK).unwrap_or(now);
        self.due = self.due.max(behind) + interval;
    }

    /// How many messages to take at once: what is due within the slack, so that few wait for their turn when the end
    /// comes.
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
        let mut pace = Pace::new(10.0);
        for n in 0..20 {
            pace.turn().await;
            let expected = Duration::from_millis(100) * n;
            let late = begun.elapsed().saturating_sub(expected);
            assert!(begun.elapsed() >= expected && late < Duration::from_millis(5), "{n}: {late:?}");
        }
        tokio::time::advance(Duration::from_secs(60)).await;
        let resumed = Instant::now();
        for _ in 0..11 {
            pace.turn().await;
        }
        assert!(resumed.elapsed() >= Duration::from_millis(890), "{:?}", resumed.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_above_the_timers_grain_is_met() {
        let begun = Instant::now();
        let mut pace = Pace::new(5000.0);
        for _ in 0..5000 {
            pace.turn().await;
        }
        let took = begun.elapsed();
        assert!(took > Duration::from_millis(950) && took < Duration::from_millis(1050), "{took:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn no_rate_is_no_wait() {
        let begun = Instant::now();
        let mut pace = Pace::new(0.0);
        for _ in 0..1000 {
            pace.turn().await;
        }
        assert_eq!(begun.elapsed(), Duration::ZERO);
        assert_eq!((pace.most(), Pace::new(1.0).most(), Pace::new(2000.0).most()), (64, 1, 20));
    }
}
