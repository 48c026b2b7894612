//! The endpoint goes away while both services run, and comes back empty.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, which say what they measured")]

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Parser as _;
use lifeline_consumer::{Context, Failure, Message, Worker};
use lifeline_emulator::Emulator;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

/// What the issue allows between the endpoint's return and the first message handled.
const BACK_WITHIN: Duration = Duration::from_secs(10);

async fn serve(addr: SocketAddr) -> Emulator {
    // the port of the one before may linger a moment
    let deadline = Instant::now() + Duration::from_secs(5);
    loop {
        match Emulator::builder().listen(addr).await {
            Ok(emulator) => return emulator,
            Err(error) if Instant::now() > deadline => panic!("{error}"),
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

async fn handled_more_than(handled: &AtomicU64, count: u64) {
    while handled.load(Ordering::Relaxed) <= count {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_endpoint_that_comes_back_empty_gets_everything_back_and_messages_flow_within_ten_seconds() {
    let mut emulator = serve("127.0.0.1:0".parse().unwrap()).await;
    let addr = emulator.local_addr().unwrap();
    let access = Access::local(format!("http://{addr}"));
    let clients = Clients::connect(&access).await.unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&handled);
    let handler = move |_: Message, _: Context| {
        counting.fetch_add(1, Ordering::Relaxed);
        async { Ok::<(), Failure>(()) }
    };
    let stop = CancellationToken::new();
    let spec = QueueSpec {
        queue: QueueRef::Name("vanishing-q".to_owned()),
        topic: TopicRef::Name("vanishing".to_owned()),
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    };
    let worker = Worker::on(spec).clients(clients.clone()).wait_time(Duration::from_secs(2));
    let worker = tokio::spawn(worker.run(handler, stop.clone().cancelled_owned()));
    let args = ["producer", "--publish-rate=50", "--topic-name=vanishing", "--provision=true"];
    let checked = lifeline_service::check(lifeline_producer::service::Args::parse_from(args)).unwrap();
    let (health, grace) = (lifeline_health::Health::new("test"), Duration::from_secs(25));
    let producer = lifeline_producer::Service::new(checked.config, clients, health, grace).unwrap();
    let producer = tokio::spawn(producer.run(stop.clone().cancelled_owned()));

    timeout(BACK_WITHIN * 2, handled_more_than(&handled, 20)).await.expect("messages flow at first");
    for outage in [Duration::from_millis(100), Duration::from_secs(6)] {
        // every connection is cut and everything forgotten
        drop(emulator);
        // not a wait for an event: this is how long the endpoint stays away
        tokio::time::sleep(outage).await;
        let before = handled.load(Ordering::Relaxed);
        emulator = serve(addr).await;
        let back = Instant::now();
        timeout(BACK_WITHIN, handled_more_than(&handled, before + 20))
            .await
            .unwrap_or_else(|_| panic!("after an outage of {outage:?} nothing flows within {BACK_WITHIN:?}"));
        println!("away for {outage:?}; twenty messages were handled {:?} after its return", back.elapsed());
    }
    stop.cancel();
    let summary = producer.await.unwrap().unwrap();
    assert!(summary.balances(), "{summary:?}");
    let drained = worker.await.unwrap().unwrap();
    assert!(drained.account.balances(), "{}", drained.account);
}

/// The queue is back when the worker has created it again, which may take it as long as its backoff from a dead endpoint.
#[tokio::test(flavor = "multi_thread")]
async fn a_worker_receives_within_two_seconds_of_its_queue_being_back() {
    let mut emulator = serve("127.0.0.1:0".parse().unwrap()).await;
    let addr = emulator.local_addr().unwrap();
    let clients = Clients::connect(&Access::local(format!("http://{addr}"))).await.unwrap();
    let handled = Arc::new(AtomicU64::new(0));
    let counting = Arc::clone(&handled);
    let handler = move |_: Message, _: Context| {
        counting.fetch_add(1, Ordering::Relaxed);
        async { Ok::<(), Failure>(()) }
    };
    let spec = QueueSpec {
        queue: QueueRef::Name("restarted-q".to_owned()),
        topic: TopicRef::Name("restarted".to_owned()),
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    };
    let stop = CancellationToken::new();
    let worker = Worker::on(spec).clients(clients.clone()).wait_time(Duration::from_secs(20));
    let worker = tokio::spawn(worker.run(handler, stop.clone().cancelled_owned()));
    // what dead letters are sent to is created first, and the queue last
    let queue = async || loop {
        let found = clients.sqs.get_queue_url().queue_name("restarted-q").send().await;
        if let Ok(found) = found {
            return found.queue_url.unwrap();
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    };
    for outage in [Duration::from_millis(100), Duration::from_secs(3), Duration::from_secs(8)] {
        queue().await;
        drop(emulator);
        // not a wait for an event: this is how long the endpoint stays away
        tokio::time::sleep(outage).await;
        let before = handled.load(Ordering::Relaxed);
        emulator = serve(addr).await;
        let served = Instant::now();
        let url = timeout(Duration::from_secs(30), queue()).await.expect("the worker creates it again");
        let back = Instant::now();
        clients.sqs.send_message().queue_url(url).message_body("x").send().await.unwrap();
        timeout(Duration::from_secs(2), handled_more_than(&handled, before))
            .await
            .unwrap_or_else(|_| panic!("after an outage of {outage:?} nothing is received within 2 s"));
        println!(
            "away for {outage:?}; the queue was back after {:?}, and received from after another {:?}",
            back - served,
            back.elapsed()
        );
    }
    stop.cancel();
    worker.await.unwrap().unwrap();
}
