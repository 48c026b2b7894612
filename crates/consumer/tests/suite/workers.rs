//! Several workers with one drain, the handle of a worker, and what its builder refuses.

use std::time::Duration;

use lifeline_consumer::{
    Claim, ClaimId, Failure, IdempotencyStore, IntoHandler, MemoryStore, Message, Worker, WorkerState,
    Workers,
};
use tokio_util::sync::CancellationToken;

use crate::support::*;

#[tokio::test(start_paused = true)]
async fn workers_drain_together_and_what_comes_after_is_done_last() {
    let aws = emulator().await;
    let (orders, invoices) = (aws.queue("orders"), aws.queue("invoices"));
    orders.send_all(["1", "2"]);
    invoices.send("3");
    let after = Count::default();
    let closing = after.clone();
    let handled = Count::default();
    let slow = {
        let (handled, after) = (handled.clone(), after.clone());
        move |_: Message| {
            let (handled, after) = (handled.clone(), after.clone());
            async move {
                tokio::time::sleep(3 * SECOND).await;
                assert_eq!(after.get(), 0, "the publisher is still there");
                handled.add();
                Ok::<(), Failure>(())
            }
        }
    };
    let worker = |clients, name: &str| Worker::on(name).name(name).clients(clients);
    let workers = Workers::new()
        .add(worker(clients(&aws).await, "orders"), slow.clone())
        .add(worker(clients(&aws).await, "invoices"), slow)
        .after(async move {
            closing.add();
        });
    let handles = workers.handles();
    let stop = CancellationToken::new();
    let run = tokio::spawn(workers.run(stop.clone().cancelled_owned()));
    aws.wait_for(|_| handles.iter().map(|handle| handle.summary().received).sum::<u64>() == 3, SOON).await;
    stop.cancel();
    let drained = run.await.unwrap().unwrap();
    assert_eq!((drained.account, drained.cancelled), (account(3, 3, 0, 0, 0), 0));
    assert_eq!(handles.iter().map(|handle| handle.summary().deleted).collect::<Vec<_>>(), [2, 1]);
    assert!(handles.iter().all(|handle| handle.state() == WorkerState::Drained));
    assert_eq!((handled.get(), after.get()), (3, 1));
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_receives_nothing_until_it_is_resumed() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let worker = Worker::on("events").clients(clients(&aws).await).wait_time(SECOND).build().await.unwrap();
    let handle = worker.handle();
    assert_eq!(handle.state(), WorkerState::Starting);
    let run = tokio::spawn(worker.run(succeed, std::future::pending()));
    assert_eq!(handle.changed(WorkerState::Starting).await, WorkerState::Receiving);
    handle.pause();
    assert_eq!(handle.state(), WorkerState::Paused);
    // the receive in flight ends
    tokio::time::sleep(5 * SECOND).await;
    queue.send("one");
    tokio::time::sleep(MINUTE).await;
    assert_eq!((handle.summary().received, queue.len(), handle.state()), (0, 1, WorkerState::Paused));
    handle.resume();
    aws.wait_for(|_| queue.is_empty() && handle.summary().deleted == 1, SOON).await;
    handle.drain();
    assert_eq!(run.await.unwrap().account, account(1, 1, 0, 0, 0));
    assert_eq!(handle.state(), WorkerState::Drained);
}

#[tokio::test(start_paused = true)]
async fn a_paused_worker_drains() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let worker = Worker::on("events").clients(clients(&aws).await).build().await.unwrap();
    let handle = worker.handle();
    handle.pause();
    let run = tokio::spawn(worker.run(succeed, std::future::pending()));
    tokio::time::sleep(5 * SECOND).await;
    handle.drain();
    let begun = tokio::time::Instant::now();
    run.await.unwrap();
    assert!(begun.elapsed() < 2 * SECOND, "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn all_that_is_wrong_with_workers_is_said_at_once() {
    let aws = emulator().await;
    let worker =
        |clients| Worker::on("events").clients(clients).name("orders").max_in_flight(5).batch(6, SECOND);
    let workers =
        Workers::new().add(worker(clients(&aws).await), succeed).add(worker(clients(&aws).await), succeed);
    let error = workers.run(std::future::pending()).await.unwrap_err().to_string();
    let lines: Vec<_> = error.lines().collect();
    assert_eq!(lines.len(), 3, "{error}");
    assert!(error.contains("two workers have the name \"orders\""), "{error}");
    assert!(
        lines[0].starts_with("batch(6, …): invalid value; expected 1 to max_in_flight, which is 5"),
        "{error}"
    );
}

#[tokio::test(start_paused = true)]
async fn a_url_is_a_queue_too() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let worker = Worker::on(queue.url().as_str()).clients(clients(&aws).await).build().await.unwrap();
    let stop = CancellationToken::new();
    let run = tokio::spawn(worker.run(succeed, stop.clone().cancelled_owned()));
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    stop.cancel();
    assert_eq!(run.await.unwrap().account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_rate_limit_spaces_handlers_and_its_wait_is_no_timeout() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..20).map(|n| n.to_string()));
    let begun = tokio::time::Instant::now();
    let set = |b: lifeline_consumer::Builder| b.rate_limit(2, SECOND).handler_timeout(SECOND);
    let consumer = Consumer::start_with(&aws, existing("events"), set, succeed).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let took = begun.elapsed();
    assert!(took > 9 * SECOND && took < 15 * SECOND, "{took:?}");
    assert_eq!(consumer.drain().await.account, account(20, 20, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_message_that_is_delivered_twice_is_handled_once() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["a", "a", "b"]);
    let handled = Seen::default();
    let handler = {
        let handled = handled.clone();
        move |body: String| {
            let handled = handled.clone();
            async move {
                // both are in flight at once: the second finds the first at work
                tokio::time::sleep(SECOND).await;
                handled.push(body);
                Ok::<(), Failure>(())
            }
        }
    };
    let store = MemoryStore::new(100, Duration::from_secs(3600));
    let handler = handler.boxed().idempotent(store, |message| Some(message.body.clone()));
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.is_empty(), 5 * MINUTE).await;
    let mut bodies = handled.all();
    bodies.sort();
    assert_eq!(bodies, ["a", "b"]);
    assert_eq!(consumer.drain().await.account.deleted, 3);
}

/// A database that is down.
struct Down;

impl IdempotencyStore for Down {
    async fn claim(&self, _: &str, _: ClaimId, _: Duration) -> Result<Claim, lifeline_consumer::BoxError> {
        Err("as scripted".into())
    }

    async fn extend(&self, _: &str, _: ClaimId, _: Duration) -> Result<(), lifeline_consumer::BoxError> {
        Ok(())
    }

    async fn complete(&self, _: &str, _: ClaimId) -> Result<(), lifeline_consumer::BoxError> {
        Ok(())
    }

    async fn release(&self, _: &str, _: ClaimId) -> Result<(), lifeline_consumer::BoxError> {
        Ok(())
    }
}

#[tokio::test(start_paused = true)]
async fn without_a_claim_no_handler_runs_and_no_receive_is_lost() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let handled = Count::default();
    let counting = handled.clone();
    let handler = move |_: Message| {
        counting.add();
        async { Ok::<(), Failure>(()) }
    };
    let handler = handler.boxed().idempotent(Down, |message| Some(message.id.clone()));
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| consumer.readiness.reasons().iter().any(|(name, _)| *name == "handler"), SOON).await;
    tokio::time::sleep(5 * MINUTE).await;
    assert_eq!((handled.get(), queue.receives("one")), (0, 1));
    assert_eq!(consumer.drain().await.account.deleted, 0);
}
