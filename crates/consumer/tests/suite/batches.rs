//! Batch handlers: several messages at once, each with its own outcome.

use std::time::Duration;

use lifeline_consumer::{
    Batch, BoxError, BoxHandler, Context, Failure, FailureKind, IntoHandler, Json, Message, Settled,
};

use crate::support::*;

/// Notes the size of each batch; odd numbers fail.
fn evens(sizes: &Seen<usize>) -> BoxHandler {
    let sizes = sizes.clone();
    let handler = move |batch: Batch<Json<u64>>| {
        sizes.push(batch.len());
        async move {
            tokio::time::sleep(Duration::from_millis(50)).await;
            let odd = |number: &u64| Failure::failed(format!("{number} is odd"));
            let settled =
                batch.settle(|_, Json(number)| if number % 2 == 0 { Ok(()) } else { Err(odd(number)) });
            Ok::<Settled, Failure>(settled)
        }
    };
    handler.boxed()
}

#[tokio::test(start_paused = true)]
async fn each_message_of_a_batch_has_its_own_outcome() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 1);
    queue.send_all((0..10).map(|n| n.to_string()));
    let sizes = Seen::default();
    let consumer = Consumer::start(&aws, "events", evens(&sizes)).await;
    aws.wait_for(|_| queue.deleted().len() == 5 && dead.bodies().len() == 5, MINUTE).await;
    let mut deleted = queue.deleted();
    deleted.sort();
    assert_eq!(deleted, ["0", "2", "4", "6", "8"]);
    assert!(sizes.all().contains(&10), "what one receive brings is one batch: {:?}", sizes.all());
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.retried), (5, 5), "{account}");
}

#[tokio::test(start_paused = true)]
async fn a_batch_waits_to_be_full_as_long_as_it_was_told_to() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..25).map(|n| (2 * n).to_string()));
    let sizes = Seen::default();
    let set = |b: lifeline_consumer::Builder| b.batch(20, SECOND);
    let consumer = Consumer::start_with(&aws, existing("events"), set, evens(&sizes)).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(25, 25, 0, 0, 0));
    assert_eq!(sizes.all(), [20, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_cannot_be_decoded_fails_alone() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["2", "two", "4"]);
    let sizes = Seen::default();
    let consumer = Consumer::start(&aws, "events", evens(&sizes)).await;
    aws.wait_for(|_| queue.deleted().len() == 2 && !queue.history("two").visibility.is_empty(), MINUTE).await;
    assert_eq!((sizes.all(), queue.bodies()), (vec![2], vec!["two".to_owned()]));
    consumer.drain().await;
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_fails_or_panics_fails_all_and_deletes_none() {
    for panics in [false, true] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all(["1", "2", "3"]);
        let handler = move |_: Batch<Message>| async move {
            assert!(!panics, "as scripted");
            Err::<Settled, _>(Failure::failed("as scripted"))
        };
        let consumer = Consumer::start(&aws, "events", handler).await;
        let failed = || ["1", "2", "3"].iter().all(|body| !queue.history(body).visibility.is_empty());
        aws.wait_for(|_| failed(), MINUTE).await;
        let account = consumer.drain().await.account;
        assert!(account.deleted == 0 && account.retried >= 3, "{account}");
        assert_eq!(queue.bodies().len(), 3);
    }
}

#[tokio::test(start_paused = true)]
async fn a_lost_lease_in_a_batch_does_not_cancel_the_others() {
    let aws = emulator().await;
    let queue = aws.queue("events.fifo");
    // a FIFO queue refuses the receipts of what another consumer has
    ["1", "2", "3"].into_iter().for_each(|body| queue.send_to_group(body, body));
    let (began, ended) = (Count::default(), Count::default());
    let handler = {
        let (began, ended) = (began.clone(), ended.clone());
        move |batch: Batch<Message>, context: Context| {
            let (began, ended) = (began.clone(), ended.clone());
            async move {
                began.add();
                tokio::time::sleep(MINUTE).await;
                assert!(!context.lease_lost(), "two are still ours");
                ended.add();
                Ok::<Settled, Failure>(batch.settle_each(|_| async { Ok::<(), Failure>(()) }).await)
            }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    // a new worker receives its first message alone, and it may be a batch of its own
    aws.wait_for(|_| began.get() >= 1 && consumer.received() == 3, SOON).await;
    assert_eq!(queue.steal(|body| body == "2", 10 * MINUTE), 1);
    aws.wait_for(|_| ["1", "3"].iter().all(|body| queue.deleted().iter().any(|d| d == body)), 2 * MINUTE)
        .await;
    assert!(ended.get() >= 1);
    let account = consumer.drain().await.account;
    assert!(account.deleted >= 2 && account.lost_lease == 1, "{account}");
}

#[tokio::test(start_paused = true)]
async fn a_fifo_group_keeps_its_order_in_batches() {
    let aws = emulator().await;
    let queue = aws.queue("events.fifo");
    for n in 0..3 {
        for group in ["a", "b"] {
            queue.send_to_group(group, &format!("{group}{n}"));
        }
    }
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |batch: Batch<String>| {
            batch.iter().for_each(|body| seen.push(body.clone()));
            async move { Ok::<Settled, Failure>(batch.succeed()) }
        }
    };
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let of =
        |group: char| -> Vec<_> { seen.all().into_iter().filter(|body| body.starts_with(group)).collect() };
    assert_eq!(
        (of('a'), of('b')),
        (["a0", "a1", "a2"].map(String::from).into(), ["b0", "b1", "b2"].map(String::from).into())
    );
    assert_eq!(consumer.drain().await.account, account(6, 6, 0, 0, 0));
}

#[derive(Debug)]
struct DbError;

impl std::fmt::Display for DbError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("the database is gone")
    }
}

impl std::error::Error for DbError {}

#[tokio::test(start_paused = true)]
async fn an_error_of_a_foreign_type_means_for_a_batch_what_its_worker_was_told() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["1", "2", "3"]);
    let runs = Count::default();
    let handle = {
        let runs = runs.clone();
        move |batch: Batch<String>| {
            let down = runs.add() <= 3;
            async move { if down { Err::<Settled, BoxError>(DbError.into()) } else { Ok(batch.succeed()) } }
        }
    };
    let set = |b: lifeline_consumer::Builder| b.classify(|_: &DbError| FailureKind::Unavailable);
    let consumer = Consumer::start_with(&aws, existing("events"), set, handle).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(runs.get() > 3);
    assert_eq!(consumer.drain().await.account, account(3, 3, 0, 0, 0), "no receive was used up");
}
