//! Faults: what goes wrong with a call, and with which.
//!
//! A fault says which calls it is for ([`Fault::on`], then [`On::nth`], [`On::times`] and others) and what happens to
//! them. [`crate::Emulator::inject`] puts it in force; the [`Injected`] that it returns counts the calls it met.

mod script;
mod text;

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{
    action::Action,
    record::{Call, Entry},
};

pub(crate) use script::{Decision, Effect, Script};
pub use text::FaultError;

/// A fault: the calls it is for and what happens to them.
///
/// ```
/// use lifeline_emulator::{Action, Fault};
/// let third = Fault::on(Action::ReceiveMessage).nth(3).hang();
/// let outage = Fault::on_every_action().status(503, "");
/// let same: Fault = "ReceiveMessage: nth=3 hang".parse().unwrap();
/// # let _ = (third, outage, same);
/// ```
#[derive(Debug, Clone)]
#[must_use = "a fault is in force once it is injected"]
pub struct Fault {
    pub(crate) calls: Calls,
    pub(crate) effect: Effect,
    pub(crate) entries: Entries,
    pub(crate) after_effect: bool,
    pub(crate) text: String,
}

type EntryTest = dyn Fn(&Entry) -> bool + Send + Sync;
type CallTest = dyn Fn(&Call) -> bool + Send + Sync;

/// The calls that a fault is for, by what they ask.
#[derive(Clone, Default)]
pub(crate) struct Such(Option<Arc<CallTest>>);

impl Such {
    pub(crate) fn needs_call(&self) -> bool {
        self.0.is_some()
    }

    pub(crate) fn contains(&self, call: Option<&Call>) -> bool {
        self.0.as_ref().is_none_or(|test| call.is_some_and(|call| test(call)))
    }
}

impl std::fmt::Debug for Such {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "some calls" } else { "all calls" })
    }
}

/// The entries of a batch that a fault is for.
#[derive(Clone, Default)]
pub(crate) struct Entries(Option<Arc<EntryTest>>);

impl Entries {
    pub(crate) fn contains(&self, entry: &Entry) -> bool {
        self.0.as_ref().is_none_or(|test| test(entry))
    }
}

impl std::fmt::Debug for Entries {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "some entries" } else { "all entries" })
    }
}

/// Which calls a fault is for, by action and number.
#[derive(Debug, Clone)]
pub(crate) struct Calls {
    /// Empty: every action.
    pub(crate) actions: Vec<Action>,
    /// The number of the first call, from 1.
    pub(crate) from: u64,
    /// How many calls; `None`: all from there on.
    pub(crate) times: Option<u64>,
    /// Each so manieth call from the first.
    pub(crate) every: u64,
    pub(crate) probability: Option<f64>,
    /// Only calls beyond so many in a second.
    pub(crate) above: Option<u64>,
    pub(crate) such: Such,
}

/// A fault being written: the calls are chosen, the effect is not yet.
#[derive(Debug, Clone)]
#[must_use = "name what happens to the calls"]
pub struct On {
    calls: Calls,
    entries: Entries,
    after_effect: bool,
}

impl Fault {
    /// A fault of calls of one action.
    pub fn on(action: Action) -> On {
        On::new(vec![action])
    }

    /// Reads several faults, one a line or separated by semicolons; lines that begin with `#` are comments.
    ///
    /// # Errors
    ///
    /// For the first that is none.
    pub fn parse_all(text: &str) -> Result<Vec<Self>, FaultError> {
        text::parse_all(text)
    }

    /// A fault of every call.
    pub fn on_every_action() -> On {
        On::new(Vec::new())
    }
}

impl On {
    pub(crate) fn new(actions: Vec<Action>) -> Self {
        let calls = Calls {
            actions,
            from: 1,
            times: None,
            every: 1,
            probability: None,
            above: None,
            such: Such::default(),
        };
        Self { calls, entries: Entries::default(), after_effect: false }
    }

    /// The `n`th such call from now, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.calls.from = n;
        self.calls.times = Some(1);
        self
    }

    /// At most `n` calls; after [`On::nth`], that call and those that follow it.
    pub fn times(mut self, n: u64) -> Self {
        self.calls.times = Some(n);
        self
    }

    /// The `n`th such call from now and all that follow it.
    pub fn from(mut self, n: u64) -> Self {
        self.calls.from = n;
        self.calls.times = None;
        self
    }

    /// Each `n`th such call.
    pub fn every(mut self, n: u64) -> Self {
        self.calls.every = n.max(1);
        self.calls.from = self.calls.every;
        self
    }

    /// Each such call with this probability, by the emulator's seed.
    pub fn probability(mut self, probability: f64) -> Self {
        self.calls.probability = Some(probability);
        self
    }

    /// Only such calls as exceed this rate: `above(100).throttle()` lets a hundred in a second pass, and ten at once.
    pub fn above(mut self, calls_per_second: u64) -> Self {
        self.calls.above = Some(calls_per_second);
        self
    }

    /// Only calls that fit; others are not counted.
    pub fn when(mut self, test: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        self.calls.such = Such(Some(Arc::new(test)));
        self
    }

    /// Which entries of a batch [`On::fail_entries`] and [`On::leave_out_entries`] are for; all without it.
    pub fn for_entries(mut self, test: impl Fn(&Entry) -> bool + Send + Sync + 'static) -> Self {
        self.entries = Entries(Some(Arc::new(test)));
        self
    }

    /// The call has its effect first: only the response is lost or replaced.
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    /// Never answers; the connection stays open.
    pub fn hang(self) -> Fault {
        self.with(Effect::Hang)
    }

    /// Answers after this time.
    pub fn delay(self, delay: Duration) -> Fault {
        self.with(Effect::Delay(delay))
    }

    /// Answers that the rate is exceeded, in the service's words.
    pub fn throttle(self) -> Fault {
        self.with(Effect::Throttle)
    }

    /// Answers with this status and exactly this body; AWS's form of an error is [`On::error`].
    pub fn status(self, status: u16, body: &str) -> Fault {
        self.with(Effect::Status(status, body.into()))
    }

    /// Answers with this status and an HTML page, as a proxy or an ingress does.
    pub fn page(self, status: u16) -> Fault {
        self.status(
            status,
            &format!("<html><head><title>{status}</title></head><body><center>nginx</center></body></html>"),
        )
    }

    /// Answers with an error of this status and code, as AWS writes errors.
    pub fn error(self, status: u16, code: &str) -> Fault {
        self.error_that_says(status, code, &format!("{code}, by the emulator's fault"))
    }

    /// As [`On::error`], with a text.
    pub fn error_that_says(self, status: u16, code: &str, message: &str) -> Fault {
        self.with(Effect::Error(status, code.into(), message.into()))
    }

    /// Resets the connection before the call has an effect.
    pub fn reset(self) -> Fault {
        self.with(Effect::Reset)
    }

    /// Resets the connection after the call had its effect: the response is lost.
    pub fn reset_after_effect(self) -> Fault {
        self.after_effect().with(Effect::Reset)
    }

    /// Sends half the response, then nothing; the connection stays open. The call has its effect.
    pub fn stall(self) -> Fault {
        self.with(Effect::Stall)
    }

    /// Sends half the response, then closes the connection. The call has its effect.
    pub fn truncate(self) -> Fault {
        self.with(Effect::Truncate)
    }

    /// Sends the response at this many bytes per second.
    pub fn bandwidth(self, bytes_per_second: u64) -> Fault {
        self.with(Effect::Bandwidth(bytes_per_second.max(1)))
    }

    /// The response mentions entries of a batch neither as successful nor as failed; they have their effect only with
    /// [`On::after_effect`].
    pub fn leave_out_entries(self) -> Fault {
        self.with(Effect::LeaveOutEntries)
    }

    /// Entries of a batch fail with this code and have no effect. A call without entries fails with all of it.
    pub fn fail_entries(self, code: &str, sender_fault: bool) -> Fault {
        self.with(Effect::FailEntries(code.into(), sender_fault))
    }

    /// A receive brings each message twice; a send or publish is carried out twice.
    pub fn duplicate(self) -> Fault {
        self.with(Effect::Duplicate)
    }

    /// Takes what a receive brings from its receiver at once, for this long: its receipts are older ones then.
    pub fn lose_lease(self, lease: Duration) -> Fault {
        self.with(Effect::LoseLease(lease))
    }

    fn with(self, effect: Effect) -> Fault {
        let text = text::describe(&self.calls, &effect, self.after_effect);
        Fault { calls: self.calls, effect, entries: self.entries, after_effect: self.after_effect, text }
    }
}

/// A fault in force. Dropping it leaves the fault in force.
#[derive(Debug, Clone)]
pub struct Injected {
    pub(crate) id: u64,
    pub(crate) hits: Arc<AtomicU64>,
    pub(crate) script: Arc<std::sync::Mutex<Script>>,
}

impl Injected {
    /// How many calls the fault met. A fault that was never met proves nothing.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }

    /// Takes the fault back. Calls that hang go on hanging.
    pub fn remove(&self) {
        self.script.lock().unwrap_or_else(std::sync::PoisonError::into_inner).remove(self.id);
    }
}
