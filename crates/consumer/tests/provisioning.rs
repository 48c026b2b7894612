//! What `/ready` and `/metrics` of the binary say of a queue: a queue that exists is received from, whatever provisioning
//! cannot finish, and its oldest message grows old while the worker is full.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault, On};

const SOON: Duration = Duration::from_secs(30);

struct Consumer(Child, SocketAddr);

impl Consumer {
    fn start(aws: &Emulator, settings: &[(&str, &str)]) -> Self {
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
        command.env_clear().env("HEALTH_ADDR", health.to_string()).env("AWS_ENDPOINT_URL", aws.url());
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        command.env("QUEUE_NAME", "events").env("WAIT_TIME", "1s");
        command.envs(settings.iter().copied());
        Self(command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().unwrap(), health)
    }

    fn get(&self, path: &str) -> (u16, String) {
        let answer = lifeline_health::ask(self.1, path, Duration::from_secs(2));
        answer.map_or((0, String::new()), |answer| (answer.status, answer.body))
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

#[track_caller]
fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let end = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < end, "not within {SOON:?}: {what}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_queue_that_exists_is_received_from_although_provisioning_cannot_finish() {
    let refused = |on: On| on.error(403, "AuthorizationError");
    let denied = || vec![refused(Fault::on(Action::CreateTopic)), refused(Fault::on(Action::Subscribe))];
    let full = || vec![Fault::on(Action::SetQueueAttributes).error(403, "OverLimit")];
    for (faults, reason) in [(denied(), "AuthorizationError"), (full(), "SetQueueAttributes failed (refused")]
    {
        let aws = Emulator::start_on_own_thread().unwrap();
        let queue = aws.queue("events");
        queue.send_all(["a", "b"]);
        let faults: Vec<_> = faults.into_iter().map(|fault| aws.inject(fault)).collect();
        let consumer = Consumer::start(&aws, &[]);
        until("both are handled", || queue.deleted().len() == 2);
        queue.send("c");
        until("it is received meanwhile", || queue.deleted().len() == 3);
        until("it says what is missing", || {
            let (status, body) = consumer.get("/ready");
            status == 503 && body.contains("provisioning") && body.contains(reason)
        });
        let (_, body) = consumer.get("/ready");
        assert!(!body.contains("\"topology\""), "{body}");
        // what was in the way is removed by a person
        faults.iter().for_each(lifeline_emulator::Injected::remove);
        until("it is ready", || consumer.get("/ready").0 == 200);
    }
}

#[test]
fn provisioning_that_hangs_holds_up_nothing_else() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, dead) = (aws.queue("events"), aws.queue("events-dlq"));
    let redrive = format!(r#"{{"deadLetterTargetArn":"{}","maxReceiveCount":5}}"#, dead.arn());
    queue.set_attribute("RedrivePolicy", &redrive);
    dead.send("dead");
    let hung = aws.inject(Fault::on(Action::CreateTopic).hang());
    let consumer = Consumer::start(&aws, &[("CALL_TIMEOUT", "1m")]);
    queue.send("a");
    until("it is handled", || queue.deleted() == ["a"]);
    until("the dead-letter queue is measured", || {
        consumer.get("/metrics").1.contains("consumer_dead_letter_messages 1\n")
    });
    let (status, body) = consumer.get("/ready");
    assert!(status == 503 && body.contains(r#""provisioning": "starting""#), "{body}");
    assert!(!body.contains("\"topology\""), "{body}");
    assert_eq!(hung.hits(), 1);
}

#[test]
fn the_oldest_message_grows_old_while_the_worker_is_full() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events");
    queue.send_all(["a", "b", "c"]);
    // connected to, and never answered
    let handler = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}", handler.local_addr().unwrap());
    let settings =
        [("MAX_IN_FLIGHT", "1"), ("HANDLER", "http"), ("HANDLER_URL", &url), ("SHUTDOWN_GRACE", "1s")];
    let consumer = Consumer::start(&aws, &settings);
    let metric = |name: &str| {
        let text = consumer.get("/metrics").1;
        let value =
            text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse::<f64>().ok());
        value.unwrap_or(-1.0)
    };
    let age = || metric("consumer_queue_oldest_message_age_seconds");
    until("one is in flight", || metric("consumer_in_flight_messages") == 1.0);
    let first = age();
    until("it grows by more than a second", || age() > first + 1.0);
    // every outcome of a call is there before the first of them
    for outcome in ["ok", "entry_failed", "throttled", "denied", "timeout", "refused"] {
        assert_eq!(
            metric(&format!("consumer_delete_calls_total{{outcome=\"{outcome}\"}}")),
            0.0,
            "{outcome}"
        );
    }
}
