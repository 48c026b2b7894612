//! Streams, capacity and flushing: the parts of the API for callers with more than one message.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use std::time::Duration;

use futures_util::{StreamExt, stream};
use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::client::{Access, Clients};
use lifeline_producer::{NewMessage, PublishErrorKind, Publisher, PublisherBuilder};
use tokio::time::{Instant, timeout};

const LONG: Duration = Duration::from_secs(600);

async fn builder(aws: &Emulator, topic: &str) -> PublisherBuilder {
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    Publisher::to(topic).clients(clients)
}

#[tokio::test(start_paused = true)]
async fn results_of_a_stream_come_in_the_order_of_its_messages() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    aws.seed_faults(1);
    aws.inject(
        Fault::on(Action::PublishBatch)
            .probability(0.5)
            .for_entries(|_| true)
            .fail_entries("InternalError", false),
    );
    let publisher = builder(&aws, "t").await.start().await.unwrap();
    let bodies = (0..100).map(|n| if n == 42 { "\0".to_owned() } else { n.to_string() });
    let results: Vec<_> = timeout(LONG, publisher.publish_all(stream::iter(bodies)).collect()).await.unwrap();
    assert_eq!(results.len(), 100);
    for (n, result) in results.into_iter().enumerate() {
        match result {
            Ok(receipt) => {
                let published = topic.published();
                let message = published.iter().find(|m| m.message_id == receipt.message_id).unwrap();
                assert_eq!(message.message, n.to_string());
            }
            Err(error) => assert_eq!((n, error.kind()), (42, PublishErrorKind::Invalid)),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_stream_is_read_only_when_there_is_capacity() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("t");
    aws.inject(Fault::on(Action::PublishBatch).hang());
    let publisher = builder(&aws, "t").await.buffer(25).start().await.unwrap();
    let read = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&read);
    let endless = stream::repeat_with(move || {
        count.fetch_add(1, Relaxed);
        "x"
    });
    let mut results = Box::pin(publisher.publish_all(endless));
    assert!(timeout(Duration::from_secs(1), results.next()).await.is_err());
    assert_eq!(read.load(Relaxed), 25);
}

#[tokio::test(start_paused = true)]
async fn capacity_is_reserved_before_there_is_a_message_and_free_again_without_one() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let publisher = builder(&aws, "t").await.buffer(2).start().await.unwrap();
    let (first, second) = (publisher.reserve().await.unwrap(), publisher.reserve().await.unwrap());
    assert_eq!(publisher.buffered(), 2);
    assert!(timeout(Duration::from_secs(1), publisher.reserve()).await.is_err());
    drop(second);
    let result = first.send(NewMessage::new("x"));
    result.await.unwrap();
    let invalid = publisher.reserve().await.unwrap().send("");
    assert_eq!(invalid.await.unwrap_err().kind(), PublishErrorKind::Invalid);
    assert_eq!((topic.messages(), publisher.buffered()), (vec!["x".to_owned()], 0));
    publisher.close().await;
    assert_eq!(publisher.reserve().await.unwrap_err().kind(), PublishErrorKind::Closed);
}

#[tokio::test(start_paused = true)]
async fn a_flush_ends_lingering_and_waits_for_what_was_accepted_before_it() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let publisher = builder(&aws, "t").await.linger(LONG).start().await.unwrap();
    publisher.flush().await;
    let _first = publisher.enqueue("1").await.unwrap();
    let _second = publisher.enqueue("2").await.unwrap();
    let begun = Instant::now();
    publisher.flush().await;
    assert_eq!(topic.messages(), ["1", "2"]);
    assert!(begun.elapsed() < Duration::from_secs(1), "{:?}", begun.elapsed());
    // in flight counts too
    aws.inject(Fault::on(Action::PublishBatch).nth(1).error(503, "ServiceUnavailable"));
    let _third = publisher.enqueue("3").await.unwrap();
    publisher.flush().await;
    assert_eq!(topic.messages(), ["1", "2", "3"]);
    let _later = publisher.enqueue("later").await.unwrap();
    publisher.close().await;
    publisher.flush().await;
    assert_eq!(topic.messages().len(), 4);
}

#[tokio::test(start_paused = true)]
async fn a_message_that_comes_back_can_be_published_again_without_a_duplicate() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t.fifo");
    let queue = aws.queue("q.fifo");
    topic.subscribe(&queue, true);
    let publisher = builder(&aws, "t.fifo").await.deadline(Duration::from_secs(8)).start().await.unwrap();
    let hang = aws.inject(Fault::on(Action::PublishBatch).after_effect().hang());
    let error = publisher.publish(NewMessage::new("x").group("g")).await.unwrap_err();
    assert!(error.may_have_been_published(), "{error}");
    hang.remove();
    publisher.publish(error.into_message().unwrap()).await.unwrap();
    assert_eq!(queue.bodies(), ["x"], "it keeps its deduplication id");
}

#[tokio::test(start_paused = true)]
async fn subject_group_and_attributes_arrive_on_a_standard_topic() {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let publisher = builder(&aws, "t").await.start().await.unwrap();
    let message = NewMessage::json(&serde_json::json!({"id": 7})).unwrap();
    let message = message.subject("order placed").group("customer-7").attribute("total", 8650);
    publisher.publish(message).await.unwrap();
    let published = topic.published().remove(0);
    assert_eq!(
        (published.message.as_str(), published.subject.as_deref()),
        (r#"{"id":7}"#, Some("order placed"))
    );
    assert_eq!(published.group.as_deref(), Some("customer-7"), "fair queues");
    assert_eq!(published.attribute_type("total"), Some("Number"));
}
