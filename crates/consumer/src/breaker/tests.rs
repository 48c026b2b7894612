use futures_util::FutureExt;

use super::*;

fn breaker() -> Breaker {
    let readiness = lifeline_health::Readiness::new();
    let metrics = lifeline_health::Metrics::new("test", &lifeline_health::Pulses::new());
    let unavailable = metrics.int_gauge("unavailable", "For the test.");
    Breaker::new(8, readiness.condition("handler"), unavailable, Clock::tokio())
}

fn may_start(breaker: &Breaker) -> Option<Pass> {
    breaker.admit(None).now_or_never()
}

#[tokio::test(start_paused = true)]
async fn while_closed_everything_starts() {
    let breaker = breaker();
    let passes: Vec<_> = (0..100).filter_map(|_| may_start(&breaker)).collect();
    assert_eq!(passes.len(), 100);
    assert_eq!(breaker.receive_limit().await, usize::MAX);
}

#[tokio::test(start_paused = true)]
async fn while_open_one_probe_at_a_time_starts_after_a_growing_pause_and_nothing_is_received() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "down");
    let mut last = Duration::ZERO;
    for probe in 0..8_u32 {
        assert!(breaker.receive_limit().now_or_never().is_none(), "nothing is received");
        assert!(may_start(&breaker).is_none(), "a pause comes first");
        let begun = Instant::now();
        let pass = breaker.admit(None).await;
        let pause = begun.elapsed();
        assert!(may_start(&breaker).is_none(), "one at a time");
        assert!(pause <= LONGEST_PAUSE + Duration::from_millis(1), "{pause:?}");
        assert!(probe < 3 || pause >= LONGEST_PAUSE / 2, "{pause:?} after {last:?}");
        last = pause;
        pass.unavailable(None, "down");
    }
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_unavailable_alone_does_not_stop_the_others_permanently() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "its own host");
    for _ in 1..PROBES_EACH {
        assert!(breaker.receive_limit().now_or_never().is_none());
        breaker.admit(None).await.unavailable(None, "its own host");
    }
    assert_eq!(breaker.receive_limit().await, 1, "another message shows it");
}

#[tokio::test(start_paused = true)]
async fn when_the_message_that_was_unavailable_is_gone_another_one_is_received() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(Some(Duration::from_secs(20)), "down");
    let waiting = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.admit(None).await }
    });
    tokio::task::yield_now().await;
    let begun = Instant::now();
    let receive = tokio::spawn({
        let breaker = breaker.clone();
        async move { breaker.receive_limit().await }
    });
    tokio::task::yield_now().await;
    // its lease was lost
    waiting.abort();
    let received = tokio::time::timeout(Duration::from_secs(60), receive).await;
    assert_eq!(received.expect("it is woken").unwrap(), 1);
    assert!(begun.elapsed() >= Duration::from_secs(19), "after the pause: {:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dependency_is_left_alone_for_as_long_as_it_asks() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(Some(Duration::from_secs(60)), "busy");
    let begun = Instant::now();
    breaker.admit(None).await.unavailable(Some(Duration::from_secs(86_400)), "busy");
    assert!(begun.elapsed() >= Duration::from_secs(60), "{:?}", begun.elapsed());
    let begun = Instant::now();
    drop(breaker.admit(None).await);
    assert!(begun.elapsed() <= LONGEST_ASKED + Duration::from_millis(1), "but not for a day");
}

#[tokio::test(start_paused = true)]
async fn after_a_success_attempts_ramp_up_gently() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "down");
    breaker.admit(None).await.succeeded();
    for limit in [1, 2, 4] {
        assert_eq!(breaker.receive_limit().await, limit);
        let passes: Vec<_> = (0..limit).filter_map(|_| may_start(&breaker)).collect();
        assert_eq!(passes.len(), limit);
        assert!(may_start(&breaker).is_none(), "no more than {limit} at once");
        assert!(breaker.receive_limit().now_or_never().is_none());
        passes.into_iter().for_each(Pass::succeeded);
    }
    assert_eq!(breaker.receive_limit().await, usize::MAX, "closed again");
}

#[tokio::test(start_paused = true)]
async fn what_began_before_an_outage_and_succeeds_says_nothing_about_those_that_wait() {
    let breaker = breaker();
    let long = breaker.admit(None).await;
    breaker.admit(None).await.unavailable(None, "down");
    let before = breaker.successes();
    long.succeeded();
    assert_eq!(breaker.successes(), before);
    breaker.admit(None).await.succeeded();
    assert_eq!(breaker.successes(), before + 1);
}

#[tokio::test(start_paused = true)]
async fn an_outage_during_the_ramp_opens_it_again() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "down");
    breaker.admit(None).await.succeeded();
    breaker.admit(None).await.unavailable(None, "down");
    assert!(may_start(&breaker).is_none() && breaker.receive_limit().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn many_different_messages_that_fail_in_a_row_slow_receiving_to_one_at_a_time() {
    let breaker = breaker();
    for n in 0..IN_A_ROW {
        assert_eq!(breaker.receive_limit().await, usize::MAX);
        breaker.admit(None).await.failed(&n.to_string());
    }
    for _ in 0..5 {
        assert_eq!(breaker.receive_limit().await, 1);
        let pass = breaker.admit(None).await;
        assert!(breaker.receive_limit().now_or_never().is_none(), "none while one is here");
        pass.failed("another");
    }
    breaker.admit(None).await.succeeded();
    assert_eq!(breaker.receive_limit().await, 1, "and ramps up after a success");
}

#[tokio::test(start_paused = true)]
async fn one_message_that_fails_again_and_again_slows_nothing() {
    let breaker = breaker();
    for _ in 0..100 {
        breaker.admit(None).await.failed("the same");
    }
    assert_eq!(breaker.receive_limit().await, usize::MAX);
    for n in 0..100 {
        breaker.admit(None).await.failed(&n.to_string());
        breaker.admit(None).await.succeeded();
    }
    assert_eq!(breaker.receive_limit().await, usize::MAX, "others succeed");
}

#[tokio::test(start_paused = true)]
async fn a_probe_that_is_cut_off_makes_way_for_the_next() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "down");
    drop(breaker.admit(None).await);
    drop(breaker.admit(None).await);
}

#[tokio::test(start_paused = true)]
async fn those_that_wait_start_in_the_order_they_came() {
    let breaker = breaker();
    breaker.admit(None).await.unavailable(None, "down");
    let order = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..5 {
        let (breaker, order) = (breaker.clone(), Arc::clone(&order));
        tasks.spawn(async move {
            let pass = breaker.admit(None).await;
            order.lock().unwrap().push(n);
            pass.succeeded();
        });
        tokio::task::yield_now().await;
    }
    tasks.join_all().await;
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_suspect_runs_alone_and_nothing_closes_before_it_is_cleared() {
    let breaker = breaker();
    let interrupted = breaker.admit(None).await;
    let suspect = breaker.suspect();
    interrupted.unavailable(None, "gone");
    // the first probe brings it back, and another attempt is at work
    breaker.admit(None).await.succeeded();
    let other = breaker.admit(None).await;
    assert!(breaker.admit(Some(&suspect)).now_or_never().is_none(), "it waits for the other");
    other.succeeded();
    let alone = breaker.admit(Some(&suspect)).await;
    assert!(may_start(&breaker).is_none(), "nothing starts beside it");
    alone.succeeded();
    for _ in 0..20 {
        breaker.admit(None).await.succeeded();
    }
    assert!(breaker.receive_limit().now_or_never().is_some_and(|most| most < usize::MAX), "it is not closed");
    drop(suspect);
    breaker.admit(None).await.succeeded();
    assert_eq!(breaker.receive_limit().await, usize::MAX);
}

#[tokio::test(start_paused = true)]
async fn after_a_minute_suspects_run_beside_each_other_until_one_is_interrupted() {
    let breaker = breaker();
    let mut suspects = Vec::new();
    for _ in 0..8 {
        suspects.push(breaker.suspect());
        breaker.pass().unavailable(None, "gone");
    }
    let admitted = |suspects: &[Suspect]| -> Vec<_> {
        let passes = suspects.iter().map_while(|suspect| breaker.admit(Some(suspect)).now_or_never());
        passes.collect()
    };
    breaker.admit(Some(&suspects[0])).await.succeeded();
    let alone = admitted(&suspects);
    assert!(alone.len() == 1 && alone[0].is_alone());
    tokio::time::advance(ALONE).await;
    alone.into_iter().for_each(Pass::succeeded);
    let two = admitted(&suspects);
    assert_eq!(two.len(), 2);
    assert!(!two[0].is_alone(), "which of them was it?");
    assert!(may_start(&breaker).is_none(), "others do not start beside them");
    two.into_iter().for_each(Pass::succeeded);
    let mut four = admitted(&suspects);
    assert_eq!(four.len(), 4);
    four.remove(0).unavailable(None, "gone");
    four.into_iter().for_each(|pass| pass.unavailable(None, "gone"));
    breaker.admit(Some(&suspects[0])).await.succeeded();
    let alone = admitted(&suspects);
    assert!(alone.len() == 1 && alone[0].is_alone());
}
