//! The clock of leases: monotonic time, plus the time for which the machine was suspended.
//!
//! SQS counts a visibility timeout while a laptop's lid is closed; `CLOCK_MONOTONIC`, by which tokio counts, does not.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

/// Tells how long leases have run. Cheap to clone.
#[derive(Clone, Default)]
pub(crate) struct Clock {
    suspended: Option<Arc<dyn Fn() -> Duration + Send + Sync>>,
}

impl Clock {
    /// tokio's clock, put forward by what `suspended` returns: for how long the machine was suspended until now.
    pub(crate) fn new(suspended: impl Fn() -> Duration + Send + Sync + 'static) -> Self {
        Self { suspended: Some(Arc::new(suspended)) }
    }

    /// tokio's clock and the operating system's count of suspended time.
    #[cfg(target_os = "linux")]
    pub(crate) fn system() -> Self {
        let at_start = boot_ahead();
        Self::new(move || boot_ahead().saturating_sub(at_start))
    }

    /// tokio's clock: this operating system does not say for how long it was suspended.
    #[cfg(not(target_os = "linux"))]
    pub(crate) fn system() -> Self {
        Self::default()
    }

    /// Now, as leases count: ahead of tokio's by the time that the machine was suspended.
    pub(crate) fn now(&self) -> Instant {
        Instant::now() + self.ahead()
    }

    /// A moment of this clock as one of tokio's, to sleep until.
    pub(crate) fn to_tokio(&self, at: Instant) -> Instant {
        at.checked_sub(self.ahead()).unwrap_or_else(Instant::now)
    }

    fn ahead(&self) -> Duration {
        self.suspended.as_ref().map_or(Duration::ZERO, |suspended| suspended())
    }
}

/// How far the clock that counts suspended time is ahead of the one that does not, in tenths of a second: between the
/// two readings a thread may be preempted, which is no suspension.
#[cfg(target_os = "linux")]
fn boot_ahead() -> Duration {
    use rustix::time::{ClockId, clock_gettime};
    // the monotonic clock first: what passes between the two readings must not make the difference negative
    let monotonic = clock_gettime(ClockId::Monotonic);
    let boot = clock_gettime(ClockId::Boottime);
    let nanoseconds = i128::from(boot.tv_sec - monotonic.tv_sec) * 1_000_000_000
        + i128::from(boot.tv_nsec - monotonic.tv_nsec);
    let tenths = u64::try_from(nanoseconds / 100_000_000).unwrap_or(0);
    Duration::from_millis(tenths * 100)
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock").field("ahead", &self.ahead()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_not_suspended_counts_as_tokio_does() {
        let clock = Clock::system();
        let begun = clock.now();
        tokio::time::advance(Duration::from_secs(30)).await;
        let counted = clock.now() - begun;
        assert!(counted >= Duration::from_secs(30) && counted < Duration::from_secs(31), "{counted:?}");
    }
}
