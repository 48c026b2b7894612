//! As many seeds as fit into a minute of CI; `.ci/run` has a thousand optimised ones.

#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use lifeline_simulation::{Plan, run};

/// Unoptimised, a seed costs two seconds of CPU time.
const SEEDS: u64 = 48;

/// These reach what is rare.
const MORE: [u64; 2] = [70, 123];

/// States that a set of seeds must reach: one that does not asserts less than it seems to.
const SOMETIMES: [&str; 16] = [
    "AWS did not answer",
    "DOWN while it is stuck",
    "a dead letter",
    "a handler was cancelled",
    "a lease was lost",
    "a message ended its process",
    "a message was rejected",
    "a message was released",
    "a message was retried",
    "a publication timed out",
    "a receive was repeated",
    "redelivered",
    "the breaker was open",
    "the queue was not there",
    "unavailable",
    "a group was blocked",
];

#[test]
fn one_seed_tells_one_story() {
    for seed in [3, 5] {
        let (one, two) = (run(&Plan::of(seed)), run(&Plan::of(seed)));
        let differs = one.journal.lines().iter().zip(two.journal.lines()).find(|(one, two)| one != two);
        assert_eq!(differs, None, "seed {seed}");
        assert_eq!((one.journal.hash(), one.calls), (two.journal.hash(), two.calls), "seed {seed}");
        assert!(one.calls > 100, "something happens: {} calls", one.calls);
    }
}

#[test]
fn what_must_hold_holds_and_each_state_is_reached() {
    let (next, reached, failed) = (AtomicU64::new(0), Mutex::new(BTreeSet::new()), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    let mut seeds = (0..SEEDS).chain(MORE);
                    let Some(seed) = seeds.nth(usize::try_from(number).unwrap()) else { return };
                    let report = run(&Plan::of(seed));
                    reached.lock().unwrap_or_else(PoisonError::into_inner).extend(report.reached);
                    if !report.violations.is_empty() {
                        failed.lock().unwrap_or_else(PoisonError::into_inner).push((seed, report.violations));
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    assert!(failed.is_empty(), "`cargo run -p lifeline-simulation -- SEED` tells the story: {failed:#?}");
    let reached = reached.into_inner().unwrap();
    let missing: Vec<_> = SOMETIMES.into_iter().filter(|state| !reached.contains(state)).collect();
    assert!(missing.is_empty(), "{SEEDS} seeds never reached: {missing:?}");
}
