//! The promises in short, against an endpoint that is not ours: `LIFELINE_TEST_ENDPOINT=http://…` names a LocalStack, moto,
//! MiniStack or `lifeline aws`; without it the emulator stands in.
//!
//! Every test has a topic and queues of its own, so that they run side by side and again. Time is real here.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::HashMap;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_sdk_sns::types::MessageAttributeValue;
use aws_sdk_sqs::types::QueueAttributeName as Name;
use lifeline_consumer::{Context, Failure, IntoHandler, Message};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef};
use support::*;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::Instant;

/// Long enough for a LocalStack on a machine that does five other things.
const PATIENCE: Duration = Duration::from_secs(60);

/// Whose endpoint it is, and names in it that nobody else has.
struct Room {
    clients: Clients,
    name: String,
    _emulator: Option<lifeline_emulator::Emulator>,
}

impl Room {
    async fn open(test: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let emulator = match std::env::var("LIFELINE_TEST_ENDPOINT") {
            Ok(_) => None,
            Err(_) => Some(emulator().await),
        };
        let url = emulator.as_ref().map(lifeline_emulator::Emulator::url);
        let url = url.unwrap_or_else(|| std::env::var("LIFELINE_TEST_ENDPOINT").unwrap());
        let clients = Clients::connect(&Access::local(url)).await.unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{test}-{:x}-{number}", fastrand::u32(..));
        Self { clients, name, _emulator: emulator }
    }

    fn spec(&self, fifo: bool) -> QueueSpec {
        let ending = if fifo { ".fifo" } else { "" };
        QueueSpec {
            queue: QueueRef::Name(format!("{}-queue{ending}", self.name)),
            topic: TopicRef::Name(format!("{}-topic{ending}", self.name)),
            provision: true,
            max_receives: 2,
            raw_delivery: false,
        }
    }

    /// Makes everything, with this lease; returns the queue and the topic's ARN.
    async fn provision(&self, spec: &QueueSpec, visibility: u64) -> (topology::Queue, String) {
        let queue = topology::queue(&self.clients, spec).await.unwrap();
        let set = self.clients.sqs.set_queue_attributes().queue_url(&queue.url);
        set.attributes(Name::VisibilityTimeout, visibility.to_string()).send().await.unwrap();
        let topic = topology::topic(&self.clients, &spec.topic, false).await.unwrap();
        (queue, topic.arn)
    }

    fn start<Form>(&self, spec: QueueSpec, handler: impl IntoHandler<Form>) -> Consumer {
        let set = |b: lifeline_consumer::Builder| b.wait_time(SECOND).shutdown_grace(10 * SECOND);
        Consumer::start_on(self.clients.clone(), lifeline_health::Pulses::new(), spec, set, handler)
    }

    async fn publish(&self, topic_arn: &str, body: &str, group: Option<&str>) {
        let text = |value: &str| {
            MessageAttributeValue::builder().data_type("String").string_value(value).build().unwrap()
        };
        let call = self.clients.sns.publish().topic_arn(topic_arn).message(body);
        let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let call =
            call.message_attributes("traceparent", text(trace)).message_attributes("kind", text("test"));
        let id = group.map(|_| format!("{:032x}", fastrand::u128(..)));
        let call = call.set_message_group_id(group.map(str::to_owned)).set_message_deduplication_id(id);
        call.send().await.unwrap();
    }

    /// Werkzeug is moto's server, and nobody else's.
    async fn is_moto(&self) -> bool {
        let Ok(url) = std::env::var("LIFELINE_TEST_ENDPOINT") else { return false };
        let address = url.trim_start_matches("http://").trim_end_matches('/');
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).contains("Werkzeug")
    }

    /// Visible and hidden messages of a queue.
    async fn depth(&self, url: &str) -> (u64, u64) {
        let names = [Name::ApproximateNumberOfMessages, Name::ApproximateNumberOfMessagesNotVisible];
        let depth = topology::queue_attributes(&self.clients, url, &names).await.unwrap();
        (depth[&names[0]].parse().unwrap(), depth[&names[1]].parse().unwrap())
    }

    async fn until_depth(&self, url: &str, wanted: (u64, u64)) {
        let end = Instant::now() + PATIENCE;
        while self.depth(url).await != wanted {
            assert!(Instant::now() < end, "{:?} of {url}, not {wanted:?}", self.depth(url).await);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Waits for what a handler does.
async fn until(what: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !what() {
        assert!(Instant::now() < end, "not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn raw_and_wrapped_messages_arrive_alike_and_are_deleted() {
    for raw_delivery in [false, true] {
        let room = Room::open(if raw_delivery { "raw" } else { "wrapped" }).await;
        let spec = QueueSpec { raw_delivery, ..room.spec(false) };
        let (queue, topic) = room.provision(&spec, 30).await;
        let seen = Seen::default();
        let handler = {
            let seen = seen.clone();
            move |message: Message, _: Context| {
                seen.push(message);
                std::future::ready(Ok::<(), Failure>(()))
            }
        };
        let consumer = room.start(spec, handler);
        let body = "{\"text\": \"gr\u{fc}\u{df} \u{1F600}\\n<&>\"}";
        room.publish(&topic, body, None).await;
        until(|| consumer.metric("consumer_messages_deleted_total") == 1.0).await;
        let message = seen.all().remove(0);
        assert_eq!((message.body.as_str(), message.receive_count), (body, 1));
        assert_eq!(message.attributes["kind"].as_str(), Some("test"));
        assert_eq!(message.trace.unwrap().trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
        assert!(message.published_at.is_some());
        assert_eq!(message.topic_arn.is_some(), !raw_delivery);
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
        assert_eq!(room.depth(&queue.url).await, (0, 0));
    }
}

#[tokio::test]
async fn a_handler_of_three_leases_of_two_seconds_is_delivered_once() {
    let room = Room::open("lease").await;
    let spec = room.spec(false);
    let (queue, topic) = room.provision(&spec, 2).await;
    let consumer = room.start(spec, takes(6 * SECOND));
    for n in 0..12 {
        room.publish(&topic, &n.to_string(), None).await;
    }
    until(|| consumer.metric("consumer_messages_deleted_total") == 12.0).await;
    assert_eq!(consumer.drain().await.account, account(12, 12, 0, 0, 0));
    assert_eq!(room.depth(&queue.url).await, (0, 0));
}

#[tokio::test]
async fn poison_reaches_the_dead_letter_queue_and_the_others_are_handled() {
    let room = Room::open("poison").await;
    let spec = room.spec(false);
    let (queue, topic) = room.provision(&spec, 30).await;
    let handler = |message: Message, _: Context| async move {
        if message.body == "poison" { Err(Failure::new("poison")) } else { Ok(()) }
    };
    let consumer = room.start(spec.clone(), handler);
    for body in ["a", "poison", "b"] {
        room.publish(&topic, body, None).await;
    }
    let dead = topology::dead_letter_name(spec.queue.name());
    let dead = room.clients.sqs.get_queue_url().queue_name(dead).send().await.unwrap().queue_url.unwrap();
    room.until_depth(&dead, (1, 0)).await;
    assert_eq!(consumer.drain().await.account, account(4, 2, 2, 0, 0));
    assert_eq!(room.depth(&queue.url).await, (0, 0));
}

/// Two groups of eight through a FIFO queue; `a3` fails the first `failures` times.
async fn fifo_groups_stay_in_order(room: Room, failures: u32) {
    let spec = QueueSpec { max_receives: 10, ..room.spec(true) };
    let (queue, topic) = room.provision(&spec, 30).await;
    for n in 0..8 {
        for group in ["a", "b"] {
            room.publish(&topic, &format!("{group}{n}"), Some(group)).await;
        }
    }
    let seen = Seen::default();
    let handler = {
        let seen = seen.clone();
        move |message: Message, _: Context| {
            let seen = seen.clone();
            async move {
                if message.body == "a3" && message.receive_count <= failures {
                    return Err(Failure::new("not yet"));
                }
                seen.push((message.group.unwrap_or_default(), message.body));
                Ok(())
            }
        }
    };
    let consumer = room.start(spec, handler);
    until(|| consumer.metric("consumer_messages_deleted_total") == 16.0).await;
    let mut groups: HashMap<String, Vec<String>> = HashMap::new();
    seen.all().into_iter().for_each(|(group, body)| groups.entry(group).or_default().push(body));
    for group in ["a", "b"] {
        assert_eq!(groups[group], (0..8).map(|n| format!("{group}{n}")).collect::<Vec<_>>());
    }
    let account = consumer.drain().await.account;
    assert_eq!((account.deleted, account.retried, account.lost_lease), (16, u64::from(failures), 0));
    assert_eq!(room.depth(&queue.url).await, (0, 0));
}

#[tokio::test]
async fn a_fifo_group_is_handled_in_order() {
    fifo_groups_stay_in_order(Room::open("fifo").await, 0).await;
}

#[tokio::test]
async fn a_fifo_group_is_handled_in_order_around_a_failure() {
    let room = Room::open("fifo-failure").await;
    // moto 5.2 forgets the order of a group when the timeouts of several of its messages end together
    if room.is_moto().await {
        eprintln!("not asked of moto");
        return;
    }
    fifo_groups_stay_in_order(room, 1).await;
}

#[tokio::test]
async fn a_drain_gives_back_what_it_did_not_handle() {
    let room = Room::open("drain").await;
    let spec = room.spec(false);
    // a lease so long that only a release can make them visible
    let (queue, topic) = room.provision(&spec, 600).await;
    // a grace that keeps 2 s for releasing them: an endpoint in Python has other tests to answer too
    let set = |b: lifeline_consumer::Builder| b.wait_time(SECOND).shutdown_grace(10 * SECOND);
    let pulses = lifeline_health::Pulses::new();
    let consumer = Consumer::start_on(room.clients.clone(), pulses, spec, set, for_ever);
    for n in 0..5 {
        room.publish(&topic, &n.to_string(), None).await;
    }
    until(|| consumer.received() == 5).await;
    let drained = consumer.drain().await;
    assert_eq!((drained.account, drained.cancelled), (account(5, 0, 0, 5, 0), 5));
    room.until_depth(&queue.url, (5, 0)).await;
}

#[tokio::test]
async fn provisioning_again_changes_nothing_and_a_second_topic_keeps_the_first() {
    let room = Room::open("provision").await;
    let spec = room.spec(false);
    let (first, topic) = room.provision(&spec, 17).await;
    let again = topology::queue(&room.clients, &spec).await.unwrap();
    assert_eq!((again.url.as_str(), again.arn.as_str()), (first.url.as_str(), first.arn.as_str()));
    assert_eq!(again.visibility, Duration::from_secs(17), "an operator's change stays");
    let redrive = again.redrive.unwrap();
    assert_eq!(redrive.max_receives, 2);
    let second = QueueSpec { topic: TopicRef::Name(format!("{}-second", room.name)), ..spec.clone() };
    topology::queue(&room.clients, &second).await.unwrap();
    let second_topic = topology::topic(&room.clients, &second.topic, false).await.unwrap().arn;
    let policy = topology::queue_attributes(&room.clients, &first.url, &[Name::Policy]).await.unwrap();
    let policy: serde_json::Value = serde_json::from_str(&policy[&Name::Policy]).unwrap();
    let statements = policy["Statement"].as_array().unwrap();
    assert_eq!(statements.len(), 1, "one statement for all topics: {policy:#}");
    let allowed = statements[0]["Condition"]["ArnEquals"]["aws:SourceArn"].as_array().unwrap();
    assert_eq!(allowed, &[topic.as_str(), second_topic.as_str()]);
    for arn in [&topic, &second_topic] {
        let page = room.clients.sns.list_subscriptions_by_topic().topic_arn(arn).send().await.unwrap();
        assert_eq!(page.subscriptions().len(), 1, "one subscription each");
    }
    let consumer = room.start(spec, succeed);
    room.publish(&topic, "by the first", None).await;
    room.publish(&second_topic, "by the second", None).await;
    until(|| consumer.metric("consumer_messages_deleted_total") == 2.0).await;
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}
