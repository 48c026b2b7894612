//! What can go wrong, and when: faults and the rules that pick the calls they happen to.
//!
//! A test adds rules with [`crate::Endpoint::on`]. For each call the first rule that fits gives the fault; delays of
//! all fitting rules are waited first.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use crate::{Endpoint, calls::Call};

/// An error as AWS words it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceError {
    /// HTTP status.
    pub status: u16,
    /// The error's shape name, such as `QueueDoesNotExist`.
    pub code: String,
    /// The text.
    pub message: String,
    /// Whether the sender is to blame, so that a retry cannot help.
    pub sender_fault: bool,
}

impl ServiceError {
    pub(crate) fn sender(code: &str, message: &str) -> Self {
        Self { status: 400, code: code.into(), message: message.into(), sender_fault: true }
    }

    pub(crate) fn not_found(code: &str, message: &str) -> Self {
        Self { status: 404, ..Self::sender(code, message) }
    }
}

/// What happens to a call instead of, or around, its honest answer.
#[derive(Debug, Clone)]
pub enum Fault {
    /// The request is read and never answered; the connection stays open.
    Hang,
    /// Head and half the body arrive, then nothing; the connection stays open. The call had its effect.
    StallBody,
    /// The body arrives one byte at a time. The call had its effect.
    Drip(Duration),
    /// The connection is reset (RST).
    Reset,
    /// Head and half the body arrive, then the connection is closed. The call had its effect.
    CloseEarly,
    /// 200 with these bytes as the body.
    Garbage(String),
    /// This status with a page that is none of AWS': what a proxy or an ingress answers.
    Page(u16),
    /// The body arrives at this many bytes per second. The call had its effect.
    Slow(u64),
    /// Batch calls: entries that fit are not performed, and the answer does not mention them. With
    /// [`On::after_effect`], they are performed.
    LeaveOut(EntryTest),
    /// This error.
    Status(ServiceError),
    /// Honest, but later.
    Delay(Duration),
    /// Batch calls: entries that fit fail with this error, the others succeed.
    FailEntries(EntryTest, ServiceError),
    /// `ReceiveMessage`: each message comes twice, with a receipt each. SNS publishes: each is delivered twice.
    DuplicateEntries,
    /// `ReceiveMessage`: what it brings is leased to somebody else at once, for this long.
    LoseLease(Duration),
}

/// Which entries of a batch a fault is for.
#[derive(Clone)]
pub struct EntryTest(pub(crate) Arc<dyn Fn(&crate::Entry) -> bool + Send + Sync>);

impl std::fmt::Debug for EntryTest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("EntryTest")
    }
}

type CallTest = Arc<dyn Fn(&Call) -> bool + Send + Sync>;

#[derive(Clone)]
enum When {
    Always,
    Nth(u64),
    First(u64),
    From(u64),
    Every(u64),
    Probability(f64),
}

pub(crate) struct Rule {
    id: u64,
    action: String,
    when: When,
    test: Option<CallTest>,
    after_effect: bool,
    pub(crate) fault: Fault,
    seen: u64,
    hits: Arc<AtomicU64>,
}

impl Rule {
    /// Counts the call if the rule is about its action, and says whether the fault happens to it.
    fn fits(&mut self, call: &Call, random: &mut fastrand::Rng) -> bool {
        if self.action != "*" && self.action != call.action {
            return false;
        }
        if self.test.as_ref().is_some_and(|test| !test(call)) {
            return false;
        }
        self.seen += 1;
        let hit = match self.when {
            When::Always => true,
            When::Nth(n) => self.seen == n,
            When::First(n) => self.seen <= n,
            When::From(n) => self.seen >= n,
            When::Every(n) => self.seen.is_multiple_of(n),
            When::Probability(p) => random.f64() < p,
        };
        if hit {
            self.hits.fetch_add(1, Ordering::Relaxed);
        }
        hit
    }
}

/// The rules in force, in the order they were added.
#[derive(Default)]
pub(crate) struct Script {
    rules: Vec<Rule>,
    next: u64,
    random: fastrand::Rng,
}

impl Script {
    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = fastrand::Rng::with_seed(seed);
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    fn add(&mut self, mut rule: Rule) -> u64 {
        rule.id = self.next;
        self.next += 1;
        self.rules.push(rule);
        self.next - 1
    }

    fn remove(&mut self, id: u64) {
        self.rules.retain(|rule| rule.id != id);
    }

    /// Every rule counts the call, whichever wins; delays add up, the first other fault is taken.
    pub(crate) fn decide(&mut self, call: &Call) -> Decision {
        let mut decision = Decision::default();
        let random = &mut self.random;
        for rule in &mut self.rules {
            if !rule.fits(call, random) {
                continue;
            }
            match &rule.fault {
                Fault::Delay(delay) => decision.delay += *delay,
                fault if decision.fault.is_none() => {
                    decision.fault = Some(fault.clone());
                    decision.after_effect = rule.after_effect;
                }
                _ => {}
            }
        }
        decision
    }
}

#[derive(Debug, Default)]
pub(crate) struct Decision {
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
    pub(crate) after_effect: bool,
}

/// A rule being written: first which calls, then the fault. Nothing is in force until the fault is named.
///
/// ```no_run
/// # use std::time::Duration;
/// # async fn example() {
/// let aws = lifeline_scripted::Endpoint::start().await;
/// aws.on("ReceiveMessage").nth(1).hang();
/// aws.on("DeleteMessageBatch").for_entries(|entry| entry.body == "b").fail_entry("InternalError", false);
/// let outage = aws.on("*").status(503, "ServiceUnavailable");
/// // …
/// outage.remove();
/// # }
/// ```
#[must_use = "a rule is in force once its fault is named"]
pub struct On<'a> {
    endpoint: &'a Endpoint,
    action: String,
    when: When,
    test: Option<CallTest>,
    entries: Option<EntryTest>,
    after_effect: bool,
}

impl<'a> On<'a> {
    pub(crate) fn new(endpoint: &'a Endpoint, action: &str) -> Self {
        Self {
            endpoint,
            action: action.into(),
            when: When::Always,
            test: None,
            entries: None,
            after_effect: false,
        }
    }

    /// The `n`th such call from now, counted from 1.
    pub fn nth(mut self, n: u64) -> Self {
        self.when = When::Nth(n);
        self
    }

    /// The next `n` such calls.
    pub fn first(mut self, n: u64) -> Self {
        self.when = When::First(n);
        self
    }

    /// The `n`th such call from now, and all after it.
    pub fn from(mut self, n: u64) -> Self {
        self.when = When::From(n);
        self
    }

    /// Each `n`th such call.
    pub fn every(mut self, n: u64) -> Self {
        self.when = When::Every(n);
        self
    }

    /// Each such call with probability `p`, by the generator that [`Endpoint::seed`] sets.
    pub fn probability(mut self, p: f64) -> Self {
        self.when = When::Probability(p);
        self
    }

    /// Only calls that fit; the others are not counted.
    pub fn when(mut self, test: impl Fn(&Call) -> bool + Send + Sync + 'static) -> Self {
        self.test = Some(Arc::new(test));
        self
    }

    /// Which entries of the call [`On::fail_entry`] is for; without this, all.
    pub fn for_entries(mut self, test: impl Fn(&crate::Entry) -> bool + Send + Sync + 'static) -> Self {
        self.entries = Some(EntryTest(Arc::new(test)));
        self
    }

    /// The call has its effect before the fault: the answer is what is lost.
    pub fn after_effect(mut self) -> Self {
        self.after_effect = true;
        self
    }

    /// Never answers. See [`Fault::Hang`].
    pub fn hang(self) -> RuleHandle {
        self.fault(Fault::Hang)
    }

    /// Answers half and stalls. See [`Fault::StallBody`].
    pub fn stall_body(self) -> RuleHandle {
        self.fault(Fault::StallBody)
    }

    /// A byte of the body every `every`. See [`Fault::Drip`].
    pub fn drip(self, every: Duration) -> RuleHandle {
        self.fault(Fault::Drip(every))
    }

    /// Resets the connection. See [`Fault::Reset`].
    pub fn reset(self) -> RuleHandle {
        self.fault(Fault::Reset)
    }

    /// Answers half and closes. See [`Fault::CloseEarly`].
    pub fn close_early(self) -> RuleHandle {
        self.fault(Fault::CloseEarly)
    }

    /// 200 with a body that is none of AWS'. See [`Fault::Garbage`].
    pub fn garbage(self, body: &str) -> RuleHandle {
        self.fault(Fault::Garbage(body.into()))
    }

    /// A proxy's page with this status, 200 included. See [`Fault::Page`].
    pub fn page(self, status: u16) -> RuleHandle {
        self.fault(Fault::Page(status))
    }

    /// Sends the response at this many bytes per second. See [`Fault::Slow`].
    pub fn slow(self, bytes_per_second: u64) -> RuleHandle {
        self.fault(Fault::Slow(bytes_per_second))
    }

    /// Leaves the entries chosen by [`On::for_entries`] (all without it) out of the answer. See [`Fault::LeaveOut`].
    pub fn leave_out(mut self) -> RuleHandle {
        let test = self.entries.take().unwrap_or_else(|| EntryTest(Arc::new(|_| true)));
        self.fault(Fault::LeaveOut(test))
    }

    /// An error of this HTTP status and code; from 500 on it is the receiver's fault.
    pub fn status(self, status: u16, code: &str) -> RuleHandle {
        let error = ServiceError {
            status,
            code: code.into(),
            message: format!("{code}, as scripted"),
            sender_fault: status < 500,
        };
        self.fault(Fault::Status(error))
    }

    /// What SQS and SNS answer to too many requests: 400 `ThrottlingException`, as the SDKs know it.
    pub fn throttle(self) -> RuleHandle {
        let mut error = ServiceError::sender("ThrottlingException", "Rate exceeded");
        error.sender_fault = true;
        self.fault(Fault::Status(error))
    }

    /// Honest, but later. Delays of several rules add up, and go with another rule's fault.
    pub fn delay(self, delay: Duration) -> RuleHandle {
        self.fault(Fault::Delay(delay))
    }

    /// Fails the entries chosen by [`On::for_entries`] (all without it); the others have their effect.
    /// On a call without entries, fails the call.
    pub fn fail_entry(mut self, code: &str, sender_fault: bool) -> RuleHandle {
        let error = ServiceError {
            status: if sender_fault { 400 } else { 500 },
            code: code.into(),
            message: format!("{code}, as scripted"),
            sender_fault,
        };
        let test = self.entries.take().unwrap_or_else(|| EntryTest(Arc::new(|_| true)));
        self.fault(Fault::FailEntries(test, error))
    }

    /// Brings each message twice. See [`Fault::DuplicateEntries`].
    pub fn duplicate_entries(self) -> RuleHandle {
        self.fault(Fault::DuplicateEntries)
    }

    /// Leases what is received to somebody else for `lease`. See [`Fault::LoseLease`].
    pub fn lose_lease(self, lease: Duration) -> RuleHandle {
        self.fault(Fault::LoseLease(lease))
    }

    /// Puts the rule in force with this fault.
    pub fn fault(self, fault: Fault) -> RuleHandle {
        let hits = Arc::new(AtomicU64::new(0));
        let rule = Rule {
            id: 0,
            action: self.action,
            when: self.when,
            test: self.test,
            after_effect: self.after_effect,
            fault,
            seen: 0,
            hits: Arc::clone(&hits),
        };
        let id = self.endpoint.shared.state().script.add(rule);
        RuleHandle { shared: Arc::clone(&self.endpoint.shared), id, hits }
    }
}

/// A rule in force. Dropping the handle leaves it in force.
pub struct RuleHandle {
    shared: Arc<crate::Shared>,
    id: u64,
    hits: Arc<AtomicU64>,
}

impl RuleHandle {
    /// Takes the rule back; calls that it already holds stay held.
    pub fn remove(&self) {
        self.shared.state().script.remove(self.id);
    }

    /// How many calls its fault happened to.
    #[must_use]
    pub fn hits(&self) -> u64 {
        self.hits.load(Ordering::Relaxed)
    }
}
