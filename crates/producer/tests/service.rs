//! The binary, as a process of its own, against the emulator: input, signals, health, and the summary.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator, Fault, Queue};

const SOON: Duration = Duration::from_secs(20);

/// An endpoint with the topic `events` and a queue that hears it, raw.
fn endpoint() -> (Emulator, lifeline_emulator::Topic, Queue) {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (topic, queue) = hearing(&aws);
    (aws, topic, queue)
}

fn hearing(aws: &Emulator) -> (lifeline_emulator::Topic, Queue) {
    let (topic, queue) = (aws.topic("events"), aws.queue("q"));
    topic.subscribe(&queue, true);
    (topic, queue)
}

/// A producer that runs. Killed when dropped.
struct Producer {
    child: Child,
    lines: Receiver<String>,
    log: Vec<String>,
}

fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command.env_clear().env("RUST_BACKTRACE", "0").args(arguments);
    command
}

impl Producer {
    fn start(aws: &Emulator, arguments: &[&str]) -> Self {
        Self::start_with(aws, arguments, Stdio::null())
    }

    fn start_with(aws: &Emulator, arguments: &[&str], stdin: Stdio) -> Self {
        let mut command = command(arguments);
        command
            .env("AWS_ENDPOINT_URL", aws.url())
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("HEALTH_ADDR", "127.0.0.1:0")
            .env("CALL_TIMEOUT", "1s");
        Self::spawn(command, stdin)
    }

    fn spawn(mut command: Command, stdin: Stdio) -> Self {
        let mut child = command.stdin(stdin).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || stdout.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok()));
        Self { child, lines, log: Vec::new() }
    }

    /// Reads the log until a line has this in it; the line.
    #[track_caller]
    fn line(&mut self, part: &str) -> String {
        let until = Instant::now() + SOON;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.log.push(line.clone());
                    if line.contains(part) {
                        return line;
                    }
                }
                Err(_) => panic!("no line with {part:?} in\n{}", self.log.join("\n")),
            }
        }
    }

    fn signal(&self, name: &str) {
        let kill = format!("kill -{name} {}", self.child.id());
        assert!(Command::new("sh").arg("-c").arg(kill).status().unwrap().success());
    }

    /// Waits for its end: the exit code and the account.
    #[track_caller]
    fn end(&mut self) -> (Option<i32>, Account) {
        let status = self.status();
        let last = self.log.last().cloned().unwrap_or_default();
        assert!(last.contains(" producer: drained "), "the account is the last line, not {last:?}");
        (status.code(), Account::of(&last))
    }

    #[track_caller]
    fn status(&mut self) -> ExitStatus {
        let until = Instant::now() + SOON + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < until, "it did not end:\n{}", self.log.join("\n"));
            thread::sleep(Duration::from_millis(10));
        };
        self.log.extend(self.lines.iter());
        status
    }

    /// The line to resume from, which the log shows at every level.
    #[track_caller]
    fn resume(&self) -> String {
        let line = self.log.iter().find_map(|line| line.split("resume with --from ").nth(1));
        line.unwrap_or_else(|| panic!("no line to resume from in\n{}", self.log.join("\n"))).to_owned()
    }

    fn health(&mut self) -> SocketAddr {
        let line = self.line(" health=");
        field(&line, "health").unwrap().parse().unwrap()
    }
}

impl Drop for Producer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Account {
    read: u64,
    published: u64,
    rejected: u64,
    blank: u64,
}

impl Account {
    #[track_caller]
    fn of(line: &str) -> Self {
        let number = |name: &str| field(line, name).unwrap().parse().unwrap();
        let account = Self {
            read: number("read"),
            published: number("published"),
            rejected: number("rejected"),
            blank: number("blank"),
        };
        assert_eq!(account.read, account.published + account.rejected + account.blank, "it balances");
        account
    }
}

fn account(read: u64, published: u64, rejected: u64, blank: u64) -> Account {
    Account { read, published, rejected, blank }
}

fn field<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.split_whitespace().find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
}

/// A folder of one test, removed at its end.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("producer-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn file(&self, bytes: impl AsRef<[u8]>) -> String {
        let path = self.0.join("input");
        fs::write(&path, bytes).unwrap();
        shown(&path)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

fn shown(path: &Path) -> String {
    path.to_str().unwrap().to_owned()
}

fn ask(address: SocketAddr, path: &str) -> (u16, String) {
    let answer = lifeline_health::ask(address, path, Duration::from_secs(5)).unwrap();
    (answer.status, answer.body)
}

fn numbered(count: usize) -> String {
    (1..=count).map(|n| format!("line {n}\n")).collect()
}

#[test]
fn the_account_is_printed_whatever_is_logged_unless_nothing_is() {
    for (asked, lines) in [("warn", 1), ("producer=error", 1), ("off", 0)] {
        let (aws, _topic, _queue) = endpoint();
        let arguments = ["--publish-count", "2", "--publish-rate", "0", "--rust-log", asked];
        let mut producer = Producer::start(&aws, &arguments);
        assert_eq!(producer.status().code(), Some(0));
        assert_eq!(producer.log.len(), lines, "{asked}: {:#?}", producer.log);
        assert!(producer.log.iter().all(|line| line.contains(" producer: drained read=2 published=2 ")));
    }
}

#[test]
fn every_line_arrives_byte_for_byte_and_the_rest_is_accounted_for() {
    let (aws, _topic, queue) = endpoint();
    let folder = Folder::new("bytes");
    let good = [
        "x".to_owned(),
        "tab\tand return\r".to_owned(),
        " größer Ελληνικά العربية हिन्दी 日本語 🦀\u{200d} ".to_owned(),
        r#"{"json": "\u0000 \\ %20+&=<>"}"#.to_owned(),
        "y".repeat(200_000),
        "界".repeat(60_000),
        "last".to_owned(),
    ];
    let mut input = good[..6].join("\n").into_bytes();
    input.extend(b"\n\n\r\nbad \xff\nnul \0\n");
    input.extend(vec![b'z'; 300_000]);
    input.push(b'\n');
    input.extend(vec![b'z'; 3 << 20]);
    input.extend(b"\nlast");
    let mut producer = Producer::start(&aws, &["--input", &folder.file(input), "--publish-rate", "0"]);
    let (code, told) = producer.end();
    assert_eq!((code, told), (Some(1), account(13, 7, 4, 2)));
    let (mut arrived, mut sent) = (queue.bodies(), good.to_vec());
    arrived.sort();
    sent.sort();
    assert!(arrived == sent, "a line changed on its way");
    for reason in [
        "line=9 reason=not UTF-8: byte 4 is 0xff",
        "line=10 reason=not sent: the body has U+0000 at byte 4",
        "line=11 reason=not sent: 300072 bytes with its attributes; the topic takes 262144",
        "line=12 reason=3145728 bytes; no topic takes more than 1048576",
    ] {
        assert!(producer.log.iter().any(|line| line.contains(reason)), "{reason} in {:#?}", producer.log);
    }
    assert_eq!(producer.log.iter().filter(|line| line.contains(" published message_id=")).count(), 7);
}

#[test]
fn standard_input_and_a_fifo_end_by_themselves() {
    let (aws, _topic, queue) = endpoint();
    let arguments = ["--input", "-", "--publish-rate", "0"];
    let mut producer = Producer::start_with(&aws, &arguments, Stdio::piped());
    let mut stdin = producer.child.stdin.take().unwrap();
    stdin.write_all(b"from a pipe\n").unwrap();
    producer.line("published message_id=");
    drop(stdin);
    assert_eq!(producer.end(), (Some(0), account(1, 1, 0, 0)));

    let folder = Folder::new("fifo");
    let fifo = folder.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    let mut producer = Producer::start(&aws, &["--input", &shown(&fifo), "--publish-rate", "0"]);
    let health = producer.health();
    assert_eq!(ask(health, "/health").0, 200, "a FIFO that nobody writes to is UP");
    File::options().write(true).open(&fifo).unwrap().write_all(b"from a FIFO\n\n").unwrap();
    assert_eq!(producer.end(), (Some(0), account(2, 1, 0, 1)));
    assert_eq!(queue.bodies(), ["from a pipe", "from a FIFO"]);
}

#[test]
fn killed_in_the_middle_and_resumed_it_loses_nothing_and_repeats_little() {
    let (aws, topic, _queue) = endpoint();
    aws.inject(Fault::on(Action::PublishBatch).delay(Duration::from_millis(30)));
    let folder = Folder::new("kill");
    let file = folder.file(numbered(20_000));
    let arguments = ["--input", &file, "--publish-rate", "0"];
    let mut first = Producer::start(&aws, &arguments);
    let mut from = 0;
    while from < 4000 {
        from = field(&first.line(" producer: progress "), "from").unwrap().parse().unwrap();
    }
    first.child.kill().unwrap();
    first.child.wait().unwrap();
    // what it said before it died
    for line in first.lines.iter().filter(|line| line.contains(" producer: progress ")) {
        from = field(&line, "from").unwrap().parse().unwrap();
    }
    let mut second =
        Producer::start(&aws, &["--input", &file, "--publish-rate", "0", "--from", &from.to_string()]);
    let (code, _) = second.end();
    assert_eq!(code, Some(0));
    let mut times: HashMap<String, usize> = HashMap::new();
    topic.messages().into_iter().for_each(|message| *times.entry(message).or_default() += 1);
    assert_eq!(times.len(), 20_000, "nothing is lost");
    let repeated = times.values().filter(|times| **times > 1).count();
    // progress is logged every 1,000 lines; 16 batches of ten are in flight
    assert!(repeated <= 1000 + 160 + 160, "{repeated} were repeated");
}

#[test]
fn sigterm_publishes_what_is_held_and_ends_with_0() {
    let (aws, topic, _queue) = endpoint();
    let mut producer = Producer::start(&aws, &["--publish-rate", "0", "--seed", "1"]);
    producer.line("published message_id=");
    producer.signal("TERM");
    let (code, told) = producer.end();
    assert_eq!(code, Some(0));
    assert_eq!(told.published, topic.messages().len() as u64, "what was accepted is what was confirmed");
    assert_eq!((told.rejected, told.blank), (0, 0));
}

#[test]
fn what_is_not_confirmed_within_the_grace_period_can_be_resumed() {
    let (aws, topic, _queue) = endpoint();
    let rule = aws.inject(Fault::on(Action::PublishBatch).from(2).hang());
    let folder = Folder::new("grace");
    let file = folder.file(numbered(50));
    let arguments = ["--input", &file, "--publish-rate", "0", "--shutdown-grace", "2s"];
    let mut producer = Producer::start(&aws, &arguments);
    let health = producer.health();
    producer.line("published message_id=");
    until(|| aws.open_calls(Action::PublishBatch) > 0);
    let begun = Instant::now();
    producer.signal("INT");
    until(|| ask(health, "/ready").1.contains("draining"));
    assert_eq!(ask(health, "/ready").0, 503);
    let (code, told) = producer.end();
    assert!(begun.elapsed() < Duration::from_millis(2500), "{:?}", begun.elapsed());
    assert_eq!((code, told), (Some(75), account(50, 10, 40, 0)));
    let from = producer.resume();
    rule.remove();
    let mut rest = Producer::start(&aws, &["--input", &file, "--publish-rate", "0", "--from", &from]);
    assert_eq!(rest.end().0, Some(0));
    let mut all = topic.messages();
    all.sort();
    all.dedup();
    assert_eq!(all.len(), 50);
}

#[track_caller]
fn until(condition: impl Fn() -> bool) {
    let until = Instant::now() + SOON;
    while !condition() {
        assert!(Instant::now() < until);
        thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_second_signal_exits_immediately() {
    let (aws, _topic, _queue) = endpoint();
    aws.inject(Fault::on(Action::PublishBatch).hang());
    let mut producer = Producer::start(&aws, &[]);
    until(|| aws.open_calls(Action::PublishBatch) > 0);
    producer.signal("TERM");
    producer.line("a second signal exits immediately");
    // a repeat within a second counts as the same signal
    thread::sleep(Duration::from_millis(1100));
    let begun = Instant::now();
    producer.signal("TERM");
    assert_eq!(producer.status().code(), Some(130));
    assert!(begun.elapsed() < Duration::from_secs(2));
}

#[test]
fn no_more_calls_are_in_flight_than_the_setting_allows() {
    for (flag, calls) in [("--publish-concurrency", 1), ("--publish-concurrency", 3), ("--in-air", 3)] {
        let (aws, _topic, _queue) = endpoint();
        aws.inject(Fault::on(Action::PublishBatch).from(20).hang());
        // the grace period ends before a call does, so that none follows those that hang
        let arguments = ["--publish-rate", "0", flag, &calls.to_string(), "--shutdown-grace", "500ms"];
        let mut producer = Producer::start(&aws, &arguments);
        until(|| aws.open_calls(Action::PublishBatch) == calls);
        producer.signal("TERM");
        producer.status();
        let most = aws.log(Action::PublishBatch).iter().map(|call| call.concurrent).max();
        assert_eq!(most, Some(calls), "{flag}");
    }
}

#[test]
fn input_is_not_read_past_the_buffer() {
    let (aws, _topic, _queue) = endpoint();
    aws.inject(Fault::on(Action::PublishBatch).hang());
    let arguments = ["--input", "-", "--publish-rate", "0", "--buffer", "100", "--shutdown-grace", "500ms"];
    let mut producer = Producer::start_with(&aws, &arguments, Stdio::piped());
    let mut stdin = producer.child.stdin.take().unwrap();
    let (sender, written) = mpsc::channel();
    thread::spawn(move || {
        let line = [b"x".repeat(1023), b"\n".to_vec()].concat();
        while stdin.write_all(&line).is_ok() {
            sender.send(()).unwrap();
        }
    });
    let mut lines = 0;
    while written.recv_timeout(Duration::from_millis(1500)).is_ok() {
        lines += 1;
    }
    // 100 buffered, 64 KiB read ahead of them, 64 KiB in the pipe
    assert!((100..=100 + 64 + 64 + 2).contains(&lines), "{lines} lines of 1 KiB were taken");
    producer.signal("TERM");
    let (code, told) = producer.end();
    assert!(code == Some(75) && (100..=100 + 64 + 1).contains(&told.read), "{code:?} {told:?}");
    assert_eq!((told.published, told.rejected), (0, told.read), "what was read ahead is counted too");
}

#[test]
fn the_rate_is_steady_and_the_count_is_met() {
    let (aws, topic, _queue) = endpoint();
    let arguments = ["--publish-rate", "20", "--publish-count", "50", "--linger", "0"];
    let mut producer = Producer::start(&aws, &arguments);
    assert_eq!(producer.end(), (Some(0), account(50, 50, 0, 0)));
    let published = topic.published();
    // the first ones may have waited for the topic
    let at: Vec<_> = published.iter().skip(15).map(|published| published.at).collect();
    let took = at[34] - at[0];
    assert!(took > Duration::from_millis(1500) && took < Duration::from_millis(2600), "1.7 s in {took:?}");
    for ten in at.windows(10) {
        let took = ten[9] - ten[0];
        assert!(took > Duration::from_millis(225), "a burst: ten in {took:?}");
    }
}

#[test]
fn generated_events_are_the_same_for_a_seed_from_anywhere() {
    let (aws, topic, _queue) = endpoint();
    let run = |arguments: &[&str]| {
        let before = topic.messages().len();
        let arguments = [&["--publish-rate", "0", "--seed", "7"], arguments].concat();
        assert_eq!(Producer::start(&aws, &arguments).end().0, Some(0));
        let mut published = topic.messages().split_off(before);
        published.sort();
        published
    };
    let whole = run(&["--publish-count", "30"]);
    assert_eq!(run(&["--publish-count", "10", "--from", "21"]), whole[20..]);
}

#[test]
fn an_endpoint_that_comes_back_empty_gets_its_topic_back() {
    let (aws, _topic, _queue) = endpoint();
    let mut producer = Producer::start(&aws, &["--publish-rate", "20"]);
    let health = producer.health();
    producer.line("published message_id=");
    aws.down();
    producer.line("is failing");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ask(health, "/health").0, 200, "AWS being down is UP");
    assert_eq!(ask(health, "/ready").0, 503);
    aws.wipe();
    let before = aws.calls(Action::CreateTopic);
    aws.up();
    let back = Instant::now();
    until(|| aws.calls(Action::CreateTopic) > before);
    let (topic, queue) = hearing(&aws);
    until(|| !topic.messages().is_empty());
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    producer.line("works again");
    producer.signal("TERM");
    assert_eq!(producer.end().0, Some(0));
    assert_eq!(queue.bodies().len(), topic.messages().len(), "nothing was published that nobody heard");
    let said = producer.log.iter().filter(|line| line.contains(" WARN ")).count();
    assert!(said <= 6, "{said} warnings of one outage");
}

#[test]
fn a_black_hole_is_up_and_not_ready() {
    let (aws, _topic, _queue) = endpoint();
    aws.black_hole();
    let mut producer = Producer::start(&aws, &["--shutdown-grace", "300ms"]);
    let health = producer.health();
    producer.line("is failing");
    assert_eq!(ask(health, "/health"), (200, "{ \"status\": \"UP!\" }".to_owned()));
    let (status, body) = ask(health, "/ready");
    assert!(status == 503 && body.contains("topology"), "{body}");
    let (_, metrics) = ask(health, "/metrics");
    for pulse in ["batcher", "input", "runtime"] {
        assert!(metrics.contains(&format!("pulse_age_seconds{{pulse=\"{pulse}\"}}")), "{metrics}");
    }
}

#[test]
fn missing_credentials_are_said_once_and_waited_for() {
    let (aws, _topic, _queue) = endpoint();
    let mut command = command(&["--health-addr", "127.0.0.1:0", "--shutdown-grace", "300ms"]);
    command.env("AWS_ENDPOINT_URL", aws.url()).env("AWS_EC2_METADATA_DISABLED", "true");
    let mut producer = Producer::spawn(command, Stdio::null());
    let health = producer.health();
    let said = producer.line("is failing");
    assert!(said.contains("denied") && said.contains("credentials"), "{said}");
    thread::sleep(Duration::from_secs(2));
    assert_eq!(ask(health, "/health").0, 200, "a restart brings no credentials");
    assert_eq!(ask(health, "/ready").0, 503);
    producer.signal("TERM");
    assert_eq!(producer.end().0, Some(1));
    let warnings =
        producer.log.iter().filter(|line| line.contains(" WARN ") && !line.contains(" rejected ")).count();
    assert_eq!(warnings, 1, "{:#?}", producer.log);
}

#[test]
fn the_self_check_asks_the_running_service() {
    let (aws, _topic, _queue) = endpoint();
    let mut producer = Producer::start(&aws, &[]);
    let health = producer.health().to_string();
    let asked = command(&["health", "--health-addr", &health]).output().unwrap();
    assert_eq!(String::from_utf8(asked.stdout).unwrap(), "{ \"status\": \"UP!\" }\n");
    assert!(asked.status.success());
    drop(producer);
    let asked = command(&["health", "--health-addr", &health]).env("INPUT", "/none").output().unwrap();
    assert_eq!(asked.status.code(), Some(1));
    assert!(String::from_utf8(asked.stderr).unwrap().contains("nothing answers"));
}

#[test]
fn bad_settings_end_with_2_and_a_line_each_before_anything_is_called() {
    let (aws, _topic, _queue) = endpoint();
    let ended = command(&["--input", "/no/such/file", "--buffer", "0"])
        .env("PUBLISH_RATE", "fast")
        .env("AWS_ENDPOINT_URL", aws.url())
        .output()
        .unwrap();
    assert_eq!(ended.status.code(), Some(2));
    let said = String::from_utf8(ended.stderr).unwrap();
    let mut names: Vec<_> = said.lines().map(|line| line.split(['=', ':']).next().unwrap()).collect();
    names.sort_unstable();
    assert_eq!(names, ["--buffer", "--input", "PUBLISH_RATE"], "{said}");
    assert_eq!(aws.calls(None), 0);
    assert_eq!(command(&["--no-such-flag"]).output().unwrap().status.code(), Some(2));
}

#[test]
fn help_and_version_say_what_they_must() {
    let help = command(&["--help"]).output().unwrap();
    let help = String::from_utf8(help.stdout).unwrap();
    for name in
        ["INPUT", "FROM", "PUBLISH_RATE", "PUBLISH_COUNT", "LINGER", "BUFFER", "MESSAGE_GROUP", "SEED"]
    {
        assert!(help.contains(&format!("[env: {name}]")), "{name} in {help}");
    }
    let version = command(&["--version"]).output().unwrap();
    assert_eq!(
        String::from_utf8(version.stdout).unwrap(),
        format!("producer {}\n", env!("CARGO_PKG_VERSION"))
    );
}

#[test]
fn a_port_in_use_is_one_clear_line() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let ended = command(&["--health-addr", &address]).env("AWS_REGION", "us-east-1").output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
    let log = String::from_utf8(ended.stdout).unwrap();
    assert!(log.lines().count() == 1 && log.contains(&address) && log.contains("HEALTH_ADDR"), "{log}");
}

#[test]
fn fifo_groups_come_from_each_message() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (topic, queue) = (aws.topic("orders.fifo"), aws.queue("q.fifo"));
    topic.subscribe(&queue, true);
    let folder = Folder::new("groups");
    let lines = "{\"customer\":{\"id\":\"a\"},\"n\":1}\n{\"customer\":{\"id\":7},\"n\":2}\nno json\n{}\n\
                 {\"customer\":{\"id\":\"a\"},\"n\":3}\n";
    let mut producer = Producer::start(
        &aws,
        &[
            "--topic-name=orders.fifo",
            "--message-group=/customer/id",
            "--publish-rate=0",
            "--input",
            &folder.file(lines),
        ],
    );
    assert_eq!(producer.end(), (Some(1), account(5, 3, 2, 0)));
    let mut groups: Vec<_> = topic.published().into_iter().map(|p| (p.group.unwrap(), p.message)).collect();
    groups.sort_by(|one, other| one.0.cmp(&other.0));
    let named: Vec<_> = groups.iter().map(|(group, _)| group.as_str()).collect();
    assert_eq!(named, ["7", "a", "a"]);
    assert!(groups[1].1.contains("\"n\":1") && groups[2].1.contains("\"n\":3"), "in order");
}

#[test]
fn reading_that_fails_ends_with_1_and_an_account() {
    let (aws, _topic, _queue) = endpoint();
    // /proc/self/mem is a file that opens and cannot be read from its beginning
    let mut producer = Producer::start(&aws, &["--input", "/proc/self/mem"]);
    assert_eq!(producer.end(), (Some(1), account(0, 0, 0, 0)));
    assert!(producer.log.iter().any(|line| line.contains("reading INPUT failed")), "{:#?}", producer.log);
}

#[test]
fn a_log_in_json_is_an_object_a_line() {
    let (aws, _topic, _queue) = endpoint();
    let arguments = ["--log-format", "json", "--publish-count", "1", "--health-addr", "127.0.0.1:0"];
    let mut producer = Producer::start(&aws, &arguments);
    producer.status();
    let lines: Vec<serde_json::Value> =
        producer.log.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    let published = lines.iter().find(|line| line["message"] == "published").unwrap();
    assert!(published["message_id"].is_string() && published["trace_id"].is_string());
    assert!(published["bytes"].is_u64());
    let last = lines.last().unwrap();
    assert!(last["message"] == "drained" && last["read"] == 1, "{last}");
}

/// The whole of a pipe is read by the test, so that the producer never waits for its reader.
#[test]
fn standard_output_has_nothing_but_lines() {
    let (aws, _topic, _queue) = endpoint();
    let mut command =
        command(&["--publish-count", "3", "--publish-rate", "0", "--health-addr", "127.0.0.1:0"]);
    let mut child = command
        .env("AWS_ENDPOINT_URL", aws.url())
        .env("AWS_ACCESS_KEY_ID", "test")
        .env("AWS_SECRET_ACCESS_KEY", "test")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    assert!(child.wait().unwrap().success());
    assert!(text.lines().all(|line| line.contains(" INFO ")), "{text}");
    assert!(!text.contains('\u{1b}'), "no colours");
}

fn mkfifo(folder: &Folder) -> PathBuf {
    let fifo = folder.0.join("fifo");
    assert!(Command::new("mkfifo").arg(&fifo).status().unwrap().success());
    fifo
}

#[test]
fn a_drain_publishes_every_line_that_was_read_from_a_pipe() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("drain");
    let fifo = mkfifo(&folder);
    // the default of a pipe is unlimited: at one a second almost all of it waits in the reader
    let mut producer = Producer::start(&aws, &["--input", &shown(&fifo), "--publish-rate", "1"]);
    let mut writer = File::options().write(true).open(&fifo).unwrap();
    writer.write_all(numbered(500).as_bytes()).unwrap();
    producer.line("published message_id=");
    producer.signal("TERM");
    assert_eq!(producer.end(), (Some(0), account(500, 500, 0, 0)));
    assert_eq!(topic.messages().len(), 500, "the writer still has the FIFO open, and nothing is lost");
    drop(writer);
}

#[test]
fn a_line_that_shutdown_cuts_is_counted_and_named() {
    let (aws, _topic, _queue) = endpoint();
    let arguments = ["--input", "-"];
    let mut producer = Producer::start_with(&aws, &arguments, Stdio::piped());
    let mut stdin = producer.child.stdin.take().unwrap();
    stdin.write_all(b"whole\nincompl").unwrap();
    producer.line("published message_id=");
    producer.signal("TERM");
    assert_eq!(producer.end(), (Some(1), account(2, 1, 1, 0)));
    let reason = "line=2 reason=incomplete: shutdown began after 7 bytes of it were read";
    assert!(producer.log.iter().any(|line| line.contains(reason)), "{:#?}", producer.log);
}

#[test]
fn a_signal_while_a_pipe_is_idle_ends_immediately_with_0() {
    for follow in ["true", "false"] {
        let (aws, _topic, _queue) = endpoint();
        let folder = Folder::new("idle");
        let fifo = mkfifo(&folder);
        let mut producer = Producer::start(&aws, &["--input", &shown(&fifo), "--follow", follow]);
        let health = producer.health();
        until(|| ask(health, "/ready").0 == 200);
        let begun = Instant::now();
        producer.signal("TERM");
        assert_eq!(producer.end(), (Some(0), account(0, 0, 0, 0)));
        assert!(begun.elapsed() < Duration::from_secs(5), "{:?}", begun.elapsed());
    }
}

#[test]
fn an_interrupted_file_ends_with_75_and_the_line_to_resume_from_at_every_log_level() {
    for level in ["info", "warn", "error"] {
        let (aws, topic, _queue) = endpoint();
        let folder = Folder::new(&format!("interrupted-{level}"));
        let file = folder.file(numbered(300));
        let arguments = ["--input", &file, "--publish-rate", "100", "--rust-log", level];
        let mut producer = Producer::start(&aws, &arguments);
        until(|| topic.messages().len() >= 20);
        producer.signal("TERM");
        let (code, told) = producer.end();
        assert_eq!((code, told.rejected), (Some(75), 0));
        let from = producer.resume();
        let mut rest = Producer::start(&aws, &["--input", &file, "--from", &from]);
        assert_eq!(rest.end().0, Some(0));
        assert_eq!(topic.messages().len(), 300, "every line once");
    }
}

#[test]
fn a_fifo_that_is_followed_outlives_its_writers() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("writers");
    let fifo = mkfifo(&folder);
    let mut producer = Producer::start(&aws, &["--input", &shown(&fifo), "--follow", "true"]);
    for writer in ["first", "second"] {
        File::options().write(true).open(&fifo).unwrap().write_all(format!("{writer}\n").as_bytes()).unwrap();
        producer.line("published message_id=");
    }
    producer.signal("TERM");
    assert_eq!(producer.end(), (Some(0), account(2, 2, 0, 0)));
    assert_eq!(topic.messages(), ["first", "second"]);
}

#[test]
fn a_file_is_followed_as_it_grows_is_rotated_and_truncated() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("rotated");
    let path = folder.0.join("log");
    let append = |text: &str| {
        let mut file = File::options().append(true).create(true).open(&path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    };
    append("1\n2\n");
    let mut producer = Producer::start(&aws, &["--input", &shown(&path), "--follow", "true"]);
    until(|| topic.messages().len() == 2);
    append("hal");
    append("f\n");
    until(|| topic.messages().len() == 3);
    let mut old = File::options().append(true).open(&path).unwrap();
    fs::rename(&path, folder.0.join("log.1")).unwrap();
    old.write_all(b"late\nunended").unwrap();
    append(&format!("new{}\n", "w".repeat(100)));
    until(|| topic.messages().len() == 6);
    File::create(&path).unwrap();
    append("after\n");
    until(|| topic.messages().len() >= 7);
    producer.signal("TERM");
    assert_eq!(producer.end().0, Some(0));
    let mut published = topic.messages();
    published.iter_mut().for_each(|line| line.truncate(8));
    published.sort();
    assert_eq!(published, ["1", "2", "after", "half", "late", "newwwwww", "unended"]);
}

#[test]
fn compressed_input_is_named_with_the_command_that_helps() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("gzip");
    let file = folder.file(b"\x1f\x8b\x08\x00\n\n\n");
    let mut producer = Producer::start(&aws, &["--input", &file]);
    assert_eq!(producer.end(), (Some(1), account(0, 0, 0, 0)));
    let help = format!("INPUT is compressed with gzip; use: gzip -dc {file} | producer --input -");
    assert!(producer.log.iter().any(|line| line.contains(&help)), "{:#?}", producer.log);
    assert!(topic.messages().is_empty());
}

#[test]
fn a_byte_order_mark_and_crlf_are_taken_away_and_named() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("bom");
    let file = folder.file("\u{feff}{\"id\":\"a\"}\r\n{\"id\":\"b\"}\r\n");
    let mut producer = Producer::start(&aws, &["--input", &file, "--message-group", "/id"]);
    assert_eq!(producer.end(), (Some(0), account(2, 2, 0, 0)));
    assert_eq!(topic.messages(), [r#"{"id":"a"}"#, r#"{"id":"b"}"#]);
    let groups: Vec<_> = topic.published().into_iter().map(|message| message.group.unwrap()).collect();
    assert_eq!(groups, ["a", "b"], "a standard topic has groups too");
    for name in ["byte order mark", "CR LF"] {
        assert!(producer.log.iter().any(|line| line.contains(name)), "{name} in {:#?}", producer.log);
    }
}

#[test]
fn attributes_and_subject_come_from_each_message() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("attributes");
    let lines = "{\"type\":\"order\",\"total\":12.50,\"title\":\"first\"}\nno json\n{\"title\":7}\n";
    let arguments =
        ["--input", &folder.file(lines), "--attributes", "kind=/type,total=/total", "--subject", "/title"];
    let mut producer = Producer::start(&aws, &arguments);
    assert_eq!(producer.end(), (Some(1), account(3, 2, 1, 0)));
    let published = topic.published();
    assert_eq!(published[0].subject.as_deref(), Some("first"));
    assert_eq!(published[0].attribute("kind"), Some("order"));
    assert_eq!(published[0].attribute("total"), Some("12.50"), "numbers keep their digits");
    assert_eq!((published[1].subject.as_deref(), published[1].attribute("kind")), (Some("7"), None));
}

#[test]
fn with_ids_from_lines_a_run_that_is_repeated_delivers_nothing_twice() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (topic, queue) = (aws.topic("orders.fifo"), aws.queue("q.fifo"));
    topic.subscribe(&queue, true);
    let folder = Folder::new("dedup");
    let file = folder.file("same\nsame\nother\n");
    for (ids, delivered) in [("line", 3), ("line", 3), ("content", 5), ("content", 5), ("random", 8)] {
        let arguments =
            ["--topic-name=orders.fifo", "--message-group=all", "--deduplication", ids, "--input", &file];
        assert_eq!(Producer::start(&aws, &arguments).end(), (Some(0), account(3, 3, 0, 0)));
        assert_eq!(queue.bodies().len(), delivered, "{ids}");
    }
}

#[test]
fn a_state_file_takes_the_place_of_from() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("state");
    let file = folder.file(numbered(200));
    let state = shown(&folder.0.join("state"));
    let mut first =
        Producer::start(&aws, &["--input", &file, "--publish-rate", "100", "--state-file", &state]);
    until(|| topic.messages().len() >= 20);
    first.signal("TERM");
    assert_eq!(first.end().0, Some(75));
    let arguments = ["--input", &file, "--state-file", &state];
    assert_eq!(Producer::start(&aws, &arguments).end().0, Some(0));
    assert_eq!(topic.messages().len(), 200, "every line once");
    assert_eq!(Producer::start(&aws, &arguments).end(), (Some(0), account(0, 0, 0, 0)), "all is done");
    assert_eq!(fs::read_to_string(&state).unwrap(), "201\n");
}

#[test]
fn a_file_is_published_as_fast_as_the_topic_accepts_and_a_slow_rate_says_how_long_it_takes() {
    let (aws, topic, _queue) = endpoint();
    let folder = Folder::new("rate");
    let file = folder.file(numbered(2000));
    let begun = Instant::now();
    assert_eq!(Producer::start(&aws, &["--input", &file]).end(), (Some(0), account(2000, 2000, 0, 0)));
    assert!(begun.elapsed() < Duration::from_secs(20) && topic.messages().len() == 2000);
    for rate in ["1", "0.001"] {
        let mut slow = Producer::start(&aws, &["--input", &file, "--publish-rate", rate]);
        slow.line("PUBLISH_RATE=unlimited publishes as fast as the topic accepts");
        slow.line("published message_id=");
        slow.signal("TERM");
        assert_eq!(slow.end().0, Some(75));
    }
}
