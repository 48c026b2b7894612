//! Time for the model: one number, milliseconds since the Unix epoch, that advances with tokio's clock.
//!
//! The wall clock is read once, when the emulator starts. From then on time is tokio's monotonic clock, so a test that
//! pauses or advances it pauses or advances every visibility timeout, delay and retention period with it.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

/// A point in time: milliseconds since the Unix epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub(crate) struct Time(pub(crate) u64);

impl Time {
    pub(crate) fn plus_seconds(self, seconds: u64) -> Self {
        Self(self.0.saturating_add(seconds.saturating_mul(1000)))
    }

    pub(crate) fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }

    /// Whole seconds since the epoch, as AWS writes creation times.
    pub(crate) fn seconds(self) -> u64 {
        self.0 / 1000
    }

    /// `2026-11-27T09:00:00.123Z`, as SNS writes it.
    pub(crate) fn iso8601(self) -> String {
        let (days, of_day) = (self.0 / 86_400_000, self.0 % 86_400_000);
        let (year, month, day) = civil(days);
        let (hours, minutes) = (of_day / 3_600_000, of_day / 60_000 % 60);
        let (seconds, millis) = (of_day / 1000 % 60, of_day % 1000);
        format!("{year:04}-{month:02}-{day:02}T{hours:02}:{minutes:02}:{seconds:02}.{millis:03}Z")
    }
}

/// The date of a day since the epoch (Howard Hinnant's `civil_from_days`).
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let of_era = shifted % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

/// Where the model's time comes from.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    started: Instant,
    wall: u64,
    /// Milliseconds that passed here and not for tokio.
    skipped: Arc<AtomicU64>,
}

impl Clock {
    /// A clock that starts now, at the given wall time.
    pub(crate) fn starting_at(wall: SystemTime) -> Self {
        let wall = wall.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self { started: Instant::now(), wall: millis(wall), skipped: Arc::default() }
    }

    pub(crate) fn now(&self) -> Time {
        let elapsed = millis(self.started.elapsed()).saturating_add(self.skipped.load(Ordering::Relaxed));
        Time(self.wall.saturating_add(elapsed))
    }

    /// Time passes here and not for tokio.
    pub(crate) fn skip(&self, time: Duration) {
        self.skipped.fetch_add(millis(time), Ordering::Relaxed);
    }

    /// When the clock will show `time`; at least a millisecond late rather than early, so that a waiter that wakes
    /// then sees the change.
    pub(crate) fn instant(&self, time: Time) -> Instant {
        self.started
            + Duration::from_millis(
                time.0.saturating_sub(self.wall).saturating_sub(self.skipped.load(Ordering::Relaxed)),
            )
    }
}

fn millis(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_written_as_sns_writes_them() {
        assert_eq!(Time(0).iso8601(), "1970-01-01T00:00:00.000Z");
        assert_eq!(Time(951_782_400_000).iso8601(), "2000-02-29T00:00:00.000Z");
        assert_eq!(Time(1_795_770_783_042).iso8601(), "2026-11-27T09:13:03.042Z");
    }

    #[tokio::test(start_paused = true)]
    async fn the_clock_advances_with_tokios() {
        let clock = Clock::starting_at(UNIX_EPOCH + Duration::from_secs(100));
        let now = clock.now();
        tokio::time::advance(Duration::from_millis(1500)).await;
        assert_eq!(clock.now(), Time(now.0 + 1500));
        assert_eq!(clock.instant(clock.now()), Instant::now());
    }
}
