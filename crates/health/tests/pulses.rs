//! Pulses: right both ways.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // as in any test

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use lifeline_health::Pulses;

const BOUND: Duration = Duration::from_secs(45);

/// Pulses on a clock that goes on only when told.
fn paused() -> (Pulses, impl Fn(Duration)) {
    let start = Instant::now();
    let passed = Arc::new(AtomicU64::new(0));
    let pulses = Pulses::with_clock({
        let passed = Arc::clone(&passed);
        move || start + Duration::from_millis(passed.load(Ordering::Relaxed))
    });
    let pass = move |time: Duration| _ = passed.fetch_add(time.as_millis() as u64, Ordering::Relaxed);
    (pulses, pass)
}

#[test]
fn an_hour_of_beats_without_work_is_fresh() {
    let (pulses, pass) = paused();
    let pulse = pulses.start("poller-1", BOUND);
    for _ in 0..180 {
        pass(Duration::from_secs(20));
        assert_eq!(pulses.stale(), [""; 0]);
        pulse.beat();
    }
}

#[test]
fn a_part_that_stops_is_stale_right_after_its_bound_and_named() {
    let (pulses, pass) = paused();
    let _stopped = pulses.start("poller-2", BOUND);
    let other = pulses.start("poller-1", BOUND);
    pass(BOUND);
    other.beat();
    assert_eq!(pulses.stale(), [""; 0]);
    pass(Duration::from_millis(1));
    assert_eq!(pulses.stale(), ["poller-2"]);
    assert_eq!(
        pulses.ages(),
        [
            ("poller-1".to_owned(), Duration::from_millis(1)),
            ("poller-2".to_owned(), BOUND + Duration::from_millis(1))
        ]
    );
    assert_eq!(format!("{pulses:?}"), r#"{"poller-1": 1ms, "poller-2": 45.001s}"#);
}

#[test]
fn a_part_that_panicked_goes_stale_and_its_successor_answers_for_itself() {
    let (pulses, pass) = paused();
    let pulse = pulses.start("poller-1", BOUND);
    let kept = pulse.clone();
    let died = std::thread::spawn(move || {
        pulse.beat();
        panic!("as a poller might");
    });
    assert!(died.join().is_err());
    pass(BOUND * 2);
    assert_eq!(pulses.stale(), ["poller-1"], "dropping a pulse does not retire it");

    let successor = pulses.start("poller-1", BOUND);
    assert_eq!(pulses.stale(), [""; 0], "starting is a beat");
    pass(BOUND * 2);
    kept.beat();
    assert_eq!(pulses.stale(), ["poller-1"], "a former handle beats for nobody");
    kept.retire();
    assert_eq!(pulses.stale(), ["poller-1"], "nor can it retire its successor");
    successor.retire();
    assert_eq!(pulses.ages(), []);
    successor.beat();
    assert_eq!(pulses.ages(), [], "a retired pulse stays away");
}

#[test]
fn a_guard_retires_its_pulse_at_the_end_of_its_scope() {
    let (pulses, pass) = paused();
    {
        let _guard = pulses.start("drain", BOUND).guard();
        pass(BOUND * 2);
        assert_eq!(pulses.stale(), ["drain"]);
    }
    assert_eq!(pulses.stale(), [""; 0]);
}

#[test]
fn a_clock_that_steps_back_does_no_harm() {
    let start = Instant::now() + Duration::from_secs(100);
    let calls = AtomicU64::new(0);
    let pulses = Pulses::with_clock(move || {
        start - Duration::from_secs(calls.fetch_add(1, Ordering::Relaxed).min(50))
    });
    let pulse = pulses.start("poller-1", BOUND);
    pulse.beat();
    assert_eq!(pulses.stale(), [""; 0]);
    assert_eq!(pulses.ages()[0].1, Duration::ZERO);
}

#[test]
fn a_beat_costs_no_more_than_reading_the_clock_and_a_store() {
    let pulses = Pulses::new();
    let pulse = pulses.start("poller-1", BOUND);
    let counter = lifeline_health::Metrics::new("1", &pulses).counter("counted_total", "Counted.");
    let histogram = lifeline_health::Metrics::new("1", &pulses).histogram(
        "took_seconds",
        "Took.",
        lifeline_health::LATENCY_BUCKETS,
    );
    let cost = |what: &dyn Fn()| {
        // The best of several: a busy machine makes some slow, none fast.
        (0..20)
            .map(|_| {
                let begun = Instant::now();
                (0..10_000).for_each(|_| what());
                begun.elapsed() / 10_000
            })
            .min()
    };
    let beat = cost(&|| pulse.beat()).unwrap();
    let count = cost(&|| counter.inc()).unwrap();
    let observe = cost(&|| histogram.observe(0.3)).unwrap();
    println!("beat {beat:?}, count {count:?}, observe {observe:?}");
    // Generous: this is also run unoptimized, and on machines that read the clock by a system call.
    for cost in [beat, count, observe] {
        assert!(cost < Duration::from_micros(20), "beat {beat:?}, count {count:?}, observe {observe:?}");
    }
}

#[test]
fn cleared_pulses_are_forgotten_and_beat_for_nobody() {
    let (pulses, pass) = paused();
    let former = pulses.start("poller-1", BOUND);
    pass(BOUND * 2);
    pulses.clear();
    assert_eq!((pulses.stale(), pulses.ages()), (vec![], vec![]));
    former.beat();
    assert_eq!(pulses.ages(), [], "its handle is of no use any more");
    let _successor = pulses.start("poller-1", BOUND);
    assert_eq!(pulses.ages().len(), 1);
}
