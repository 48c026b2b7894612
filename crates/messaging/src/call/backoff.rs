//! Waiting after a failure: exponential growth with full jitter.
//!
//! Full jitter (a uniform draw between zero and the bound) spreads the retries of many pods best; see
//! AWS Architecture Blog, "Exponential Backoff And Jitter", 2015.

use std::time::Duration;

/// How long to wait before the next try. One value a retry loop; [`Backoff::reset`] after a success.
#[derive(Debug, Clone)]
pub struct Backoff {
    base: Duration,
    failures: u32,
}

impl Backoff {
    /// A backoff whose first wait is at most `base`.
    pub fn new(base: Duration) -> Self {
        Self { base, failures: 0 }
    }

    /// Counts a failure and draws the wait: uniform in `0..=min(cap, base × 2^failures)`.
    pub fn next(&mut self, cap: Duration) -> Duration {
        let bound = exponential(self.base, self.failures, cap);
        self.failures = self.failures.saturating_add(1);
        full_jitter(bound)
    }

    /// Failures since the last [`reset`](Self::reset).
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Forgets the failures: the next wait is short again.
    pub fn reset(&mut self) {
        self.failures = 0;
    }
}

/// `base × 2^exponent`, at most `cap`, never an overflow.
pub fn exponential(base: Duration, exponent: u32, cap: Duration) -> Duration {
    // 2^20 × any sensible base is past any sensible cap
    base.saturating_mul(1 << exponent.min(20)).min(cap)
}

/// A uniform draw from `0..=bound`, in milliseconds.
pub fn full_jitter(bound: Duration) -> Duration {
    let bound = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(0..=bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_the_cap_and_never_pass_it() {
        let cap = Duration::from_secs(20);
        assert_eq!(exponential(Duration::from_secs(1), 0, cap), Duration::from_secs(1));
        assert_eq!(exponential(Duration::from_secs(1), 3, cap), Duration::from_secs(8));
        for exponent in [5, 31, 32, u32::MAX] {
            assert_eq!(exponential(Duration::from_secs(1), exponent, cap), cap);
        }
        let mut backoff = Backoff::new(Duration::from_millis(100));
        assert!((0..1000).all(|_| backoff.next(cap) <= cap));
    }

    #[test]
    fn a_success_makes_the_next_wait_short_again() {
        let mut backoff = Backoff::new(Duration::from_millis(100));
        for _ in 0..10 {
            backoff.next(Duration::from_secs(20));
        }
        backoff.reset();
        assert!(backoff.next(Duration::from_secs(20)) <= Duration::from_millis(100));
        assert_eq!(backoff.failures(), 1);
    }
}
