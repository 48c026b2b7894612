//! `lifeline` as people run it: the real binary, real files, real signals.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::path::PathBuf;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

fn lifeline(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
    command.args(["up", "--listen", "127.0.0.1:0", "--producer-health-addr", "127.0.0.1:0"]);
    command.args(["--consumer-health-addr", "127.0.0.1:0"]).args(arguments);
    // whatever the environment of the test says, nothing but loopback is reached
    command.env("AWS_ENDPOINT_URL", "http://192.0.2.1").env_remove("RUST_LOG");
    command
}

fn scratch(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}", std::process::id()));
    fs::remove_file(&path).ok();
    path
}

fn publish(name: &str, input: &[u8]) -> (Output, Vec<Vec<u8>>) {
    let (from, to) = (scratch(&format!("{name}.in")), scratch(&format!("{name}.out")));
    fs::write(&from, input).unwrap();
    let output =
        lifeline(&["--publish-rate", "0", "--input"]).arg(&from).arg("--output").arg(&to).output().unwrap();
    let mut lines: Vec<_> = fs::read(&to).unwrap().split(|b| *b == b'\n').map(<[u8]>::to_vec).collect();
    lines.pop();
    lines.sort();
    fs::remove_file(from).unwrap();
    fs::remove_file(to).unwrap();
    (output, lines)
}

fn log(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// The last line with this in it, from there on.
fn last<'a>(log: &'a str, what: &str) -> &'a str {
    let line =
        log.lines().rev().find(|line| line.contains(what)).unwrap_or_else(|| panic!("no {what} in:\n{log}"));
    &line[line.find(what).unwrap()..]
}

#[test]
fn every_line_of_a_file_arrives_unchanged_and_both_accounts_balance() {
    let mut input = Vec::new();
    let mut expected: Vec<Vec<u8>> = Vec::new();
    let texts = [
        "x",
        "tabs\tand \"quotes\" \\ and {\"json\": [1]}",
        "größer 日本語 العربية हिन्दी 🦀",
        "ends with CR\r",
        "<xml & entities>",
    ];
    for i in 0..400 {
        let line = match texts.get(i % 7) {
            Some(text) => format!("{i} {text}"),
            None => format!("{i} {}", "long ".repeat(i * 10)),
        };
        expected.push(line.clone().into_bytes());
        input.extend_from_slice(line.as_bytes());
        input.push(b'\n');
        if i % 100 == 0 {
            input.extend_from_slice(b"\n\r\n");
        }
    }
    let longest = "y".repeat(200_000);
    expected.extend([b"z".to_vec(), longest.clone().into_bytes()]);
    // the last line has no line feed
    input.extend_from_slice(format!("z\n{longest}").as_bytes());
    expected.sort();

    let (output, lines) = publish("unchanged", &input);
    let log = log(&output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    assert!(lines == expected, "{} lines out, {} in", lines.len(), expected.len());
    assert_eq!(last(&log, "drained read="), "drained read=410 published=402 rejected=0 blank=8");
    assert_eq!(
        last(&log, "drained received="),
        "drained received=402 deleted=402 retried=0 released=0 lost_lease=0"
    );
    assert!(log.lines().next_back().unwrap().contains("drained received="), "the account is the last line");
    assert_eq!(log.lines().filter(|line| line.contains(" published message_id=")).count(), 402);
    assert_eq!(log.lines().filter(|line| line.contains(" deleted message_id=")).count(), 402);
}

#[test]
fn what_sns_cannot_carry_is_named_by_its_line_and_does_not_stop_the_rest() {
    let mut input = b"first\nnot utf-8: \xff\xfe\nescape: \x1b[2J\n".to_vec();
    input.extend_from_slice("w".repeat(300_000).as_bytes());
    input.extend_from_slice(b"\nlast\n");
    let (output, lines) = publish("rejected", &input);
    let log = log(&output);
    assert_eq!(lines, [b"first".to_vec(), b"last".to_vec()]);
    assert_eq!(output.status.code(), Some(1), "some input was rejected: {log}");
    assert_eq!(last(&log, "drained read="), "drained read=5 published=2 rejected=3 blank=0");
    for line in [2, 3, 4] {
        assert!(log.contains(&format!("line={line} ")), "line {line} is not named in:\n{log}");
    }
}

#[test]
fn the_trace_of_a_message_is_the_same_on_both_sides() {
    let (output, _) = publish("trace", b"one message\n");
    let log = log(&output);
    let field = |what: &str| {
        let line = last(&log, what);
        let value = &line[line.find("trace_id=").unwrap() + "trace_id=".len()..];
        value.split(' ').next().unwrap().to_owned()
    };
    let trace = field("published message_id=");
    assert_eq!(trace.len(), 32);
    assert_eq!(field("received message_id="), trace);
    assert!(last(&log, "received message_id=").contains("receive_count=1"));
}

#[test]
fn the_first_signal_drains_both_and_prints_both_accounts() {
    let mut child = lifeline(&["--publish-rate", "50"]).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(" deleted message_id=")).expect("messages flow");
    signal(&child, "INT");
    let rest: Vec<_> = lines.collect();
    assert_eq!(exit_code(&mut child), Some(0), "{rest:#?}");
    let log = rest.join("\n");
    let count = |what: &str, name: &str| -> u64 {
        let line = last(&log, what);
        line.split(' ').find_map(|field| field.strip_prefix(&format!("{name}="))).unwrap().parse().unwrap()
    };
    assert_eq!(count("drained read=", "read"), count("drained read=", "published"));
    assert!(count("drained received=", "received") > 0);
    assert_eq!(
        count("drained received=", "received"),
        count("drained received=", "deleted") + count("drained received=", "released")
    );
}

#[test]
#[cfg(target_os = "linux")]
fn messages_that_are_lost_with_the_queue_are_counted_and_make_the_exit_code_1() {
    // a disk that is full: every message is kept, and none is handled
    let arguments = ["--publish-rate", "50", "--output", "/dev/full", "--shutdown-grace", "5s"];
    let mut child = lifeline(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(" received message_id=")).expect("messages flow");
    signal(&child, "INT");
    let rest: Vec<_> = lines.collect();
    assert_eq!(exit_code(&mut child), Some(1), "{rest:#?}");
    let said = rest.iter().find(|line| line.contains("are lost with the endpoint")).expect("it is said");
    let lost: u64 = said.split(" lost=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(lost > 0, "{said}");
}

#[test]
#[cfg(target_os = "linux")]
fn with_data_what_is_queued_is_kept_for_the_next_run_and_the_exit_code_is_0() {
    let (data, to) = (scratch("kept.redb"), scratch("kept.out"));
    let data = data.to_str().unwrap();
    let arguments =
        ["--data", data, "--publish-rate", "50", "--output", "/dev/full", "--shutdown-grace", "1s"];
    let mut child = lifeline(&arguments).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.find(|line| line.contains(" received message_id=")).expect("messages flow");
    signal(&child, "INT");
    let rest: Vec<_> = lines.collect();
    assert_eq!(exit_code(&mut child), Some(0), "{rest:#?}");
    let said = rest.iter().find(|line| line.contains("are kept; the next run")).expect("it is said");
    let kept: usize = said.split(" kept=").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap();
    assert!(kept > 0, "{said}");

    let output = run("kept", "", &["--data", data, "--output", to.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(0), "{}", log(&output));
    assert_eq!(fs::read_to_string(&to).unwrap().lines().count(), kept);
    let other = run("kept", "", &["--data", "/dev/full"]);
    assert_eq!(other.status.code(), Some(1));
    assert!(log(&other).contains("the file of --data cannot be used: /dev/full: "), "{}", log(&other));
    fs::remove_file(data).unwrap();
    fs::remove_file(to).unwrap();
}

/// Runs to its end with this input; the output is the messages' if `--output -` is among the arguments.
fn run(name: &str, input: &str, arguments: &[&str]) -> Output {
    let from = scratch(&format!("{name}.in"));
    fs::write(&from, input).unwrap();
    let output = lifeline(&["--input"]).arg(&from).args(arguments).output().unwrap();
    fs::remove_file(from).unwrap();
    output
}

fn sorted(bytes: Vec<u8>) -> Vec<String> {
    let mut lines: Vec<_> = String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect();
    lines.sort();
    lines
}

#[test]
fn an_output_is_replaced_unless_it_is_appended_to() {
    let to = scratch("replaced.out");
    let path = to.to_str().unwrap();
    fs::write(&to, "old\n").unwrap();
    for (append, expected) in [(None, vec!["a", "b"]), (Some("--append"), vec!["a", "a", "b", "b"])] {
        let arguments: Vec<_> = ["--output", path].into_iter().chain(append).collect();
        let output = run("replaced", "a\nb\n", &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", log(&output));
        assert_eq!(sorted(fs::read(&to).unwrap()), expected);
    }
    fs::remove_file(to).unwrap();
}

#[test]
fn as_output_a_dash_is_standard_output_and_the_log_goes_to_standard_error() {
    let output = run("dash", "one\n{\"two\": 2}\n", &["--output", "-"]);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert_eq!(sorted(output.stdout), ["one", "{\"two\": 2}"]);
    assert_eq!(last(&said, "drained read="), "drained read=2 published=2 rejected=0 blank=0");
    assert!(!PathBuf::from("-").exists());
}

#[test]
fn a_reader_of_standard_output_that_ends_ends_the_pipeline_with_1() {
    let arguments = ["--publish-rate", "200", "--output", "-"];
    let mut child = lifeline(&arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    lines.next().expect("messages flow");
    drop(lines);
    // it must not wait for a reader of its log either
    let log = std::thread::spawn({
        let stderr = child.stderr.take().unwrap();
        move || std::io::read_to_string(stderr).unwrap()
    });
    assert_eq!(exit_code(&mut child), Some(1));
    let log = log.join().unwrap();
    assert!(log.contains("standard output was closed by its reader"), "{log}");
}

#[test]
fn dead_letters_are_written_to_their_file_as_they_were_published() {
    let dead = scratch("dead.letters");
    fs::write(&dead, "old\n").unwrap();
    let refusing = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", refusing.local_addr().unwrap());
    // every request is answered with 400: the message has failed
    std::thread::spawn(move || {
        for stream in refusing.incoming() {
            let mut stream = stream.unwrap();
            std::thread::spawn(move || {
                let mut request = [0; 4096];
                while std::io::Read::read(&mut stream, &mut request).is_ok_and(|read| read > 0) {
                    let answer = b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n";
                    if std::io::Write::write_all(&mut stream, answer).is_err() {
                        break;
                    }
                }
            });
        }
    });
    let arguments = ["--handler-url", &url, "--max-receives", "1", "--dead-letters", dead.to_str().unwrap()];
    let output = run("dead", "{\"id\": 1}\nplain\n", &arguments);
    assert_eq!(output.status.code(), Some(1), "{}", log(&output));
    assert_eq!(sorted(fs::read(&dead).unwrap()), ["plain", "{\"id\": 1}"]);
    assert!(log(&output).contains("dead_letters=2"), "{}", log(&output));
    fs::remove_file(dead).unwrap();
}

#[test]
fn both_accounts_are_printed_whatever_is_logged_unless_nothing_is() {
    for (asked, lines) in [("warn", 2), ("error", 2), ("off", 0)] {
        let output =
            lifeline(&["--publish-count", "3", "--publish-rate", "0", "--rust-log", asked]).output().unwrap();
        let log = log(&output);
        let log: Vec<_> = log.lines().collect();
        assert_eq!((output.status.code(), log.len()), (Some(0), lines), "{asked}: {log:#?}");
        if let [produced, consumed] = log[..] {
            assert!(produced.contains(" producer: drained read=3 published=3 "), "{produced}");
            assert!(consumed.contains(" consumer: drained received=3 deleted=3 "), "{consumed}");
        }
    }
}

#[test]
fn a_second_signal_exits_at_once() {
    // a drain waits for the receive in flight: up to 20 s here, so that the second signal comes before its end
    let mut child = lifeline(&[
        "--publish-count",
        "3",
        "--publish-rate",
        "0",
        "--wait-time",
        "20s",
        "--input",
        "generate",
    ])
    .args(["--max-in-flight", "1000"])
    .stdout(Stdio::piped())
    .spawn()
    .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    // by its count the input ends, and everything is handled: from here on it drains by itself
    lines.by_ref().filter(|line| line.contains(" deleted message_id=")).nth(2).expect("messages flow");
    // two signals that are pending at once are heard as one: so until it has heard two
    while child.try_wait().unwrap().is_none() {
        signal(&child, "TERM");
    }
    assert_eq!(exit_code(&mut child), Some(130));
}

#[test]
fn a_port_in_use_is_one_line_that_names_the_port_the_setting_and_a_way_out() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for setting in ["--listen", "--producer-health-addr", "--consumer-health-addr"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
        for known in ["--listen", "--producer-health-addr", "--consumer-health-addr"] {
            command.args([known, if known == setting { &address } else { "127.0.0.1:0" }]);
        }
        let output = command.env("RUST_LOG", "off").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{said}");
        assert_eq!(said.lines().count(), 1, "{said}");
        assert!(said.contains(&address), "{said}");
        assert!(
            said.contains(setting) || said.contains(&setting[2..].replace('-', "_").to_uppercase()),
            "{said}"
        );
    }
}

#[test]
fn a_consumer_that_cannot_start_ends_the_pipeline() {
    let folder = env!("CARGO_TARGET_TMPDIR");
    let mut child = lifeline(&["--handler-file", folder]).stdout(Stdio::piped()).spawn().unwrap();
    assert_eq!(exit_code(&mut child), Some(1));
    let log = std::io::read_to_string(child.stdout.take().unwrap()).unwrap();
    assert!(log.contains("cannot be opened to append"), "{log}");
}

#[test]
fn an_address_that_is_not_of_this_machine_is_named_by_its_flag() {
    for setting in ["--listen", "--producer-health-addr", "--consumer-health-addr"] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lifeline"));
        for known in ["--listen", "--producer-health-addr", "--consumer-health-addr"] {
            command.args([known, if known == setting { "192.0.2.1:5000" } else { "127.0.0.1:0" }]);
        }
        let output = command.env("RUST_LOG", "off").output().unwrap();
        let said = String::from_utf8(output.stderr).unwrap() + &log(&Output { stderr: Vec::new(), ..output });
        assert!(said.contains(setting) && !said.contains("HEALTH_ADDR"), "{said}");
    }
}

#[test]
fn bad_settings_are_told_before_anything_is_opened() {
    let output = lifeline(&["--pollers", "none", "--publish-rate", "fast"]).output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "{said}");
    assert_eq!(said.lines().count(), 2, "{said}");
    assert!(output.stdout.is_empty());
}

#[test]
fn the_doctor_finds_what_is_missing_and_changes_nothing() {
    let mut aws = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["aws", "--listen", "127.0.0.1:0"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(aws.stdout.take().unwrap()).lines().map(Result::unwrap);
    let line = lines.find(|line| line.contains("AWS_ENDPOINT_URL=")).unwrap();
    let endpoint = line[line.find("AWS_ENDPOINT_URL=").unwrap() + "AWS_ENDPOINT_URL=".len()..].to_owned();
    let examine = || {
        let doctor = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["doctor", "--aws-endpoint-url", &endpoint])
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .output()
            .unwrap();
        (doctor.status.code(), log(&doctor))
    };
    let (code, said) = examine();
    assert_eq!(code, Some(1), "{said}");
    assert!(
        said.contains("topic events does not exist") && said.contains("queue events-consumer does not exist"),
        "{said}"
    );
    let (_, again) = examine();
    assert_eq!(said, again, "it changed nothing");
    signal(&aws, "TERM");
    assert_eq!(exit_code(&mut aws), Some(0));
}

fn signal(child: &Child, name: &str) {
    Command::new("kill")
        .args([&format!("-{name}"), &child.id().to_string()])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

fn exit_code(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + Duration::from_secs(30);
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    child.kill().unwrap();
    panic!("it did not end");
}
