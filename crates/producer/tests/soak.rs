//! A soak: the binary publishes a file over a link whose speed changes, while the endpoint answers with every kind of failure,
//! and is killed or stopped again and again. Each run resumes from the state file; whenever one has ended, all lines before
//! the one in that file have arrived, and at the end every line has, and none was rejected.
//!
//! `SOAK_SECONDS` is how long that goes on (10 s), `SOAK_SEED` repeats a run's faults, speeds and kills.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic is a failed test")]

mod link;
mod process;

use std::collections::HashSet;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault, Topic};
use process::{Process, until};

/// Bytes per second of the link: from a modem to none that would be noticed.
const SPEEDS: [u64; 5] = [20_000, 60_000, 200_000, 1_000_000, FAST];
const FAST: u64 = 1_000_000_000;

/// How many lines that arrived may be sent again by the next run: at 1,000 per second those after one whose result takes some
/// seconds, and after a kill those since the state file was written, which is every 1,000 lines.
const SENT_AGAIN: usize = 6_000;

const GRACE: Duration = Duration::from_secs(2);

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().unwrap())
}

/// Every failure that an environment knows. None is a message's fault.
fn script(aws: &Emulator) {
    for action in [
        Action::PublishBatch,
        Action::CreateTopic,
        Action::GetTopicAttributes,
        Action::ListSubscriptionsByTopic,
    ] {
        aws.inject(Fault::on(action).probability(0.005).hang());
        aws.inject(Fault::on(action).probability(0.005).after_effect().hang());
        aws.inject(Fault::on(action).probability(0.01).after_effect().reset());
        aws.inject(Fault::on(action).probability(0.005).stall());
        aws.inject(Fault::on(action).probability(0.01).truncate());
        aws.inject(Fault::on(action).probability(0.01).bandwidth(500));
        aws.inject(Fault::on(action).probability(0.01).status(200, "<html>"));
        for status in [200, 302, 400, 403, 404, 413, 429, 502] {
            aws.inject(Fault::on(action).probability(0.005).page(status));
        }
        for code in ["OfTomorrow", "NotAuthorized", "InvalidSignatureException", "ExpiredToken"] {
            aws.inject(Fault::on(action).probability(0.005).error(403, code));
        }
        aws.inject(Fault::on(action).probability(0.01).throttle());
        aws.inject(Fault::on(action).probability(0.02).error(500, "InternalError"));
        aws.inject(Fault::on(action).probability(0.05).delay(Duration::from_millis(100)));
    }
    let publish = || Fault::on(Action::PublishBatch);
    let entries = publish().probability(0.05).for_entries(|e| e.body.ends_with('7'));
    aws.inject(entries.fail_entries("InternalError", false));
    let entries = publish().probability(0.02).for_entries(|e| e.body.ends_with('3'));
    aws.inject(entries.fail_entries("OfTomorrow", true));
    let entries = publish().probability(0.02).for_entries(|e| e.body.ends_with('5'));
    aws.inject(entries.leave_out_entries());
}

/// Line `n` of the input: one in ten is of some kilobytes, one in a thousand of a hundred.
fn line(n: u64) -> String {
    let bytes = match (n % 1_000, n % 10) {
        (0, _) => 100_000,
        (_, 0) => 3_000,
        _ => 40,
    };
    format!("{}line {n}", "x".repeat(bytes))
}

struct Soak {
    aws: Emulator,
    topic: Topic,
    url: String,
    speed: Arc<AtomicU64>,
    folder: PathBuf,
    health: SocketAddr,
    lines: u64,
}

impl Soak {
    fn start(&self) -> Process {
        let child = Command::new(env!("CARGO_BIN_EXE_producer"))
            .env_clear()
            .args(["--call-timeout=500ms", "--publish-rate=1000", "--rust-log=error", "--shutdown-grace=2s"])
            .env("HEALTH_ADDR", self.health.to_string())
            .env("AWS_ENDPOINT_URL", &self.url)
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("INPUT", self.folder.join("input"))
            .env("STATE_FILE", self.folder.join("state"))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        Process(child)
    }

    fn is_ready(&self) -> Option<bool> {
        let answer = lifeline_health::ask(self.health, "/ready", Duration::from_secs(2)).ok()?;
        Some(answer.status == 200)
    }

    fn resumes_at(&self) -> u64 {
        fs::read_to_string(self.folder.join("state")).map_or(1, |state| state.trim().parse().unwrap())
    }

    /// The lines that arrived.
    fn arrived(&self) -> HashSet<u64> {
        let number = |body: &String| body.rsplit(' ').next().unwrap().parse().unwrap();
        self.topic.messages().iter().map(number).collect()
    }

    /// Where a run has ended, it has skipped nothing. How many lines the next one sends again.
    fn ended(&self) -> usize {
        let (arrived, from) = (self.arrived(), self.resumes_at());
        let skipped: Vec<_> = (1..from).filter(|n| !arrived.contains(n)).collect();
        assert!(skipped.is_empty(), "it resumes at {from}, and these have not arrived: {skipped:?}");
        arrived.into_iter().filter(|n| *n >= from).count()
    }

    /// Ready follows what SNS does to its calls.
    fn ready_is_true(&self) {
        self.aws.clear_faults();
        self.speed.store(FAST, Ordering::Relaxed);
        until("ready", || self.is_ready() == Some(true));
        if self.arrived().len() as u64 == self.lines {
            return;
        }
        self.aws.inject(Fault::on(Action::PublishBatch).error(403, "InvalidSignatureException"));
        until("not ready, for every call is refused", || self.is_ready() == Some(false));
        self.aws.clear_faults();
        until("ready again", || self.is_ready() == Some(true));
        script(&self.aws);
    }
}

#[test]
fn whatever_the_environment_does_every_line_arrives() {
    let (seconds, seed) = (number("SOAK_SECONDS", 10), number("SOAK_SEED", fastrand::u64(..)));
    eprintln!("SOAK_SEED={seed}");
    let mut random = fastrand::Rng::with_seed(seed);
    let aws = Emulator::start_on_own_thread().unwrap();
    aws.seed_faults(seed);
    let topic = aws.topic("events");
    topic.subscribe(&aws.queue("q"), true);
    script(&aws);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let speed = Arc::new(AtomicU64::new(FAST));
    let url = runtime.block_on(link::link(aws.url(), Arc::clone(&speed)));
    let folder = std::env::temp_dir().join(format!("producer-soak-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let lines = seconds * 400;
    fs::write(folder.join("input"), (1..=lines).map(|n| line(n) + "\n").collect::<String>()).unwrap();
    let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let soak = Soak { aws, topic, url, speed, folder, health, lines };

    let (begun, mut kills, mut stops, mut again) = (Instant::now(), 0, 0, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut producer = soak.start();
        if (kills + stops) % 5 == 4 {
            soak.ready_is_true();
        }
        // not waits for an event: a kill comes at any time
        for _ in 0..random.u64(1..6) {
            soak.speed.store(SPEEDS[random.usize(..SPEEDS.len())], Ordering::Relaxed);
            thread::sleep(Duration::from_millis(random.u64(100..700)));
        }
        if random.bool() {
            kills += 1;
            producer.0.kill().unwrap();
            producer.0.wait().unwrap();
        } else {
            stops += 1;
            assert!(Command::new("kill").arg(producer.0.id().to_string()).status().unwrap().success());
            let stopped = Instant::now();
            let code = producer.0.wait().unwrap().code();
            assert!(stopped.elapsed() < GRACE + Duration::from_secs(5), "{:?}", stopped.elapsed());
            let left = soak.resumes_at() <= lines;
            assert_eq!(code, Some(if left { 75 } else { 0 }), "it resumes at {}", soak.resumes_at());
        }
        let sent_again = soak.ended();
        again += sent_again;
        assert!(sent_again <= SENT_AGAIN, "{sent_again} lines are sent again");
    }
    soak.aws.clear_faults();
    soak.speed.store(FAST, Ordering::Relaxed);
    let last = soak.start().0.wait().unwrap();
    let (deliveries, arrived) = (soak.topic.messages().len(), soak.arrived().len());
    eprintln!(
        "{kills} kills and {stops} stops, {deliveries} deliveries of {arrived} lines, {again} of them sent again after an end"
    );
    assert_eq!((last.code(), arrived as u64), (Some(0), lines), "every line arrived, none was rejected");
    assert_eq!(soak.resumes_at(), lines + 1);
    // where a response was lost, or too late
    let unconfirmed = (deliveries - arrived).saturating_sub(again);
    assert!(unconfirmed * 5 <= arrived, "{unconfirmed} were repeated within a run");
    fs::remove_dir_all(&soak.folder).unwrap();
}
