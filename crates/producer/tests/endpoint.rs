//! The publisher against a whole SNS and SQS: the endpoint that `LIFELINE_TEST_ENDPOINT` names (LocalStack, moto, the
//! embedded one; any credentials are taken), else the emulator. Names are new in each run, so that the endpoint
//! may be shared and need not be clean.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::envelope::{Envelope, Received, SYSTEM_ATTRIBUTES};
use lifeline_messaging::message::{Attribute, Message as Delivered};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef};
use lifeline_producer::{InvalidMessage, NewMessage, Publisher};
use tokio::time::{Instant, timeout};

/// How long a delivery may take.
const DELIVERY: Duration = Duration::from_secs(20);

/// A topic and a queue that hears it.
struct Place {
    clients: Clients,
    topic: TopicRef,
    queue_url: String,
    _emulator: Option<lifeline_emulator::Emulator>,
}

impl Place {
    async fn new(suffix: &str) -> Self {
        let (url, emulator) = match std::env::var("LIFELINE_TEST_ENDPOINT") {
            Ok(url) if !url.is_empty() => (url, None),
            _ => {
                let emulator = lifeline_emulator::Emulator::start().await.unwrap();
                (emulator.url(), Some(emulator))
            }
        };
        let clients = Clients::connect(&Access::local(url)).await.unwrap();
        let name = format!("producer-{:016x}{suffix}", fastrand::u64(..));
        let topic = TopicRef::Name(name.clone());
        let queue = QueueRef::Name(name);
        let spec =
            QueueSpec { queue, topic: topic.clone(), provision: true, max_receives: 5, raw_delivery: false };
        let queue_url = topology::queue(&clients, &spec).await.unwrap().url;
        Self { clients, topic, queue_url, _emulator: emulator }
    }

    async fn publisher(&self) -> Publisher {
        Publisher::to(self.topic.clone()).clients(self.clients.clone()).start().await.unwrap()
    }

    /// Takes this many messages out of the queue.
    async fn receive(&self, count: usize) -> Vec<Delivered> {
        let mut messages = Vec::new();
        let until = Instant::now() + DELIVERY;
        while messages.len() < count {
            let sqs = &self.clients.polls;
            let asked = sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
            let asked = asked
                .wait_time_seconds(2)
                .message_attribute_names("All")
                .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()));
            for message in asked.send().await.unwrap().messages.unwrap_or_default() {
                let receipt = message.receipt_handle().unwrap().to_owned();
                messages.push(Received::open(message, Envelope::Detect).unwrap().message.unwrap());
                let delete = self.clients.sqs.delete_message().queue_url(&self.queue_url);
                delete.receipt_handle(receipt).send().await.unwrap();
            }
            assert!(Instant::now() < until, "{} of {count} arrived", messages.len());
        }
        messages
    }
}

async fn publish_all(publisher: &Publisher, messages: impl IntoIterator<Item = NewMessage>) -> Vec<String> {
    let mut pending = Vec::new();
    for message in messages {
        pending.push(publisher.enqueue(message).await.unwrap());
    }
    let mut ids = Vec::new();
    for pending in pending {
        ids.push(timeout(DELIVERY, pending).await.unwrap().unwrap().message_id);
    }
    ids
}

#[tokio::test]
async fn every_message_arrives_once_with_the_id_that_was_told() {
    let place = Place::new("").await;
    let bodies: Vec<String> = (0..105).map(|n| format!("{{\"n\": {n}}}")).collect();
    let ids = publish_all(&place.publisher().await, bodies.iter().map(NewMessage::new)).await;
    let told: BTreeMap<_, _> = ids.into_iter().zip(bodies).collect();
    let arrived: BTreeMap<_, _> =
        place.receive(told.len()).await.into_iter().map(|m| (m.id, m.body)).collect();
    assert_eq!(arrived, told);
}

#[tokio::test]
async fn bodies_of_every_script_and_size_arrive_unchanged() {
    let place = Place::new("").await;
    let bodies = [
        "x".to_owned(),
        "tab\tand\rreturn\r".to_owned(),
        " größer  Ελληνικά العربية हिन्दी 日本語 🦀 \u{feff}\u{200d}".to_owned(),
        "<xml attribute=\"a&amp;b\">]]></xml> %20+%2B & = \\n \"quoted\"".to_owned(),
        "y".repeat(200_000),
        "界".repeat(60_000),
    ];
    publish_all(&place.publisher().await, bodies.iter().map(NewMessage::new)).await;
    let mut arrived: Vec<_> = place.receive(bodies.len()).await.into_iter().map(|m| m.body).collect();
    let mut sent = bodies.to_vec();
    arrived.sort();
    sent.sort();
    assert_eq!(arrived.len(), sent.len());
    assert!(arrived == sent, "a body changed on its way");
}

#[tokio::test]
async fn attributes_and_the_trace_arrive() {
    let place = Place::new("").await;
    let message = NewMessage::new("x")
        .attribute("kind", Attribute::string("order"))
        .attribute("amount", Attribute::Text { data_type: "Number".to_owned(), value: "12.5".to_owned() });
    let receipt = place.publisher().await.publish(message).await.unwrap();
    let arrived = place.receive(1).await.remove(0);
    assert_eq!(arrived.attributes["kind"], Attribute::string("order"));
    assert_eq!(arrived.attributes["amount"].as_str(), Some("12.5"));
    let trace = arrived.trace.unwrap().trace_id();
    assert_eq!(Some(trace), receipt.trace_id);
}

#[tokio::test]
async fn the_largest_message_is_taken_and_one_byte_more_is_refused_here() {
    let place = Place::new("").await;
    let publisher = place.publisher().await;
    let arn = topology::topic(&place.clients, &place.topic, false).await.unwrap().arn;
    let attributes = topology::topic_attributes(&place.clients, &arn).await.unwrap();
    let limit: usize = attributes.get("MaximumMessageSize").map_or(262_144, |text| text.parse().unwrap());
    let trace = "traceparent".len() + "String".len() + 55;
    let largest = "x".repeat(limit - trace);
    let error = publisher.publish(NewMessage::new(largest.clone() + "x")).await.unwrap_err();
    assert_eq!(error.as_invalid(), Some(&InvalidMessage::TooLarge { bytes: limit + 1, limit }));
    assert_eq!(publisher.publish(NewMessage::new(largest)).await.unwrap().bytes, limit);
}

#[tokio::test]
async fn a_fifo_topic_keeps_the_order_of_each_group() {
    let place = Place::new(".fifo").await;
    let messages = (0..40).map(|n| NewMessage::new(format!("{n:02}")).group(format!("g{}", n % 4)));
    publish_all(&place.publisher().await, messages).await;
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    for message in place.receive(40).await {
        groups.entry(message.group.unwrap()).or_default().push(message.body);
    }
    assert_eq!(groups.len(), 4);
    assert!(groups.values().all(|bodies| bodies.len() == 10 && bodies.is_sorted()), "{groups:?}");
}

#[tokio::test]
async fn equal_bodies_are_equal_messages_only_by_their_key() {
    let place = Place::new(".fifo").await;
    let (one, two) = (place.publisher().await, place.publisher().await);
    let same = || NewMessage::new("same").group("g");
    one.publish(same()).await.unwrap();
    two.publish(same()).await.unwrap();
    one.publish(NewMessage::new("keyed").group("g").deduplication_id("order-7")).await.unwrap();
    two.publish(NewMessage::new("keyed").group("g").deduplication_id("order-7")).await.unwrap();
    one.publish(NewMessage::new("end").group("g")).await.unwrap();
    let arrived: Vec<_> = place.receive(4).await.into_iter().map(|m| m.body).collect();
    assert_eq!(arrived, ["same", "same", "keyed", "end"]);
}

#[tokio::test]
async fn a_topic_is_created_where_that_is_allowed() {
    let place = Place::new("").await;
    let topic = TopicRef::Name(format!("producer-{:016x}", fastrand::u64(..)));
    let publisher =
        Publisher::to(topic.clone()).clients(place.clients.clone()).provision(true).start().await.unwrap();
    let pending = publisher.enqueue(NewMessage::new("x")).await.unwrap();
    let found = async {
        loop {
            match topology::topic(&place.clients, &topic, false).await {
                Ok(_) => return,
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        }
    };
    timeout(DELIVERY, found).await.unwrap();
    let spec = QueueSpec {
        queue: QueueRef::Name(place.topic.name().to_owned()),
        topic,
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    };
    topology::queue(&place.clients, &spec).await.unwrap();
    timeout(DELIVERY, pending).await.unwrap().unwrap();
    assert_eq!(place.receive(1).await[0].body, "x", "it waited for the subscription");
}
