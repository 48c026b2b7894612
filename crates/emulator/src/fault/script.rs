//! The faults in force, and what they decide for each call.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use tokio::time::Instant;

use super::{Calls, Entries, Fault};
use crate::{action::Action, random::Random, record::Call};

/// What happens to a call.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Effect {
    Hang,
    Delay(Duration),
    Throttle,
    Status(u16, String),
    Error(u16, String, String),
    Reset,
    Stall,
    Truncate,
    Bandwidth(u64),
    LeaveOutEntries,
    FailEntries(String, bool),
    Duplicate,
    LoseLease(Duration),
}

/// The faults in force, in the order in which they were injected.
#[derive(Debug)]
pub(crate) struct Script {
    rules: Vec<Rule>,
    next: u64,
    random: Random,
}

#[derive(Debug)]
struct Rule {
    id: u64,
    fault: Fault,
    seen: u64,
    allowance: Allowance,
    hits: Arc<AtomicU64>,
}

/// How many calls may still pass now: it fills up at the rate of `above`, to a tenth of a second's worth.
#[derive(Debug)]
struct Allowance {
    left: f64,
    at: Instant,
}

impl Allowance {
    /// Nothing has passed yet.
    fn new() -> Self {
        Self { left: f64::INFINITY, at: Instant::now() }
    }

    /// Whether a call exceeds `rate`; counts it if it does not.
    fn is_exceeded(&mut self, rate: f64) -> bool {
        let passed = self.at.elapsed();
        self.at += passed;
        self.left = (self.left + rate * passed.as_secs_f64()).min((rate / 10.0).max(1.0));
        if self.left < 1.0 {
            return true;
        }
        self.left -= 1.0;
        false
    }
}

/// What the faults decide for one call.
#[derive(Debug, Clone, Default)]
pub(crate) struct Decision {
    /// All delays that fit, added up.
    pub(crate) delay: Duration,
    /// The slowest that fits.
    pub(crate) bandwidth: Option<u64>,
    /// The first other fault that fits.
    pub(crate) effect: Option<Effect>,
    pub(crate) entries: Entries,
    pub(crate) after_effect: bool,
}

impl Calls {
    fn contain(
        &mut self,
        action: Action,
        call: Option<&Call>,
        seen: &mut u64,
        allowance: &mut Allowance,
        random: &mut Random,
    ) -> bool {
        if !self.actions.is_empty() && !self.actions.contains(&action) || !self.such.contains(call) {
            return false;
        }
        *seen += 1;
        let Some(past) = seen.checked_sub(self.from) else { return false };
        let place = past / self.every;
        past.is_multiple_of(self.every)
            && self.times.is_none_or(|times| place < times)
            && self.probability.is_none_or(|probability| random.fraction() < probability)
            && self.above.is_none_or(|rate| allowance.is_exceeded(rate as f64))
    }
}

impl Script {
    pub(crate) fn new(seed: Option<u64>) -> Self {
        Self { rules: Vec::new(), next: 1, random: Random::new(seed.map(|seed| seed ^ 0x5eed)) }
    }

    pub(crate) fn add(&mut self, fault: Fault) -> (u64, Arc<AtomicU64>) {
        let (id, hits) = (self.next, Arc::new(AtomicU64::new(0)));
        self.next += 1;
        self.rules.push(Rule { id, fault, seen: 0, allowance: Allowance::new(), hits: Arc::clone(&hits) });
        (id, hits)
    }

    /// Says whether there was such a fault.
    pub(crate) fn remove(&mut self, id: u64) -> bool {
        let before = self.rules.len();
        self.rules.retain(|rule| rule.id != id);
        self.rules.len() < before
    }

    pub(crate) fn seed(&mut self, seed: u64) {
        self.random = Random::new(Some(seed));
    }

    /// Whether a fault asks what a call says, and not only which action it is.
    pub(crate) fn needs_calls(&self) -> bool {
        self.rules.iter().any(|rule| rule.fault.calls.such.needs_call())
    }

    pub(crate) fn clear(&mut self) {
        self.rules.clear();
    }

    /// Number, text and hits of each fault.
    pub(crate) fn list(&self) -> Vec<(u64, String, u64)> {
        let list = self.rules.iter();
        list.map(|rule| (rule.id, rule.fault.text.clone(), rule.hits.load(Ordering::Relaxed))).collect()
    }

    /// Every fault counts the call, whichever happens to it.
    pub(crate) fn decide(&mut self, action: Action, call: Option<&Call>) -> Decision {
        let mut decision = Decision::default();
        for rule in &mut self.rules {
            let Rule { fault, seen, allowance, .. } = rule;
            if !fault.calls.contain(action, call, seen, allowance, &mut self.random) {
                continue;
            }
            match &rule.fault.effect {
                Effect::Delay(delay) => decision.delay += *delay,
                Effect::Bandwidth(rate) => {
                    decision.bandwidth = Some(decision.bandwidth.map_or(*rate, |other| other.min(*rate)));
                }
                effect if decision.effect.is_none() => {
                    decision.effect = Some(effect.clone());
                    decision.entries = rule.fault.entries.clone();
                    decision.after_effect = rule.fault.after_effect;
                }
                _ => continue,
            }
            rule.hits.fetch_add(1, Ordering::Relaxed);
        }
        decision
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn met(fault: Fault, calls: usize) -> Vec<usize> {
        let mut script = Script::new(Some(1));
        script.add(fault);
        let hit = |script: &mut Script| script.decide(Action::SendMessage, None).effect.is_some();
        (1..=calls).filter(|_| hit(&mut script)).collect()
    }

    #[test]
    fn calls_are_chosen_by_their_number() {
        let on = || Fault::on(Action::SendMessage);
        assert_eq!(met(on().nth(3).hang(), 6), [3]);
        assert_eq!(met(on().nth(3).times(2).hang(), 6), [3, 4]);
        assert_eq!(met(on().times(2).hang(), 6), [1, 2]);
        assert_eq!(met(on().from(5).hang(), 6), [5, 6]);
        assert_eq!(met(on().every(2).hang(), 6), [2, 4, 6]);
        assert_eq!(met(on().every(2).times(1).hang(), 6), [2]);
        assert_eq!(met(Fault::on(Action::Publish).hang(), 6), [0; 0]);
        let some = met(on().probability(0.5).hang(), 1000).len();
        assert!((400..600).contains(&some), "{some}");
    }

    #[tokio::test(start_paused = true)]
    async fn calls_above_a_rate_are_met_and_the_others_pass() {
        let mut script = Script::new(None);
        script.add(Fault::on(Action::ReceiveMessage).above(100).throttle());
        let mut passed = 0;
        for _ in 0..1000 {
            passed += usize::from(script.decide(Action::ReceiveMessage, None).effect.is_none());
            tokio::time::advance(Duration::from_millis(2)).await;
        }
        assert!((200..=212).contains(&passed), "{passed} passed in two seconds");
        assert!(script.decide(Action::SendMessage, None).effect.is_none());
    }

    #[test]
    fn delays_add_up_and_go_with_another_fault() {
        let mut script = Script::new(None);
        let one = Duration::from_millis(1);
        script.add(Fault::on_every_action().delay(one));
        script.add(Fault::on(Action::Publish).delay(one));
        let (_, first) = script.add(Fault::on(Action::Publish).throttle());
        let (_, second) = script.add(Fault::on(Action::Publish).hang());
        let decision = script.decide(Action::Publish, None);
        assert_eq!((decision.delay, decision.effect), (one * 2, Some(Effect::Throttle)));
        assert_eq!((first.load(Ordering::Relaxed), second.load(Ordering::Relaxed)), (1, 0));
    }
}
