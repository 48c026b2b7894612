//! Time, as it is handed in: monotonic, of a machine that may have been suspended, and of the calendar.
//!
//! Whatever waits, measures or writes a date asks a [`Clock`], so that a test or a simulation can be the one that answers.

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

/// Where a [`Clock`] has its time from. It is asked on every beat of a pulse and must not block.
///
/// A closure that returns an [`Instant`] is one: its machine is never suspended, and the calendar is the system's.
pub trait TimeSource: Send + Sync + 'static {
    /// Monotonic time, which stops while the machine is suspended.
    fn monotonic(&self) -> Instant;

    /// For how long the machine was suspended so far; only the growth counts.
    fn suspended(&self) -> Duration {
        Duration::ZERO
    }

    /// The date and time of the calendar, which may jump either way.
    fn calendar(&self) -> SystemTime {
        SystemTime::now()
    }
}

impl<F: Fn() -> Instant + Send + Sync + 'static> TimeSource for F {
    fn monotonic(&self) -> Instant {
        self()
    }
}

/// Tells the time. Cheap to clone.
#[derive(Clone)]
pub struct Clock(Arc<dyn TimeSource>);

impl Clock {
    /// A clock with time from `source`: for simulated time.
    pub fn new(source: impl TimeSource) -> Self {
        Self(Arc::new(source))
    }

    /// The operating system's time.
    pub fn system() -> Self {
        Self::new(System { monotonic: Instant::now, boot_ahead: boot_ahead() })
    }

    /// As [`system`](Self::system), but monotonic time is tokio's, which a paused runtime stops.
    #[cfg(feature = "tokio")]
    pub fn tokio() -> Self {
        let monotonic = || tokio::time::Instant::now().into_std();
        Self::new(System { monotonic, boot_ahead: boot_ahead() })
    }

    /// Monotonic time, which stops while the machine is suspended.
    pub fn monotonic(&self) -> Instant {
        self.0.monotonic()
    }

    /// For how long the machine was suspended so far; only the growth counts. Zero where the operating system does not
    /// say (all but Linux).
    pub fn suspended(&self) -> Duration {
        self.0.suspended()
    }

    /// The date and time of the calendar, which may jump either way.
    pub fn calendar(&self) -> SystemTime {
        self.0.calendar()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Clock")
            .field("monotonic", &self.monotonic())
            .field("suspended", &self.suspended())
            .finish()
    }
}

struct System {
    monotonic: fn() -> Instant,
    /// How far the clock that counts suspended time was ahead at the start.
    boot_ahead: Duration,
}

impl TimeSource for System {
    fn monotonic(&self) -> Instant {
        (self.monotonic)()
    }

    fn suspended(&self) -> Duration {
        boot_ahead().saturating_sub(self.boot_ahead)
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

/// This operating system does not say for how long it was suspended.
#[cfg(not(target_os = "linux"))]
fn boot_ahead() -> Duration {
    Duration::ZERO
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_machine_that_is_awake_was_not_suspended() {
        let clock = Clock::system();
        let begun = clock.monotonic();
        std::thread::sleep(Duration::from_millis(20));
        assert!(clock.monotonic() - begun >= Duration::from_millis(20));
        assert_eq!(clock.suspended(), Duration::ZERO);
    }

    #[test]
    fn a_closure_is_a_source() {
        let at = Instant::now();
        let clock = Clock::new(move || at);
        assert_eq!((clock.monotonic(), clock.suspended()), (at, Duration::ZERO));
    }
}
