//! Whole services as processes: `run_with`, workers with a name, and everything that can go wrong in a setup.
//!
//! `run_with` reads its process's arguments and ends with its exit code, so each service is this program again, with the
//! service's name in the variable `SERVICE`; hence no test harness.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a test")]

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline::{BoxError, Host, Message, Workers};
use lifeline_emulator::Emulator;

const SOON: Duration = Duration::from_secs(60);

/// What the process does that is a service.
fn service(name: &str) -> ExitCode {
    match name {
        "two queues" => lifeline::run_with(async |settings: Settings, host: Host| {
            while !settings.go.exists() {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
            say(&format!("greeting {}", settings.greeting));
            let workers =
                Workers::new().add(host.worker(), order).add(host.worker_named("invoices"), invoice);
            lifeline::Result::Ok(workers)
        }),
        "publishes" => lifeline::run_with(async |(), host: Host| {
            let invoices = host.publisher("invoices").start().await?;
            let closed = invoices.close();
            let handle = move |message: Message| {
                let invoices = invoices.clone();
                async move {
                    invoices.publish(message.body).await?;
                    Ok::<(), BoxError>(())
                }
            };
            lifeline::Result::Ok(Workers::new().add(host.worker(), handle).after(closed))
        }),
        "fails" => lifeline::run_with(async |(), _: Host| {
            let error = std::io::Error::other("connection\nrefused");
            Err::<Workers, BoxError>(error.into())
        }),
        "panics" => lifeline::run_with(async |(), _: Host| {
            let none: Option<Workers> = std::hint::black_box(None);
            Ok::<_, BoxError>(none.expect("no database"))
        }),
        "hangs" => lifeline::run_with(async |(), _: Host| {
            say("the setup hangs");
            std::future::pending::<lifeline::Result<Workers>>().await
        }),
        "blocks" => lifeline::run_with(async |(), _: Host| {
            say("the setup blocks");
            std::thread::sleep(Duration::from_secs(3600));
            lifeline::Result::Ok(Workers::new())
        }),
        "same name" => lifeline::run_with(async |(), host: Host| {
            let worker = || host.worker_named("invoices");
            lifeline::Result::Ok(Workers::new().add(worker(), invoice).add(worker(), order))
        }),
        "no workers" => lifeline::run_with(async |(), _: Host| lifeline::Result::Ok(Workers::new())),
        "within a runtime" => {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async { lifeline::run(order) })
        }
        name => panic!("no service is called {name}"),
    }
}

#[derive(clap::Args)]
struct Settings {
    /// What is said
    #[arg(long, env)]
    greeting: String,
    /// The setup waits for this file
    #[arg(long, env)]
    go: PathBuf,
}

async fn order(body: String) -> lifeline::Result {
    say(&format!("order {body}"));
    Ok(())
}

async fn invoice(body: String) -> lifeline::Result {
    // still at work when the process is told to end
    tokio::time::sleep(Duration::from_millis(500)).await;
    say(&format!("invoice {body}"));
    Ok(())
}

/// A line on standard output, at once.
fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{text}").and_then(|()| out.flush()).unwrap();
}

/// A service that runs, and what it printed, errors included.
struct Process {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
    readers: Vec<std::thread::JoinHandle<()>>,
    health: SocketAddr,
}

impl Process {
    fn start(emulator: &Emulator, service: &str, settings: &[(&str, &str)]) -> Self {
        // free a moment ago; whoever takes it in between makes the process say so
        let health = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let mut child = Command::new(std::env::current_exe().unwrap())
            .env_clear()
            .env("SERVICE", service)
            .env("HEALTH_ADDR", health.to_string())
            .env("AWS_ENDPOINT_URL", emulator.url())
            .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("WAIT_TIME", "1s")])
            .envs([("QUEUE_NAME", "orders"), ("PROVISION", "false")])
            .envs(settings.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let keep = |output: Box<dyn std::io::Read + Send>| {
            let lines = Arc::clone(&lines);
            std::thread::spawn(move || {
                for line in BufReader::new(output).lines().map_while(Result::ok) {
                    lines.lock().unwrap().push(line);
                }
            })
        };
        let readers =
            vec![keep(Box::new(child.stdout.take().unwrap())), keep(Box::new(child.stderr.take().unwrap()))];
        Self { child, lines, readers, health }
    }

    fn times_said(&self, words: &str) -> usize {
        self.lines.lock().unwrap().iter().filter(|line| line.contains(words)).count()
    }

    fn until(&mut self, what: &str, done: impl Fn(&Self) -> bool) {
        let end = Instant::now() + SOON;
        while !done(self) {
            let ended = self.child.try_wait().unwrap();
            assert!(
                ended.is_none() && Instant::now() < end,
                "{what}: {ended:?} {:#?}",
                self.lines.lock().unwrap()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn ask(&self, path: &str) -> Option<(u16, String)> {
        let answer = lifeline_health::ask(self.health, path, Duration::from_secs(2)).ok()?;
        Some((answer.status, answer.body))
    }

    fn terminate(&self) {
        let sent = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code and all that was printed.
    fn end(mut self) -> (Option<i32>, String) {
        let end = Instant::now() + SOON;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(Instant::now() < end, "still runs: {:#?}", self.lines.lock().unwrap());
            std::thread::sleep(Duration::from_millis(10));
        };
        self.readers.drain(..).for_each(|reader| reader.join().unwrap());
        (status.code(), self.lines.lock().unwrap().join("\n"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn emulator() -> Emulator {
    Emulator::start_on_own_thread().unwrap()
}

fn two_queues_have_settings_of_their_own_and_one_drain() {
    let emulator = emulator();
    let (orders, invoices) = (emulator.queue("orders"), emulator.queue("billing"));
    orders.send_all(["1", "2"]);
    invoices.send_all(["3", "4", "5"]);
    let folder = std::env::temp_dir().join(format!("lifeline-service-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let go = folder.join("go");
    let settings = [
        ("GREETING", "hello"),
        ("GO", go.to_str().unwrap()),
        ("INVOICES_QUEUE_NAME", "billing"),
        ("INVOICES_MAX_IN_FLIGHT", "1"),
        ("INVOICES_POLLERS", "1"),
        ("MAX_IN_FLIGHT", "7"),
        // empty is not set
        ("INVOICES_WAIT_TIME", ""),
    ];
    let mut process = Process::start(&emulator, "two queues", &settings);
    process.until("it is up while its setup waits", |process| {
        process.ask("/health").is_some_and(|(status, _)| status == 200)
    });
    let (status, body) = process.ask("/ready").unwrap();
    assert_eq!((status, body.contains(r#""service": "starting""#)), (503, true), "{body}");
    assert_eq!((orders.len(), invoices.len()), (2, 3), "nothing is received before");
    std::fs::write(&go, "").unwrap();
    process.until("it is ready", |process| process.ask("/ready").is_some_and(|(status, _)| status == 200));
    process.until("it handles the orders and an invoice", |process| {
        process.times_said("order ") == 2 && process.times_said("invoice ") >= 1
    });
    let (_, metrics) = process.ask("/metrics").unwrap();
    assert!(metrics.contains("consumer_messages_received_total 2"), "{metrics}");
    let one_at_a_time =
        metrics.lines().find(|line| line.starts_with("consumer_in_flight_messages{worker=\"invoices\"}"));
    assert!(
        one_at_a_time.is_some_and(|line| line.ends_with(" 1") || line.ends_with(" 0")),
        "{one_at_a_time:?}"
    );
    process.terminate();
    let (code, said) = process.end();
    std::fs::remove_dir_all(&folder).unwrap();
    assert_eq!(code, Some(0), "{said}");
    let done = said.matches("\ninvoice ").count();
    assert!(said.contains("greeting hello") && said.contains(&format!("deleted={} ", 2 + done)), "{said}");
    assert_eq!(invoices.len(), 3 - done, "{said}");
    assert_eq!(said.matches("drained received=").count(), 1, "one drain, one summary: {said}");
}

fn a_handler_publishes_and_the_publisher_is_closed_last() {
    let emulator = emulator();
    let (orders, invoices) = (emulator.queue("orders"), emulator.topic("invoices"));
    orders.send_all(["1", "2", "3"]);
    let mut process = Process::start(&emulator, "publishes", &[]);
    process.until("all are published", |_| orders.is_empty() && invoices.messages().len() == 3);
    let (_, metrics) = process.ask("/metrics").unwrap();
    assert!(metrics.contains("{publisher=\"to-invoices\"} 3"), "{metrics}");
    process.terminate();
    let (code, said) = process.end();
    assert_eq!((code, said.contains("drained received=3 deleted=3 ")), (Some(0), true), "{said}");
}

fn the_error_of_a_setup_is_logged_and_the_exit_code_is_1() {
    let (code, said) = Process::start(&emulator(), "fails", &[]).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains(r"ERROR") && said.contains(r"the setup failed: connection\nrefused"), "{said}");
}

fn a_setup_that_panics_is_an_error() {
    let (code, said) = Process::start(&emulator(), "panics", &[]).end();
    assert_eq!((code, said.contains("the setup panicked: no database")), (Some(1), true), "{said}");
}

fn a_setup_that_hangs_ends_at_a_signal() {
    let emulator = emulator();
    let mut process = Process::start(&emulator, "hangs", &[("SHUTDOWN_GRACE", "1h")]);
    process.until("it hangs", |process| process.times_said("the setup hangs") == 1);
    assert_eq!(process.ask("/ready").unwrap().0, 503);
    assert_eq!(process.ask("/health").unwrap().0, 200);
    process.terminate();
    let (code, said) = process.end();
    assert_eq!(code, Some(0), "{said}");
    assert!(
        said.contains("the setup was not done when the shutdown was requested; nothing was received"),
        "{said}"
    );
    assert!(said.contains("drained received=0 "), "{said}");
}

fn a_setup_that_blocks_is_ended_after_the_grace() {
    let emulator = emulator();
    let mut process = Process::start(&emulator, "blocks", &[("SHUTDOWN_GRACE", "1s")]);
    process.until("it blocks", |process| process.times_said("the setup blocks") == 1);
    process.terminate();
    let (code, said) = process.end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("the shutdown did not end within SHUTDOWN_GRACE; exiting"), "{said}");
}

fn a_bad_value_names_its_variable_and_the_exit_code_is_2() {
    let settings =
        [("GREETING", "hello"), ("GO", "/"), ("INVOICES_MAX_IN_FLIGHT", "many"), ("INVOICES_POLLERS", "0")];
    let (code, said) = Process::start(&emulator(), "two queues", &settings).end();
    assert_eq!(code, Some(2), "{said}");
    assert!(
        said.contains("INVOICES_MAX_IN_FLIGHT=many: invalid value; expected a whole number from 1 to 100000"),
        "{said}"
    );
    assert!(
        said.contains("INVOICES_POLLERS=0: invalid value; expected a whole number from 1 to 256"),
        "{said}"
    );
    assert_eq!(said.matches("ERROR").count(), 2, "a line each: {said}");

    // those without a prefix are checked before anything else is done
    let (code, said) =
        Process::start(&emulator(), "two queues", &[("POLLERS", "none"), ("GO", "/"), ("GREETING", "x")])
            .end();
    assert_eq!(
        (code, said.as_str()),
        (Some(2), "POLLERS=none: invalid value; expected a whole number from 1 to 256")
    );

    let (code, said) = Process::start(&emulator(), "two queues", &[("GO", "/")]).end();
    assert_eq!((code, said.contains("--greeting <GREETING>")), (Some(2), true), "{said}");
}

fn two_workers_with_one_name_are_an_error() {
    let (code, said) = Process::start(&emulator(), "same name", &[]).end();
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("two workers have the name \"invoices\"; give each its own"), "{said}");
}

fn a_service_without_workers_is_an_error() {
    let (code, said) = Process::start(&emulator(), "no workers", &[]).end();
    assert_eq!((code, said.contains("there are no workers")), (Some(1), true), "{said}");
}

fn within_a_runtime_it_says_what_to_do() {
    let (code, said) = Process::start(&emulator(), "within a runtime", &[]).end();
    assert_eq!(code, Some(101), "{said}");
    assert!(said.contains("a main that is not async, without #[tokio::main]"), "{said}");
    assert!(said.contains("lifeline/tests/service.rs:"), "it says where: {said}");
}

const TESTS: &[(&str, fn())] = &[
    (
        "two_queues_have_settings_of_their_own_and_one_drain",
        two_queues_have_settings_of_their_own_and_one_drain,
    ),
    (
        "a_handler_publishes_and_the_publisher_is_closed_last",
        a_handler_publishes_and_the_publisher_is_closed_last,
    ),
    (
        "the_error_of_a_setup_is_logged_and_the_exit_code_is_1",
        the_error_of_a_setup_is_logged_and_the_exit_code_is_1,
    ),
    ("a_setup_that_panics_is_an_error", a_setup_that_panics_is_an_error),
    ("a_setup_that_hangs_ends_at_a_signal", a_setup_that_hangs_ends_at_a_signal),
    ("a_setup_that_blocks_is_ended_after_the_grace", a_setup_that_blocks_is_ended_after_the_grace),
    (
        "a_bad_value_names_its_variable_and_the_exit_code_is_2",
        a_bad_value_names_its_variable_and_the_exit_code_is_2,
    ),
    ("two_workers_with_one_name_are_an_error", two_workers_with_one_name_are_an_error),
    ("a_service_without_workers_is_an_error", a_service_without_workers_is_an_error),
    ("within_a_runtime_it_says_what_to_do", within_a_runtime_it_says_what_to_do),
];

/// As cargo's own harness, as far as it is used: a filter by name, and the line that counts.
fn main() -> ExitCode {
    if let Ok(name) = std::env::var("SERVICE") {
        return service(&name);
    }
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    let filter = arguments.iter().find(|argument| !argument.starts_with('-')).map_or("", String::as_str);
    let chosen = || TESTS.iter().filter(|(name, _)| name.contains(filter));
    if arguments.iter().any(|argument| argument == "--list") {
        chosen().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let failed = std::thread::scope(|scope| {
        let running: Vec<_> = chosen().map(|(name, test)| (name, scope.spawn(test))).collect();
        let results = running.into_iter().map(|(name, test)| (name, test.join().is_ok()));
        results
            .filter(|(name, ok)| {
                println!("test {name} ... {}", if *ok { "ok" } else { "FAILED" });
                !ok
            })
            .count()
    });
    let (passed, filtered) = (chosen().count() - failed, TESTS.len() - chosen().count());
    let result = if failed == 0 { "ok" } else { "FAILED" };
    println!(
        "\ntest result: {result}. {passed} passed; {failed} failed; 0 ignored; 0 measured; {filtered} filtered out\n"
    );
    ExitCode::from(u8::from(failed > 0))
}
