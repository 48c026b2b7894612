//! FIFO queues: order within a group, groups in parallel, and nothing overtakes a failure.

use std::collections::HashMap;
use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message};
use lifeline_scripted::Endpoint;
use tokio::time::Instant;

use crate::support::*;

fn fifo(aws: &Endpoint) -> lifeline_scripted::QueueBuilder<'_> {
    aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true")
}

fn put(queue: &lifeline_scripted::Queue, group: &str, numbers: std::ops::Range<u32>) {
    queue.put_all(numbers.map(|n| lifeline_scripted::Message::new(format!("{group}{n}")).group(group)));
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
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).create();
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
                Ok(())
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
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).create();
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
    let aws = Endpoint::start().await;
    let dead = aws.queue("dead.fifo").create();
    let queue = fifo(&aws).dead_letters("dead.fifo", 3).create();
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
    // the paused clock may stand still between the two: nothing lingers where no other can come
    assert!(queue.history("a1").deleted >= queue.history("a0").dead_lettered);
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.retried, account.lost_lease), (5, 3, 0));
}

#[tokio::test(start_paused = true)]
async fn what_waits_for_its_group_keeps_its_lease() {
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).visibility(2 * SECOND).create();
    put(&queue, "a", 0..10);
    let consumer = Consumer::start(&aws, "events.fifo", takes(2 * SECOND)).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "the tenth waited for 18 s");
    assert_eq!(queue.deleted(), in_order('a', 0..10));
    assert_eq!(consumer.drain().await.account, account(10, 10, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn what_lost_its_lease_while_it_waited_is_not_started() {
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).visibility(30 * SECOND).create();
    put(&queue, "a", 0..3);
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |message: Message, _: Context| {
            let seen = seen.clone();
            async move {
                seen.push(message.body);
                tokio::time::sleep(MINUTE).await;
                Ok(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| seen.len() == 1, SOON).await;
    assert_eq!(queue.steal(|body| body == "a1", 10 * MINUTE), 1);
    aws.wait_for(|_| queue.deleted() == ["a0"], 2 * MINUTE).await;
    tokio::time::sleep(SECOND).await;
    assert_eq!(seen.all(), ["a0"], "another has a1, and a2 must not overtake it");
    assert_eq!(consumer.drain().await.account, account(3, 1, 0, 1, 1));
    assert_eq!(queue.counts().visible, 1);
}

#[tokio::test(start_paused = true)]
async fn a_receive_whose_answer_was_lost_is_repeated_under_its_own_id() {
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).create();
    put(&queue, "a", 0..2);
    aws.on("ReceiveMessage").first(2).reset();
    let consumer = Consumer::start(&aws, "events.fifo", succeed).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let ids: Vec<_> = aws
        .calls("ReceiveMessage")
        .iter()
        .map(|call| call.request["ReceiveRequestAttemptId"].as_str().unwrap().to_owned())
        .collect();
    assert!(ids[0] == ids[1] && ids[1] == ids[2], "until an answer comes");
    consumer.drain().await;
    assert!(ids.get(3).is_none_or(|id| *id != ids[0]), "and then a new one");
}

#[tokio::test(start_paused = true)]
async fn a_drain_finishes_what_runs_and_releases_what_waits_in_its_group() {
    let aws = Endpoint::start().await;
    let queue = fifo(&aws).create();
    put(&queue, "a", 0..5);
    let started = Count::default();
    let handler = {
        let started = started.clone();
        move |_: Message, _: Context| {
            started.add();
            async {
                tokio::time::sleep(5 * SECOND).await;
                Ok(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| started.get() == 1, SOON).await;
    let account = consumer.drain().await.account;
    // the poll in the air may bring the four once more, and gives them back again
    assert_eq!((account.deleted, account.retried, account.lost_lease), (1, 0, 0));
    assert_eq!(queue.bodies(), in_order('a', 1..5));
    assert_eq!(queue.counts().visible, 4);
}
