//! `lifeline tail` as a program: what it shows, that it takes nothing from anybody, and that it leaves nothing behind.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command};
use std::time::Duration;

use lifeline_emulator::{Action, Emulator};
use lifeline_messaging::client::{Access, Clients};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tokio::runtime::Runtime;

mod support;

use support::text;

fn lifeline(aws: &Emulator, arguments: &[&str]) -> Command {
    support::lifeline(&aws.url(), arguments)
}

/// An emulator with the topic `events`, and clients of it.
fn emulator() -> (Emulator, Runtime, Clients, String) {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events").arn().to_owned();
    let runtime = Runtime::new().unwrap();
    let clients = runtime.block_on(Clients::connect(&Access::local(aws.url()))).unwrap();
    (aws, runtime, clients, topic)
}

/// Starts it and waits until it is subscribed.
fn start(aws: &Emulator, runtime: &Runtime, arguments: &[&str]) -> Child {
    let before = aws.calls(Action::Subscribe);
    let child = lifeline(aws, arguments).spawn().unwrap();
    // the receive after the subscription
    let subscribed =
        |aws: &Emulator| aws.calls(Action::Subscribe) > before && aws.open_calls(Action::ReceiveMessage) > 0;
    runtime.block_on(aws.wait_for(subscribed, Duration::from_secs(30)));
    child
}

fn publish(runtime: &Runtime, clients: &Clients, topic: &str, body: &str, kind: &str) {
    let kind = aws_sdk_sns::types::MessageAttributeValue::builder().data_type("String").string_value(kind);
    let call = clients.sns.publish().topic_arn(topic).message(body);
    runtime.block_on(call.message_attributes("kind", kind.build().unwrap()).send()).unwrap();
}

/// The temporary queues and all subscriptions.
fn left(runtime: &Runtime, clients: &Clients) -> (Vec<String>, usize) {
    runtime.block_on(async {
        let queues = clients.sqs.list_queues().queue_name_prefix("lifeline-tail-").send().await.unwrap();
        let subscriptions = clients.sns.list_subscriptions().send().await.unwrap();
        (queues.queue_urls.unwrap_or_default(), subscriptions.subscriptions().len())
    })
}

#[test]
fn a_topic_is_followed_while_its_other_subscribers_get_everything() {
    let (aws, runtime, clients, topic) = emulator();
    let queue = aws.queue("billing");
    let _topic = aws.topic("events").subscribed_by(&queue);
    let child = start(&aws, &runtime, &["tail", "topic", "--count", "2"]);
    publish(&runtime, &clients, &topic, "one\ntwo \u{1b}[31m", "order");
    publish(&runtime, &clients, &topic, "three", "bill");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!(lines.lines().count(), 2, "{lines}");
    assert!(
        lines.contains("  kind=order  one\\ntwo \\u{1b}[31m\n") && lines.contains("  kind=bill  three\n"),
        "{lines}"
    );
    assert_eq!(queue.len(), 2);
    assert_eq!(left(&runtime, &clients), (Vec::new(), 1));
}

#[test]
fn a_filter_policy_chooses_and_ctrl_c_ends_it() {
    let (aws, runtime, clients, topic) = emulator();
    let policy = r#"{"kind": ["order"]}"#;
    let mut child = start(&aws, &runtime, &["tail", "topic", "--json", "--filter-policy", policy]);
    publish(&runtime, &clients, &topic, "no", "bill");
    publish(&runtime, &clients, &topic, "yes", "order");
    let mut line = String::new();
    BufReader::new(child.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let message: Value = serde_json::from_str(&line).unwrap();
    assert_eq!((&message["body"], &message["attributes"]["kind"]["value"]), (&"yes".into(), &"order".into()));
    kill_process(Pid::from_child(&child), Signal::INT).unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(left(&runtime, &clients), (Vec::new(), 0));
}

#[test]
fn a_reader_that_closes_the_pipe_ends_it() {
    let (aws, runtime, clients, topic) = emulator();
    let mut child = start(&aws, &runtime, &["tail", "topic"]);
    drop(child.stdout.take());
    publish(&runtime, &clients, &topic, "unread", "order");
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(left(&runtime, &clients), (Vec::new(), 0));
}

#[test]
fn a_fifo_topic_is_followed_in_order() {
    let (aws, runtime, clients, _) = emulator();
    let topic = aws.topic("events.fifo").arn().to_owned();
    let child =
        start(&aws, &runtime, &["tail", "topic", "--topic-name", "events.fifo", "--count", "25", "--json"]);
    for n in 0..25 {
        let call = clients.sns.publish().topic_arn(&topic).message(format!("{n:02}")).message_group_id("g");
        runtime.block_on(call.message_deduplication_id(n.to_string()).send()).unwrap();
    }
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let stdout = String::from_utf8(output.stdout).unwrap();
    let bodies: Vec<_> =
        stdout.lines().map(|l| serde_json::from_str::<Value>(l).unwrap()["body"].to_string()).collect();
    assert!(bodies.is_sorted() && bodies.len() == 25, "{bodies:?}");
}

#[test]
fn what_a_killed_one_leaves_is_swept_once_it_expired_and_not_before() {
    let (aws, runtime, clients, _) = emulator();
    let mut killed = start(&aws, &runtime, &["tail", "topic"]);
    killed.kill().unwrap();
    killed.wait().unwrap();
    let (queues, subscriptions) = left(&runtime, &clients);
    assert_eq!((queues.len(), subscriptions), (1, 1));
    let sweep = |arguments: &[&str]| {
        lifeline(&aws, &[&["provision", "--sweep"], arguments].concat()).output().unwrap()
    };
    let output = sweep(&[]);
    assert_eq!(text(&output), "0 temporary queues removed\n");
    // one of somebody else, and the time is over
    runtime.block_on(async {
        clients.sqs.create_queue().queue_name("lifeline-tail-of-somebody").send().await.unwrap();
        clients.sqs.tag_queue().queue_url(&queues[0]).tags("lifeline:expires", "1000").send().await.unwrap();
    });
    let output = sweep(&["--dry-run"]);
    assert!(text(&output).ends_with("1 temporary queues to remove\n"), "{}", text(&output));
    assert_eq!(left(&runtime, &clients).1, 1);
    let output = sweep(&["--json"]);
    let removed: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(removed["queue"], *queues[0], "{}", text(&output));
    assert!(removed["subscription"].as_str().unwrap().starts_with("arn:aws:sns:"), "{}", text(&output));
    let (queues, subscriptions) = left(&runtime, &clients);
    assert!(
        queues.len() == 1 && queues[0].ends_with("lifeline-tail-of-somebody") && subscriptions == 0,
        "{queues:?}"
    );
}

#[test]
fn a_queue_that_cannot_be_subscribed_is_removed_again() {
    let (aws, runtime, clients, _) = emulator();
    aws.inject(lifeline_emulator::Fault::on(Action::Subscribe).error(403, "AuthorizationError"));
    let output = lifeline(&aws, &["tail", "topic"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("Subscribe failed"), "{}", text(&output));
    assert_eq!(left(&runtime, &clients), (Vec::new(), 0));
    let output = lifeline(&aws, &["tail", "topic", "--topic-name", "nope"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(aws.calls(Action::CreateQueue), 1);
}

#[test]
fn a_queue_is_watched_without_a_receive() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events-consumer").max_receives(5);
    queue.send_all(["a", "b"]);
    aws.queue("events-consumer-dlq").send("dead");
    let arguments = ["tail", "queue", "--every", "100ms", "--count", "3"];
    let output = lifeline(&aws, &arguments).output().unwrap();
    let lines = String::from_utf8(output.stdout.clone()).unwrap();
    assert_eq!((output.status.code(), lines.lines().count()), (Some(0), 4), "{}", text(&output));
    assert!(lines.starts_with("TIME ") && lines.lines().nth(2).unwrap().contains("+0.0"), "{lines}");
    let output = lifeline(&aws, &["tail", "queue", "--json", "--count", "1"]).output().unwrap();
    let look: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(
        (&look["visible"], &look["in_flight"], &look["dead_letters"]),
        (&2.into(), &0.into(), &1.into())
    );
    assert_eq!(aws.calls(Action::ReceiveMessage), 0);
}
