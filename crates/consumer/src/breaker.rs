//! Circuit breaker: an outage behind the handler costs no receives.
//!
//! *Open* while a handler reports that a dependency is unavailable: nothing new is received, and what is in flight is kept
//! under its lease and tried again in place, one probe at a time with a growing pause. After a success attempts ramp up,
//! 1, 2, 4, … at a time. A message that a dependency was at work on when it went away is a *suspect*: it runs alone, so that
//! one that kills its dependency takes no other along.
//!
//! Many different messages that fail in a row with none succeeding are the same sign (a bad deployment): then intake slows to
//! one message at a time until one succeeds. Nothing is deleted or moved here.

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use lifeline_escape::Line;
use lifeline_health::{Clock, Condition, IntGauge};
use lifeline_messaging::call::backoff::exponential;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::guarded;

/// The pause before the first probe is at most this; it doubles with each probe that fails.
const PAUSE: Duration = Duration::from_secs(1);

/// The longest pause between two probes: work resumes within this of the dependency's return.
const LONGEST_PAUSE: Duration = Duration::from_secs(8);

/// The longest pause that a dependency may ask for (`Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// How many different messages fail in a row, with none succeeding, before intake slows.
const IN_A_ROW: usize = 10;

/// How often each message that waits is tried before a new one is received, to tell a dependency that is down from messages
/// that need another one.
const PROBES_EACH: usize = 20;

/// The same where all that wait are suspects: another message tells whether they are to blame.
const PROBES_EACH_SUSPECT: usize = 2;

/// Decides when attempts may start and receives may be made. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Breaker(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    /// The most attempts at once.
    most: usize,
    /// Says what `state` says, without its lock: for every message of a healthy worker.
    closed: AtomicBool,
    failing: AtomicUsize,
    successes: AtomicU64,
    state: Mutex<State>,
    changed: Notify,
    /// Attempts that wait, in the order they came.
    turn: tokio::sync::Mutex<()>,
    waiting: AtomicUsize,
    condition: Condition,
    unavailable: IntGauge,
    clock: Clock,
}

#[derive(Debug)]
struct State {
    mode: Mode,
    /// Attempts at work since it was last closed.
    running: usize,
    /// Suspects that are not cleared; while there are any it does not close.
    suspects: usize,
    /// A suspect is at work, and nothing may start beside it.
    alone: bool,
    /// Different messages that failed since the last success.
    failed: HashSet<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Mode {
    Closed,
    Open { why: Why, probes: u32, probe_at: Instant, probing: bool },
    Ramp { limit: usize, left: usize },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Unavailable,
    Failing,
}

/// Leave to run the handler once; says how that ended. One that is dropped instead judges nothing.
#[derive(Debug)]
pub(crate) struct Pass {
    breaker: Breaker,
    probe: bool,
    counted: bool,
    alone: bool,
}

/// A message that runs alone until it is cleared, which is when this is dropped.
#[derive(Debug)]
pub(crate) struct Suspect(Breaker);

impl Drop for Suspect {
    fn drop(&mut self) {
        self.0.state().suspects -= 1;
        self.0.0.changed.notify_waiters();
    }
}

impl Breaker {
    /// A closed breaker for at most `most` attempts at once.
    pub(crate) fn new(most: usize, condition: Condition, unavailable: IntGauge, clock: Clock) -> Self {
        condition.met();
        unavailable.set(0);
        Self(Arc::new(Shared {
            most,
            closed: AtomicBool::new(true),
            failing: AtomicUsize::new(0),
            successes: AtomicU64::new(0),
            state: Mutex::new(State {
                mode: Mode::Closed,
                running: 0,
                suspects: 0,
                alone: false,
                failed: HashSet::new(),
            }),
            changed: Notify::new(),
            turn: tokio::sync::Mutex::new(()),
            waiting: AtomicUsize::new(0),
            condition,
            unavailable,
            clock,
        }))
    }

    /// Completes when an attempt may start: at once while closed, else in the order of arrival; that of a suspect when nothing
    /// else is at work.
    ///
    /// # Cancel safety
    /// Safe: the place in the order is lost.
    pub(crate) async fn admit(&self, suspect: Option<&Suspect>) -> Pass {
        if self.0.closed.load(Ordering::Acquire) {
            return self.pass();
        }
        self.0.waiting.fetch_add(1, Ordering::AcqRel);
        let _waiting = Waiting(&self.0);
        let _turn = self.0.turn.lock().await;
        loop {
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let probe_at = match self.try_admit(suspect.is_some()) {
                Ok(pass) => return pass,
                Err(probe_at) => probe_at,
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(probe_at.unwrap_or_else(Instant::now)), if probe_at.is_some() => {}
            }
        }
    }

    /// A pass, or when a probe is due, if time alone brings it.
    fn try_admit(&self, alone: bool) -> Result<Pass, Option<Instant>> {
        let mut state = self.state();
        let state = &mut *state;
        let probe = match &mut state.mode {
            Mode::Closed => return Ok(self.pass()),
            _ if state.alone || (alone && state.running > 0) => return Err(None),
            Mode::Open { probing: true, .. } => return Err(None),
            Mode::Open { probe_at, .. } if *probe_at > Instant::now() => return Err(Some(*probe_at)),
            Mode::Open { probing, .. } => {
                *probing = true;
                true
            }
            Mode::Ramp { limit, .. } if state.running >= *limit => return Err(None),
            Mode::Ramp { .. } => false,
        };
        state.running += 1;
        state.alone = alone;
        Ok(Pass { breaker: self.clone(), probe, counted: true, alone })
    }

    fn pass(&self) -> Pass {
        Pass { breaker: self.clone(), probe: false, counted: false, alone: false }
    }

    /// Makes the message of an attempt that was interrupted a suspect. To be called while it still holds its pass.
    pub(crate) fn suspect(&self) -> Suspect {
        self.state().suspects += 1;
        Suspect(self.clone())
    }

    /// Completes when a receive may be made, with the most messages that it may ask for.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn intake(&self) -> usize {
        loop {
            if self.0.closed.load(Ordering::Acquire) {
                return usize::MAX;
            }
            let changed = self.0.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let waiting = self.0.waiting.load(Ordering::Acquire);
            let until = {
                let state = self.state();
                match state.mode {
                    Mode::Closed => return usize::MAX,
                    Mode::Ramp { limit, .. } if limit > state.running + waiting => {
                        return limit - state.running - waiting;
                    }
                    // what is here may be unavailable for a reason of its own: another message tells
                    Mode::Open { why: Why::Unavailable, probes, probing: false, .. }
                        if probes as usize >= probes_each(waiting, state.suspects) * waiting.max(1) =>
                    {
                        return 1;
                    }
                    // nobody is here to probe with: the one that was unavailable may have lost its lease meanwhile
                    Mode::Open { probe_at, probing: false, .. } if waiting == 0 => {
                        if probe_at <= Instant::now() {
                            return 1;
                        }
                        Some(probe_at)
                    }
                    _ => None,
                }
            };
            tokio::select! {
                biased;
                () = changed => {}
                () = sleep_until(until.unwrap_or_else(Instant::now)), if until.is_some() => {}
            }
        }
    }

    /// How many attempts have succeeded that met what those meet that begin now.
    pub(crate) fn successes(&self) -> u64 {
        self.0.successes.load(Ordering::Relaxed)
    }

    fn opened(&self, why: Why, reason: &str) {
        self.0.closed.store(false, Ordering::Release);
        self.0.unavailable.set(1);
        let since = DateTime::from(self.0.clock.calendar()).fmt(Format::DateTime).unwrap_or_default();
        match why {
            Why::Unavailable => self.0.condition.unmet(format!("unavailable since {since}")),
            Why::Failing => self.0.condition.unmet(format!("failing since {since}")),
        }
        let reason = Line::new(reason).limit(1024);
        guarded::log(|| match why {
            Why::Unavailable => tracing::warn!(target: "consumer", %reason,
                "the handler reports a dependency as unavailable; receiving nothing new and trying again with what is in flight"),
            Why::Failing => tracing::warn!(target: "consumer", %reason,
                "{IN_A_ROW} different messages failed in a row; receiving one message at a time until one succeeds"),
        });
    }

    fn works_again(&self) {
        self.0.unavailable.set(0);
        self.0.condition.met();
        guarded::log(|| tracing::info!(target: "consumer", "the handler works again"));
    }

    /// Nothing under this lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Counts an attempt that waits until it is dropped.
struct Waiting<'a>(&'a Shared);

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::AcqRel);
        // it may have been the last that could probe
        self.0.changed.notify_waiters();
    }
}

impl Pass {
    /// The handler succeeded.
    pub(crate) fn succeeded(mut self) {
        let breaker = self.breaker.clone();
        let closed = breaker.0.closed.load(Ordering::Acquire);
        // one that began before it opened does not tell what others meet now
        if closed || self.counted {
            breaker.0.successes.fetch_add(1, Ordering::Relaxed);
        }
        if closed && breaker.0.failing.load(Ordering::Relaxed) == 0 {
            return;
        }
        let mut state = breaker.state();
        state.failed.clear();
        breaker.0.failing.store(0, Ordering::Relaxed);
        let works_again = matches!(state.mode, Mode::Open { .. });
        state.mode = match state.mode {
            Mode::Closed => Mode::Closed,
            Mode::Open { .. } => Mode::Ramp { limit: 1, left: 1 },
            Mode::Ramp { limit, left: 0 | 1 } if limit * 2 >= breaker.0.most => {
                if state.suspects == 0 {
                    Mode::Closed
                } else {
                    Mode::Ramp { limit, left: 1 }
                }
            }
            Mode::Ramp { limit, left: 0 | 1 } => Mode::Ramp { limit: limit * 2, left: limit * 2 },
            Mode::Ramp { limit, left } => Mode::Ramp { limit, left: left - 1 },
        };
        self.leave(&mut state);
        if state.mode == Mode::Closed {
            state.running = 0;
            breaker.0.closed.store(true, Ordering::Release);
        }
        drop(state);
        if works_again {
            breaker.works_again();
        }
        breaker.0.changed.notify_waiters();
    }

    /// The message failed: that says something about the handler only if many others do too.
    pub(crate) fn failed(mut self, message_id: &str) {
        let breaker = self.breaker.clone();
        let mut state = breaker.state();
        state.failed.insert(message_id.to_owned());
        let failed = state.failed.len();
        breaker.0.failing.store(failed, Ordering::Relaxed);
        let now = Instant::now();
        let mut opened = false;
        state.mode = match state.mode {
            Mode::Open { why, probes, probe_at, probing } => match (self.probe, why) {
                (true, Why::Failing) => open(why, probes + 1, Duration::ZERO, now),
                // the dependency responds again, if only with a failure
                (true, Why::Unavailable) => Mode::Ramp { limit: 1, left: 1 },
                (false, _) => Mode::Open { why, probes, probe_at, probing },
            },
            Mode::Closed | Mode::Ramp { .. } if failed >= IN_A_ROW => {
                opened = true;
                open(Why::Failing, 1, Duration::ZERO, now)
            }
            other => other,
        };
        let works_again = self.probe && matches!(state.mode, Mode::Ramp { .. });
        self.leave(&mut state);
        drop(state);
        if opened {
            breaker.opened(Why::Failing, "see the failures before this line");
        } else if works_again {
            breaker.works_again();
        }
        breaker.0.changed.notify_waiters();
    }

    /// A dependency is unavailable, for at least `retry_after` if it said so.
    pub(crate) fn unavailable(mut self, retry_after: Option<Duration>, reason: &str) {
        let breaker = self.breaker.clone();
        let mut state = breaker.state();
        let now = Instant::now();
        let asked = retry_after.unwrap_or_default().min(LONGEST_ASKED);
        let mut opened = false;
        state.mode = match state.mode {
            Mode::Open { probes, .. } if self.probe => open(Why::Unavailable, probes + 1, asked, now),
            Mode::Open { why, probes, probe_at, probing } => {
                Mode::Open { why, probes, probe_at: probe_at.max(now + asked), probing }
            }
            Mode::Closed | Mode::Ramp { .. } => {
                opened = true;
                open(Why::Unavailable, 1, asked, now)
            }
        };
        self.leave(&mut state);
        drop(state);
        if opened {
            breaker.opened(Why::Unavailable, reason);
        }
        breaker.0.changed.notify_waiters();
    }

    fn leave(&mut self, state: &mut State) {
        if std::mem::take(&mut self.counted) {
            state.running = state.running.saturating_sub(1);
        }
        if std::mem::take(&mut self.alone) {
            state.alone = false;
        }
        if std::mem::take(&mut self.probe)
            && let Mode::Open { probing, .. } = &mut state.mode
        {
            *probing = false;
        }
    }
}

impl Drop for Pass {
    fn drop(&mut self) {
        if self.counted || self.probe {
            let breaker = self.breaker.clone();
            let mut state = breaker.state();
            self.leave(&mut state);
            drop(state);
            breaker.0.changed.notify_waiters();
        }
    }
}

fn probes_each(waiting: usize, suspects: usize) -> usize {
    if (1..=suspects).contains(&waiting) { PROBES_EACH_SUSPECT } else { PROBES_EACH }
}

fn open(why: Why, probes: u32, asked: Duration, now: Instant) -> Mode {
    let bound = exponential(PAUSE, probes.saturating_sub(1), LONGEST_PAUSE);
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    // half of it is drawn, so that the workers of a fleet do not probe together
    let pause = Duration::from_millis(fastrand::u64(millis / 2..=millis));
    Mode::Open { why, probes, probe_at: now + pause.max(asked), probing: false }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;

    use super::*;

    fn breaker() -> Breaker {
        let readiness = lifeline_health::Readiness::new();
        let metrics = lifeline_health::Metrics::new("test", &lifeline_health::Pulses::new());
        let unavailable = metrics.int_gauge("unavailable", "For the test.");
        Breaker::new(8, readiness.condition("handler"), unavailable, Clock::tokio())
    }

    fn may_start(breaker: &Breaker) -> Option<Pass> {
        breaker.admit(None).now_or_never()
    }

    #[tokio::test(start_paused = true)]
    async fn while_closed_everything_starts() {
        let breaker = breaker();
        let passes: Vec<_> = (0..100).filter_map(|_| may_start(&breaker)).collect();
        assert_eq!(passes.len(), 100);
        assert_eq!(breaker.intake().await, usize::MAX);
    }

    #[tokio::test(start_paused = true)]
    async fn while_open_one_probe_at_a_time_starts_after_a_growing_pause_and_nothing_is_received() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "down");
        let mut last = Duration::ZERO;
        for probe in 0..8_u32 {
            assert!(breaker.intake().now_or_never().is_none(), "nothing is received");
            assert!(may_start(&breaker).is_none(), "a pause comes first");
            let begun = Instant::now();
            let pass = breaker.admit(None).await;
            let pause = begun.elapsed();
            assert!(may_start(&breaker).is_none(), "one at a time");
            assert!(pause <= LONGEST_PAUSE + Duration::from_millis(1), "{pause:?}");
            assert!(probe < 4 || pause >= LONGEST_PAUSE / 2, "{pause:?} after {last:?}");
            last = pause;
            pass.unavailable(None, "down");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_message_that_is_unavailable_alone_does_not_stop_the_others_permanently() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "its own host");
        for _ in 1..PROBES_EACH {
            assert!(breaker.intake().now_or_never().is_none());
            breaker.admit(None).await.unavailable(None, "its own host");
        }
        assert_eq!(breaker.intake().await, 1, "another message tells");
    }

    #[tokio::test(start_paused = true)]
    async fn when_the_message_that_was_unavailable_is_gone_another_one_is_received() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(Some(Duration::from_secs(20)), "down");
        let waiting = tokio::spawn({
            let breaker = breaker.clone();
            async move { breaker.admit(None).await }
        });
        tokio::task::yield_now().await;
        let begun = Instant::now();
        let intake = tokio::spawn({
            let breaker = breaker.clone();
            async move { breaker.intake().await }
        });
        tokio::task::yield_now().await;
        // its lease was lost
        waiting.abort();
        let received = tokio::time::timeout(Duration::from_secs(60), intake).await;
        assert_eq!(received.expect("it is woken").unwrap(), 1);
        assert!(begun.elapsed() >= Duration::from_secs(19), "after the pause: {:?}", begun.elapsed());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dependency_is_left_alone_for_as_long_as_it_asks() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(Some(Duration::from_secs(60)), "busy");
        let begun = Instant::now();
        breaker.admit(None).await.unavailable(Some(Duration::from_secs(86_400)), "busy");
        assert!(begun.elapsed() >= Duration::from_secs(60), "{:?}", begun.elapsed());
        let begun = Instant::now();
        drop(breaker.admit(None).await);
        assert!(begun.elapsed() <= LONGEST_ASKED + Duration::from_millis(1), "but not for a day");
    }

    #[tokio::test(start_paused = true)]
    async fn after_a_success_attempts_ramp_up_gently() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "down");
        breaker.admit(None).await.succeeded();
        for limit in [1, 2, 4] {
            assert_eq!(breaker.intake().await, limit);
            let passes: Vec<_> = (0..limit).filter_map(|_| may_start(&breaker)).collect();
            assert_eq!(passes.len(), limit);
            assert!(may_start(&breaker).is_none(), "no more than {limit} at once");
            assert!(breaker.intake().now_or_never().is_none());
            passes.into_iter().for_each(Pass::succeeded);
        }
        assert_eq!(breaker.intake().await, usize::MAX, "closed again");
    }

    #[tokio::test(start_paused = true)]
    async fn what_began_before_an_outage_and_succeeds_says_nothing_about_those_that_wait() {
        let breaker = breaker();
        let long = breaker.admit(None).await;
        breaker.admit(None).await.unavailable(None, "down");
        let before = breaker.successes();
        long.succeeded();
        assert_eq!(breaker.successes(), before);
        breaker.admit(None).await.succeeded();
        assert_eq!(breaker.successes(), before + 1);
    }

    #[tokio::test(start_paused = true)]
    async fn an_outage_during_the_ramp_opens_it_again() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "down");
        breaker.admit(None).await.succeeded();
        breaker.admit(None).await.unavailable(None, "down");
        assert!(may_start(&breaker).is_none() && breaker.intake().now_or_never().is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn many_different_messages_that_fail_in_a_row_slow_intake_to_one_at_a_time() {
        let breaker = breaker();
        for n in 0..IN_A_ROW {
            assert_eq!(breaker.intake().await, usize::MAX);
            breaker.admit(None).await.failed(&n.to_string());
        }
        for _ in 0..5 {
            assert_eq!(breaker.intake().await, 1);
            let pass = breaker.admit(None).await;
            assert!(breaker.intake().now_or_never().is_none(), "none while one is here");
            pass.failed("another");
        }
        breaker.admit(None).await.succeeded();
        assert_eq!(breaker.intake().await, 1, "and ramps up after a success");
    }

    #[tokio::test(start_paused = true)]
    async fn one_message_that_fails_again_and_again_slows_nothing() {
        let breaker = breaker();
        for _ in 0..100 {
            breaker.admit(None).await.failed("the same");
        }
        assert_eq!(breaker.intake().await, usize::MAX);
        for n in 0..100 {
            breaker.admit(None).await.failed(&n.to_string());
            breaker.admit(None).await.succeeded();
        }
        assert_eq!(breaker.intake().await, usize::MAX, "others succeed");
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_cut_off_makes_way_for_the_next() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "down");
        drop(breaker.admit(None).await);
        drop(breaker.admit(None).await);
    }

    #[tokio::test(start_paused = true)]
    async fn those_that_wait_start_in_the_order_they_came() {
        let breaker = breaker();
        breaker.admit(None).await.unavailable(None, "down");
        let order = Arc::new(Mutex::new(Vec::new()));
        let mut tasks = tokio::task::JoinSet::new();
        for n in 0..5 {
            let (breaker, order) = (breaker.clone(), Arc::clone(&order));
            tasks.spawn(async move {
                let pass = breaker.admit(None).await;
                order.lock().unwrap().push(n);
                pass.succeeded();
            });
            tokio::task::yield_now().await;
        }
        tasks.join_all().await;
        assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_suspect_runs_alone_and_nothing_closes_before_it_is_cleared() {
        let breaker = breaker();
        let interrupted = breaker.admit(None).await;
        let suspect = breaker.suspect();
        interrupted.unavailable(None, "gone");
        // the first probe brings it back, and another attempt is at work
        breaker.admit(None).await.succeeded();
        let other = breaker.admit(None).await;
        assert!(breaker.admit(Some(&suspect)).now_or_never().is_none(), "it waits for the other");
        other.succeeded();
        let alone = breaker.admit(Some(&suspect)).await;
        assert!(may_start(&breaker).is_none(), "nothing starts beside it");
        alone.succeeded();
        for _ in 0..20 {
            breaker.admit(None).await.succeeded();
        }
        assert!(breaker.intake().now_or_never().is_some_and(|most| most < usize::MAX), "it is not closed");
        drop(suspect);
        breaker.admit(None).await.succeeded();
        assert_eq!(breaker.intake().await, usize::MAX);
    }
}
