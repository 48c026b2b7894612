//! The binary, with a standard output that nobody reads: a log driver that has stopped, a paused terminal.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

mod process;

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault};

use crate::process::{Process, until};

/// A producer whose pipe is open and never read.
struct Unread {
    process: Process,
    health: SocketAddr,
}

impl Unread {
    fn start(aws: &Emulator) -> Self {
        // free a moment ago: the log, which would tell the port, is not read here
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
        command.env_clear().env("HEALTH_ADDR", health.to_string()).env("AWS_ENDPOINT_URL", aws.url());
        command.env("AWS_ACCESS_KEY_ID", "test").env("AWS_SECRET_ACCESS_KEY", "test");
        // much to log
        command.env("PUBLISH_RATE", "200").env("RUST_LOG", "trace");
        let process = Process(command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().unwrap());
        Self { process, health }
    }

    fn get(&self, path: &str) -> Option<lifeline_health::Answer> {
        lifeline_health::ask(self.health, path, Duration::from_secs(2)).ok()
    }

    fn dropped(&self) -> u64 {
        let metrics = self.get("/metrics").map(|answer| answer.body).unwrap_or_default();
        let line = metrics.lines().find_map(|line| line.strip_prefix("log_lines_dropped_total "));
        line.map_or(0, |count| count.parse().unwrap())
    }

    fn signal(&self) {
        let id = self.process.0.id().to_string();
        assert!(Command::new("kill").args(["-s", "TERM", &id]).status().unwrap().success());
    }

    fn exit_code(&mut self) -> Option<i32> {
        let mut status = None;
        until("it has ended", || {
            status = self.process.0.try_wait().unwrap();
            status.is_some()
        });
        status.unwrap().code()
    }
}

#[test]
fn it_publishes_on_and_drains_at_the_first_signal() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events").subscribed_raw_by(&aws.queue("q"));
    let mut producer = Unread::start(&aws);
    until("lines are dropped", || producer.dropped() > 0);
    let before = topic.messages().len();
    until("more is published", || topic.messages().len() >= before + 100);
    assert_eq!(producer.get("/health").unwrap().status, 200);
    let asked = Instant::now();
    producer.signal();
    assert_eq!(producer.exit_code(), Some(0), "drained");
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
}

#[test]
fn a_second_signal_ends_it() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let _topic = aws.topic("events").subscribed_raw_by(&aws.queue("q"));
    let mut producer = Unread::start(&aws);
    until("lines are dropped", || producer.dropped() > 0);
    aws.inject(Fault::on(Action::PublishBatch).hang());
    until("a call hangs", || aws.open_calls(Action::PublishBatch) > 0);
    producer.signal();
    until("it drains", || producer.get("/ready").is_some_and(|ready| ready.body.contains("draining")));
    // within a second it would count as the same signal
    std::thread::sleep(Duration::from_millis(1100));
    producer.signal();
    let asked = Instant::now();
    assert_eq!(producer.exit_code(), Some(130));
    assert!(asked.elapsed() < Duration::from_secs(3), "{:?}", asked.elapsed());
}
