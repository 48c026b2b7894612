//! Producer and consumer together, against the endpoint that `LIFELINE_TEST_ENDPOINT` names (LocalStack, moto, MiniStack),
//! or against the emulator where it is not set.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_consumer::{Context, Failure, Message, Worker};
use lifeline_emulator::Emulator;
use lifeline_messaging::call::{Fault, bounded};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef};
use lifeline_producer::Publisher;
use tokio_util::sync::CancellationToken;

/// Long enough for an emulator on a busy machine, and only waited for when something is wrong.
const PATIENCE: Duration = Duration::from_secs(60);

fn foreign() -> Option<String> {
    std::env::var("LIFELINE_TEST_ENDPOINT").ok()
}

/// Clients, and the emulator that they call if there is no endpoint of another make.
async fn clients() -> (Clients, Option<Emulator>) {
    let emulator = if foreign().is_none() { Some(Emulator::start().await.unwrap()) } else { None };
    let url = foreign().or_else(|| emulator.as_ref()?.endpoint_url()).unwrap();
    (Clients::connect(&Access::local(url)).await.unwrap(), emulator)
}

fn spec(name: &str, raw_delivery: bool) -> QueueSpec {
    // emulators are shared by tests that run at once, and by runs
    let name = format!("{name}-{:016x}", fastrand::u64(..));
    QueueSpec {
        queue: QueueRef::Name(format!("{name}-q")),
        topic: TopicRef::Name(name),
        provision: true,
        max_receives: 3,
        raw_delivery,
    }
}

type Seen = Arc<Mutex<Vec<Message>>>;

/// Publishes these bodies and consumes until all were seen, `faults` of them failing once.
async fn round_trip(
    name: &str,
    raw: bool,
    bodies: &[String],
    failing: impl Fn(&Message) -> bool + Send + Sync + 'static,
) -> Vec<Message> {
    let (clients, _emulator) = clients().await;
    let spec = spec(name, raw);
    let seen: Seen = Arc::default();
    let done = CancellationToken::new();
    let handler = {
        let (seen, done, wanted) = (Arc::clone(&seen), done.clone(), bodies.len());
        move |message: Message, _: Context| {
            let fails = failing(&message);
            let (seen, done) = (Arc::clone(&seen), done.clone());
            async move {
                if fails {
                    return Err(Failure::new("on purpose").retry_after(Duration::from_secs(1)));
                }
                let mut seen = seen.lock().unwrap();
                seen.push(message);
                if once(&seen).len() == wanted {
                    done.cancel();
                }
                Ok(())
            }
        }
    };
    // before the first message, as `lifeline up` does it
    topology::queue(&clients, &spec).await.unwrap();
    let worker = Worker::on(spec.clone()).clients(clients.clone()).wait_time(Duration::from_secs(1));
    let worker = tokio::spawn(worker.run(handler, done.clone().cancelled_owned()));
    let publisher = Publisher::to(spec.topic.clone()).clients(clients.clone()).start().await.unwrap();
    let mut pending = Vec::new();
    for body in bodies {
        pending.push(publisher.enqueue(lifeline_producer::NewMessage::new(body.clone())).await.unwrap());
    }
    for receipt in pending {
        receipt.await.unwrap();
    }
    publisher.close().await;
    tokio::time::timeout(PATIENCE, done.cancelled()).await.expect("every message arrives");
    let drained = worker.await.unwrap().unwrap();
    assert!(drained.account.balances(), "{}", drained.account);
    assert_eq!(drained.account.lost_lease, 0, "{}", drained.account);
    assert!(drained.account.deleted >= bodies.len() as u64, "{}", drained.account);
    let seen = seen.lock().unwrap();
    let once = once(&seen);
    assert!(foreign().is_some() || once.len() == seen.len(), "the emulator hands out once what was deleted");
    once
}

/// The first delivery of each. A standard queue may hand out one message twice, and moto does when two receives meet, and then
/// either may be handled first; what was *published* twice has two ids, and shows.
fn once(seen: &[Message]) -> Vec<Message> {
    let mut ids = HashSet::new();
    let mut seen: Vec<_> = seen.iter().collect();
    seen.sort_by_key(|message| message.receive_count);
    seen.into_iter().filter(|message| ids.insert(&message.sqs_message_id)).cloned().collect()
}

fn bodies(count: usize) -> Vec<String> {
    let texts =
        ["plain", "{\"json\": \"with \\\"quotes\\\"\"}", "tab\tand\nbreak", "größer 日本語 🦀 & <xml>", "x"];
    (0..count).map(|i| format!("{i} {}", texts[i % texts.len()])).collect()
}

fn sorted(messages: &[Message]) -> Vec<String> {
    let mut bodies: Vec<_> = messages.iter().map(|m| m.body.clone()).collect();
    bodies.sort();
    bodies
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_published_arrives_once_and_unchanged_wrapped_and_raw() {
    for raw in [false, true] {
        let sent = bodies(200);
        let seen = round_trip("arrives", raw, &sent, |_| false).await;
        let mut expected = sent;
        expected.sort();
        assert_eq!(sorted(&seen), expected, "raw: {raw}");
        assert!(seen.iter().all(|m| m.trace.is_some()), "raw: {raw}");
        assert!(seen.iter().all(|m| m.receive_count == 1 && m.published_at.is_some()), "raw: {raw}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_fails_comes_back_and_is_handled() {
    let seen =
        round_trip("comes-back", false, &bodies(20), |m| m.receive_count == 1 && m.body.starts_with('7'))
            .await;
    let counts: HashMap<_, _> = seen.iter().map(|m| (m.body.as_str(), m.receive_count)).collect();
    assert_eq!(counts.len(), 20);
    assert!(
        counts.iter().all(|(body, count)| *count == if body.starts_with('7') { 2 } else { 1 }),
        "{counts:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn provisioning_twice_changes_nothing_and_a_second_topic_keeps_the_firsts_statement() {
    let (clients, _emulator) = clients().await;
    let first = spec("provision", false);
    let queue = topology::queue(&clients, &first).await.unwrap();
    assert_eq!(topology::queue(&clients, &first).await.unwrap(), queue);
    assert_eq!(queue.redrive.as_ref().map(|r| r.max_receives), Some(3));
    let second = QueueSpec { topic: TopicRef::Name(format!("{}-2", first.topic.name())), ..first.clone() };
    assert_eq!(topology::queue(&clients, &second).await.unwrap(), queue);
    let names = [aws_sdk_sqs::types::QueueAttributeName::Policy];
    let policy =
        topology::queue_attributes(&clients, &queue.url, &names).await.unwrap().remove(&names[0]).unwrap();
    for topic in [&first.topic, &second.topic] {
        let arn = topology::topic(&clients, topic, false).await.unwrap().arn;
        assert!(policy.contains(&format!("\"{arn}\"")), "{arn} is not let in by {policy}");
        assert!(topology::subscription(&clients, &arn, &queue.arn).await.unwrap().is_some());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_topic_and_a_queue_that_do_not_exist_are_told_apart_from_any_other_failure() {
    let (clients, _emulator) = clients().await;
    let spec = QueueSpec { provision: false, ..spec("missing", false) };
    assert_eq!(topology::topic(&clients, &spec.topic, false).await.unwrap_err().fault(), Fault::Missing);
    assert_eq!(topology::queue(&clients, &spec).await.unwrap_err().fault(), Fault::Missing);
    let arn = "arn:aws:sns:us-east-1:000000000000:there-is-no-such-topic";
    let call = clients.sns.publish().topic_arn(arn).message("x").send();
    assert_eq!(bounded("Publish", PATIENCE, call).await.unwrap_err().fault, Fault::Missing);
}
