//! FIFO queues: order within a group, groups in parallel, and nothing overtakes a failure.

use std::collections::HashMap;
use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message};
use lifeline_emulator::{Action, Emulator, Fault};
use tokio::time::Instant;

use crate::support::*;

fn fifo(aws: &Emulator) -> lifeline_emulator::Queue {
    aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true")
}

fn put(queue: &lifeline_emulator::Queue, group: &str, numbers: std::ops::Range<u32>) {
    queue.send_all(numbers.map(|n| lifeline_emulator::Message::new(format!("{group}{n}")).group(group)));
}

/// The handled bodies of each group, in the order they were handled.
fn by_group(seen: &Seen<String>) -> HashMap<char, Vec<String>> {
    let mut groups: HashMap<char, Vec<String>> = HashMap::new();
    for body in seen.all() {
        groups.entry(body.chars().next().unwrap()).or_default().push(body);
    }
    groups
}

fn in_order(group: char, numbers: std::ops::Range<u32>) -> Vec<String> {
    numbers.map(|n| format!("{group}{n}")).collect()
}

#[tokio::test(start_paused = true)]
async fn a_group_is_handled_in_order_and_groups_in_parallel() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    for n in 0..20 {
        for group in ["a", "b", "c"] {
            put(&queue, group, n..n + 1);
        }
    }
    let (seen, running, together) = (Seen::default(), Count::default(), Count::default());
    let handler = {
        let (seen, running, together) = (seen.clone(), running.clone(), together.clone());
        move |message: Message, _: Context| {
            let (seen, running, together) = (seen.clone(), running.clone(), together.clone());
            async move {
                assert_eq!(message.group.as_deref(), Some(&message.body[..1]));
                if running.add() > together.get() {
                    together.add();
                }
                tokio::time::sleep(Duration::from_millis(fastrand::u64(1..200))).await;
                running.remove();
                seen.push(message.body);
                Ok::<(), Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    for group in ['a', 'b', 'c'] {
        assert_eq!(by_group(&seen)[&group], in_order(group, 0..20));
    }
    assert_eq!(together.get(), 3, "one of each group at once, never two of one");
    assert_eq!(consumer.drain().await.account, account(60, 60, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_failure_releases_the_rest_of_its_group_and_keeps_the_order() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    put(&queue, "a", 0..6);
    put(&queue, "b", 0..3);
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |message: Message, _: Context| {
            let seen = seen.clone();
            async move {
                if message.body == "a2" && message.receive_count < 3 {
                    return Err(Failure::new("not yet"));
                }
                seen.push(message.body);
                Ok(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    let begun = Instant::now();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(by_group(&seen)[&'a'], in_order('a', 0..6));
    assert_eq!(by_group(&seen)[&'b'], in_order('b', 0..3));
    assert!(
        begun.elapsed() < Duration::from_secs(10),
        "the delay of the failure, not a lease: {:?}",
        begun.elapsed()
    );
    let delays = |body: &str| queue.history(body).visibility.iter().map(|(_, v)| *v).collect::<Vec<_>>();
    assert_eq!(delays("a4")[0], delays("a2")[0], "visible with the one that failed, not before it");
    let drained = consumer.drain().await;
    assert_eq!((drained.account.deleted, drained.account.retried), (9, 2));
    assert_eq!(drained.account.lost_lease, 0);
}

#[tokio::test(start_paused = true)]
async fn poison_holds_its_group_until_it_is_dead_lettered_alone() {
    let aws = emulator().await;
    let dead = aws.queue("dead.fifo");
    let queue = fifo(&aws).dead_letters_to("dead.fifo", 3);
    put(&queue, "a", 0..3);
    put(&queue, "b", 0..3);
    let handler = |message: Message, _: Context| async move {
        if message.body == "a0" { Err(Failure::new("poison")) } else { Ok(()) }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| queue.deleted() == ["b0", "b1", "b2"], SOON).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(queue.deleted(), ["b0", "b1", "b2", "a1", "a2"]);
    assert_eq!(dead.bodies(), ["a0"]);
    // not before the last try of the one before it
    assert!(queue.history("a1").deleted.unwrap() >= queue.history("a0").received[2]);
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.retried, account.lost_lease), (5, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_group_keeps_its_lease() {
    let aws = emulator().await;
    let queue = fifo(&aws).visibility_timeout((2 * SECOND).as_secs());
    put(&queue, "a", 0..10);
    let consumer = Consumer::start(&aws, "events.fifo", takes(2 * SECOND)).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "the tenth waited for 18 s");
    assert_eq!(queue.deleted(), in_order('a', 0..10));
    assert_eq!(consumer.drain().await.account, account(10, 10, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_lease_while_it_waited_is_not_started() {
    let aws = emulator().await;
    let queue = fifo(&aws).visibility_timeout((30 * SECOND).as_secs());
    // the first receive of a worker that starts is for one
    put(&queue, "b", 0..1);
    put(&queue, "a", 0..3);
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |message: Message, _: Context| {
            let seen = seen.clone();
            async move {
                seen.push(message.body);
                tokio::time::sleep(MINUTE).await;
                Ok::<(), Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| seen.len() == 2, SOON).await;
    assert_eq!(queue.steal(|body| body == "a1", 10 * MINUTE), 1);
    aws.wait_for(|_| queue.deleted() == ["b0", "a0"], 2 * MINUTE).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(seen.all(), ["b0", "a0"], "another has a1, and a2 must not overtake it");
    assert_eq!(consumer.drain().await.account, account(4, 2, 0, 1, 1));
    assert_eq!(queue.counts().visible, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_whose_answer_was_lost_is_repeated_under_its_own_id() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    put(&queue, "a", 0..2);
    aws.inject(Fault::on(Action::ReceiveMessage).times(2).reset());
    let consumer = Consumer::start(&aws, "events.fifo", succeed).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let ids: Vec<_> = aws
        .log(Action::ReceiveMessage)
        .iter()
        .map(|call| call.request["ReceiveRequestAttemptId"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "until an answer comes");
    consumer.drain().await;
    assert!(ids.get(3).is_none_or(|id| *id != ids[0]), "and then a new one");
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_releases_what_waits_in_its_group() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    put(&queue, "a", 0..5);
    let started = Count::default();
    let handler = {
        let started = started.clone();
        move |_: Message, _: Context| {
            started.add();
            async {
                tokio::time::sleep(5 * SECOND).await;
                Ok::<(), Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| started.get() == 1, SOON).await;
    let account = consumer.drain().await.account;
    // the poll in flight may receive the four once more; they are released again
    assert_eq!((account.deleted, account.retried, account.lost_lease), (1, 0, 0));
    assert_eq!(queue.bodies(), in_order('a', 1..5));
    assert_eq!(queue.counts().visible, 4);
}

/// AWS's rules: each receive hands out the head of a group with what follows it, and counts for all of them.
#[tokio::test(start_paused = true)]
async fn no_message_is_dead_lettered_whose_handler_never_began() {
    for max_receives in [1, 2, 3, 5] {
        let aws = emulator().await;
        let dead = aws.queue("dead.fifo");
        let queue = fifo(&aws).dead_letters_to("dead.fifo", max_receives);
        put(&queue, "a", 0..10);
        let receives = Seen::default();
        let handler = {
            let receives = receives.clone();
            move |message: Message, _: Context| {
                receives.push(message.receive_count);
                async move { if message.body == "a0" { Err(Failure::new("poison")) } else { Ok(()) } }
            }
        };
        let consumer = Consumer::start(&aws, "events.fifo", handler).await;
        aws.wait_for(|_| queue.is_empty(), 5 * MINUTE).await;
        assert_eq!(dead.bodies(), ["a0"], "{max_receives} receives");
        assert_eq!(queue.deleted(), in_order('a', 1..10), "{max_receives} receives");
        let spent = consumer.metric("consumer_receives_without_handler_total");
        // those of the nine but for the one that each was handled at
        let handled = receives.all();
        let others = &handled[max_receives as usize..];
        assert_eq!(
            spent,
            f64::from(others.iter().sum::<u32>() - 9),
            "each receive without a handler is counted"
        );
        // the first receive is for the head alone, and with the last of it the others are handled
        assert!(
            spent <= f64::from(max_receives.saturating_sub(2)) * 9.0,
            "{spent} of {max_receives} receives"
        );
        consumer.drain().await;
    }
}

#[tokio::test(start_paused = true)]
async fn one_poison_message_does_not_slow_other_groups() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    queue.send(lifeline_emulator::Message::new("poison").group("poison"));
    queue.send_all(
        (0..1000).map(|n| lifeline_emulator::Message::new(n.to_string()).group(&format!("group {n}"))),
    );
    let handler = |message: Message, _: Context| async move {
        if message.body == "poison" { Err(Failure::new("poison")) } else { Ok(()) }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| queue.deleted().len() == 1000, MINUTE).await;
    let receives = consumer.metric(r#"consumer_receive_calls_total{outcome="messages"}"#);
    assert!(receives <= 110.0, "{receives} receives for a thousand messages");
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn every_receive_whose_response_was_lost_is_repeated_whatever_becomes_of_its_poller() {
    let aws = emulator().await;
    let queue = fifo(&aws);
    queue.send_all(
        (0..200).map(|n| lifeline_emulator::Message::new(n.to_string()).group(&format!("group {n}"))),
    );
    aws.inject(Fault::on(Action::ReceiveMessage).delay(Duration::from_millis(20)));
    let lost = aws.inject(Fault::on(Action::ReceiveMessage).every(3).reset());
    let set = |b: lifeline_consumer::Builder| b.max_in_flight(200).pollers(4);
    let consumer = Consumer::start_with(&aws, existing("events.fifo"), set, takes(SECOND)).await;
    aws.wait_for(|_| queue.is_empty(), 2 * MINUTE).await;
    assert!(lost.hits() >= 5, "{}", lost.hits());
    lost.remove();
    tokio::time::sleep(MINUTE).await;
    let calls = aws.log(Action::ReceiveMessage);
    let id =
        |call: &lifeline_emulator::Call| call.request["ReceiveRequestAttemptId"].as_str().unwrap().to_owned();
    for (n, call) in calls.iter().enumerate() {
        if call.outcome == lifeline_emulator::Outcome::Broken {
            assert!(calls[n + 1..].iter().any(|later| id(later) == id(call)), "receive {n} was abandoned");
        }
    }
    consumer.drain().await;
}

/// A head that fails takes the receives of those after it along, as far as they were received together.
#[tokio::test(start_paused = true)]
async fn nothing_waits_on_its_last_receive_behind_a_head_that_failed_twice() {
    let aws = emulator().await;
    let _dead = aws.queue("dead.fifo");
    let queue = fifo(&aws).dead_letters_to("dead.fifo", 3);
    put(&queue, "a", 0..4);
    let handler = |message: Message, _: Context| async move {
        if message.receive_count < 3 && message.body == "a0" {
            return Err(Failure::failed("as scripted"));
        }
        // its process may end at any moment now
        std::future::pending().await
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| queue.receives("a0") == 3, MINUTE).await;
    tokio::time::sleep(10 * SECOND).await;
    let receives: Vec<_> = (1..4).map(|n| queue.receives(&format!("a{n}"))).collect();
    assert!(receives.iter().all(|receives| *receives < 3), "{receives:?}");
    consumer.kill().await;
}
