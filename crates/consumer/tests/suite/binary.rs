//! The real process: what it says, how it ends, and that its probe notices when it hangs.

use std::io::{BufRead, BufReader};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline_emulator::{Action, Emulator};

use crate::support::*;

/// A `consumer` process, its standard output as it comes, and where its health is.
pub(crate) struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    reader: Option<std::thread::JoinHandle<()>>,
    health: std::net::SocketAddr,
}

fn command(aws: &Emulator, settings: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
    command
        .env_clear()
        .envs([
            ("AWS_ENDPOINT_URL", aws.url().as_str()),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ])
        .envs([("QUEUE_NAME", "events"), ("PROVISION", "false"), ("WAIT_TIME", "1s")])
        .envs(settings.iter().copied())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

impl Process {
    pub(crate) fn start(aws: &Emulator, settings: &[(&str, &str)]) -> Self {
        Self::spawn(command(aws, settings))
    }

    fn spawn(mut command: Command) -> Self {
        // free a moment ago; nobody else on this machine asks for it in between, or the process says so
        let health = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = command.env("HEALTH_ADDR", health.to_string()).stderr(Stdio::null()).spawn().unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let output = child.stdout.take().unwrap();
        let reader = std::thread::spawn({
            let lines = Arc::clone(&lines);
            move || keep(output, &lines)
        });
        Self { child, lines, reader: Some(reader), health }
    }

    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([&format!("-{name}"), &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code and the whole output.
    pub(crate) async fn end(&mut self, within: Duration) -> (i32, Vec<String>) {
        let end = Instant::now() + within;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "still runs after {within:?}: {:#?}", self.lines.lock().unwrap());
            tokio::time::sleep(Duration::from_millis(20)).await;
        };
        self.reader.take().unwrap().join().unwrap();
        (status.code().unwrap(), self.lines.lock().unwrap().clone())
    }

    pub(crate) fn times_said(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    pub(crate) fn has_said(&self, words: &str) -> bool {
        self.lines.lock().unwrap().iter().any(|line| line.contains(words))
    }

    /// Field 14 and 15 of /proc/…/stat: CPU time in ticks of 10 ms.
    fn cpu(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        let fields: Vec<_> = stat.rsplit(')').next().unwrap().split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>().unwrap() + fields[12].parse::<u64>().unwrap();
        Duration::from_millis(ticks * 10)
    }

    /// Threads of its runtime besides the main one.
    fn workers(&self) -> usize {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.child.id())).unwrap();
        let names = tasks.filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|name| name.trim() == "tokio-rt-worker").count()
    }

    /// The most memory it ever had, in MiB.
    fn memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
    }

    pub(crate) fn ask(&self, path: &str) -> Option<lifeline_health::Answer> {
        lifeline_health::ask(self.health, path, Duration::from_secs(2)).ok()
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn lines_of(process: &Process) -> Vec<String> {
    process.lines.lock().unwrap().clone()
}

fn keep(output: ChildStdout, lines: &Mutex<Vec<String>>) {
    for line in BufReader::new(output).lines().map_while(Result::ok) {
        lines.lock().unwrap().push(line);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_settings_end_it_with_code_2_and_a_line_each() {
    let aws = emulator().await;
    let bad = [("POLLERS", "none"), ("WAIT_TIME", "21s"), ("HANDLER", "http"), ("SHUTDOWN_GRACE", "soon")];
    let output = command(&aws, &bad).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), bad.len(), "{said}");
    for (name, value) in bad {
        let line =
            said.lines().find(|line| line.starts_with(name)).unwrap_or_else(|| panic!("{name}: {said}"));
        assert!(name == "HANDLER" || line.contains(value), "{line}");
    }
    assert!(output.stdout.is_empty());
    assert_eq!(aws.calls(None), 0, "before it calls AWS");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_that_is_taken_ends_it_with_code_1_and_says_so() {
    let aws = emulator().await;
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let output = command(&aws, &[("HEALTH_ADDR", &address)]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = [output.stdout, output.stderr].concat();
    assert!(String::from_utf8(said).unwrap().contains(&address));
    assert_eq!(aws.calls(None), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sigterm_drains_and_the_last_line_is_the_account() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..50).map(|n| format!("message {n}")));
    for signal in ["TERM", "INT"] {
        queue.send("one more");
        let mut process = Process::start(&aws, &[]);
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        aws.wait_for(|_| process.ask("/ready").is_some_and(|a| a.is_ok()), SOON).await;
        process.signal(signal);
        let (code, lines) = process.end(Duration::from_secs(10)).await;
        assert_eq!(code, 0, "{lines:#?}");
        let handled = if signal == "TERM" { 51 } else { 1 };
        let account =
            format!("drained received={handled} deleted={handled} retried=0 released=0 lost_lease=0");
        assert!(lines.last().unwrap().ends_with(&account), "{lines:#?}");
        assert_eq!(lines.iter().filter(|line| line.contains("received message_id=")).count(), handled);
        assert_eq!(lines.iter().filter(|line| line.contains("deleted message_id=")).count(), handled);
    }
}

/// As `docker stop` ends it: SIGTERM at any moment of a poll, SIGKILL 10 s later.
#[tokio::test(flavor = "multi_thread")]
async fn an_idle_consumer_is_gone_before_docker_kills_it_and_strands_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    for late in [false, true] {
        let mut process = Process::start(&aws, &[("SHUTDOWN_GRACE", "8s"), ("WAIT_TIME", "20s")]);
        // the worst moment: the poll has just begun
        let polls = aws.calls(Action::ReceiveMessage);
        aws.wait_for(|_| aws.calls(Action::ReceiveMessage) > polls, SOON).await;
        process.signal("TERM");
        let begun = Instant::now();
        if late {
            aws.wait_for(|_| process.has_said("shutting down"), SOON).await;
            queue.send("late");
        }
        let (code, lines) = process.end(Duration::from_secs(10)).await;
        assert_eq!(code, 0, "{lines:#?}");
        let brought = u8::from(late);
        let summary = format!("drained received={brought} deleted=0 retried=0 released={brought}");
        assert!(lines.last().unwrap().contains(&summary), "{lines:#?}");
        assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
        // and nothing hides it
        assert_eq!(queue.counts().visible, usize::from(late));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn it_works_on_one_thread_unless_told_to_use_more() {
    for (settings, workers) in [(&[][..], 0), (&[("THREADS", "3")], 3)] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send("one");
        let process = Process::start(&aws, settings);
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        assert_eq!(process.workers(), workers);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_account_is_printed_whatever_is_logged_unless_nothing_is() {
    let aws = emulator().await;
    let _dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    for (asked, count) in [("warn", 1), ("consumer=error", 1), ("off", 0)] {
        queue.send("one");
        let mut process = Process::start(&aws, &[("RUST_LOG", asked)]);
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        process.signal("TERM");
        let (code, lines) = process.end(Duration::from_secs(10)).await;
        assert_eq!((code, lines.len()), (0, count), "{asked}: {lines:#?}");
        assert!(
            lines.iter().all(|line| line.contains(" consumer: drained received=1 deleted=1 ")),
            "{lines:?}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handler_cancelled_at_the_deadline_makes_the_code_1_and_its_message_visible() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut process =
        Process::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", &url), ("SHUTDOWN_GRACE", "2s")]);
    aws.wait_for(|_| process.has_said("received message_id="), SOON).await;
    process.signal("TERM");
    let begun = Instant::now();
    let (code, lines) = process.end(Duration::from_secs(10)).await;
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}", begun.elapsed());
    assert_eq!(code, 1, "{lines:#?}");
    assert!(
        lines.last().unwrap().ends_with("drained received=1 deleted=0 retried=0 released=1 lost_lease=0")
    );
    assert_eq!(queue.counts().visible, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_signal_ends_it_at_once_with_code_130() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let mut process = Process::start(&aws, &[("WAIT_TIME", "20s")]);
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    process.signal("TERM");
    aws.wait_for(|_| process.has_said("shutting down"), SOON).await;
    // not ready while it drains, which it says before it is
    aws.wait_for(|_| process.ask("/ready").is_some_and(|answer| answer.status == 503), SOON).await;
    assert!(process.ask("/health").is_some_and(|answer| answer.is_ok()), "but alive");
    // sooner it would count as the same signal
    tokio::time::sleep(Duration::from_millis(1200)).await;
    process.signal("TERM");
    let (code, _) = process.end(Duration::from_secs(2)).await;
    assert_eq!(code, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_health_subcommand_asks_the_running_service() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let process = Process::start(&aws, &[]);
    aws.wait_for(|_| process.ask("/health").is_some(), SOON).await;
    let ask = |address: &str| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_consumer"));
        command.env_clear().arg("health").env("HEALTH_ADDR", address).output().unwrap()
    };
    let up = ask(&process.health.to_string());
    assert_eq!((up.status.code(), up.stdout.as_slice()), (Some(0), b"{ \"status\": \"UP!\" }\n".as_slice()));
    let nobody = ask("127.0.0.1:1");
    assert_eq!(nobody.status.code(), Some(1));
    assert!(!nobody.stderr.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hung_process_is_down_within_a_minute_and_says_what_is_stale() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let mut process = Process::start(&aws, &[("FAULT_HANG", "hang"), ("CALL_TIMEOUT", "1s")]);
    queue.send("fine");
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    queue.send("hang");
    aws.wait_for(|_| process.has_said("FAULT_HANG"), SOON).await;
    let begun = Instant::now();
    let down = || process.ask("/health").is_some_and(|answer| answer.status == 503);
    while !down() {
        assert!(begun.elapsed() < MINUTE);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let answer = process.ask("/health").unwrap().body;
    assert!(
        answer.starts_with(r#"{ "status": "DOWN", "stale": ["#) && answer.contains("poller-1"),
        "{answer}"
    );
    // and what restarts it is not ignored
    process.signal("TERM");
    // sooner it would count as the same signal
    tokio::time::sleep(Duration::from_millis(1200)).await;
    process.signal("INT");
    assert_eq!(process.end(Duration::from_secs(5)).await.0, 130);
}

#[tokio::test(flavor = "multi_thread")]
async fn credentials_that_rotate_fail_no_message() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    // the SDK renews what ends within a quarter of an hour: at every look
    aws.credential_lifetime(Duration::from_secs(1));
    let uri = aws.credentials_url();
    let mut command = command(&aws, &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", &uri)]);
    command.env_remove("AWS_ACCESS_KEY_ID").env_remove("AWS_SECRET_ACCESS_KEY");
    let mut process = Process::spawn(command);
    for n in 0..5 {
        queue.send(n.to_string());
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        tokio::time::sleep(Duration::from_millis(600)).await;
    }
    process.signal("TERM");
    let (code, lines) = process.end(Duration::from_secs(10)).await;
    assert_eq!(code, 0, "{lines:#?}");
    assert!(lines.last().unwrap().ends_with("received=5 deleted=5 retried=0 released=0 lost_lease=0"));
    let keys: std::collections::HashSet<_> = aws.log(None).into_iter().map(|call| call.access_key).collect();
    assert!(keys.len() >= 2 && keys.iter().all(|key| key.starts_with("ASIAEMULATED")), "{keys:?}");
    assert!(queue.histories().iter().all(|h| h.received.len() == 1));
    assert!(!lines.iter().any(|line| keys.iter().any(|key| line.contains(key))), "nor is a key in the log");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backlog_of_a_hundred_thousand_costs_no_memory_and_a_full_worker_no_cpu() {
    let aws = quiet_emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..100_000).map(|n| n.to_string()));
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", silent.local_addr().unwrap());
    let mut process =
        Process::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", &url), ("SHUTDOWN_GRACE", "2s")]);
    let received = || lines_of(&process).iter().filter(|line| line.contains("received message_id=")).count();
    while received() < 64 {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let (cpu, receives) = (process.cpu(), aws.calls(Action::ReceiveMessage));
    tokio::time::sleep(Duration::from_secs(3)).await;
    let spent = process.cpu() - cpu;
    assert!(spent <= Duration::from_millis(90), "{spent:?} of CPU in three idle seconds");
    assert_eq!(aws.calls(Action::ReceiveMessage), receives);
    assert_eq!((received(), queue.counts().in_flight), (64, 64));
    let memory = process.memory();
    assert!(memory < 64, "{memory} MiB in an unoptimized build");
    process.signal("TERM");
    let (code, lines) = process.end(Duration::from_secs(10)).await;
    assert_eq!(code, 1);
    assert!(
        lines.last().unwrap().ends_with("drained received=64 deleted=0 retried=0 released=64 lost_lease=0")
    );
    assert_eq!(queue.counts().visible, 100_000);
}

/// The response lies in the socket while the process is stopped, and the lease with it runs out.
#[tokio::test(flavor = "multi_thread")]
async fn a_receive_that_is_read_after_the_process_was_stopped_is_not_taken_for_a_fresh_lease() {
    let aws = emulator().await;
    // a standard queue would accept the receipt, and then it may as well be handled
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true");
    let queue = queue.visibility_timeout((3 * SECOND).as_secs());
    let settings = [("QUEUE_NAME", "events.fifo"), ("WAIT_TIME", "20s"), ("SHUTDOWN_GRACE", "30s")];
    let process = Process::start(&aws, &settings);
    aws.wait_for(|aws| aws.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    process.signal("STOP");
    queue.send(lifeline_emulator::Message::new("one").group("a"));
    aws.wait_for(|_| queue.counts().in_flight == 1, SOON).await;
    assert_eq!(queue.steal(|body| body == "one", MINUTE), 1, "another consumer has it");
    // not a wait for an event: this is how long the process stays stopped
    tokio::time::sleep(4 * SECOND).await;
    process.signal("CONT");
    tokio::time::sleep(2 * SECOND).await;
    assert_eq!(aws.calls(Action::DeleteMessageBatch), 0, "the delete of a lost lease is not sent");
    assert!(!process.has_said("received message_id"), "no handler began: {:?}", lines_of(&process));
    assert_eq!(queue.counts().in_flight, 1);
}

/// Where a process of the test below finds its endpoint; not set in a run of the suite.
const ENDPOINT_OF_CHILD: &str = "SUITE_ENDPOINT_OF_CHILD";

/// Not a test, but the worker in a process of its own: the test below starts this binary with the name of this function.
#[test]
fn worker_whose_handler_aborts_the_process() {
    let Ok(url) = std::env::var(ENDPOINT_OF_CHILD) else { return };
    let handler = |message: lifeline_consumer::Message, _: lifeline_consumer::Context| async move {
        // long enough for many to be in flight together
        tokio::time::sleep(Duration::from_millis(100)).await;
        if message.body == "kills" {
            std::process::abort();
        }
        Ok::<(), lifeline_consumer::Failure>(())
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let access = lifeline_messaging::client::Access::local(url);
        let clients = lifeline_messaging::client::Clients::connect(&access).await.unwrap();
        let worker = lifeline_consumer::Worker::on(existing("events")).clients(clients).wait_time(SECOND);
        worker.run(handler, std::future::pending()).await.unwrap();
    });
}

/// A supervisor, 64 messages in flight, and one of the first 100 that kills the process whenever it is handled. Those beside
/// it come back while there are a thousand others, and may be received twice more.
#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_kills_its_process_is_dead_lettered_alone() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs()).dead_letters_to("dead", 3);
    queue.send_all((0..1100).map(|n| if n == 30 { "kills".to_owned() } else { n.to_string() }));
    let start = || {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args(["--exact", "binary::worker_whose_handler_aborts_the_process", "--nocapture"]);
        command.env(ENDPOINT_OF_CHILD, aws.url()).stdout(Stdio::null()).stderr(Stdio::null());
        command.spawn().unwrap()
    };
    let (mut starts, mut process) = (1, start());
    let end = Instant::now() + Duration::from_secs(90);
    while !queue.is_empty() && Instant::now() < end {
        if process.try_wait().unwrap().is_some() {
            starts += 1;
            process = start();
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    process.kill().unwrap();
    process.wait().unwrap();
    assert_eq!(dead.bodies(), ["kills"], "{starts} starts; left: {:?}", queue.counts());
    assert_eq!((queue.deleted().len(), starts), (1099, 4));
}
