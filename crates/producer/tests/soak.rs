//! A soak: the binary publishes a file while the endpoint answers with every kind of failure, and is killed again and again.
//! Each run resumes from the state file; at the end every line has arrived, and none was rejected.
//!
//! `SOAK_SECONDS` is how long it is killed (10 s), `SOAK_SEED` repeats a run's faults and kills.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "a panic is a failed test")]

use std::collections::HashSet;
use std::fs;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault};

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
    aws.inject(
        Fault::on(Action::PublishBatch)
            .probability(0.05)
            .for_entries(|e| e.body.ends_with('7'))
            .fail_entries("InternalError", false),
    );
    aws.inject(
        Fault::on(Action::PublishBatch)
            .probability(0.02)
            .for_entries(|e| e.body.ends_with('3'))
            .fail_entries("OfTomorrow", true),
    );
}

fn start(aws: &Emulator, input: &Path, state: &Path) -> Child {
    Command::new(env!("CARGO_BIN_EXE_producer"))
        .env_clear()
        .args([
            "--health-addr=127.0.0.1:0",
            "--call-timeout=500ms",
            "--publish-rate=1000",
            "--rust-log=error",
        ])
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .env("INPUT", input)
        .env("STATE_FILE", state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .unwrap()
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
    let folder = std::env::temp_dir().join(format!("producer-soak-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    let (input, state) = (folder.join("input"), folder.join("state"));
    let lines = seconds * 700;
    fs::write(&input, (1..=lines).map(|n| format!("line {n}\n")).collect::<String>()).unwrap();

    let (begun, mut kills) = (Instant::now(), 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        let mut producer = start(&aws, &input, &state);
        // not a wait for an event: a kill comes at any time
        thread::sleep(Duration::from_millis(random.u64(200..3000)));
        producer.kill().unwrap();
        producer.wait().unwrap();
        kills += 1;
    }
    let last = start(&aws, &input, &state).wait().unwrap();
    let messages = topic.messages();
    let distinct: HashSet<&String> = messages.iter().collect();
    eprintln!("{kills} kills, {} deliveries of {} lines", messages.len(), distinct.len());
    assert_eq!(
        (last.code(), distinct.len() as u64),
        (Some(0), lines),
        "every line arrived, none was rejected"
    );
    assert_eq!(fs::read_to_string(&state).unwrap(), format!("{}\n", lines + 1));
    fs::remove_dir_all(&folder).unwrap();
}
