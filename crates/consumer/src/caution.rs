//! Caution: a message that kills its process goes alone.
//!
//! What was in flight beside such a message comes back when its lease ends, all at once, and would follow it into the
//! dead-letter queue. A message that was received before, and that this worker did not release itself, is a *suspect*. A
//! cautious worker receives one message at a time, and none while a suspect is here; and a suspect runs alone, with no other
//! message beside it. New messages run beside each other as ever.
//!
//! A worker is cautious after its start until a message has come, and for as long as SQS may hide what a process that died
//! had in flight; and again from a suspect on. That lasts for a visibility timeout after the last of them, and at least a minute.
//! Suspects hold up others for a minute of that altogether. After it they run beside others, 2, 4, 8, … of them at a time, and
//! no more are received: one that kills its process takes few along. Nine times as long passes before the next: a queue of
//! ordinary retries does not crawl.

use std::collections::HashSet;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, RwLock, RwLockReadGuard, RwLockWriteGuard};
use tokio::time::{Instant, timeout, timeout_at};

use crate::guarded;

/// How long suspects may hold up others, each time; and the least that caution lasts.
const ALONE: Duration = Duration::from_secs(60);

/// The longest that caution lasts. Where messages stay hidden for longer, it begins when they come back.
const LONGEST: Duration = Duration::from_secs(10 * 60);

/// So many suspects that run beside each other are no reason for caution.
const ENOUGH: usize = 64;

/// How many times as long the worker is not cautious afterwards.
const PAUSE: u32 = 9;

/// How many messages that were released are remembered.
const REMEMBERED: usize = 10_000;

/// Whether messages are taken one at a time, and which run alone.
#[derive(Debug)]
pub(crate) struct Caution {
    /// What `state` says, without its lock: for every message of a worker that is not cautious.
    on: AtomicBool,
    state: Mutex<State>,
    /// Held by the poller that receives one message.
    turn: tokio::sync::Mutex<()>,
    /// Held by each attempt, by that of a suspect alone.
    gate: RwLock<()>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    /// Since when the worker is cautious, and until when at most; not known before the queue is.
    since: Instant,
    until: Option<Instant>,
    /// When it may be so again.
    again: Instant,
    /// How long suspects may still hold up others.
    left: Duration,
    /// How many suspects may be here at once, since when, and how many have ended since.
    together: usize,
    widened: Instant,
    ended: usize,
    /// No message has come yet.
    none_came: bool,
    /// SQS may hide what a process that died had in flight: one came back, or it is not known that there is nothing.
    hidden: bool,
    came_back: bool,
    /// Suspects whose handler has not ended, and those of them that run beside others.
    here: usize,
    running: usize,
    /// What this worker returned to the queue: it did not kill its process.
    returned: HashSet<u64>,
}

impl State {
    fn is_on(&self, now: Instant) -> bool {
        let in_time = self.here > 0 || self.until.is_none_or(|until| now < until);
        let in_time = in_time && self.together < ENOUGH;
        self.none_came || (self.hidden || self.came_back) && in_time
    }

    fn begin(&mut self, visibility: Duration, now: Instant) {
        (self.since, self.until, self.left) = (now, None, ALONE);
        (self.together, self.ended) = (1, 0);
        self.goes_on(visibility, now);
    }

    /// A suspect came: others may come for a visibility timeout.
    fn goes_on(&mut self, visibility: Duration, now: Instant) {
        let lasts = if visibility > LONGEST { ALONE } else { visibility.max(ALONE) };
        let until = (now + lasts).min(self.since + LONGEST).max(self.until.unwrap_or(now));
        self.until = Some(until);
        self.again = until + (until - self.since) * PAUSE;
    }

    /// From now on suspects run beside others, and twice as many of them.
    fn widen(&mut self, now: Instant) {
        self.together = (self.together * 2).min(ENOUGH);
        (self.left, self.ended, self.widened) = (Duration::ZERO, 0, now);
    }

    fn one_ended(&mut self) {
        self.here -= 1;
        self.ended += 1;
        if self.left.is_zero() && self.ended >= self.together {
            self.widen(Instant::now());
        }
    }

    fn left(&self, now: Instant) -> Duration {
        if self.is_on(now) { self.left } else { Duration::ZERO }
    }
}

/// A message that may have killed its process, from its receive until it has run.
#[derive(Debug)]
pub(crate) struct Suspect {
    caution: Arc<Caution>,
    /// Beside others.
    runs: bool,
}

impl Drop for Suspect {
    fn drop(&mut self) {
        let mut state = self.caution.state();
        state.running -= usize::from(self.runs);
        state.one_ended();
        drop(state);
        self.caution.changed.notify_waiters();
    }
}

impl Suspect {
    fn goes_on_beside(&mut self) {
        self.runs = true;
        self.caution.state().running += 1;
    }
}

/// Leave to run a handler.
pub(crate) enum Place<'a> {
    Beside(RwLockReadGuard<'a, ()>, Option<Suspect>),
    Alone {
        guard: RwLockWriteGuard<'a, ()>,
        suspect: Suspect,
        since: Instant,
        until: Instant,
    },
    /// It ran before in this process, which lives; or it cannot wait for others.
    Again,
}

impl Caution {
    pub(crate) fn new() -> Arc<Self> {
        let state = State {
            since: Instant::now(),
            until: None,
            again: Instant::now(),
            left: ALONE,
            together: 1,
            widened: Instant::now(),
            ended: 0,
            none_came: true,
            hidden: true,
            came_back: false,
            here: 0,
            running: 0,
            returned: HashSet::new(),
        };
        Arc::new(Self {
            on: AtomicBool::new(true),
            state: Mutex::new(state),
            turn: tokio::sync::Mutex::default(),
            gate: RwLock::default(),
            changed: Notify::new(),
        })
    }

    /// At the start, SQS hides no message of this queue: no process had any in flight.
    pub(crate) fn nothing_hidden(&self) {
        self.state().hidden = false;
    }

    /// The turn to receive one message, to be held until it was [received](Self::received); `None` while any number may be.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn turn(&self, visibility: Duration) -> Option<tokio::sync::MutexGuard<'_, ()>> {
        if !self.is_on(visibility) {
            return None;
        }
        let turn = self.turn.lock().await;
        self.until(|state| state.here < state.together).await;
        self.is_on(visibility).then_some(turn)
    }

    /// Waits for something that comes when suspects end, or when they have taken long.
    async fn until(&self, mut comes: impl FnMut(&mut State) -> bool) {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let now = Instant::now();
            let wait = {
                let mut state = self.state();
                if comes(&mut state) || !state.is_on(now) {
                    return;
                }
                if state.left.is_zero() { ALONE } else { state.left }
            };
            if timeout(wait, changed).await.is_err() {
                let mut state = self.state();
                // unless another that waits was first
                if state.widened <= now {
                    state.widen(Instant::now());
                    drop(state);
                    self.changed.notify_waiters();
                }
            }
        }
    }

    fn is_on(&self, visibility: Duration) -> bool {
        if !self.on.load(Ordering::Acquire) {
            return false;
        }
        let (mut state, now) = (self.state(), Instant::now());
        if state.until.is_none() {
            state.begin(visibility, now);
            state.again = now;
        }
        let on = state.is_on(now);
        self.on.store(on, Ordering::Release);
        on
    }

    /// A message was received for the `receive_count`th time. What it is if it has to run alone.
    pub(crate) fn received(
        self: &Arc<Self>,
        id: &str,
        receive_count: u32,
        visibility: Duration,
    ) -> Option<Suspect> {
        if receive_count <= 1 && !self.on.load(Ordering::Acquire) {
            return None;
        }
        let (mut state, now) = (self.state(), Instant::now());
        let first = std::mem::replace(&mut state.none_came, false);
        if receive_count <= 1 {
            return None;
        }
        if state.returned.remove(&hash(id)) {
            return None;
        }
        if first || !state.is_on(now) {
            if !first && now < state.again {
                return None;
            }
            state.begin(visibility, now);
            guarded::log(|| {
                tracing::info!(target: "consumer", message_id = id, receive_count,
                    "received before, and not released by this process; receiving one message at a time for a while");
            });
        }
        state.came_back = true;
        state.goes_on(visibility, now);
        state.here += 1;
        self.on.store(true, Ordering::Release);
        Some(Suspect { caution: Arc::clone(self), runs: false })
    }

    /// This worker returned a message to the queue, or lost its lease, and lives.
    pub(crate) fn returned(&self, id: &str) {
        let mut state = self.state();
        if state.returned.len() >= REMEMBERED {
            state.returned.clear();
        }
        state.returned.insert(hash(id));
    }

    /// Completes when the handler may run: of a suspect, when no other does.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn enter(&self, suspect: Option<Suspect>) -> Place<'_> {
        let mut beside = None;
        if let Some(mut suspect) = suspect {
            let (since, left) = (Instant::now(), self.left());
            if let Ok(guard) = timeout(left, self.gate.write()).await {
                return Place::Alone { guard, suspect, since, until: since + left };
            }
            self.spend(since);
            self.until(|state| {
                let may = state.running < state.together;
                state.running += usize::from(may);
                suspect.runs = may;
                may
            })
            .await;
            beside = Some(suspect);
        }
        let guard = match self.gate.try_read() {
            Ok(guard) => guard,
            Err(_) => self.gate.read().await,
        };
        Place::Beside(guard, beside)
    }

    fn left(&self) -> Duration {
        self.state().left(Instant::now())
    }

    fn spend(&self, since: Instant) {
        let mut state = self.state();
        let spent = !state.left.is_zero();
        state.left = state.left.saturating_sub(since.elapsed());
        if spent && state.left.is_zero() {
            state.widen(Instant::now());
            drop(state);
            self.changed.notify_waiters();
        }
    }

    /// Nothing under this lock can panic half-way.
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Place<'_> {
    /// Runs a handler here. One that was alone for its time goes on beside others.
    pub(crate) async fn run<T>(self, mut handling: Pin<&mut impl Future<Output = T>>) -> T {
        match self {
            Self::Beside(_guard, _suspect) => handling.await,
            Self::Again => handling.await,
            Self::Alone { guard, mut suspect, since, until } => {
                let done = timeout_at(until, handling.as_mut()).await;
                suspect.caution.spend(since);
                if let Ok(done) = done {
                    return done;
                }
                suspect.goes_on_beside();
                let _beside = guard.downgrade();
                handling.await
            }
        }
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::FutureExt;

    use super::*;

    const VISIBILITY: Duration = Duration::from_secs(120);

    fn one_at_a_time(caution: &Caution) -> bool {
        caution.turn(VISIBILITY).now_or_never().is_none_or(|turn| turn.is_some())
    }

    fn received(caution: &Arc<Caution>, receive_count: u32) -> Option<Suspect> {
        caution.received("a", receive_count, VISIBILITY)
    }

    /// One that has got a new message, and nothing was hidden at its start.
    fn calm() -> Arc<Caution> {
        let caution = Caution::new();
        caution.nothing_hidden();
        assert!(received(&caution, 1).is_none());
        assert!(!one_at_a_time(&caution));
        caution
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_cautious_until_a_message_has_come_where_nothing_is_hidden() {
        let caution = Caution::new();
        caution.nothing_hidden();
        assert!(one_at_a_time(&caution));
        tokio::time::advance(VISIBILITY).await;
        assert!(one_at_a_time(&caution));
        assert!(received(&caution, 1).is_none());
        assert!(!one_at_a_time(&caution));
    }

    #[tokio::test(start_paused = true)]
    async fn a_start_is_cautious_until_what_is_hidden_can_have_come_back() {
        let caution = Caution::new();
        for _ in 0..100 {
            assert!(one_at_a_time(&caution));
            assert!(received(&caution, 1).is_none());
        }
        tokio::time::advance(VISIBILITY - Duration::from_millis(1)).await;
        assert!(one_at_a_time(&caution));
        tokio::time::advance(Duration::from_millis(1)).await;
        assert!(!one_at_a_time(&caution));
        assert!(received(&caution, 2).is_some(), "and again from a suspect on");
    }

    #[tokio::test(start_paused = true)]
    async fn what_comes_back_is_received_alone_and_runs_alone() {
        let caution = calm();
        let new = caution.enter(received(&caution, 1)).await;
        let suspect = received(&caution, 2);
        assert!(suspect.is_some());
        assert!(caution.turn(VISIBILITY).now_or_never().is_none(), "nothing is received beside it");
        let alone = caution.enter(suspect);
        tokio::pin!(alone);
        assert!(alone.as_mut().now_or_never().is_none(), "it waits for the other");
        drop(new);
        let alone = alone.now_or_never().expect("it may run");
        assert!(caution.enter(None).now_or_never().is_none(), "nothing runs beside it");
        alone.run(pin!(async {})).await;
        assert!(caution.enter(None).now_or_never().is_some());
        assert!(
            caution.turn(VISIBILITY).now_or_never().is_some_and(|turn| turn.is_some()),
            "one is received"
        );
    }

    #[tokio::test(start_paused = true)]
    async fn what_this_worker_returned_is_no_suspect_once() {
        let caution = calm();
        caution.returned("a");
        assert!(received(&caution, 2).is_none());
        assert!(!one_at_a_time(&caution));
        assert!(received(&caution, 3).is_some(), "somebody else had it meanwhile");
    }

    #[tokio::test(start_paused = true)]
    async fn suspects_hold_up_others_for_a_minute_and_not_again_for_long() {
        let caution = calm();
        let long = caution.enter(received(&caution, 2)).await;
        let work = tokio::time::sleep(10 * ALONE);
        let begun = Instant::now();
        let beside = async {
            drop(caution.enter(None).await);
            begun.elapsed()
        };
        let work = pin!(work);
        let (beside, ()) = tokio::join!(beside, long.run(work));
        assert!(beside >= ALONE && beside < ALONE + Duration::from_secs(1), "{beside:?}");
        assert!(received(&caution, 2).is_none(), "the time is over, and the next is far");
        tokio::time::advance(VISIBILITY * (PAUSE + 1)).await;
        assert!(received(&caution, 2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn many_suspects_that_are_slow_do_not_crawl() {
        let caution = calm();
        let begun = Instant::now();
        for _ in 0..100 {
            let suspect = received(&caution, 2);
            let turn = caution.turn(VISIBILITY);
            let handled =
                async { caution.enter(suspect).await.run(pin!(tokio::time::sleep(ALONE / 30))).await };
            tokio::join!(async { drop(turn.await) }, handled);
        }
        // 30 alone; those after them could have run beside each other
        assert!(begun.elapsed() >= ALONE * 3, "{:?}", begun.elapsed());
        assert!(caution.state().left.is_zero());
        let beside = caution.enter(received(&caution, 2)).await;
        assert!(caution.enter(None).now_or_never().is_some());
        drop(beside);
    }

    #[tokio::test(start_paused = true)]
    async fn it_goes_on_while_suspects_come_and_ends() {
        let caution = calm();
        let begun = Instant::now();
        while let Some(suspect) = received(&caution, 2) {
            assert!(one_at_a_time(&caution));
            drop(suspect);
            tokio::time::advance(VISIBILITY - Duration::from_secs(1)).await;
        }
        let lasted = begun.elapsed();
        assert!(lasted > 2 * VISIBILITY && lasted <= LONGEST + VISIBILITY, "{lasted:?}");
        assert!(!one_at_a_time(&caution));
    }

    #[tokio::test(start_paused = true)]
    async fn one_that_lost_its_lease_while_it_waited_holds_up_nothing() {
        let caution = calm();
        let (beside, suspect) = (caution.enter(None).await, received(&caution, 2));
        assert!(caution.enter(suspect).now_or_never().is_none());
        assert!(caution.turn(VISIBILITY).now_or_never().is_some());
        assert!(caution.enter(None).now_or_never().is_some());
        drop(beside);
    }
}
