//! Receiving: bounded, backed off, adaptive, and never more than there is room for.

use std::collections::HashSet;
use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message};
use lifeline_emulator::{Action, Fault};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn a_hung_receive_does_not_stop_the_worker() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let hung = aws.inject(Fault::on(Action::ReceiveMessage).nth(1).hang());
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| hung.hits() == 1, SOON).await;
    queue.send("one");
    let begun = Instant::now();
    aws.wait_for(|_| queue.deleted() == ["one"], MINUTE).await;
    // the wait, the call's own bound, the first backoff
    assert!(begun.elapsed() <= Duration::from_secs(20 + 5 + 1), "{:?}", begun.elapsed());
    assert_eq!(consumer.metric(r#"consumer_receive_calls_total{outcome="timeout"}"#), 1.0);
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_hung_receive_leaves_the_worker_up() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    aws.inject(Fault::on(Action::ReceiveMessage).hang());
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 10 * MINUTE).await;
    assert!(consumer.readiness.reasons().iter().any(|(name, _)| *name == "aws"), "but not ready");
    assert_eq!(consumer.drain().await.account.received, 0);
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_costs_little_more_than_its_long_polls_and_is_measured_again_when_something_comes() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs()).dead_letters_to("dead", 1);
    let handler = |message: Message, _: Context| async move {
        if message.body == "poison" { Err(Failure::new("on purpose")) } else { Ok(()) }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| aws.calls(Action::ReceiveMessage) == 2, MINUTE).await;
    let at_start = aws.calls(Action::GetQueueAttributes);
    tokio::time::sleep(4 * MINUTE).await;
    assert_eq!(
        aws.calls(Action::GetQueueAttributes),
        at_start,
        "it was empty at the start, and nothing came"
    );
    queue.send("one");
    aws.wait_for(|_| queue.deleted() == ["one"], MINUTE).await;
    tokio::time::sleep(2 * MINUTE).await;
    let before = (aws.calls(Action::ReceiveMessage), aws.calls(Action::GetQueueAttributes));
    tokio::time::sleep(20 * MINUTE).await;
    let receives = aws.calls(Action::ReceiveMessage) - before.0;
    let measures = aws.calls(Action::GetQueueAttributes) - before.1;
    assert!((59..=61).contains(&receives), "one in 20 s, not {receives} in 20 min");
    assert!(measures <= 12, "the topology every 5 minutes, not {measures} calls in 20 min");
    queue.send("poison");
    aws.wait_for(|_| dead.bodies() == ["poison"], MINUTE).await;
    aws.wait_for(|_| consumer.metric("consumer_dead_letter_messages") == 1.0, 2 * MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 1, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn an_answer_broken_in_any_way_costs_one_call_and_no_message() {
    let on = || Fault::on(Action::ReceiveMessage).nth(1);
    let breaks = [
        on().stall(),
        on().bandwidth(1),
        on().reset(),
        on().truncate(),
        on().status(200, "<html>a proxy's page</html>"),
    ];
    for fault in breaks {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout(5);
        queue.send("one");
        let broken = aws.inject(fault.clone());
        let consumer = Consumer::start(&aws, "events", succeed).await;
        aws.wait_for(|_| queue.deleted() == ["one"], MINUTE).await;
        assert_eq!(broken.hits(), 1, "{fault:?}");
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0), "{fault:?}");
        assert!(queue.is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn messages_flow_within_ten_seconds_after_two_minutes_of_nothing() {
    for black_hole in [true, false] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        let consumer = Consumer::start(&aws, "events", succeed).await;
        queue.send("before");
        aws.wait_for(|_| queue.deleted() == ["before"], SOON).await;
        if black_hole {
            aws.black_hole()
        } else {
            aws.down()
        }
        stays_up(&consumer, 2 * MINUTE).await;
        aws.up();
        queue.send("after");
        let begun = Instant::now();
        aws.wait_for(|_| queue.deleted().len() == 2, MINUTE).await;
        assert!(begun.elapsed() <= Duration::from_secs(10), "black hole {black_hole}: {:?}", begun.elapsed());
        assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_endpoint_that_refuses_is_asked_at_most_fifteen_times_a_minute_and_named_twice_in_the_log() {
    let log = Log::capture();
    for (number, (status, code)) in
        [(403, "AccessDeniedException"), (500, "InternalError"), (400, "ThrottlingException")]
            .into_iter()
            .enumerate()
    {
        fastrand::seed(7); // jitter is luck; this one is neither good nor bad
        let aws = emulator().await;
        let queue = aws.queue("events");
        let outage = aws.inject(Fault::on(Action::ReceiveMessage).error(status, code));
        let consumer = Consumer::start(&aws, "events", succeed).await;
        stays_up(&consumer, MINUTE).await;
        let calls = aws.calls(Action::ReceiveMessage);
        assert!((3..=15).contains(&calls), "{code}: {calls} calls per minute");
        let said = log.lines_with("receiving is failing");
        assert!(said <= 3 * (number + 1), "{code}: {said} lines");
        outage.remove();
        queue.send("one");
        aws.wait_for(|_| queue.deleted() == ["one"], MINUTE).await;
        assert_eq!(log.lines_with("receiving works again"), number + 1);
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn one_slow_message_holds_up_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("slow");
    queue.send_all((0..1000).map(|n| n.to_string()));
    let handler = |message: Message, _: Context| async move {
        let time = if message.body == "slow" { MINUTE } else { Duration::from_millis(10) };
        tokio::time::sleep(time).await;
        Ok::<(), Failure>(())
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    let begun = Instant::now();
    aws.wait_for(|_| queue.len() == 1, SOON).await;
    assert!(begun.elapsed() < Duration::from_secs(10), "{:?}", begun.elapsed());
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    assert_eq!(queue.receives("slow"), 1);
    assert_eq!(consumer.drain().await.account, account(1001, 1001, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn no_more_is_held_than_there_is_room_for() {
    let aws = quiet_emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..20_000).map(|n| n.to_string()));
    let (running, most) = (Count::default(), Count::default());
    let handler = {
        let (running, most) = (running.clone(), most.clone());
        move |_: Message, _: Context| {
            let (running, most) = (running.clone(), most.clone());
            async move {
                if running.add() > most.get() {
                    most.add();
                }
                tokio::time::sleep(SECOND).await;
                running.remove();
                Ok::<(), Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    for _ in 0..40 {
        tokio::time::sleep(Duration::from_millis(250)).await;
        let held = queue.counts().in_flight;
        assert!(held <= 64, "{held} are hidden from everybody else");
        assert!(consumer.metric("consumer_in_flight_messages") <= 64.0);
    }
    assert_eq!(most.get(), 64, "and the room is used");
    let drained = consumer.drain().await;
    assert_eq!(drained.account.deleted as usize, 20_000 - queue.len());
    assert_eq!(queue.counts().in_flight, 0);
}

#[tokio::test(start_paused = true)]
async fn a_full_worker_asks_for_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..100).map(|n| n.to_string()));
    let consumer = Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(10), for_ever).await;
    aws.wait_for(|_| consumer.received() == 10, SOON).await;
    let receives = aws.calls(Action::ReceiveMessage);
    stays_up(&consumer, 3 * MINUTE).await;
    assert_eq!(aws.calls(Action::ReceiveMessage), receives, "not one receive without room");
    // every 20 s one batch keeps all ten
    let extensions = aws.calls(Action::ChangeMessageVisibilityBatch);
    assert!((8..=10).contains(&extensions), "{extensions} extensions in three minutes");
    assert_eq!(consumer.drain().await.account, account(10, 0, 0, 10, 0));
    assert_eq!(queue.counts().visible, 100);
}

#[tokio::test(start_paused = true)]
async fn an_idle_queue_costs_one_receive_per_wait() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    stays_up(&consumer, 10 * MINUTE).await;
    let receives = aws.log(Action::ReceiveMessage);
    assert!((30..=31).contains(&receives.len()), "{} receives in ten minutes", receives.len());
    assert!(receives.iter().all(|call| call.concurrent == 1));
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_wait_of_zero_does_not_spin() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.wait_time(Duration::ZERO), succeed).await;
    stays_up(&consumer, MINUTE).await;
    let calls = aws.calls(Action::ReceiveMessage);
    assert!(calls <= 90, "{calls} receives in an idle minute");
    queue.send("one");
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert!(begun.elapsed() <= 2 * SECOND, "{:?}", begun.elapsed());
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_poller_when_idle_and_more_while_batches_come_back_full() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    aws.inject(Fault::on(Action::ReceiveMessage).delay(Duration::from_millis(20))); // as far away as AWS is
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(1000).pollers(4), succeed).await;
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(consumer.metric("consumer_pollers"), 1.0);
    queue.send_all((0..2000).map(|n| n.to_string()));
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 4, SOON).await;
    assert_eq!(consumer.metric("consumer_pollers"), 4.0);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(consumer.metric("consumer_pollers"), 1.0, "and back");
    assert_eq!(consumer.metric("consumer_poller_restarts_total"), 0.0, "stopping a poller is not a failure");
    assert!(aws.log(Action::ReceiveMessage).iter().all(|call| call.concurrent <= 4));
    assert_eq!(consumer.drain().await.account, account(2000, 2000, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn polls_and_deletes_have_connections_of_their_own() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..100).map(|n| n.to_string()));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    consumer.drain().await;
    let by = |action: Action| aws.log(action).iter().map(|call| call.connection).collect::<HashSet<_>>();
    assert!(by(Action::ReceiveMessage).is_disjoint(&by(Action::DeleteMessageBatch)));
}

#[tokio::test(start_paused = true)]
async fn a_receive_asks_for_what_there_is_room_for() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..30).map(|n| n.to_string()));
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(3).pollers(2), takes(SECOND))
            .await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let asked = |call: &lifeline_emulator::Call| call.request["MaxNumberOfMessages"].as_u64().unwrap();
    assert!(aws.log(Action::ReceiveMessage).iter().all(|call| asked(call) <= 3));
    assert_eq!(consumer.drain().await.account, account(30, 30, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn pollers_that_wait_for_room_do_not_share_it_out_by_ones() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..640).map(|n| n.to_string()));
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(64).pollers(16), takes(SECOND))
            .await;
    aws.wait_for(|_| queue.deleted().len() == 640, 5 * MINUTE).await;
    let receives = consumer.metric(r#"consumer_receive_calls_total{outcome="messages"}"#);
    // 64 at the least; each time round the last of the room is less than ten
    assert!(receives <= 100.0, "{receives} receives for 640 messages");
    assert_eq!(consumer.drain().await.account, account(640, 640, 0, 0, 0));
}
