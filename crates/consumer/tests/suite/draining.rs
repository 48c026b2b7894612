//! Draining, to the letter of the contract: the poll in flight is finished, what it returns is released, handlers end
//! under their leases, deletes are flushed, and the deadline holds.

use std::time::Duration;

use lifeline_consumer::{Cancelled, Context, Message};
use lifeline_emulator::{Action, Fault};
use tokio::time::Instant;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn an_idle_worker_ends_with_its_poll_and_starts_no_other() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    tokio::time::sleep(5 * SECOND).await;
    let receives = aws.calls(Action::ReceiveMessage);
    let begun = Instant::now();
    let drained = consumer.drain().await;
    assert!(begun.elapsed() <= Duration::from_millis(15_100), "{:?}", begun.elapsed());
    assert_eq!((drained.account, drained.cancelled), (account(0, 0, 0, 0, 0), 0));
    assert_eq!(aws.calls(Action::ReceiveMessage), receives);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_the_last_poll_brings_is_given_back_at_once() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let handled = Count::default();
    let handler = {
        let handled = handled.clone();
        move |_: Message, _: Context| {
            handled.add();
            std::future::ready(Ok::<(), lifeline_consumer::Failure>(()))
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    consumer.shut_down();
    tokio::time::sleep(SECOND).await;
    assert!(!consumer.readiness.reasons().is_empty(), "not ready while it drains");
    queue.send("late");
    let begun = Instant::now();
    let drained = consumer.end().await;
    assert!(begun.elapsed() < SECOND, "nothing is waited for once the poll is back");
    assert_eq!((drained.account, drained.cancelled), (account(1, 0, 0, 1, 0), 0));
    assert_eq!(handled.get(), 0);
    assert_eq!(queue.counts().visible, 1, "any other consumer may have it now");
    assert_eq!(queue.history("late").visibility[0].1, Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn finished_handlers_deletes_are_all_confirmed() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..60).map(|n| n.to_string()));
    // a delete takes a while, and now and then fails
    aws.inject(Fault::on(Action::DeleteMessageBatch).delay(2 * SECOND));
    aws.inject(Fault::on(Action::DeleteMessageBatch).every(2).error(500, "InternalError"));
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| consumer.received() == 60, SOON).await;
    let drained = consumer.drain().await;
    assert_eq!((drained.account, drained.cancelled), (account(60, 60, 0, 0, 0), 0));
    assert!(queue.is_empty());
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "nothing twice");
}

#[tokio::test(start_paused = true)]
async fn handlers_finish_under_leases_that_are_still_extended() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs());
    queue.send_all((0..20).map(|n| n.to_string()));
    let consumer = Consumer::start(&aws, "events", takes(15 * SECOND)).await;
    aws.wait_for(|_| consumer.received() == 20, SOON).await;
    let drained = consumer.drain().await;
    assert_eq!((drained.account, drained.cancelled), (account(20, 20, 0, 0, 0), 0));
    assert!(queue.is_empty());
    assert!(queue.histories().iter().all(|h| h.received.len() == 1));
}

#[tokio::test(start_paused = true)]
async fn at_the_end_of_the_grace_what_still_runs_is_told_cancelled_and_given_back() {
    for grace in [1, 3, 5, 25].map(Duration::from_secs) {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all(["listens", "does not"]);
        let why = Seen::default();
        let handler = {
            let why = why.clone();
            move |message: Message, context: Context| {
                let why = why.clone();
                async move {
                    why.push(context.cancelled().await);
                    if message.body == "does not" {
                        std::future::pending::<()>().await;
                    }
                    Err(lifeline_consumer::Failure::new("stopped half-way"))
                }
            }
        };
        let set = |b: lifeline_consumer::Builder| b.shutdown_grace(grace).wait_time(SECOND);
        let consumer = Consumer::start_with(&aws, existing("events"), set, handler).await;
        aws.wait_for(|_| consumer.received() == 2, SOON).await;
        let begun = Instant::now();
        let drained = consumer.drain().await;
        assert!(begun.elapsed() <= grace + Duration::from_millis(100), "{grace:?}: {:?}", begun.elapsed());
        assert_eq!(why.all(), [Cancelled::Shutdown; 2]);
        assert_eq!(drained.account, account(2, 0, 0, 2, 0), "{grace:?}");
        assert_eq!(drained.cancelled, 2, "{grace:?}: the exit code says so");
        assert_eq!(queue.counts().visible, 2, "{grace:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_succeeds_when_told_to_stop_has_succeeded() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let handler = |_: Message, context: Context| async move {
        context.cancelled().await;
        Ok::<(), lifeline_consumer::Failure>(())
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    let drained = consumer.drain().await;
    assert_eq!((drained.account, drained.cancelled), (account(1, 1, 0, 0, 0), 0));
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_drain_with_a_dead_endpoint_ends_in_time_and_balances() {
    for hang in [true, false] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all((0..30).map(|n| n.to_string()));
        let consumer = Consumer::start(&aws, "events", takes(5 * SECOND)).await;
        aws.wait_for(|_| consumer.received() == 30, SOON).await;
        if hang {
            aws.black_hole()
        } else {
            aws.down()
        }
        let begun = Instant::now();
        let drained = consumer.drain().await;
        assert!(begun.elapsed() <= 26 * SECOND, "{:?}", begun.elapsed());
        assert_eq!(drained.account, account(30, 0, 0, 0, 30), "handled, but nobody took the deletes");
    }
}

#[tokio::test(start_paused = true)]
async fn a_poll_that_hangs_does_not_outlive_the_grace() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let hung = aws.inject(Fault::on(Action::ReceiveMessage).hang());
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| hung.hits() == 1, SOON).await;
    let begun = Instant::now();
    assert_eq!(consumer.drain().await.account.received, 0);
    assert!(begun.elapsed() <= 26 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_wait_that_does_not_fit_into_the_grace_is_shortened() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let set = |b: lifeline_consumer::Builder| b.shutdown_grace(5 * SECOND);
    let consumer = Consumer::start_with(&aws, existing("events"), set, succeed).await;
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    assert_eq!(aws.log(Action::ReceiveMessage)[0].request["WaitTimeSeconds"], 3);
    let begun = Instant::now();
    consumer.drain().await;
    assert!(begun.elapsed() <= 5 * SECOND);
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_worker_that_never_found_its_queue_drains_at_once() {
    let aws = emulator().await;
    let consumer = Consumer::start(&aws, "nowhere", succeed).await;
    tokio::time::sleep(MINUTE).await;
    let begun = Instant::now();
    assert_eq!(consumer.drain().await.account, account(0, 0, 0, 0, 0));
    assert!(begun.elapsed() <= SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_dropped_run_stops_its_handlers() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let dropped = Count::default();
    let handler = hangs_until_dropped(&dropped);
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    consumer.kill().await;
    aws.wait_for(|_| dropped.get() == 1, 2 * SECOND).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(queue.counts().visible, 1, "it came back with its lease");
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(alive <= 4, "{alive} tasks are left");
}

#[tokio::test(start_paused = true)]
async fn a_drain_leaves_no_task_behind() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..100).map(|n| n.to_string()));
    let consumer = Consumer::start(&aws, "events", takes(SECOND)).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    consumer.drain().await;
    // what is left is the endpoint's, and pooled connections until they idle out
    tokio::time::sleep(MINUTE).await;
    let alive = tokio::runtime::Handle::current().metrics().num_alive_tasks();
    assert!(alive <= 4, "{alive} tasks are left");
}

#[tokio::test(start_paused = true)]
async fn a_message_on_its_last_receive_is_handled_within_the_grace_and_not_released() {
    for queue_name in ["events", "events.fifo"] {
        let aws = emulator().await;
        let suffix = if queue_name.ends_with(".fifo") { ".fifo" } else { "" };
        let dead = aws.queue(&format!("dead{suffix}"));
        let queue = aws.queue(queue_name).dead_letters_to(&format!("dead{suffix}"), 2);
        let consumer = Consumer::start(&aws, queue_name, takes(SECOND)).await;
        aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
        consumer.shut_down();
        tokio::time::sleep(SECOND).await;
        queue.send(lifeline_emulator::Message::new("last").received_before(1).group("a"));
        let drained = consumer.end().await;
        assert_eq!(drained.account, account(1, 1, 0, 0, 0), "{queue_name}");
        assert!(queue.is_empty() && dead.is_empty(), "{queue_name}");
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_run_alone_on_its_last_receive_is_handled_during_a_drain_beside_another() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send("long");
    let handler = |message: Message, _: Context| async move {
        if message.body == "long" {
            std::future::pending::<()>().await;
        }
        Ok::<(), lifeline_consumer::Failure>(())
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    // another process had it, and may have died of it
    queue.send(lifeline_emulator::Message::new("last").received_before(1));
    aws.wait_for(|_| consumer.received() == 2, SOON).await;
    let drained = consumer.drain().await;
    assert_eq!(queue.deleted(), ["last"]);
    assert_eq!((drained.account.deleted, drained.cancelled), (1, 1));
    assert!(dead.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_rollout_of_an_idle_worker_dead_letters_nothing_that_no_handler_saw() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 1);
    for round in 0..10 {
        let consumer = Consumer::start(&aws, "events", succeed).await;
        aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
        consumer.shut_down();
        queue.send_all((0..5).map(|n| format!("{round}-{n}")));
        consumer.end().await;
    }
    let consumer = Consumer::start(&aws, "events", succeed).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!((dead.bodies().len(), queue.deleted().len()), (0, 50));
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn what_waits_on_its_last_receive_when_the_grace_ends_is_released_and_not_begun() {
    let aws = emulator().await;
    let _dead = aws.queue("dead.fifo");
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true");
    let queue = queue.dead_letters_to("dead.fifo", 3);
    let message = |body: &str, group: &str| lifeline_emulator::Message::new(body).group(group);
    // the first receive of a worker that starts is for one
    queue.send(message("first", "b"));
    queue.send_all(["a0", "a1"].map(|body| message(body, "a").received_before(2)));
    let begun = Seen::default();
    let handler = {
        let begun = begun.clone();
        move |message: Message, _: Context| {
            let begun = begun.clone();
            async move {
                begun.push(message.body.clone());
                if message.body != "first" {
                    std::future::pending::<()>().await;
                }
                Ok::<(), lifeline_consumer::Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| begun.len() == 2 && consumer.received() == 3, SOON).await;
    let drained = consumer.drain().await;
    assert_eq!(begun.all(), ["first", "a0"]);
    assert_eq!((drained.account, drained.cancelled), (account(3, 1, 0, 2, 0), 1));
}
