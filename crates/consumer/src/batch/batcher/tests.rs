//! A batcher with a call that answers as a test says: in full, in part, late, never.

use std::sync::Mutex;

use super::*;

const GATHER: Gather =
    Gather { linger: Duration::from_millis(3), most_in_flight: 4, longest_wait: Duration::from_secs(10) };

/// Answers from a list, and records what it was asked.
#[derive(Default)]
struct Fake {
    asked: Mutex<Vec<Vec<String>>>,
    answers: Mutex<VecDeque<Result<Vec<Verdict>, Fault>>>,
}

impl BatchCall for Arc<Fake> {
    type Ask = ();

    async fn call(&self, entries: &[(Arc<str>, ())]) -> Result<Vec<Verdict>, CallError> {
        self.asked.lock().unwrap().push(entries.iter().map(|(receipt, ())| receipt.to_string()).collect());
        let answer = self.answers.lock().unwrap().pop_front();
        match answer {
            Some(Ok(verdicts)) => Ok(verdicts),
            Some(Err(fault)) => Err(CallError::local("a call", fault, "as scripted")),
            None => Ok(vec![Verdict::Done; entries.len()]),
        }
    }
}

struct Bench {
    fake: Arc<Fake>,
    batcher: Batcher<Arc<Fake>, u32>,
    now: Instant,
}

impl Bench {
    fn new() -> Self {
        let fake = Arc::new(Fake::default());
        let batcher = Batcher::new(Arc::clone(&fake), GATHER);
        Self { fake, batcher, now: Instant::now() }
    }

    fn answering(answers: impl IntoIterator<Item = Result<Vec<Verdict>, Fault>>) -> Self {
        let bench = Self::new();
        bench.fake.answers.lock().unwrap().extend(answers);
        bench
    }

    fn push(&mut self, ids: std::ops::Range<u32>) {
        ids.for_each(|id| self.batcher.push(id, (), 0, self.now));
    }

    fn launch(&mut self) -> Vec<InFlight> {
        self.batcher.launch(self.now, false, |id, ()| Some(id.to_string().into()))
    }

    /// Goes to the moment at which the next batch may leave, and launches it.
    fn next(&mut self) -> Vec<InFlight> {
        let at = self.batcher.next_at(self.now, false).expect("something may leave");
        self.now = self.now.max(at);
        self.launch()
    }

    fn land(&mut self, call: InFlight) -> Vec<(u32, Verdict)> {
        let landed = call.now_or_never().expect("a fake answers at once");
        let verdicts = self.batcher.landed(landed, self.now);
        verdicts.into_iter().map(|(id, (), verdict)| (id, verdict)).collect()
    }

    fn asked(&self) -> Vec<usize> {
        self.fake.asked.lock().unwrap().iter().map(Vec::len).collect()
    }
}

#[test]
fn ten_leave_at_once_and_fewer_after_the_linger() {
    let mut bench = Bench::new();
    bench.push(0..14);
    assert_eq!(bench.batcher.next_at(bench.now, false), Some(bench.now));
    assert_eq!(bench.launch().len(), 1);
    assert_eq!(bench.batcher.next_at(bench.now, false), Some(bench.now + GATHER.linger));
    assert_eq!(bench.launch().len(), 0, "four wait for others");
    assert_eq!(bench.batcher.next_at(bench.now, true), Some(bench.now), "but not if none can come");
    assert_eq!(bench.next().len(), 1);
    assert_eq!(bench.batcher.next_at(bench.now, false), None);
}

#[test]
fn each_entry_gets_its_own_verdict() {
    let verdicts = vec![Verdict::Done, Verdict::ReceiptInvalid, Verdict::Unproven];
    let mut bench = Bench::answering([Ok(verdicts)]);
    bench.push(0..3);
    let call = bench.next().remove(0);
    let landed = bench.land(call);
    assert_eq!(landed, [(0, Verdict::Done), (1, Verdict::ReceiptInvalid), (2, Verdict::Unproven)]);
}

#[test]
fn an_entry_that_a_response_leaves_out_is_not_proven() {
    let mut bench = Bench::answering([Ok(vec![Verdict::Done])]);
    bench.push(0..3);
    let call = bench.next().remove(0);
    let landed = bench.land(call);
    assert_eq!(landed, [(0, Verdict::Done), (1, Verdict::Unproven), (2, Verdict::Unproven)]);
}

#[test]
fn a_call_that_fails_proves_nothing_about_any_entry() {
    for fault in [Fault::Refused, Fault::Missing, Fault::Denied, Fault::Throttled, Fault::Server] {
        let mut bench = Bench::answering([Err(fault)]);
        bench.push(0..3);
        let call = bench.next().remove(0);
        assert!(bench.land(call).iter().all(|(_, verdict)| *verdict == Verdict::Unproven), "{fault:?}");
    }
}

#[test]
fn a_call_that_panics_ends_as_one_that_failed() {
    struct Panics;
    impl BatchCall for Panics {
        type Ask = ();
        async fn call(&self, _: &[(Arc<str>, ())]) -> Result<Vec<Verdict>, CallError> {
            panic!("as scripted")
        }
    }
    let now = Instant::now();
    let mut batcher = Batcher::new(Panics, GATHER);
    batcher.push(1, (), 0, now);
    let call = batcher.launch(now, true, |_, ()| Some("receipt".into())).remove(0);
    let landed = call.now_or_never().expect("it ends");
    assert_eq!(batcher.landed(landed, now), [(1, (), Verdict::Unproven)]);
    assert!(batcher.in_flight.is_empty());
}

#[test]
fn an_entry_without_a_receipt_is_not_sent() {
    let mut bench = Bench::new();
    bench.push(0..3);
    let calls = bench.batcher.launch(bench.now, true, |id, ()| (id != 1).then(|| "receipt".into()));
    assert_eq!(calls.len(), 1);
    for call in calls {
        assert_eq!(bench.land(call).len(), 2);
    }
    bench.push(7..8);
    assert!(bench.batcher.launch(bench.now, true, |_, ()| None).is_empty());
    assert_eq!(bench.batcher.next_at(bench.now, true), None, "nothing waits");
}

#[test]
fn a_call_that_never_ends_holds_up_no_other_until_too_many_are_in_flight() {
    let mut bench = Bench::new();
    bench.push(0..60);
    let calls = bench.launch();
    assert_eq!(calls.len(), GATHER.most_in_flight);
    assert_eq!(bench.batcher.next_at(bench.now, true), None);
    let mut calls = calls.into_iter();
    let first = calls.next().expect("four are in flight");
    bench.land(first);
    assert_eq!(bench.launch().len(), 1);
}

#[test]
fn a_batch_that_failed_stays_a_batch_and_one_at_a_time_tries_again() {
    let mut bench = Bench::answering((0..4).map(|_| Err(Fault::Throttled)));
    bench.push(0..40);
    let mut unproven = Vec::new();
    for call in bench.launch() {
        unproven.extend(bench.land(call));
    }
    unproven.into_iter().for_each(|(id, _)| bench.batcher.push(id, (), 1, bench.now));
    let calls = bench.next();
    assert_eq!(calls.len(), 1, "one tries, the others wait");
    for call in calls {
        bench.land(call);
    }
    assert_eq!(bench.launch().len(), 3, "it worked: the others follow at once");
    assert!(bench.asked().iter().all(|entries| *entries == 10));
}

#[test]
fn throttled_calls_are_at_most_thirty_a_minute_however_many_messages_wait() {
    for messages in [64, 640] {
        let mut bench = Bench::answering((0..10_000).map(|_| Err(Fault::Throttled)));
        let end = bench.now + Duration::from_secs(60);
        bench.push(0..messages);
        while bench.now < end {
            for call in bench.next() {
                for (id, _) in bench.land(call) {
                    bench.batcher.push(id, (), 1, bench.now);
                }
            }
        }
        let calls = bench.asked();
        assert!(calls.len() <= 30, "{} calls for {messages} messages", calls.len());
        assert!(calls.iter().skip(7).all(|entries| *entries == 10), "{calls:?}");
    }
}

#[test]
fn entries_that_all_fail_inside_of_a_good_response_are_a_failed_call() {
    let mut bench = Bench::answering((0..10_000).map(|_| Ok(vec![Verdict::Unproven; 10])));
    let end = bench.now + Duration::from_secs(60);
    bench.push(0..64);
    while bench.now < end {
        for call in bench.next() {
            for (id, _) in bench.land(call) {
                bench.batcher.push(id, (), 1, bench.now);
            }
        }
    }
    assert!(bench.asked().len() <= 30, "{} calls", bench.asked().len());
}

#[test]
fn entries_that_fail_together_are_tried_again_together() {
    let mut verdicts = vec![Verdict::Unproven; 10];
    verdicts[0] = Verdict::Done;
    let mut bench = Bench::answering([Ok(verdicts)]);
    bench.push(0..10);
    for call in bench.launch() {
        for (id, verdict) in bench.land(call) {
            if verdict == Verdict::Unproven {
                bench.batcher.push(id, (), 1, bench.now);
            }
        }
    }
    assert!(bench.launch().is_empty(), "after a while");
    let at = bench.batcher.next_at(bench.now, false).expect("they are tried again");
    bench.now = at;
    bench.launch();
    bench.now += GATHER.linger;
    bench.launch();
    let sent: usize = bench.batcher.in_flight.values().map(Vec::len).sum();
    assert_eq!((sent, bench.batcher.in_flight.len()), (9, 1));
}
