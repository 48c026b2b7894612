//! Holds `docs/metrics-and-alerts.md` to what both services show once they are ready.
#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

use lifeline_messaging::call::Fault;

const PATIENCE: Duration = Duration::from_secs(30);

/// What SQS must be asked for first.
const COUNTS: [&str; 3] =
    ["consumer_dead_letter_messages", "consumer_queue_in_flight_messages", "consumer_queue_visible_messages"];

/// A pipeline without messages: its input stays open. Killed when dropped.
struct Idle {
    child: Child,
    log: Receiver<String>,
}

impl Idle {
    fn start() -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_lifeline"))
            .args(["up", "--input", "-", "--listen", "127.0.0.1:0"])
            .args(["--producer-health-addr", "127.0.0.1:0", "--consumer-health-addr", "127.0.0.1:0"])
            .env_remove("RUST_LOG")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        let (lines, log) = channel();
        std::thread::spawn(move || stdout.lines().try_for_each(|line| lines.send(line.unwrap())));
        Self { child, log }
    }

    /// The address in the next line that starts a service.
    fn health(&self) -> SocketAddr {
        loop {
            let line = self.log.recv_timeout(PATIENCE).unwrap();
            if let Some((_, address)) = line.split_once("health=") {
                return address.split(' ').next().unwrap().parse().unwrap();
            }
        }
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not within {PATIENCE:?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}

fn scrape(address: SocketAddr) -> String {
    lifeline_health::ask(address, "/metrics", PATIENCE).unwrap().body
}

fn names(scrape: &str) -> BTreeSet<String> {
    let types = scrape.lines().filter_map(|line| line.strip_prefix("# TYPE "));
    types.map(|line| line.split(' ').next().unwrap().to_owned()).collect()
}

/// The page's table: `a_b_total`, `…_c_total` are `a_b_total` and `a_c_total`.
fn documented() -> BTreeSet<String> {
    let page = include_str!("../../../docs/metrics-and-alerts.md");
    let table = page.split("## ").find(|section| section.starts_with("Metrics\n")).unwrap();
    let mut found = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| `")) {
        let mut first = "";
        for name in row.split(" | ").next().unwrap().split('`').skip(1).step_by(2) {
            let name = name.split('{').next().unwrap();
            found.insert(match name.strip_prefix('…') {
                // a service, and what it counts
                Some(rest) => first.splitn(3, '_').take(2).collect::<Vec<_>>().join("_") + rest,
                None => {
                    first = name;
                    name.to_owned()
                }
            });
        }
    }
    found
}

#[test]
fn a_ready_service_has_every_metric_of_the_page_and_every_counter_at_zero() {
    let idle = Idle::start();
    let (producer, consumer) = (idle.health(), idle.health());
    for address in [producer, consumer] {
        until("it is ready", || lifeline_health::ask(address, "/ready", PATIENCE).unwrap().is_ok());
    }
    let first = scrape(producer) + &scrape(consumer);
    let mut seen = names(&first);
    // they are absent until they are known
    until("the queues are measured", || {
        seen.extend(names(&scrape(consumer)));
        COUNTS.iter().all(|name| seen.contains(*name))
    });
    assert_eq!(seen, documented());

    let counters: Vec<_> = first
        .lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.rsplit_once(' '))
        .filter(|(series, _)| series.split('{').next().unwrap().ends_with("_total"))
        .collect();
    for (series, value) in &counters {
        // an idle queue is asked
        assert!(*value == "0" || series.contains("receive_calls_total"), "{series} {value}");
    }
    for family in [
        "producer_publish_calls_total",
        "consumer_receive_calls_total",
        "consumer_delete_calls_total",
        "consumer_visibility_calls_total",
    ] {
        for outcome in Fault::ALL.map(Fault::label) {
            let series = format!("{family}{{outcome=\"{outcome}\"}}");
            assert!(counters.iter().any(|(there, _)| *there == series), "{series} in\n{first}");
        }
    }
}
