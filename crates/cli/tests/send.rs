//! `lifeline send` as a program: what is published, what is printed, and how it exits.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::io::Write;
use std::process::{Output, Stdio};

use lifeline_emulator::{Action, Emulator};

mod support;

fn send(endpoint: &str, arguments: &[&str], input: &[u8]) -> Output {
    let mut command = support::lifeline(endpoint, &[&["send"], arguments].concat());
    let mut child = command.stdin(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(input).ok();
    child.wait_with_output().unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[test]
fn one_message_with_attributes_is_published_and_its_id_is_all_that_is_printed() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events");
    let output = send(&aws.url(), &["größer {}", "-a", "kind=order", "--attribute", "n:Number=7"], b"");
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let published = topic.published();
    assert_eq!(published.len(), 1);
    assert_eq!(String::from_utf8(output.stdout.clone()).unwrap(), format!("{}\n", published[0].message_id));
    assert_eq!(published[0].message, "größer {}");
    let call = &aws.log(Action::PublishBatch)[0];
    assert!(format!("{call:?}").contains("kind"), "{call:?}");
    assert!(error(&output).contains("no subscriptions"), "{}", error(&output));
}

#[test]
fn each_line_is_a_message_and_a_line_that_cannot_be_one_is_reported_with_its_number() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events");
    let lines: String = (0..500).map(|n| format!("line {n}\n")).collect();
    let output = send(&aws.url(), &["--json"], lines.as_bytes());
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let printed = String::from_utf8(output.stdout).unwrap();
    assert_eq!(printed.lines().count(), 500);
    assert!(printed.lines().all(|line| serde_json::from_str::<serde_json::Value>(line).is_ok()));
    let mut messages = topic.messages();
    messages.sort();
    let mut expected: Vec<_> = lines.lines().map(str::to_owned).collect();
    expected.sort();
    assert_eq!(messages, expected);

    let output = send(&aws.url(), &["-"], b"good\n\nb\x01d\nfine\n");
    assert_eq!(output.status.code(), Some(1));
    assert!(error(&output).contains("line 3: not published:"), "{}", error(&output));
    assert_eq!(String::from_utf8(output.stdout).unwrap().lines().count(), 2);
}

#[test]
fn a_fifo_topic_gets_the_group() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events.fifo");
    let fifo = ["--topic-name", "events.fifo"];
    let output =
        send(&aws.url(), &[&fifo[..], &["--group", "g", "--deduplication-id", "d", "x"]].concat(), b"");
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    assert_eq!(topic.published()[0].group.as_deref(), Some("g"));
    let output = send(&aws.url(), &[&fifo[..], &["x"]].concat(), b"");
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(error(&output).contains("group"), "{}", error(&output));
}

#[test]
fn mistakes_are_reported_at_once_and_nothing_is_created() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let output = send(&aws.url(), &["x", "-a", "kind", "-a", "b:Binary=x"], b"");
    assert_eq!(output.status.code(), Some(2), "{}", error(&output));
    assert_eq!(error(&output).lines().count(), 2, "{}", error(&output));
    let output = send(&aws.url(), &["x"], b"");
    assert_eq!(output.status.code(), Some(1), "{}", error(&output));
    assert!(error(&output).contains("topic events does not exist"), "{}", error(&output));
    assert_eq!(aws.calls(Action::CreateTopic), 0);
}
