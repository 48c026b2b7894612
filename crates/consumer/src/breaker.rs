//! Circuit breaker: an outage behind the handler costs no receives.
//!
//! *Open* while a handler reports that a dependency is unavailable: nothing new is received, and what is in flight is kept
//! under its lease and tried again in place, one probe at a time with a growing pause. After a success attempts ramp up,
//! 1, 2, 4, … at a time. A message that a dependency was at work on when it went away is a *suspect*: it runs alone, so that
//! one that kills its dependency takes no other along. Suspects of slow handlers do not hold up all others for long: after a
//! minute more and more of them run beside each other, and alone again once one of them was interrupted.
//!
//! Many different messages that fail in a row with none succeeding are the same sign (a bad deployment): then receiving slows to
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
const LONGEST_PAUSE: Duration = Duration::from_secs(4);

/// The longest pause that a dependency may ask for (`Retry-After`).
const LONGEST_ASKED: Duration = Duration::from_secs(5 * 60);

/// How long suspects run one at a time after a dependency is back, before more and more run beside each other.
const ALONE: Duration = Duration::from_secs(60);

/// How many different messages fail in a row, with none succeeding, before receiving slows.
const IN_A_ROW: usize = 10;

/// How often each message that waits is tried before a new one is received, to tell a dependency that is down from messages
/// that need another one.
const PROBES_EACH: usize = 20;

/// The same where all that wait are suspects: another message shows it whether they are to blame.
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
    /// Suspects at work: only other suspects may start beside them.
    suspects_running: usize,
    /// How many suspects may run beside each other, how many have succeeded since there may be so many, and until when it is
    /// one at a time.
    together: usize,
    cleared: usize,
    alone_until: Instant,
    /// Different messages that failed since the last success.
    failed: HashSet<String>,
}

impl State {
    /// The dependency responds again.
    fn ramp(&mut self) -> Mode {
        self.alone_until = Instant::now() + ALONE;
        Mode::Ramp { limit: 1, left: 1 }
    }

    /// A suspect was interrupted again, or others will be suspects too.
    fn one_at_a_time(&mut self) {
        (self.together, self.cleared) = (1, 0);
    }

    fn cleared_one(&mut self) {
        self.cleared += 1;
        if self.cleared >= self.together && Instant::now() >= self.alone_until {
            (self.together, self.cleared) = (self.together * 2, 0);
        }
    }
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
    suspect: bool,
    alone: bool,
}

/// A message that runs beside no other, or beside other suspects, until it is cleared, which is when this is dropped.
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
                suspects_running: 0,
                together: 1,
                cleared: 0,
                alone_until: Instant::now(),
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
    /// else is at work but as many suspects as may run together.
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
    fn try_admit(&self, suspect: bool) -> Result<Pass, Option<Instant>> {
        let mut state = self.state();
        let state = &mut *state;
        let others = state.running.saturating_sub(state.suspects_running);
        let in_company = if suspect {
            others > 0 || state.suspects_running >= state.together
        } else {
            state.suspects_running > 0
        };
        let probe = match &mut state.mode {
            Mode::Closed => return Ok(self.pass()),
            _ if in_company => return Err(None),
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
        state.suspects_running += usize::from(suspect);
        let alone = suspect && state.together == 1;
        Ok(Pass { breaker: self.clone(), probe, counted: true, suspect, alone })
    }

    fn pass(&self) -> Pass {
        Pass { breaker: self.clone(), probe: false, counted: false, suspect: false, alone: false }
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
    pub(crate) async fn receive_limit(&self) -> usize {
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
                    // what is here may be unavailable for a reason of its own: another message shows it
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
    /// Nothing else was at work beside it that could have been at fault.
    pub(crate) fn is_alone(&self) -> bool {
        self.alone
    }

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
            Mode::Open { .. } => state.ramp(),
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
        if self.suspect {
            state.cleared_one();
        }
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
                (true, Why::Unavailable) => state.ramp(),
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
        state.one_at_a_time();
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
        if std::mem::take(&mut self.suspect) {
            state.suspects_running = state.suspects_running.saturating_sub(1);
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
mod tests;
