//! Early acknowledgement: a handler has its message deleted and goes on.

use std::sync::Arc;

use lifeline_consumer::{BoxHandler, Context, Failure, IntoHandler, LeaseLost, Message};
use lifeline_emulator::{Action, Fault};
use tokio::sync::Semaphore;

use crate::support::*;

/// Acknowledges, waits for leave to go on, and fails. Notes the bodies.
fn acknowledges_then_fails(seen: &Seen<String>, go_on: &Arc<Semaphore>) -> BoxHandler {
    let (seen, go_on) = (seen.clone(), Arc::clone(go_on));
    let handler = move |message: Message, context: Context| {
        let (seen, go_on) = (seen.clone(), Arc::clone(&go_on));
        async move {
            context.acknowledge().await?;
            // a second time does nothing
            context.acknowledge().await?;
            assert!(!context.lease_lost());
            seen.push(message.body);
            go_on.acquire().await.unwrap().forget();
            Err::<(), _>(Failure::unavailable("as scripted"))
        }
    };
    handler.boxed()
}

const FAILED: &str = "consumer_acknowledged_then_failed_total";

#[tokio::test(start_paused = true)]
async fn a_message_is_deleted_while_its_handler_runs_and_a_later_error_retries_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let (seen, go_on) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let consumer = Consumer::start(&aws, "events", acknowledges_then_fails(&seen, &go_on)).await;
    aws.wait_for(|_| seen.len() == 1, SOON).await;
    assert!(queue.is_empty() && queue.deleted() == ["one"]);
    // much longer than a lease: there is none any more that could be lost
    tokio::time::sleep(2 * MINUTE).await;
    assert_eq!(consumer.metric("consumer_messages_lost_lease_total"), 0.0);
    go_on.add_permits(1);
    aws.wait_for(|_| consumer.metric(FAILED) == 1.0, SOON).await;
    assert!(consumer.readiness.reasons().is_empty(), "the breaker is closed");
    let drained = consumer.drain().await;
    assert_eq!((drained.account, drained.cancelled), (account(1, 1, 0, 0, 0), 0));
    assert_eq!(seen.all(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn an_acknowledged_message_is_in_flight_until_its_handler_ends() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["one", "two"]);
    let (seen, go_on) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let handler = acknowledges_then_fails(&seen, &go_on);
    let consumer = Consumer::start_with(&aws, existing("events"), |b| b.max_in_flight(1), handler).await;
    aws.wait_for(|_| seen.len() == 1, SOON).await;
    tokio::time::sleep(MINUTE).await;
    assert_eq!(consumer.received(), 1);
    go_on.add_permits(2);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn the_next_of_a_group_waits_for_the_handler_not_only_for_the_delete() {
    let aws = emulator().await;
    let queue = aws.queue("events.fifo");
    queue.send_to_group("g", "one");
    queue.send_to_group("g", "two");
    let (seen, go_on) = (Seen::default(), Arc::new(Semaphore::new(0)));
    let consumer = Consumer::start(&aws, "events.fifo", acknowledges_then_fails(&seen, &go_on)).await;
    aws.wait_for(|_| queue.deleted() == ["one"], SOON).await;
    tokio::time::sleep(10 * SECOND).await;
    assert_eq!(seen.all(), ["one"]);
    go_on.add_permits(2);
    aws.wait_for(|_| queue.is_empty() && seen.len() == 2, SOON).await;
    assert_eq!(seen.all(), ["one", "two"]);
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_goes_on_after_its_delete_is_cancelled_at_the_deadline() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let why = Seen::default();
    let handler = {
        let why = why.clone();
        move |_: Message, context: Context| {
            let why = why.clone();
            async move {
                context.acknowledge().await?;
                why.push(context.cancelled().await);
                std::future::pending::<Result<(), Failure>>().await
            }
        }
    };
    let consumer =
        Consumer::start_with(&aws, existing("events"), |b| b.shutdown_grace(5 * SECOND), handler).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let begun = tokio::time::Instant::now();
    let metrics = consumer.metrics.clone();
    let drained = consumer.drain().await;
    assert!(begun.elapsed() <= 6 * SECOND, "{:?}", begun.elapsed());
    assert_eq!((drained.account, drained.cancelled), (account(1, 1, 0, 0, 0), 1));
    assert_eq!((why.all(), metric(&metrics, FAILED)), (vec![lifeline_consumer::Cancelled::Shutdown], 1.0));
}

#[tokio::test(start_paused = true)]
async fn a_delete_that_is_refused_is_a_lost_lease() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let refused = Fault::on(Action::DeleteMessageBatch).nth(1).for_entries(|_| true);
    aws.inject(refused.fail_entries("ReceiptHandleIsInvalid", true));
    let results = Seen::default();
    let handler = {
        let results = results.clone();
        move |_: Message, context: Context| {
            let results = results.clone();
            async move {
                let result = context.acknowledge().await;
                results.push(result);
                result
            }
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.is_empty() && results.len() == 2, 2 * MINUTE).await;
    let all: Vec<Result<(), LeaseLost>> = results.all();
    assert!(all[0].is_err() && all[1].is_ok(), "{all:?}");
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_handler_knows_its_last_receive() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    queue.send("one");
    let last = Seen::default();
    let handler = {
        let last = last.clone();
        move |_: Message, context: Context| {
            last.push((context.is_last_receive(), context.worker().to_owned()));
            async { Err::<(), _>(Failure::new("as scripted")) }
        }
    };
    let consumer = Consumer::start_with(&aws, existing("events"), |b| b.name("orders"), handler).await;
    aws.wait_for(|_| queue.is_empty() && dead.bodies() == ["one"], MINUTE).await;
    consumer.drain().await;
    assert_eq!(last.all(), [(false, "orders".to_owned()), (true, "orders".to_owned())]);
}
