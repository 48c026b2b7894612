//! The clock of leases: monotonic time, plus the time for which the machine was suspended.
//!
//! SQS counts a visibility timeout while a laptop's lid is closed; monotonic time, by which tokio counts, does not.

use lifeline_health::Clock;
use tokio::time::Instant;

/// Tells how long leases have run. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct LeaseClock(Clock);

impl LeaseClock {
    pub(crate) fn new(clock: Clock) -> Self {
        Self(clock)
    }

    /// Now, as leases count: ahead of tokio's by the time that the machine was suspended.
    pub(crate) fn now(&self) -> Instant {
        Instant::from_std(self.0.monotonic() + self.0.suspended())
    }

    /// A moment of this clock as one of tokio's, to sleep until.
    pub(crate) fn to_tokio(&self, at: Instant) -> Instant {
        at.checked_sub(self.0.suspended()).unwrap_or_else(Instant::now)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_machine_that_was_not_suspended_counts_as_tokio_does() {
        let clock = LeaseClock::new(Clock::tokio());
        let begun = clock.now();
        tokio::time::advance(Duration::from_secs(30)).await;
        let counted = clock.now() - begun;
        assert!(counted >= Duration::from_secs(30) && counted < Duration::from_secs(31), "{counted:?}");
    }
}
