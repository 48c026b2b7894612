//! The state machine of one lease: what each event makes of it, and what its owner has to do then.
//!
//! SQS hides a received message from others for its visibility timeout; that time is the *lease*. Nothing here reads a
//! clock or calls SQS: times come in as arguments, and [`Lease::on`] is the only function that changes a lease.

use std::time::Duration;

use tokio::time::Instant;

use crate::batch::Verdict;
use crate::summary::Outcome;

/// The longest that SQS keeps a message invisible, counted from the receive request.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// How far two clocks may drift apart in twelve hours: SQS counts them by its own.
const DRIFT: Duration = Duration::from_secs(5);

/// A lease ends this much earlier for us than for SQS, or a tenth of the visibility timeout before: what is sent in its
/// last moment would arrive after it.
const MARGIN: Duration = Duration::from_millis(250);

/// How often the new visibility of a returning message is tried.
const RETURN_TRIES: u32 = 5;

/// How long a returning message waits for an extension in flight. One that overtook it would be undone by it; one that
/// waited for a call that hangs would miss the end of a drain.
const LANDING: Duration = Duration::from_secs(1);

/// Where one received message stands between us and SQS.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Lease {
    /// With a handler, or waiting for its FIFO group or for its confirmation. Extended before it ends.
    Held(Running),
    /// Handled: the delete is queued, in flight or waiting for another try. Still extended.
    Deleting(Running, Delete),
    /// Going back: its new visibility is queued, in flight or waiting. Not extended any more.
    Returning(Return),
    /// SQS may have handed it to another consumer. The handler has been told; the entry leaves when the handler ends.
    Lost,
}

/// The clock of a lease that is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Running {
    /// The earliest moment at which SQS can have handed the message out: the twelve hours count from here.
    received: Instant,
    /// When SQS shows the message to others, as far as is proven.
    expires: Instant,
    /// When the extension was sent that `expires` goes back to: an answer to an older one proves nothing more.
    asked: Instant,
    /// Whether a handler may start. One whose receive took so long that the lease may be over has to wait for an extension
    /// that SQS accepts, whatever [that proves](super).
    confirmed: bool,
    extension: Extension,
    /// The last extension that was sent, and how many are unanswered: one that hangs is overtaken by the next.
    last_call: u32,
    unanswered: u32,
    /// The handler was asked to stop. That the lease is lost is another fact, and another state.
    asked_to_stop: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Extension {
    DueAt(Instant),
    /// Sent, and repeated at `overtaken_at` if it has no answer by then.
    InFlight {
        overtaken_at: Instant,
    },
    /// No more extensions: SQS's twelve hours are used up, or it has refused one. The lease runs out.
    Exhausted,
}

/// A delete on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Delete {
    in_flight: bool,
    /// SQS refused to extend the message meanwhile: it is deleted already, or another's.
    refused: bool,
    tries: u32,
}

/// A message on its way back to the queue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Return {
    to: ReturnTo,
    /// When it becomes visible without us.
    expires: Instant,
    received: Instant,
    unanswered: u32,
    /// Until when it waits for the extensions in flight; `None` once it was sent.
    waits_until: Option<Instant>,
    tries: u32,
    /// A handler was cut off by a shutdown.
    pub(crate) cancelled: bool,
}

/// When a returning message becomes visible, and what it counts as.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ReturnTo {
    /// Its handler failed.
    Retry { visible_at: Instant },
    /// No handler finished with it: visible at once, or together with the one before it in its group.
    Release { visible_at: Option<Instant> },
}

/// What happens to a lease.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Event {
    /// Time has passed.
    Tick,
    /// An extension was answered. `call` is from [`Action::Extend`], `asked` the moment at which it was sent.
    Extended {
        call: u32,
        asked: Instant,
        granted: Duration,
        verdict: Verdict,
    },
    /// The worker asks the handler to stop.
    Stop,
    /// The handler succeeded.
    Handled,
    /// The handler failed; the message is to be visible again after `delay`.
    Failed {
        delay: Duration,
    },
    /// No handler will run: at once, or together with the one before it in its group.
    Released {
        visible_at: Option<Instant>,
    },
    /// The handler is gone without a result: it was cancelled.
    Ended,
    /// The delete leaves in a batch.
    DeleteSent,
    Deleted(Verdict),
    Returned(Verdict),
}

/// What the owner of a lease has to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    Nothing,
    /// Send an extension of this length.
    Extend {
        call: u32,
        grant: Duration,
    },
    /// Tell the handler why it should stop.
    Tell(Stop),
    /// Queue the delete, for the `tries`th time after the first.
    Delete {
        tries: u32,
    },
    /// Queue the new visibility, for the `tries`th time after the first.
    Return {
        delay: Duration,
        tries: u32,
    },
    /// Record the outcome and forget the lease.
    Settle(Outcome),
}

/// Why a handler should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stop {
    LostLease,
    Shutdown,
}

/// The numbers that the transitions depend on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// The queue's visibility timeout: the length of an extension.
    pub(crate) visibility: Duration,
    /// The longest wait for the response to one call.
    pub(crate) call_timeout: Duration,
}

impl Limits {
    /// What is due this much later goes into the same batch of extensions.
    pub(crate) fn slack(&self) -> Duration {
        self.visibility / 20
    }
}

impl Lease {
    /// A message that a receive brought, which was sent at `asked` and read at `now`. SQS may have handed the message
    /// out at any moment between the two.
    pub(crate) fn received(asked: Instant, now: Instant, visibility: Duration) -> Self {
        // what is due for an extension by the earliest count may be over by now: it is extended before it starts
        let confirmed = now < asked + visibility * 2 / 3;
        Self::Held(Running {
            received: asked,
            // while it is not confirmed, the latest count: then it is over whatever was true
            expires: if confirmed { asked } else { now } + visibility,
            asked,
            confirmed,
            extension: Extension::DueAt(if confirmed { asked + visibility * 2 / 3 } else { now }),
            last_call: 0,
            unanswered: 0,
            asked_to_stop: false,
        })
    }

    /// The only place where a lease changes. After [`Action::Settle`] it is over, and takes no more events.
    pub(crate) fn on(&mut self, event: Event, now: Instant, limits: &Limits) -> Action {
        let lease = std::mem::replace(self, Self::Lost);
        let (lease, action) = match lease {
            Self::Held(running) => running.on(event, now, limits),
            Self::Deleting(running, delete) => delete.on(running, event, now, limits),
            Self::Returning(going) => going.on(event, now),
            Self::Lost => (Self::Lost, on_lost(event)),
        };
        *self = lease;
        action
    }

    /// When [`Event::Tick`] is next of use.
    pub(crate) fn next_at(&self) -> Option<Instant> {
        match self {
            Self::Held(running) | Self::Deleting(running, _) => Some(running.next_at()),
            Self::Returning(going) => {
                let over = ends(going.expires, going.received);
                Some(going.waits_until.map_or(over, |until| until.min(over)))
            }
            Self::Lost => None,
        }
    }

    /// Until when the message is ours, a margin subtracted; `None` once it is lost.
    pub(crate) fn ours_until(&self) -> Option<Instant> {
        match self {
            Self::Held(running) | Self::Deleting(running, _) => Some(running.over_at()),
            Self::Returning(going) => Some(ends(going.expires, going.received)),
            Self::Lost => None,
        }
    }

    /// Whether a handler may start with it.
    pub(crate) fn is_confirmed(&self) -> bool {
        match self {
            Self::Held(running) | Self::Deleting(running, _) => running.confirmed,
            Self::Returning(_) | Self::Lost => false,
        }
    }

    /// Whether its handler was asked to stop and has not ended.
    pub(crate) fn is_asked_to_stop(&self) -> bool {
        matches!(self, Self::Held(running) if running.asked_to_stop)
    }
}

impl Running {
    fn on(mut self, event: Event, now: Instant, limits: &Limits) -> (Lease, Action) {
        match event {
            Event::Tick if now >= self.over_at() => (Lease::Lost, Action::Tell(Stop::LostLease)),
            Event::Tick => {
                let action = self.extend_if_due(now, limits);
                (Lease::Held(self), action)
            }
            Event::Extended { call, asked, granted, verdict } => {
                match self.extended(call, asked, granted, verdict, now) {
                    Standing::Ours => (Lease::Held(self), Action::Nothing),
                    Standing::Refused => (Lease::Lost, Action::Tell(Stop::LostLease)),
                }
            }
            Event::Stop if !self.asked_to_stop => {
                self.asked_to_stop = true;
                (Lease::Held(self), Action::Tell(Stop::Shutdown))
            }
            Event::Handled => (Lease::Deleting(self, Delete::default()), Action::Delete { tries: 0 }),
            // what a handler returns after it was asked to stop is no failure of the message
            Event::Failed { .. } | Event::Ended if self.asked_to_stop => {
                self.go_back(ReturnTo::Release { visible_at: None }, true, now)
            }
            Event::Failed { delay } => {
                self.go_back(ReturnTo::Retry { visible_at: now + delay.min(LONGEST) }, false, now)
            }
            Event::Released { visible_at } => self.go_back(ReturnTo::Release { visible_at }, false, now),
            Event::Ended => self.go_back(ReturnTo::Release { visible_at: None }, false, now),
            Event::Stop | Event::DeleteSent | Event::Deleted(_) | Event::Returned(_) => {
                (Lease::Held(self), Action::Nothing)
            }
        }
    }

    fn go_back(self, to: ReturnTo, cancelled: bool, now: Instant) -> (Lease, Action) {
        let mut going = Return {
            to,
            expires: self.expires,
            received: self.received,
            unanswered: self.unanswered,
            waits_until: Some(now + LANDING),
            tries: 0,
            cancelled,
        };
        let action = if going.unanswered == 0 { going.send(now) } else { Action::Nothing };
        (Lease::Returning(going), action)
    }

    fn extend_if_due(&mut self, now: Instant, limits: &Limits) -> Action {
        let due = match self.extension {
            Extension::DueAt(at) => now + limits.slack() >= at,
            Extension::InFlight { overtaken_at: at } => now >= at,
            Extension::Exhausted => false,
        };
        if !due {
            return Action::Nothing;
        }
        let grant = limits.visibility.min(grantable(self.received, now));
        if self.confirmed && now + grant <= self.expires {
            // the queue's timeout was shortened, or the twelve hours are used up
            let later = self.expires - limits.visibility / 3;
            let exhausted = grant < limits.visibility || later <= now;
            self.extension = if exhausted { Extension::Exhausted } else { Extension::DueAt(later) };
            return Action::Nothing;
        }
        // half of what is left, so that a call that hangs is overtaken in time; not so little that calls pile up
        let patience = (self.left(now) / 2).max(Duration::from_millis(250)).min(limits.call_timeout);
        self.extension = Extension::InFlight { overtaken_at: now + patience };
        self.last_call += 1;
        self.unanswered += 1;
        Action::Extend { call: self.last_call, grant }
    }

    fn extended(
        &mut self,
        call: u32,
        asked: Instant,
        granted: Duration,
        verdict: Verdict,
        now: Instant,
    ) -> Standing {
        self.unanswered = self.unanswered.saturating_sub(1);
        let awaited = call == self.last_call && self.extension != Extension::Exhausted;
        match verdict {
            Verdict::Done => {
                // counted from before the call: SQS may have done it at any moment since
                if asked >= self.asked {
                    self.asked = asked;
                    self.expires = asked + granted;
                    self.confirmed = true;
                    if awaited {
                        self.extension = Extension::DueAt(asked + granted * 2 / 3);
                    }
                }
            }
            Verdict::ReceiptInvalid => return Standing::Refused,
            Verdict::BeyondLimit => self.extension = Extension::Exhausted,
            Verdict::Unproven if awaited => {
                // a quarter of what is left, so that there are several tries
                let wait = (self.left(now) / 4).clamp(Duration::from_millis(50), Duration::from_secs(2));
                self.extension = Extension::DueAt(now + wait);
            }
            Verdict::Unproven => {}
        }
        Standing::Ours
    }

    fn next_at(&self) -> Instant {
        let over = self.over_at();
        match self.extension {
            Extension::DueAt(at) | Extension::InFlight { overtaken_at: at } => at.min(over),
            Extension::Exhausted => over,
        }
    }

    fn over_at(&self) -> Instant {
        ends(self.expires, self.asked)
    }

    fn left(&self, now: Instant) -> Duration {
        self.over_at().saturating_duration_since(now)
    }
}

/// What an answered extension says about a lease.
enum Standing {
    Ours,
    Refused,
}

impl Delete {
    fn on(mut self, mut running: Running, event: Event, now: Instant, limits: &Limits) -> (Lease, Action) {
        let action = match event {
            Event::Tick if now >= running.over_at() => Action::Settle(Outcome::LostLease),
            Event::Tick if self.refused => Action::Nothing,
            Event::Tick => running.extend_if_due(now, limits),
            Event::Extended { call, asked, granted, verdict } => {
                match running.extended(call, asked, granted, verdict, now) {
                    Standing::Ours => Action::Nothing,
                    // its own delete may have come first: the answer to that will say so
                    Standing::Refused if self.in_flight => {
                        self.refused = true;
                        running.extension = Extension::Exhausted;
                        Action::Nothing
                    }
                    Standing::Refused => Action::Settle(Outcome::LostLease),
                }
            }
            // looked at again when the batch leaves: a stale receipt is accepted without deleting anything
            Event::DeleteSent if self.refused || now >= running.over_at() => {
                Action::Settle(Outcome::LostLease)
            }
            Event::DeleteSent => {
                self.in_flight = true;
                Action::Nothing
            }
            Event::Deleted(Verdict::Done) => Action::Settle(Outcome::Deleted),
            Event::Deleted(Verdict::ReceiptInvalid) => Action::Settle(Outcome::LostLease),
            Event::Deleted(_) if self.refused => Action::Settle(Outcome::LostLease),
            Event::Deleted(_) => {
                self.in_flight = false;
                self.tries += 1;
                Action::Delete { tries: self.tries }
            }
            Event::Stop
            | Event::Handled
            | Event::Failed { .. }
            | Event::Released { .. }
            | Event::Ended
            | Event::Returned(_) => Action::Nothing,
        };
        (Lease::Deleting(running, self), action)
    }
}

impl Return {
    fn on(mut self, event: Event, now: Instant) -> (Lease, Action) {
        let action = match event {
            Event::Extended { .. } => {
                self.unanswered = self.unanswered.saturating_sub(1);
                let landed = self.unanswered == 0 && self.waits_until.is_some();
                if landed { self.send(now) } else { Action::Nothing }
            }
            Event::Tick if now >= ends(self.expires, self.received) => Action::Settle(self.given_up()),
            Event::Tick if self.waits_until.is_some_and(|until| now >= until) => self.send(now),
            Event::Returned(Verdict::Done) => Action::Settle(match self.to {
                ReturnTo::Retry { .. } => Outcome::Retried,
                ReturnTo::Release { .. } => Outcome::Released,
            }),
            Event::Returned(Verdict::ReceiptInvalid) => Action::Settle(Outcome::LostLease),
            Event::Returned(Verdict::Unproven | Verdict::BeyondLimit) => {
                self.tries += 1;
                if self.tries >= RETURN_TRIES {
                    Action::Settle(self.given_up())
                } else {
                    if event == Event::Returned(Verdict::BeyondLimit) {
                        self.ask_for_less(now);
                    }
                    self.send(now)
                }
            }
            Event::Tick
            | Event::Stop
            | Event::Handled
            | Event::Failed { .. }
            | Event::Released { .. }
            | Event::Ended
            | Event::DeleteSent
            | Event::Deleted(_) => Action::Nothing,
        };
        (Lease::Returning(self), action)
    }

    fn send(&mut self, now: Instant) -> Action {
        self.waits_until = None;
        Action::Return { delay: self.delay(now), tries: self.tries }
    }

    /// In whole seconds, rounded up: a fraction of a second would mean "at once".
    fn delay(&self, now: Instant) -> Duration {
        let visible_at = match self.to {
            ReturnTo::Retry { visible_at } => Some(visible_at),
            ReturnTo::Release { visible_at } => visible_at,
        };
        let asked = visible_at.map_or(Duration::ZERO, |at| at.saturating_duration_since(now));
        Duration::from_secs(asked.as_millis().div_ceil(1000).try_into().unwrap_or(u64::MAX))
            .min(grantable(self.received, now))
    }

    /// SQS counts its twelve hours in its own way: half of what it refused is within them.
    fn ask_for_less(&mut self, now: Instant) {
        let half = now + self.delay(now) / 2;
        match &mut self.to {
            ReturnTo::Retry { visible_at } => *visible_at = half,
            ReturnTo::Release { visible_at } => *visible_at = Some(half),
        }
    }

    /// It becomes visible when its lease ends: for a retry that is later or sooner than meant; a release meant now.
    fn given_up(&self) -> Outcome {
        match self.to {
            ReturnTo::Retry { .. } => Outcome::Retried,
            ReturnTo::Release { .. } => Outcome::LostLease,
        }
    }
}

/// The handler of a lost message goes on until it has reacted; then nothing is left to do.
fn on_lost(event: Event) -> Action {
    match event {
        Event::Handled | Event::Failed { .. } | Event::Released { .. } | Event::Ended => {
            Action::Settle(Outcome::LostLease)
        }
        _ => Action::Nothing,
    }
}

/// When a lease that was granted at `asked` and ends at `expires` is over for us.
fn ends(expires: Instant, asked: Instant) -> Instant {
    expires - MARGIN.min(expires.saturating_duration_since(asked) / 10)
}

/// What SQS still grants at `now`, in whole seconds.
fn grantable(received: Instant, now: Instant) -> Duration {
    let used = now.saturating_duration_since(received) + DRIFT;
    Duration::from_secs(LONGEST.saturating_sub(used).as_secs())
}

#[cfg(test)]
mod tests;
