//! `lifeline doctor` as a program, against an endpoint: what it prints, how it exits, and that it only reads.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::process::Output;
use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef};
use serde_json::Value;

mod support;

use support::{lifeline, text};

fn doctor(endpoint: &str, arguments: &[&str]) -> Output {
    lifeline(endpoint, &[&["doctor", "--call-timeout", "2s"], arguments].concat()).output().unwrap()
}

/// The status of each check by its code.
fn statuses(output: &Output) -> Vec<(String, String)> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    report["checks"].as_array().unwrap().iter().map(|c| (word(&c["code"]), word(&c["status"]))).collect()
}

fn provision(aws: &Emulator) {
    let spec = QueueSpec {
        queue: QueueRef::Name("events-consumer".to_owned()),
        topic: TopicRef::Name("events".to_owned()),
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
        topology::queue(&clients, &spec).await.unwrap();
    });
}

#[test]
fn nothing_exists_and_then_everything_does() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let before = doctor(&aws.url(), &["--fix"]);
    assert_eq!(before.status.code(), Some(1), "{}", text(&before));
    assert!(text(&before).contains("FAIL topic events does not exist"), "{}", text(&before));
    assert!(text(&before).contains("sqs create-queue --queue-name events-consumer\n"), "{}", text(&before));
    provision(&aws);
    let changes = |aws: &Emulator| {
        [Action::CreateTopic, Action::CreateQueue, Action::SetQueueAttributes, Action::Subscribe]
            .map(|action| aws.calls(action))
    };
    let made = changes(&aws);
    let after = doctor(&aws.url(), &["--json"]);
    assert_eq!(after.status.code(), Some(0), "{}", text(&after));
    assert!(statuses(&after).iter().all(|(_, status)| status == "ok"), "{}", text(&after));
    assert_eq!(changes(&aws), made, "it only reads");
}

#[test]
fn each_fault_is_found_by_its_code() {
    let aws = Emulator::start_on_own_thread().unwrap();
    provision(&aws);
    let queue = aws.existing_queue("events-consumer");
    for (name, value, code, status) in [
        ("Policy", r#"{"Statement":[]}"#, "queue-policy", "fail"),
        ("KmsMasterKeyId", "alias/aws/sqs", "queue-key", "fail"),
        ("DelaySeconds", "900", "queue-delay", "warn"),
        (
            "RedrivePolicy",
            r#"{"deadLetterTargetArn":"arn:aws:sqs:us-east-1:000000000000:nope","maxReceiveCount":5}"#,
            "dead-letter-queue",
            "fail",
        ),
    ] {
        let before = queue.get_attribute(name).unwrap_or_default();
        queue.set_attribute(name, value);
        let output = doctor(&aws.url(), &["--json"]);
        let found: Vec<_> = statuses(&output).into_iter().filter(|(_, status)| status != "ok").collect();
        assert_eq!(found, [(code.to_owned(), status.to_owned())], "{name}: {}", text(&output));
        assert_eq!(output.status.code(), Some(i32::from(status == "fail")));
        queue.set_attribute(name, &before);
    }
}

#[test]
fn a_role_that_may_not_look_at_the_topic_gets_warnings() {
    let aws = Emulator::start_on_own_thread().unwrap();
    provision(&aws);
    aws.inject(Fault::on(Action::GetTopicAttributes).error(403, "AuthorizationError"));
    let output = doctor(&aws.url(), &[]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("warn not allowed: sns:GetTopicAttributes"), "{}", text(&output));
    assert!(text(&output).contains("ok   the queue policy allows the topic to send"), "{}", text(&output));
}

#[test]
fn waiting_ends_when_the_checks_pass() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let output = std::thread::scope(|scope| {
        let url = aws.url();
        let waiting = scope.spawn(move || doctor(&url, &["--wait", "1m"]));
        // it has looked at least once in vain
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(aws.wait_for(|aws| aws.calls(Action::GetQueueUrl) >= 1, Duration::from_secs(30)));
        provision(&aws);
        waiting.join().unwrap()
    });
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let output = doctor(&aws.url(), &["--wait", "soon"]);
    assert_eq!(output.status.code(), Some(2), "{}", text(&output));
}

#[test]
fn an_endpoint_that_is_not_there_or_hangs_is_one_failure() {
    let aws = Emulator::start_on_own_thread().unwrap();
    aws.inject(Fault::on(Action::GetQueueUrl).hang());
    for endpoint in ["http://127.0.0.1:1", aws.url().as_str()] {
        let output = doctor(endpoint, &["--json"]);
        assert_eq!(output.status.code(), Some(1), "{}", text(&output));
        assert_eq!(statuses(&output), [("endpoint-reachable".to_owned(), "fail".to_owned())]);
    }
}

/// The outcome of a check by its code.
fn outcome(output: &Output, code: &str) -> Option<(String, String)> {
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", text(output)));
    let line = report["checks"].as_array().unwrap().iter().find(|check| check["code"] == code)?.clone();
    let word = |value: &Value| value.as_str().unwrap().to_owned();
    Some((word(&line["status"]), word(&line["message"])))
}

fn temporary_queues(aws: &Emulator) -> Vec<String> {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
        let queues = clients.sqs.list_queues().queue_name_prefix("lifeline-tail-").send().await.unwrap();
        queues.queue_urls.unwrap_or_default()
    })
}

#[test]
fn a_probe_is_timed_hop_by_hop_and_marked_for_the_consumer() {
    let aws = Emulator::start_on_own_thread().unwrap();
    provision(&aws);
    let output = doctor(&aws.url(), &["--probe", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for code in ["probe-published", "probe-delivered", "probe-deleted"] {
        let (status, message) = outcome(&output, code).unwrap_or_else(|| panic!("{code}: {}", text(&output)));
        assert!(status == "ok" && message.ends_with(" ms"), "{code}: {message}");
    }
    // what the consumer recognizes
    let bodies = aws.existing_queue("events-consumer").bodies();
    assert!(bodies.len() == 1 && bodies[0].contains("lifeline-probe"), "{bodies:?}");
    assert_eq!(temporary_queues(&aws), Vec::<String>::new());
}

#[test]
fn no_probe_is_sent_where_another_subscriber_would_get_it_or_a_check_failed() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let output = doctor(&aws.url(), &["--probe", "--json"]);
    assert_eq!(outcome(&output, "probe-sent").unwrap().1, "no probe was sent: a check failed");
    provision(&aws);
    let _other = aws.topic("events").subscribed_by(&aws.queue("audit"));
    let output = doctor(&aws.url(), &["--probe", "--json"]);
    let (status, message) = outcome(&output, "probe-sent").unwrap();
    assert!(status == "warn" && message.contains(":audit is subscribed to the topic too"), "{message}");
    assert_eq!(aws.calls(Action::Publish), 0);
}

#[test]
fn a_probe_that_is_not_accepted_fails_and_leaves_nothing_behind() {
    let aws = Emulator::start_on_own_thread().unwrap();
    provision(&aws);
    aws.inject(Fault::on(Action::Publish).error(403, "AuthorizationError"));
    let output = doctor(&aws.url(), &["--probe", "--json"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert_eq!(outcome(&output, "probe-published").unwrap().0, "fail");
    assert_eq!(temporary_queues(&aws), Vec::<String>::new());
}
