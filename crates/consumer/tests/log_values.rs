//! The binary's log: what it says of a message, in both forms, and what becomes of it when nobody reads it.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault};

fn start(aws: &Emulator, settings: &[(&str, &str)]) -> Child {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
    command.env_clear().env("HEALTH_ADDR", "127.0.0.1:0").env("AWS_ENDPOINT_URL", aws.url());
    command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
    command.env("QUEUE_NAME", "events").env("WAIT_TIME", "1s").envs(settings.iter().copied());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap()
}

fn terminate(child: &Child) {
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
}

/// The line that begins with the handling of a message, of a consumer that handles one message and ends.
fn received(aws: &Emulator, settings: &[(&str, &str)]) -> String {
    let mut child = start(aws, settings);
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("received")).unwrap();
    lines.find(|line| line.contains("deleted")).unwrap();
    terminate(&child);
    assert!(lines.last().unwrap().contains("drained"), "the summary is the last line");
    assert_eq!(child.wait().unwrap().code(), Some(0));
    line
}

#[test]
fn a_body_reads_back_from_json_and_is_escaped_in_text() {
    let body = "{\"path\":\"C:\\\\temp\\\\new\",\"note\":\"line1\nline2\u{1b}[2J\u{202e}\"}";
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events");
    for format in ["json", "text"] {
        queue.send(body);
        let line = received(&aws, &[("LOG_FORMAT", format)]);
        if format == "json" {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert_eq!(value["body"], body);
        } else {
            assert!(
                line.contains(r#"body={"path":"C:\\\\temp\\\\new","note":"line1\nline2\u{1b}[2J\u{202e}"}"#),
                "{line}"
            );
        }
    }
}

#[test]
fn an_error_of_aws_reads_back_from_json_and_is_escaped_once_in_text() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let _queue = aws.queue("events");
    let code = "C:\\temp\nnew";
    let page = format!(r#"{{"__type": "OfTomorrow", "message": {}}}"#, serde_json::Value::from(code));
    aws.inject(Fault::on(Action::ReceiveMessage).status(503, &page));
    for format in ["json", "text"] {
        let mut child = start(&aws, &[("LOG_FORMAT", format)]);
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
        let line = lines.find(|line| line.contains("receiving is failing")).unwrap();
        if format == "json" {
            let value: serde_json::Value = serde_json::from_str(&line).unwrap();
            assert!(value["error"].as_str().unwrap().ends_with(&format!("OfTomorrow: {code}")), "{line}");
        } else {
            assert!(line.contains(r"OfTomorrow: C:\\temp\nnew"), "{line}");
        }
        terminate(&child);
        assert_eq!(lines.last().is_some(), child.wait().unwrap().success());
    }
}

#[test]
fn with_a_log_that_nobody_reads_it_handles_everything_and_drains() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events");
    // more than pipe and queue take, 1 KiB of each in the log
    let messages = 6000;
    queue.send_all((0..messages).map(|n| format!("{n} {}", "x".repeat(1100))));
    let mut child = start(&aws, &[("HANDLER", "log")]);
    let end = Instant::now() + Duration::from_secs(60);
    while queue.deleted().len() < messages {
        assert!(Instant::now() < end, "{} of {messages} are deleted", queue.deleted().len());
        std::thread::sleep(Duration::from_millis(20));
    }
    terminate(&child);
    let end = Instant::now() + Duration::from_secs(10);
    while child.try_wait().unwrap().is_none() {
        assert!(Instant::now() < end, "still runs");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert_eq!(child.wait().unwrap().code(), Some(0));
}
