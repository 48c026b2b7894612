//! The whole service runtime, in processes of its own: settings, signals, health, systemd, summary and exit code.
//!
//! Without the test harness: the process that hosts is this executable again, told so by a variable, and it must return
//! from `main` as a real program does.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "tests, without the harness")]

use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::os::unix::net::UnixDatagram;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use lifeline_service::settings::{Checked, Problems, integer, text};
use lifeline_service::{CommonArgs, Host, Program, SUMMARY, Shell, Shutdown, Summary};

/// Which program the child is.
const CHILD: &str = "TEST_HOST_CHILD";

/// How long anything is waited for.
const PATIENCE: Duration = Duration::from_secs(30);

/// A service for tests.
#[derive(clap::Parser, Debug)]
#[command(name = "tested", version)]
struct Args {
    /// Exit code of the summary
    #[arg(long, env = "CODE", default_value = "0", value_parser = integer::<u8>(0..=100))]
    code: Checked<u8>,
    #[arg(long, env = "OLD_CODE", hide = true, value_parser = integer::<u8>(0..=100))]
    old_code: Option<Checked<u8>>,
    /// Error that ends it
    #[arg(long, env = "FAIL_WITH", value_parser = text())]
    fail_with: Option<Checked<String>>,
    /// Ignore the first signal
    #[arg(long)]
    stubborn: bool,
    #[command(flatten)]
    common: CommonArgs,
}

#[derive(Debug)]
struct Config {
    code: u8,
    fail_with: Option<String>,
    stubborn: bool,
}

impl Program for Args {
    type Config = Config;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(self, problems: &mut Problems) -> Config {
        let code = problems.renamed(self.old_code, self.code, "CODE");
        let (code, fail_with) = (problems.value(code), problems.optional(self.fail_with));
        Config { code, fail_with, stubborn: self.stubborn }
    }
}

struct Ended(u8);

impl Summary for Ended {
    fn log(&self) {
        tracing::info!(name: SUMMARY, target: "tested", code = self.0, "drained");
    }

    fn exit_code(&self) -> u8 {
        self.0
    }
}

async fn serve(config: Config, host: Host) -> anyhow::Result<Ended> {
    host.started();
    if let Some(error) = config.fail_with {
        anyhow::bail!(error);
    }
    host.shutdown.requested().await;
    if config.stubborn {
        std::future::pending().await
    }
    Ok(Ended(config.code))
}

/// Two services; the second starts when a line is written to standard input, and is stuck at the next.
fn two() -> ExitCode {
    let args = <Args as clap::Parser>::parse();
    let mut problems = Problems::default();
    let common = args.common.clone().check(&mut problems);
    common.process.log.clone().install();
    let mut shell = Shell::start("two", "1.2.3", &common.process, common.threads, &[]).unwrap();
    let first = shell.host("first", common.health_addr).unwrap();
    let second = shell.host("second", "127.0.0.1:0".parse().unwrap()).unwrap();
    shell.block_on(async move {
        first.started();
        let line = || tokio::task::spawn_blocking(|| std::io::stdin().read_line(&mut String::new()));
        line().await??;
        second.started();
        line().await??;
        let stuck = second.health.pulses.start("part", Duration::ZERO);
        second.shutdown.requested().await;
        drop(stuck);
        Ok(Ended(0))
    })
}

/// Whether the shutdown has begun when it is logged, by an output that takes its time.
struct Slow(Arc<OnceLock<Shutdown>>);

impl<S: tracing::Subscriber> tracing_subscriber::Layer<S> for Slow {
    fn on_event(&self, event: &tracing::Event<'_>, _: tracing_subscriber::layer::Context<'_, S>) {
        if event.fields().any(|field| field.name() == "signal") {
            let begun = self.0.get().is_some_and(Shutdown::is_requested);
            std::thread::sleep(Duration::from_millis(20));
            println!("logged, begun: {begun}");
        } else if event.metadata().name() == SUMMARY {
            println!("drained");
        }
    }
}

/// A service that drains at once, with a log that does not.
fn slow() -> ExitCode {
    let args = <Args as clap::Parser>::parse();
    let common = args.common.clone().check(&mut Problems::default());
    let seen = Arc::new(OnceLock::new());
    common.process.log.clone().install_layer(Slow(Arc::clone(&seen)));
    let mut shell = Shell::start("slow", "1.2.3", &common.process, common.threads, &[]).unwrap();
    let host = shell.host("slow", common.health_addr).unwrap();
    seen.set(host.shutdown.clone()).unwrap();
    shell.block_on(async move {
        host.started();
        println!("started");
        host.shutdown.requested().await;
        Ok(Ended(0))
    })
}

fn main() -> ExitCode {
    match std::env::var(CHILD).as_deref() {
        Ok("one") => return lifeline_service::main::<Args, _, _>(serve),
        Ok("two") => return two(),
        Ok("slow") => return slow(),
        _ => {}
    }
    let tests: [(&str, fn()); 12] = [
        (
            "every_bad_setting_is_reported_before_a_port_opens",
            every_bad_setting_is_reported_before_a_port_opens,
        ),
        ("errors_of_the_start_have_the_form_of_the_log", errors_of_the_start_have_the_form_of_the_log),
        ("a_signal_takes_effect_before_it_is_logged", a_signal_takes_effect_before_it_is_logged),
        (
            "a_signal_drains_and_the_summary_is_the_last_line",
            a_signal_drains_and_the_summary_is_the_last_line,
        ),
        ("the_self_check_needs_no_other_setting", the_self_check_needs_no_other_setting),
        ("a_fatal_error_is_reported_once", a_fatal_error_is_reported_once),
        ("a_port_in_use_is_an_error_that_names_it", a_port_in_use_is_an_error_that_names_it),
        ("a_former_name_is_warned_about", a_former_name_is_warned_about),
        (
            "a_second_signal_exits_unless_it_repeats_the_first",
            a_second_signal_exits_unless_it_repeats_the_first,
        ),
        ("a_closed_terminal_drains_unless_it_is_ignored", a_closed_terminal_drains_unless_it_is_ignored),
        ("a_process_that_does_not_drain_is_ended", a_process_that_does_not_drain_is_ended),
        ("several_services_are_ready_and_alive_together", several_services_are_ready_and_alive_together),
    ];
    let filters: Vec<_> = std::env::args().skip(1).filter(|argument| !argument.starts_with('-')).collect();
    for (name, test) in tests {
        if filters.is_empty() || filters.iter().any(|filter| name.contains(filter)) {
            println!("test {name} ...");
            test();
        }
    }
    ExitCode::SUCCESS
}

struct Running {
    child: Child,
    log: Receiver<String>,
    errors: Receiver<String>,
    seen: String,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn command(program: &str, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(arguments).env_clear().env(CHILD, program).stdin(Stdio::piped());
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn start(mut command: Command) -> Running {
    let mut child = command.spawn().unwrap();
    let (stdout, mut stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
    let ((to_log, log), (to_errors, errors)) = (channel(), channel());
    std::thread::spawn(move || {
        BufReader::new(stdout).lines().try_for_each(|line| to_log.send(line.unwrap()))
    });
    std::thread::spawn(move || {
        let mut text = String::new();
        stderr.read_to_string(&mut text).unwrap();
        to_errors.send(text)
    });
    Running { child, log, errors, seen: String::new() }
}

impl Running {
    /// The next line of the log; none after its end.
    fn next_line(&mut self) -> Option<String> {
        match self.log.recv_timeout(PATIENCE) {
            Ok(line) => {
                self.seen.push_str(&line);
                self.seen.push('\n');
                Some(line)
            }
            Err(RecvTimeoutError::Disconnected) => None,
            Err(RecvTimeoutError::Timeout) => {
                panic!("no further line within {PATIENCE:?} of:\n{}", self.seen)
            }
        }
    }

    /// Reads the log up to a line with this text, and returns that line.
    fn until(&mut self, text: &str) -> String {
        while let Some(line) = self.next_line() {
            if line.contains(text) {
                return line;
            }
        }
        panic!("no line with {text:?} in:\n{}", self.seen);
    }

    /// The address of the health server in the next line that has one.
    fn address(&mut self) -> SocketAddr {
        let line = self.until("health=");
        line.rsplit_once("health=").unwrap().1.split_whitespace().next().unwrap().parse().unwrap()
    }

    fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        assert!(Command::new("kill").args(["-s", name, &id]).status().unwrap().success());
    }

    fn line(&mut self) {
        std::io::Write::write_all(self.child.stdin.as_mut().unwrap(), b"\n").unwrap();
    }

    /// Exit code, whole log, standard error.
    fn end(mut self) -> (Option<i32>, String, String) {
        while self.next_line().is_some() {}
        let errors = self.errors.recv_timeout(PATIENCE).unwrap();
        let mut code = None;
        within_patience("the process ends", || {
            code = self.child.try_wait().unwrap();
            code.is_some()
        });
        (code.unwrap().code(), std::mem::take(&mut self.seen), errors)
    }
}

fn within_patience(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn run(arguments: &[&str], variables: &[(&str, &str)]) -> (Option<i32>, String, String) {
    let mut command = command("one", arguments);
    command.envs(variables.iter().copied());
    start(command).end()
}

fn every_bad_setting_is_reported_before_a_port_opens() {
    let variables = [("CODE", "101"), ("HEALTH_ADDR", "x"), ("LOG_FORMAT", ""), ("SHUTDOWN_GRACE", "1d")];
    let (code, log, errors) = run(&["--threads=0"], &variables);
    assert_eq!((code, log.as_str()), (Some(2), ""));
    let names: Vec<_> = errors.lines().map(|line| line.split(": ").next().unwrap()).collect();
    assert_eq!(names, ["HEALTH_ADDR=x", "--threads=0", "SHUTDOWN_GRACE=1d", "CODE=101"], "{errors}");
    assert_eq!(run(&["--no-such-flag"], &[]).0, Some(2));
}

fn errors_of_the_start_have_the_form_of_the_log() {
    let json = |errors: &str| -> Vec<String> {
        let message = |line: &str| {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            assert_eq!((line["level"].as_str(), line["target"].as_str()), (Some("ERROR"), Some("service")));
            line["message"].as_str().unwrap().to_owned()
        };
        errors.lines().map(message).collect()
    };
    let as_json = ("LOG_FORMAT", "json");
    // a value reads back as what it was
    let (code, log, errors) = run(&["--code=a\nb\\c", "--threads=0"], &[as_json]);
    assert_eq!((code, log.as_str()), (Some(2), ""));
    let problems = json(&errors);
    assert!(problems.len() == 2 && problems[0].starts_with("--threads=0: "), "{errors}");
    assert!(problems[1].starts_with("--code=a\nb\\c: "), "{errors}");
    let (_, _, errors) = run(&["--code=a\nb\\c"], &[]);
    assert!(errors.starts_with(r"--code=a\nb\\c: ") && errors.lines().count() == 1, "{errors}");
    let (code, _, errors) = run(&["--log-format", "json", "--no-such-flag"], &[]);
    assert_eq!(code, Some(2));
    assert!(json(&errors)[0].contains("--no-such-flag"), "{errors}");
    // the flag comes before the variable
    let (_, _, errors) = run(&["--log-format=text", "--code=101"], &[as_json]);
    assert!(errors.starts_with("--code=101: "), "{errors}");
    let fatal = ["--health-addr=127.0.0.1:0", "--fail-with=no such queue"];
    let (code, log, errors) = run(&fatal, &[as_json]);
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    assert_eq!(json(log.lines().next_back().unwrap()), ["no such queue"]);
    let (_, log, errors) = run(&fatal, &[as_json, ("RUST_LOG", "off")]);
    assert_eq!((log.as_str(), json(&errors)), ("", vec!["tested: no such queue".to_owned()]));
}

fn a_signal_takes_effect_before_it_is_logged() {
    let mut service = start(command("slow", &["--health-addr=127.0.0.1:0", "--access-log=off"]));
    service.until("started");
    service.signal("TERM");
    service.until("logged, begun: true");
    // and the summary is the last line anyway
    service.until("drained");
    assert_eq!(service.end().0, Some(0));
}

fn a_signal_drains_and_the_summary_is_the_last_line() {
    for (format, last) in
        [("text", "INFO tested: drained code=7"), ("json", "\"message\":\"drained\",\"code\":7")]
    {
        for signal in ["TERM", "INT"] {
            let arguments =
                ["--health-addr=127.0.0.1:0", "--code=7", "--log-format", format, "--rust-log=info"];
            let mut service = start(command("one", &arguments));
            let address = if format == "text" { Some(service.address()) } else { None };
            if let Some(address) = address {
                let ready = || lifeline_health::ask(address, "/ready", PATIENCE).unwrap().status == 200;
                within_patience("it becomes ready", ready);
            } else {
                service.until("starting tested");
            }
            service.signal(signal);
            let (code, log, errors) = service.end();
            assert_eq!((code, errors.as_str()), (Some(7), ""));
            assert!(log.contains(&format!("SIG{signal}")), "{log}");
            assert!(log.lines().next_back().unwrap().contains(last), "{log}");
        }
    }
}

fn the_self_check_needs_no_other_setting() {
    let mut service = start(command("one", &["--health-addr=127.0.0.1:0"]));
    let address = service.address().to_string();
    let (code, body, _) =
        run(&["health"], &[("HEALTH_ADDR", &address), ("CODE", "bad"), ("RUST_LOG", "a=b=c")]);
    assert_eq!((code, body.as_str()), (Some(0), "{ \"status\": \"UP!\" }\n"));
    assert_eq!(run(&["health", "--health-addr", &address], &[]).0, Some(0));
    service.signal("TERM");
    assert_eq!(service.end().0, Some(0));
    let (code, _, errors) = run(&["health", "--health-addr", &address], &[]);
    assert!(code == Some(1) && errors.starts_with("tested health: "), "{errors}");
    assert_eq!(run(&["health", "--health-addr=x"], &[]).0, Some(2));
}

fn a_fatal_error_is_reported_once() {
    let arguments = ["--health-addr=127.0.0.1:0", "--fail-with=no such queue"];
    let (code, log, errors) = run(&arguments, &[]);
    assert_eq!((code, errors.as_str()), (Some(1), ""));
    assert_eq!(log.matches("no such queue").count(), 1, "{log}");
    // where the log does not show it, standard error does
    let (code, log, errors) = run(&arguments, &[("RUST_LOG", "off")]);
    assert_eq!((code, log.as_str(), errors.as_str()), (Some(1), "", "tested: no such queue\n"));
}

fn a_port_in_use_is_an_error_that_names_it() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let (code, log, _) = run(&["--health-addr", &address], &[]);
    assert_eq!(code, Some(1));
    assert!(log.contains(&format!("cannot listen on {address}")), "{log}");
}

fn a_former_name_is_warned_about() {
    let mut command = command("one", &["--health-addr=127.0.0.1:0"]);
    command.env("OLD_CODE", "3");
    let mut service = start(command);
    service.until("WARN service: OLD_CODE is deprecated: it is now CODE");
    service.address();
    service.signal("TERM");
    assert_eq!(service.end().0, Some(3));
}

fn a_second_signal_exits_unless_it_repeats_the_first() {
    let mut service = start(command("one", &["--health-addr=127.0.0.1:0", "--stubborn"]));
    service.address();
    service.signal("TERM");
    service.until("shutting down");
    service.signal("TERM");
    service.signal("INT");
    std::thread::sleep(Duration::from_millis(1100)); // the time that the contract names
    assert_eq!(service.child.try_wait().unwrap(), None, "a repeat within a second is the same signal");
    service.signal("TERM");
    assert_eq!(service.end().0, Some(130));
}

fn a_closed_terminal_drains_unless_it_is_ignored() {
    let program = std::env::current_exe().unwrap();
    // under nohup the test itself ignores it, and what it starts inherits that
    let mut closing = Command::new("/usr/bin/env");
    if std::fs::read_to_string("/proc/self/status").is_ok() {
        closing.arg("--default-signal=HUP");
    }
    closing.arg(&program).args(["--health-addr=127.0.0.1:0", "--code=5"]).env_clear().env(CHILD, "one");
    closing.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut service = start(closing);
    service.address();
    service.signal("HUP");
    assert_eq!(service.end().0, Some(5));

    let mut nohup = Command::new("/bin/sh");
    nohup.args(["-c", "trap '' HUP; exec \"$0\" --health-addr=127.0.0.1:0"]).arg(program);
    nohup.env(CHILD, "one").stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut service = start(nohup);
    let address = service.address();
    service.signal("HUP");
    service.signal("HUP");
    assert!(lifeline_health::ask(address, "/ready", PATIENCE).unwrap().is_ok());
    service.signal("TERM");
    let (code, log, _) = service.end();
    assert!(code == Some(0) && !log.contains("SIGHUP"), "{log}");
}

fn a_process_that_does_not_drain_is_ended() {
    let arguments = ["--health-addr=127.0.0.1:0", "--stubborn", "--shutdown-grace=100ms"];
    let mut service = start(command("one", &arguments));
    service.address();
    let begun = Instant::now();
    service.signal("TERM");
    let (code, log, _) = service.end();
    assert_eq!(code, Some(1));
    assert!(log.contains("did not end within SHUTDOWN_GRACE"), "{log}");
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
}

fn several_services_are_ready_and_alive_together() {
    let path = std::env::temp_dir().join(format!("lifeline-host-{}", std::process::id()));
    let manager = UnixDatagram::bind(&path).unwrap();
    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    let next = || {
        let mut bytes = [0; 64];
        let length = manager.recv(&mut bytes).unwrap();
        String::from_utf8(bytes[..length].to_vec()).unwrap()
    };
    let mut command = command("two", &["--health-addr=127.0.0.1:0"]);
    command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "100000");
    let mut service = start(command);
    let (first, second) = (service.address(), service.address());
    assert_eq!(next(), "WATCHDOG=1");

    let ask = |address, path| lifeline_health::ask(address, path, PATIENCE).unwrap();
    assert_eq!(ask(first, "/ready").status, 200);
    let starting = ask(second, "/ready");
    assert!(starting.status == 503 && starting.body.contains("service"), "{}", starting.body);
    service.line();
    within_patience("READY", || next() == "READY=1");
    assert_eq!(ask(second, "/ready").status, 200);

    // one stale pulse of either stops the watchdog
    service.line();
    within_patience("it is DOWN", || ask(second, "/health").status != 200);
    assert_eq!(ask(first, "/health").status, 200);
    manager.set_read_timeout(Some(Duration::from_millis(500))).unwrap();
    within_patience("the watchdog is silent", || manager.recv(&mut [0; 64]).is_err());

    manager.set_read_timeout(Some(PATIENCE)).unwrap();
    service.signal("TERM");
    assert_eq!(next(), "STOPPING=1");
    assert_eq!(service.end().0, Some(0));
    std::fs::remove_file(path).unwrap();
}
