//! What a handler sees of its lease. Written by the lease owner alone.

use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::Instant;

use crate::clock::LeaseClock;

const CONFIRMED: u8 = 1;
const ASKED_TO_STOP: u8 = 2;
const LOST: u8 = 4;
const BEGUN: u8 = 8;
const ACKNOWLEDGED: u8 = 16;
const DELETED: u8 = 32;

/// Why a handler should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Cancelled {
    /// The lease is lost: another consumer may have the message now.
    LostLease,
    /// The shutdown deadline is reached: the message will be released.
    Shutdown,
}

/// One lease as its handler sees it.
#[derive(Debug)]
pub(crate) struct View {
    clock: LeaseClock,
    start: Instant,
    /// Until when the message is ours, in milliseconds after `start`.
    ours_until: AtomicU64,
    facts: AtomicU8,
    changed: Notify,
}

impl View {
    pub(crate) fn new(clock: LeaseClock, start: Instant, ours_until: Instant, confirmed: bool) -> Self {
        let facts = if confirmed { CONFIRMED } else { 0 };
        let view = Self {
            clock,
            start,
            ours_until: AtomicU64::new(0),
            facts: AtomicU8::new(facts),
            changed: Notify::new(),
        };
        view.keep(ours_until);
        view
    }

    pub(crate) fn keep(&self, until: Instant) {
        let millis = until.saturating_duration_since(self.start).as_millis();
        self.ours_until.store(u64::try_from(millis).unwrap_or(u64::MAX), Ordering::Release);
    }

    pub(crate) fn confirm(&self) {
        self.note(CONFIRMED);
    }

    pub(crate) fn ask_to_stop(&self) {
        self.note(ASKED_TO_STOP);
    }

    pub(crate) fn lose(&self) {
        self.note(LOST);
    }

    /// SQS confirmed the delete: there is no lease any more.
    pub(crate) fn delete(&self) {
        self.note(DELETED);
    }

    /// The handler asks for the delete before it has ended. Whether that is the first time.
    pub(crate) fn acknowledge(&self) -> bool {
        self.facts.fetch_or(ACKNOWLEDGED, Ordering::AcqRel) & ACKNOWLEDGED == 0
    }

    /// Whether the handler asked for the delete before it ended.
    pub(crate) fn is_acknowledged(&self) -> bool {
        self.is(ACKNOWLEDGED)
    }

    /// A handler begins with the message.
    pub(crate) fn begin(&self) {
        self.facts.fetch_or(BEGUN, Ordering::AcqRel);
    }

    /// Whether a handler ever began with the message.
    pub(crate) fn has_begun(&self) -> bool {
        self.is(BEGUN)
    }

    fn note(&self, fact: u8) {
        if self.facts.fetch_or(fact, Ordering::AcqRel) & fact == 0 {
            self.changed.notify_waiters();
        }
    }

    fn is(&self, fact: u8) -> bool {
        self.facts.load(Ordering::Acquire) & fact != 0
    }

    /// Whether the lease is lost, also where the owner has not found it out yet.
    pub(crate) fn is_lost(&self) -> bool {
        self.is(LOST) || (!self.is(DELETED) && self.remaining().is_zero())
    }

    /// For how long the message is ours as things stand.
    pub(crate) fn remaining(&self) -> Duration {
        let until = self.start + Duration::from_millis(self.ours_until.load(Ordering::Acquire));
        if self.is(LOST) { Duration::ZERO } else { until.saturating_duration_since(self.clock.now()) }
    }

    /// Whether the handler was told to stop, and why. A lost lease outweighs a shutdown.
    pub(crate) fn cancellation(&self) -> Option<Cancelled> {
        if self.is(LOST) {
            Some(Cancelled::LostLease)
        } else {
            self.is(ASKED_TO_STOP).then_some(Cancelled::Shutdown)
        }
    }

    /// Completes when the handler was told to stop.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn cancelled(&self) -> Cancelled {
        self.until(Self::cancellation).await
    }

    /// Completes when the lease is lost.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn lost(&self) {
        self.until(|view| view.is(LOST).then_some(())).await;
    }

    /// Completes when the message is deleted.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn deleted(&self) {
        self.until(|view| view.is(DELETED).then_some(())).await;
    }

    /// Completes when the message is deleted (`true`), or its lease is lost.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn deleted_or_lost(&self) -> bool {
        self.until(|view| {
            let facts = view.facts.load(Ordering::Acquire);
            (facts & (DELETED | LOST) != 0).then_some(facts & DELETED != 0)
        })
        .await
    }

    /// Completes when a handler may start (`true`), or the lease is lost.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn confirmed(&self) -> bool {
        self.until(|view| (view.facts.load(Ordering::Acquire) & (CONFIRMED | LOST) != 0).then_some(())).await;
        !self.is_lost()
    }

    async fn until<T>(&self, look: impl Fn(&Self) -> Option<T>) -> T {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if let Some(seen) = look(self) {
                return seen;
            }
            changed.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    const LEASE: Duration = Duration::from_secs(30);

    fn view(confirmed: bool) -> View {
        let now = Instant::now();
        View::new(LeaseClock::new(lifeline_health::Clock::tokio()), now, now + LEASE, confirmed)
    }

    #[tokio::test(start_paused = true)]
    async fn being_asked_to_stop_and_being_lost_are_two_facts() {
        let view = view(true);
        assert_eq!(view.cancellation(), None);
        view.ask_to_stop();
        assert_eq!(view.cancelled().await, Cancelled::Shutdown);
        assert!(!view.is_lost() && view.lost().now_or_never().is_none());
        view.lose();
        assert_eq!(view.cancelled().await, Cancelled::LostLease);
        assert!(view.is_lost() && view.remaining().is_zero());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_that_ran_out_is_lost_before_anybody_says_so() {
        let view = view(true);
        tokio::time::advance(LEASE - Duration::from_millis(1)).await;
        assert!(!view.is_lost());
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(view.is_lost());
        view.keep(Instant::now() + LEASE);
        assert_eq!(view.remaining(), LEASE);
    }

    #[tokio::test(start_paused = true)]
    async fn a_handler_waits_for_a_lease_that_is_not_confirmed() {
        let waiting = view(false);
        assert!(waiting.confirmed().now_or_never().is_none());
        waiting.confirm();
        assert!(waiting.confirmed().await);
        let lost = view(false);
        lost.lose();
        assert!(!lost.confirmed().await);
    }

    /// Suspended for so many seconds.
    struct Lid(std::sync::Arc<AtomicU64>);

    impl lifeline_health::TimeSource for Lid {
        fn monotonic(&self) -> std::time::Instant {
            Instant::now().into_std()
        }

        fn suspended(&self) -> Duration {
            Duration::from_secs(self.0.load(Ordering::Relaxed))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspended_machine_counts() {
        let suspended = std::sync::Arc::new(AtomicU64::new(0));
        let clock = LeaseClock::new(lifeline_health::Clock::new(Lid(std::sync::Arc::clone(&suspended))));
        let now = clock.now();
        let view = View::new(clock, now, now + LEASE, true);
        assert!(!view.is_lost());
        suspended.store(31, Ordering::Relaxed);
        assert!(view.is_lost(), "the lid was closed for 31 s, and the monotonic clock stood still");
    }
}
