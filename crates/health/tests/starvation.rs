//! 500 idle clients, 500 that send a byte a second, 500 that never read, and every core busy: a new connection is
//! answered within a second, and the server takes no more threads or memory for it.
//!
//! Server and clients are processes of their own (this binary again, told by a variable what to be), so that the
//! server's threads and memory are its alone.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // as in any test

mod wire;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::channel;
use std::thread;
use std::time::{Duration, Instant};

const ROLE: &str = "HEALTH_TEST_ROLE";
const CLIENTS: usize = 500;

/// What the other processes of these tests run; nothing, when this is a test run.
#[test]
fn role() {
    match std::env::var(ROLE).as_deref() {
        Ok("busy") => {
            keep_every_core_busy();
            serve();
        }
        Ok("frugal") => serve(),
        Ok(kind) => attack(kind),
        Err(_) => {}
    }
}

#[test]
fn slow_clients_and_busy_cores_delay_no_answer_and_take_no_threads_and_little_memory() {
    let (server, addr) = Role::start("busy", "", None);
    let addr: SocketAddr = addr.parse().unwrap();
    let answers = ask_often(addr, Duration::from_secs(1));
    let before = figures(&server.process);

    let attackers = ["idle", "drip", "deaf"].map(|kind| Role::start(kind, &addr.to_string(), None).0);
    // Longer than every deadline: connections that the clients still hold will never be closed.
    let attacked = ask_often(addr, Duration::from_secs(9));
    let during = figures(&server.process);
    drop(attackers);

    println!(
        "alone: slowest {answers:?}, threads and KiB {before:?}; under attack: slowest {attacked:?}, {during:?}"
    );
    assert!(attacked < Duration::from_secs(1), "the slowest of the answers took {attacked:?}");
    // Fewer, when it was long enough: tiny_http's spare threads leave after five seconds.
    assert!(during.threads <= before.threads, "{before:?}, then {during:?}");
    assert!(during.resident_kib < before.resident_kib + 16 * 1024, "{before:?} KiB, then {during:?}");
}

#[test]
fn without_file_descriptors_the_longest_idle_gives_way() {
    let (_server, addr) = Role::start("frugal", "", Some(40));
    let addr: SocketAddr = addr.parse().unwrap();
    let (_idle, _) = Role::start("idle", &addr.to_string(), None);
    let slowest = ask_often(addr, Duration::from_secs(2));
    assert!(slowest < Duration::from_secs(1), "{slowest:?}");
    let metrics = lifeline_health::ask(addr, "/metrics", wire::PATIENCE).unwrap().body;
    assert!(!metrics.contains("health_connections_evicted_total 0\n"), "{metrics}");
}

/// The slowest answer on new connections, ten a second.
fn ask_often(addr: SocketAddr, time: Duration) -> Duration {
    let begun = Instant::now();
    let mut slowest = Duration::ZERO;
    while begun.elapsed() < time {
        let asked = Instant::now();
        let answer = lifeline_health::ask(addr, "/health", wire::PATIENCE).expect("an answer");
        assert_eq!((answer.status, answer.body.as_str()), (200, r#"{ "status": "UP!" }"#));
        slowest = slowest.max(asked.elapsed());
        thread::park_timeout(Duration::from_millis(100).saturating_sub(asked.elapsed()));
    }
    slowest
}

#[derive(Debug)]
struct Figures {
    threads: usize,
    resident_kib: usize,
}

fn figures(process: &Child) -> Figures {
    let text = std::fs::read_to_string(format!("/proc/{}/status", process.id())).expect("Linux");
    let field = |name: &str| {
        let line = text.lines().find(|line| line.starts_with(name)).expect(name);
        line.split_whitespace().nth(1).expect("a number").parse().expect("a number")
    };
    Figures { threads: field("Threads:"), resident_kib: field("VmRSS:") }
}

/// A process that ends with its standard input, and so with this test, however that ends.
struct Role {
    process: Child,
    input: Option<ChildStdin>,
}

impl Role {
    /// Returns when it says that it is there, with what it says.
    fn start(role: &str, addr: &str, descriptors: Option<u32>) -> (Role, String) {
        let limit = descriptors.map_or(String::new(), |number| format!("ulimit -n {number} &&"));
        let mut process = Command::new("sh")
            .args(["-c", &format!("{limit} exec \"$0\" --exact role --nocapture")])
            .arg(std::env::current_exe().unwrap())
            .env(ROLE, role)
            .env("HEALTH_TEST_ADDR", addr)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let (said, hears) = channel();
        let output = BufReader::new(process.stdout.take().unwrap());
        // Reads on to the end: a full pipe would block the other side.
        thread::spawn(move || output.lines().map_while(Result::ok).for_each(|line| _ = said.send(line)));
        let input = process.stdin.take();
        let role = Role { process, input };
        loop {
            let line = hears.recv_timeout(wire::PATIENCE).expect("the other process starts");
            if let Some((_, word)) = line.split_once("here: ") {
                return (role, word.to_owned());
            }
        }
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        drop(self.input.take());
        let _ = self.process.wait();
    }
}

fn keep_every_core_busy() {
    for _ in 0..thread::available_parallelism().map_or(4, usize::from) * 2 {
        thread::spawn(|| {
            let mut x = 1_u64;
            loop {
                x = std::hint::black_box(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
            }
        });
    }
}

fn serve() {
    let pulses = lifeline_health::Pulses::new();
    let metrics = lifeline_health::Metrics::new("1", &pulses);
    let log = lifeline_health::AccessLog { silence_healthy: true, ..lifeline_health::AccessLog::default() };
    let server = lifeline_health::Server::builder(pulses, lifeline_health::Readiness::new(), metrics)
        .access_log(log)
        .access_log_to(std::io::sink())
        .listen("127.0.0.1:0".parse().unwrap())
        .unwrap();
    println!("here: {}", server.local_addr());
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

/// Keeps `CLIENTS` connections open and misbehaves on each, second by second, opening anew what was closed.
fn attack(kind: &str) {
    let addr: SocketAddr = std::env::var("HEALTH_TEST_ADDR").unwrap().parse().unwrap();
    let kind = kind.to_owned();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| open(&kind, addr)).collect();
    println!("here: {kind}");
    thread::spawn(move || {
        loop {
            for (n, client) in clients.iter_mut().enumerate() {
                // The second is spread over them: they reconnect as a crowd does, not as one.
                if n % 10 == 0 {
                    thread::park_timeout(Duration::from_secs(1) * 10 / CLIENTS as u32);
                }
                if !client.as_mut().is_some_and(|stream| keep_on(&kind, stream)) {
                    *client = open(&kind, addr);
                }
            }
        }
    });
    let _ = std::io::stdin().read(&mut [0]);
    std::process::exit(0);
}

fn open(kind: &str, addr: SocketAddr) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(addr).ok()?;
    stream.set_nonblocking(true).ok()?;
    match kind {
        "drip" => stream.write_all(b"GET /health HTTP/1.1\r\nX: ").ok()?,
        // More answers than any buffer takes.
        "deaf" => _ = stream.write(&b"GET /metrics HTTP/1.1\r\n\r\n".repeat(2000)),
        _ => {}
    }
    Some(stream)
}

/// False if the server has closed the connection.
fn keep_on(kind: &str, stream: &mut TcpStream) -> bool {
    let blocked = |error: &std::io::Error| error.kind() == ErrorKind::WouldBlock;
    match kind {
        "deaf" => stream.write(b"GET /metrics HTTP/1.1\r\n\r\n").as_ref().map_or_else(blocked, |_| true),
        "drip" if stream.write_all(b"x").is_err() => false,
        _ => stream.read(&mut [0; 512]).as_ref().is_err_and(blocked),
    }
}
