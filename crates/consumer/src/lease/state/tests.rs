//! One test for each row of the transition table, and a model of SQS under a clock that jumps.

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits { visibility: seconds(30), call_timeout: seconds(5) };

const fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// A lease of 30 s on a clock that starts at 0 s.
struct Clock {
    start: Instant,
    lease: Lease,
}

impl Clock {
    fn held() -> Self {
        let start = Instant::now();
        Self { start, lease: Lease::received(start, start, LIMITS.visibility) }
    }

    fn deleting() -> Self {
        let mut clock = Self::held();
        assert_eq!(clock.on(1.0, Event::Handled), Action::Delete { tries: 0 });
        clock
    }

    fn retrying() -> Self {
        let mut clock = Self::held();
        let failed = clock.on(1.0, Event::Failed { delay: seconds(4) });
        assert_eq!(failed, Action::Return { delay: seconds(4), tries: 0 });
        clock
    }

    fn releasing() -> Self {
        let mut clock = Self::held();
        let released = clock.on(1.0, Event::Released { visible_at: None });
        assert_eq!(released, Action::Return { delay: Duration::ZERO, tries: 0 });
        clock
    }

    fn lost() -> Self {
        let mut clock = Self::held();
        assert_eq!(clock.on(30.0, Event::Tick), Action::Tell(Stop::LostLease));
        clock
    }

    fn at(&self, second: f64) -> Instant {
        self.start + Duration::from_secs_f64(second)
    }

    fn on(&mut self, second: f64, event: Event) -> Action {
        let now = self.at(second);
        self.lease.on(event, now, &LIMITS)
    }

    fn extend(&mut self, second: f64) -> u32 {
        match self.on(second, Event::Tick) {
            Action::Extend { call, grant } if grant == LIMITS.visibility => call,
            other => panic!("{other:?}"),
        }
    }

    fn answer(&mut self, second: f64, call: u32, asked: f64, verdict: Verdict) -> Action {
        let asked = self.at(asked);
        self.on(second, Event::Extended { call, asked, granted: LIMITS.visibility, verdict })
    }

    fn next(&self) -> f64 {
        let next = self.lease.next_at().expect("something is due");
        (next - self.start).as_secs_f64()
    }

    fn ours_until(&self) -> f64 {
        (self.lease.ours_until().expect("it is ours") - self.start).as_secs_f64()
    }
}

#[test]
fn a_received_message_is_held_from_the_moment_it_was_asked_for() {
    let start = Instant::now();
    let lease = Lease::received(start, start + seconds(4), LIMITS.visibility);
    assert!(lease.is_confirmed());
    assert_eq!(lease.ours_until(), Some(start + seconds(30) - MARGIN));
    assert_eq!(lease.next_at(), Some(start + seconds(20)));
}

#[test]
fn a_message_that_may_have_been_handed_out_long_ago_is_extended_before_its_handler_starts() {
    let start = Instant::now();
    let mut clock = Clock { start, lease: Lease::received(start, start + seconds(70), LIMITS.visibility) };
    assert!(!clock.lease.is_confirmed());
    let call = clock.extend(70.0);
    assert_eq!(clock.answer(70.1, call, 70.0, Verdict::Done), Action::Nothing);
    assert!(clock.lease.is_confirmed());
    assert_eq!(clock.ours_until(), 99.75);
}

#[test]
fn a_message_that_cannot_be_confirmed_is_lost_when_it_is_over_by_the_latest_count() {
    let start = Instant::now();
    let mut clock = Clock { start, lease: Lease::received(start, start + seconds(70), LIMITS.visibility) };
    let call = clock.extend(70.0);
    assert_eq!(clock.answer(70.1, call, 70.0, Verdict::Unproven), Action::Nothing);
    assert_eq!(clock.on(100.0, Event::Tick), Action::Tell(Stop::LostLease));
}

#[test]
fn an_extension_is_sent_when_it_is_due() {
    for mut clock in [Clock::held(), Clock::deleting()] {
        assert_eq!(clock.next(), 20.0);
        assert_eq!(clock.on(18.4, Event::Tick), Action::Nothing);
        assert_eq!(
            clock.on(18.5, Event::Tick),
            Action::Extend { call: 1, grant: LIMITS.visibility },
            "a little early, if the owner looks for what goes into the same batch"
        );
        assert_eq!(clock.on(20.1, Event::Tick), Action::Nothing, "one is in flight");
    }
}

#[test]
fn an_extension_never_asks_for_more_than_is_left_of_twelve_hours() {
    let mut clock = Clock::held();
    let hours = Limits { visibility: seconds(12 * 3600), ..LIMITS };
    let now = clock.at(20.0);
    let action = clock.lease.on(Event::Tick, now, &hours);
    assert_eq!(action, Action::Extend { call: 1, grant: seconds(12 * 3600 - 20 - 5) });
}

#[test]
fn an_extension_counts_from_the_moment_it_was_sent() {
    for mut clock in [Clock::held(), Clock::deleting()] {
        let call = clock.extend(20.0);
        assert_eq!(clock.answer(23.0, call, 20.0, Verdict::Done), Action::Nothing);
        assert_eq!((clock.ours_until(), clock.next()), (49.75, 40.0));
    }
}

#[test]
fn the_late_answer_to_an_older_extension_changes_nothing() {
    let mut clock = Clock::held();
    let first = clock.extend(20.0);
    let second = clock.extend(25.0);
    clock.answer(25.5, second, 25.0, Verdict::Done);
    clock.answer(26.0, first, 20.0, Verdict::Done);
    assert_eq!((clock.ours_until(), clock.next()), (54.75, 45.0));
}

#[test]
fn a_failed_extension_is_due_again_at_a_quarter_of_what_is_left() {
    for mut clock in [Clock::held(), Clock::deleting()] {
        let call = clock.extend(25.75);
        assert_eq!(clock.answer(25.75, call, 25.75, Verdict::Unproven), Action::Nothing);
        assert_eq!((clock.ours_until(), clock.next()), (29.75, 26.75));
    }
}

#[test]
fn a_hung_extension_is_overtaken_by_another() {
    for mut clock in [Clock::held(), Clock::deleting()] {
        let first = clock.extend(20.0);
        assert_eq!(clock.next(), 24.875, "half of what is left");
        assert_eq!(clock.extend(24.875), first + 1);
    }
}

#[test]
fn an_extension_beyond_the_limit_leaves_the_lease_to_run_out() {
    for mut clock in [Clock::held(), Clock::deleting()] {
        let call = clock.extend(20.0);
        assert_eq!(clock.answer(20.1, call, 20.0, Verdict::BeyondLimit), Action::Nothing);
        assert_eq!((clock.ours_until(), clock.next()), (29.75, 29.75));
        assert_eq!(clock.on(29.0, Event::Tick), Action::Nothing);
    }
}

#[test]
fn a_refused_extension_loses_the_lease_and_the_handler_is_told() {
    let mut clock = Clock::held();
    let call = clock.extend(20.0);
    assert_eq!(clock.answer(20.1, call, 20.0, Verdict::ReceiptInvalid), Action::Tell(Stop::LostLease));
    assert_eq!(clock.lease, Lease::Lost);
}

#[test]
fn a_lease_that_runs_out_is_lost_with_a_margin() {
    let mut clock = Clock::held();
    assert_eq!(clock.on(29.75, Event::Tick), Action::Tell(Stop::LostLease));
    assert_eq!(clock.lease, Lease::Lost);
    let start = Instant::now();
    let short = Lease::received(start, start, seconds(1));
    assert_eq!(short.ours_until(), Some(start + Duration::from_millis(900)), "a tenth of a short lease");
}

#[test]
fn a_clock_that_jumps_past_the_end_loses_the_lease() {
    let mut clock = Clock::held();
    assert_eq!(clock.on(100_000.0, Event::Tick), Action::Tell(Stop::LostLease));
}

#[test]
fn a_handler_is_asked_to_stop_once_and_the_lease_is_kept() {
    let mut clock = Clock::held();
    assert_eq!(clock.on(1.0, Event::Stop), Action::Tell(Stop::Shutdown));
    assert_eq!(clock.on(2.0, Event::Stop), Action::Nothing);
    assert!(clock.lease.is_asked_to_stop());
    clock.extend(20.0);
}

#[test]
fn a_lease_that_is_lost_after_its_handler_was_asked_to_stop_is_known_as_lost() {
    let mut clock = Clock::held();
    clock.on(1.0, Event::Stop);
    let call = clock.extend(20.0);
    assert_eq!(clock.answer(20.1, call, 20.0, Verdict::ReceiptInvalid), Action::Tell(Stop::LostLease));
    assert_eq!(clock.on(20.2, Event::Handled), Action::Settle(Outcome::LostLease), "no delete is sent");
}

#[test]
fn a_handled_message_is_deleted_also_after_the_handler_was_asked_to_stop() {
    let mut clock = Clock::held();
    clock.on(1.0, Event::Stop);
    assert_eq!(clock.on(2.0, Event::Handled), Action::Delete { tries: 0 });
}

#[test]
fn a_failed_message_goes_back_with_its_delay() {
    let mut clock = Clock::retrying();
    assert_eq!(clock.on(1.1, Event::Returned(Verdict::Done)), Action::Settle(Outcome::Retried));
}

#[test]
fn a_message_that_is_not_handled_is_released() {
    let mut clock = Clock::releasing();
    assert_eq!(clock.on(1.1, Event::Returned(Verdict::Done)), Action::Settle(Outcome::Released));
    let mut clock = Clock::held();
    let visible_at = Some(clock.at(7.5));
    let released = clock.on(1.0, Event::Released { visible_at });
    assert_eq!(released, Action::Return { delay: seconds(7), tries: 0 }, "with the one before it");
}

#[test]
fn a_handler_that_ends_without_success_after_it_was_asked_to_stop_is_released() {
    for event in [Event::Ended, Event::Failed { delay: seconds(60) }] {
        let mut clock = Clock::held();
        clock.on(1.0, Event::Stop);
        assert_eq!(clock.on(2.0, event), Action::Return { delay: Duration::ZERO, tries: 0 });
        assert_eq!(clock.on(2.1, Event::Returned(Verdict::Done)), Action::Settle(Outcome::Released));
    }
}

#[test]
fn a_confirmed_delete_settles() {
    let mut clock = Clock::deleting();
    assert_eq!(clock.on(1.1, Event::DeleteSent), Action::Nothing);
    assert_eq!(clock.on(1.2, Event::Deleted(Verdict::Done)), Action::Settle(Outcome::Deleted));
}

#[test]
fn a_delete_that_proves_nothing_is_sent_again_while_the_lease_is_kept() {
    let mut clock = Clock::deleting();
    clock.on(1.1, Event::DeleteSent);
    assert_eq!(clock.on(1.2, Event::Deleted(Verdict::Unproven)), Action::Delete { tries: 1 });
    clock.extend(20.0);
    clock.on(21.0, Event::DeleteSent);
    assert_eq!(clock.on(21.1, Event::Deleted(Verdict::Unproven)), Action::Delete { tries: 2 });
}

#[test]
fn a_delete_that_is_refused_is_a_lost_lease() {
    let mut clock = Clock::deleting();
    clock.on(1.1, Event::DeleteSent);
    let refused = clock.on(1.2, Event::Deleted(Verdict::ReceiptInvalid));
    assert_eq!(refused, Action::Settle(Outcome::LostLease));
}

#[test]
fn a_delete_is_not_sent_after_the_lease_is_over() {
    let mut clock = Clock::deleting();
    assert_eq!(clock.on(29.8, Event::DeleteSent), Action::Settle(Outcome::LostLease));
    let mut clock = Clock::deleting();
    assert_eq!(clock.on(29.8, Event::Tick), Action::Settle(Outcome::LostLease));
}

#[test]
fn a_lease_that_is_refused_before_its_delete_was_sent_is_lost() {
    let mut clock = Clock::deleting();
    let call = clock.extend(20.0);
    let refused = clock.answer(20.1, call, 20.0, Verdict::ReceiptInvalid);
    assert_eq!(refused, Action::Settle(Outcome::LostLease));
}

#[test]
fn an_extension_that_is_refused_while_the_delete_is_in_flight_waits_for_its_answer() {
    for (verdict, outcome) in [
        (Verdict::Done, Outcome::Deleted),
        (Verdict::Unproven, Outcome::LostLease),
        (Verdict::ReceiptInvalid, Outcome::LostLease),
    ] {
        let mut clock = Clock::deleting();
        let call = clock.extend(20.0);
        clock.on(20.1, Event::DeleteSent);
        assert_eq!(clock.answer(20.2, call, 20.0, Verdict::ReceiptInvalid), Action::Nothing);
        assert_eq!(clock.on(20.3, Event::Deleted(verdict)), Action::Settle(outcome));
    }
}

#[test]
fn a_returning_message_waits_for_the_extension_that_it_would_overtake() {
    let mut clock = Clock::held();
    let call = clock.extend(20.0);
    assert_eq!(clock.on(20.1, Event::Failed { delay: seconds(4) }), Action::Nothing);
    let landed = clock.answer(20.2, call, 20.0, Verdict::Done);
    assert_eq!(landed, Action::Return { delay: seconds(4), tries: 0 });
}

#[test]
fn a_returning_message_waits_no_longer_than_a_second_for_an_extension_that_hangs() {
    let mut clock = Clock::held();
    let call = clock.extend(20.0);
    assert_eq!(clock.on(20.5, Event::Released { visible_at: None }), Action::Nothing);
    assert_eq!(clock.next(), 21.5);
    assert_eq!(clock.on(21.5, Event::Tick), Action::Return { delay: Duration::ZERO, tries: 0 });
    assert_eq!(clock.answer(25.0, call, 20.0, Verdict::Unproven), Action::Nothing, "sent once");
}

#[test]
fn a_return_that_proves_nothing_is_tried_five_times() {
    let mut clocks = [Clock::retrying(), Clock::releasing()];
    for (clock, outcome) in clocks.iter_mut().zip([Outcome::Retried, Outcome::LostLease]) {
        for tries in 1..RETURN_TRIES {
            match clock.on(1.1, Event::Returned(Verdict::Unproven)) {
                Action::Return { tries: told, .. } => assert_eq!(told, tries),
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(clock.on(1.2, Event::Returned(Verdict::Unproven)), Action::Settle(outcome));
    }
}

#[test]
fn a_return_that_is_over_before_it_is_proven_settles() {
    assert_eq!(Clock::retrying().on(30.0, Event::Tick), Action::Settle(Outcome::Retried));
    assert_eq!(Clock::releasing().on(30.0, Event::Tick), Action::Settle(Outcome::LostLease));
}

#[test]
fn a_return_that_is_refused_is_a_lost_lease() {
    for mut clock in [Clock::retrying(), Clock::releasing()] {
        let refused = clock.on(1.1, Event::Returned(Verdict::ReceiptInvalid));
        assert_eq!(refused, Action::Settle(Outcome::LostLease));
    }
}

#[test]
fn a_delay_beyond_the_limit_is_cut_to_it_and_halved_if_it_is_refused_all_the_same() {
    let mut clock = Clock::held();
    let hours = |n: u64| seconds(n * 3600);
    let failed = clock.on(10.0, Event::Failed { delay: hours(24) });
    let most = hours(12) - seconds(10 + 5);
    assert_eq!(failed, Action::Return { delay: most, tries: 0 });
    match clock.on(10.0, Event::Returned(Verdict::BeyondLimit)) {
        Action::Return { delay, tries: 1 } => assert!(delay > hours(5) && delay < hours(7), "{delay:?}"),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_lost_lease_settles_when_its_handler_ends() {
    let endings = [
        Event::Handled,
        Event::Failed { delay: seconds(1) },
        Event::Released { visible_at: None },
        Event::Ended,
    ];
    for event in endings {
        let mut clock = Clock::lost();
        assert_eq!(clock.lease.next_at(), None, "nothing is due any more");
        assert_eq!(clock.on(31.0, Event::Tick), Action::Nothing);
        assert_eq!(clock.on(32.0, event), Action::Settle(Outcome::LostLease));
    }
}

#[test]
fn a_timeout_that_is_shortened_meanwhile_does_not_shorten_the_lease() {
    let mut clock = Clock::held();
    let short = Limits { visibility: seconds(2), ..LIMITS };
    let now = clock.at(20.0);
    assert_eq!(clock.lease.on(Event::Tick, now, &short), Action::Nothing);
    let due = clock.lease.next_at().expect("still extended");
    assert!(due > clock.at(29.0) && due < clock.at(29.75), "in the last third of the new timeout");
    assert_eq!(clock.lease.on(Event::Tick, due, &short), Action::Extend { call: 1, grant: seconds(2) });
}

/// What happens in the world of the model.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The clock jumps by so many milliseconds.
    Pass(u64),
    /// The clock goes to the moment that the lease asks for.
    Due,
    /// The oldest call in flight arrives at SQS, and its answer comes back, or is lost.
    Lands {
        answered: bool,
    },
    /// The newest call in flight does so first.
    Overtakes {
        answered: bool,
    },
    /// Another consumer receives the message, if it is visible.
    Steal,
    Stop,
    Handler(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0_u64..40_000).prop_map(Step::Pass),
        1 => Just(Step::Pass(86_400_000)),
        4 => Just(Step::Due),
        4 => any::<bool>().prop_map(|answered| Step::Lands { answered }),
        2 => any::<bool>().prop_map(|answered| Step::Overtakes { answered }),
        1 => Just(Step::Steal),
        1 => Just(Step::Stop),
        1 => (0_u8..4).prop_map(Step::Handler),
    ]
}

#[derive(Debug, Clone, Copy)]
enum Call {
    Extend { call: u32, asked: Instant, grant: Duration },
    Delete,
    Return { delay: Duration },
}

/// One message in SQS, a lease on it, and the calls between the two.
struct Model {
    now: Instant,
    lease: Lease,
    handed_out: Instant,
    visible_at: Instant,
    taken: bool,
    deleted: bool,
    calls: Vec<Call>,
    outcome: Option<Outcome>,
    handled: bool,
    handler_ended: bool,
    told: Vec<Stop>,
}

impl Model {
    /// SQS handed the message out `age` before its response was read, which was `wait` after it was asked for.
    fn new(wait: Duration, age: Duration, limits: &Limits) -> Self {
        let start = Instant::now();
        let now = start + wait;
        let handed_out = now - age.min(wait);
        Self {
            now,
            lease: Lease::received(start, now, limits.visibility),
            handed_out,
            visible_at: handed_out + limits.visibility,
            taken: false,
            deleted: false,
            calls: Vec::new(),
            outcome: None,
            handled: false,
            handler_ended: false,
            told: Vec::new(),
        }
    }

    fn is_ours(&self) -> bool {
        !self.taken && !self.deleted && self.now < self.visible_at
    }

    fn event(&mut self, event: Event, limits: &Limits) {
        if self.outcome.is_some() {
            return;
        }
        let asks_for_delete = matches!(event, Event::Handled | Event::Deleted(_));
        match self.lease.on(event, self.now, limits) {
            Action::Nothing => {}
            Action::Extend { call, grant } => {
                assert!(self.now + grant <= self.handed_out + LONGEST, "beyond the twelve hours");
                assert!(!grant.is_zero());
                self.calls.push(Call::Extend { call, asked: self.now, grant });
            }
            Action::Tell(stop) => {
                assert!(!self.told.contains(&stop), "told twice of {stop:?}");
                self.told.push(stop);
            }
            Action::Delete { .. } => {
                assert!(self.handled && asks_for_delete, "deleted without a success");
                self.event(Event::DeleteSent, limits);
                if self.outcome.is_none() {
                    assert!(self.lease.ours_until().is_some_and(|until| self.now < until));
                    self.calls.push(Call::Delete);
                }
            }
            Action::Return { delay, .. } => {
                assert!(!self.handled, "returned after a success");
                assert!(self.now + delay <= self.handed_out + LONGEST, "beyond the twelve hours");
                self.calls.push(Call::Return { delay });
            }
            Action::Settle(outcome) => self.outcome = Some(outcome),
        }
    }

    fn land(&mut self, call: Call, answered: bool, limits: &Limits) {
        let ours = self.is_ours();
        let verdict = match (answered, ours) {
            (false, _) => Verdict::Unproven,
            (true, true) => Verdict::Done,
            (true, false) => Verdict::ReceiptInvalid,
        };
        match call {
            Call::Extend { call, asked, grant } => {
                if ours {
                    self.visible_at = self.now + grant;
                }
                self.event(Event::Extended { call, asked, granted: grant, verdict }, limits);
            }
            Call::Delete => {
                self.deleted |= ours;
                self.event(Event::Deleted(verdict), limits);
            }
            Call::Return { delay } => {
                if ours {
                    self.visible_at = self.now + delay;
                }
                self.event(Event::Returned(verdict), limits);
            }
        }
    }

    fn step(&mut self, step: Step, limits: &Limits) {
        match step {
            Step::Pass(millis) => {
                self.now += Duration::from_millis(millis);
                self.event(Event::Tick, limits);
            }
            Step::Due => {
                if let Some(at) = self.lease.next_at().filter(|_| self.outcome.is_none()) {
                    self.now = self.now.max(at);
                    self.event(Event::Tick, limits);
                    let next = self.lease.next_at().filter(|_| self.outcome.is_none());
                    assert!(next.is_none_or(|next| next > self.now), "an owner would spin: {:?}", self.lease);
                }
            }
            Step::Lands { answered } => {
                if !self.calls.is_empty() {
                    let call = self.calls.remove(0);
                    self.land(call, answered, limits);
                }
            }
            Step::Overtakes { answered } => {
                if let Some(call) = self.calls.pop() {
                    self.land(call, answered, limits);
                }
            }
            Step::Steal => self.taken |= self.now >= self.visible_at && !self.deleted,
            Step::Stop => self.event(Event::Stop, limits),
            Step::Handler(way) if !self.handler_ended && (self.lease.is_confirmed() || way > 1) => {
                self.handler_ended = true;
                match way {
                    0 => {
                        self.handled = true;
                        self.event(Event::Handled, limits);
                    }
                    1 => self.event(Event::Failed { delay: seconds(7) }, limits),
                    2 => self.event(Event::Released { visible_at: None }, limits),
                    _ => self.event(Event::Ended, limits),
                }
            }
            Step::Handler(_) => {}
        }
        if let (None, true, Some(until)) = (self.outcome, self.lease.is_confirmed(), self.lease.ours_until())
        {
            assert!(until <= self.visible_at || self.deleted, "believed ours for too long");
        }
    }
}

proptest! {
    #[test]
    fn a_lease_is_never_believed_for_longer_than_sqs_grants_it_and_always_settles(
        wait in 0_u64..60_000,
        age in 0_u64..60_000,
        visibility in prop_oneof![Just(1_u64), Just(2), Just(30), Just(43_200)],
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let limits = Limits { visibility: seconds(visibility), call_timeout: seconds(5) };
        let mut model = Model::new(Duration::from_millis(wait), Duration::from_millis(age), &limits);
        for step in steps {
            model.step(step, &limits);
        }
        // whatever happened, a handler that ends and calls that are answered bring it to its outcome
        model.step(Step::Handler(3), &limits);
        for _ in 0..40 {
            model.step(Step::Lands { answered: true }, &limits);
            model.step(Step::Due, &limits);
        }
        let outcome = model.outcome.expect("an outcome");
        prop_assert!(outcome != Outcome::Deleted || model.handled);
        // a stale receipt is refused here, so a delete that was confirmed was done
        prop_assert!(outcome != Outcome::Deleted || model.deleted);
    }
}
