//! Readiness: all conditions, with their reasons.
#![allow(clippy::unwrap_used)] // as in any test

use lifeline_health::Readiness;

#[test]
fn a_condition_is_unmet_until_it_is_met() {
    let readiness = Readiness::new();
    assert_eq!(readiness.reasons(), []);
    let condition = readiness.condition("topology");
    assert_eq!(readiness.reasons(), [("topology".into(), "starting".into())]);
    condition.met();
    assert!(condition.is_met());
    assert_eq!(readiness.reasons(), []);
}

#[test]
fn the_last_reason_is_the_one_that_is_told() {
    let readiness = Readiness::new();
    let condition = readiness.condition("aws");
    condition.unmet("connection refused");
    condition.unmet("connection refused");
    condition.unmet(format!("throttled for {} s", 3));
    assert_eq!(readiness.reasons(), [("aws".into(), "throttled for 3 s".into())]);
    condition.met();
    condition.met();
    condition.unmet("again");
    assert_eq!(readiness.reasons(), [("aws".into(), "again".into())]);
    assert_eq!(format!("{readiness:?}"), r#"{"aws": unmet: again}"#);
}

#[test]
fn a_name_is_one_condition_however_often_it_is_asked_for() {
    let readiness = Readiness::new();
    readiness.condition("draining").met();
    assert!(readiness.clone().condition("draining").is_met());
    readiness.condition("draining").unmet("the service is shutting down");
    assert_eq!(readiness.states(), [("draining".into(), false)]);
}

#[test]
fn many_threads_agree_in_the_end() {
    let readiness = Readiness::new();
    let condition = readiness.condition("aws");
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for n in 0..10_000 {
                    if n % 2 == 0 {
                        condition.met()
                    } else {
                        condition.unmet("down")
                    }
                    assert!(readiness.reasons().len() <= 1);
                }
            });
        }
    });
    assert_eq!(condition.is_met(), readiness.reasons().is_empty());
}
