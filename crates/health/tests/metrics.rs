//! Metrics: what Prometheus and its tools make of them.
#![allow(clippy::unwrap_used, clippy::print_stdout)] // as in any test

use std::io::Write;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use lifeline_health::{LATENCY_BUCKETS, Metrics, Pulses, Readiness, Server};

#[test]
fn build_info_pulses_and_conditions_come_with_it() {
    let pulses = Pulses::new();
    let metrics = Metrics::new("1.2.3", &pulses);
    let pulse = pulses.start("poller-1", Duration::from_secs(1));
    let readiness = Readiness::new();
    let _aws = readiness.condition("aws");
    readiness.condition("topology").met();
    let _server = Server::builder(pulses, readiness, metrics.clone())
        .access_log_to(std::io::sink())
        .listen("127.0.0.1:0".parse().unwrap())
        .unwrap();
    let text = metrics.render();
    assert!(text.contains("build_info{version=\"1.2.3\"} 1\n"), "{text}");
    assert!(text.contains("\nprocess_start_time_seconds 1"), "{text}");
    assert!(text.contains("\npulse_age_seconds{pulse=\"poller-1\"} "), "{text}");
    assert!(text.contains("\nreadiness_condition{condition=\"aws\"} 0\n"), "{text}");
    assert!(text.contains("\nreadiness_condition{condition=\"topology\"} 1\n"), "{text}");
    pulse.retire();
    assert!(!metrics.render().contains("pulse_age_seconds{"), "a retired pulse is gone from the metrics too");
}

#[test]
fn a_gauge_of_the_moment_is_computed_at_each_scrape_and_absent_while_unknown() {
    let metrics = Metrics::new("1", &Pulses::new());
    metrics.gauge_at_scrape("age", "Age.", || None);
    assert!(!metrics.render().contains("age "), "{}", metrics.render());
    assert_eq!(metrics.read("age"), None);
    let scrapes = AtomicU32::new(0);
    // who comes later replaces it, as a part that is started again does
    metrics.gauge_at_scrape("age", "Age.", move || Some(f64::from(scrapes.fetch_add(1, Ordering::Relaxed))));
    assert!(metrics.render().contains("\nage 0\n"), "{}", metrics.render());
    assert!(metrics.render().contains("\nage 1\n"), "{}", metrics.render());
    assert_eq!(metrics.read("age"), Some(2.0));
    metrics.counter("a_total", "A.");
    metrics.gauge_at_scrape("a_total", "A.", || Some(7.0));
    assert!(metrics.render().contains("\na_total 0\n"), "{}", metrics.render());
}

#[test]
fn asking_for_a_metric_again_gives_the_same_one() {
    let metrics = Metrics::new("1", &Pulses::new());
    metrics.counter("a_total", "A.").inc();
    metrics.clone().counter("a_total", "A.").inc();
    metrics.int_gauge("b", "B.").set(3);
    metrics.int_gauge("b", "B.").inc();
    metrics.gauge("c", "C.").set(0.5);
    metrics.gauge("c", "C.").add(0.25);
    metrics.counter_vec("d_total", "D.", &["outcome"]).with_label_values(&["ok"]).inc();
    metrics.counter_vec("d_total", "D.", &["outcome"]).with_label_values(&["ok"]).inc();
    metrics.histogram("e_seconds", "E.", &[1.0]).observe(0.5);
    metrics.histogram("e_seconds", "E.", &[1.0]).observe(2.0);
    metrics.histogram_vec("f_seconds", "F.", &["call"], &[1.0]).with_label_values(&["x"]).observe(0.5);
    metrics.histogram_vec("f_seconds", "F.", &["call"], &[1.0]).with_label_values(&["x"]).observe(0.5);
    let text = metrics.render();
    for line in [
        "a_total 2",
        "b 4",
        "c 0.75",
        "d_total{outcome=\"ok\"} 2",
        "e_seconds_bucket{le=\"1\"} 1",
        "e_seconds_bucket{le=\"+Inf\"} 2",
        "e_seconds_sum 2.5",
        "e_seconds_count 2",
        "f_seconds_bucket{call=\"x\",le=\"1\"} 2",
    ] {
        assert!(text.lines().any(|it| it == line), "{line} in\n{text}");
    }
}

#[test]
fn a_wrong_name_counts_for_nobody_and_stops_nothing() {
    let metrics = Metrics::new("1", &Pulses::new());
    let before = metrics.render();
    metrics.counter("no name", "Spaces.").inc();
    metrics.int_gauge("build_info", "Taken.").inc();
    metrics.gauge("", "Empty.").inc();
    metrics.counter_vec("x_total", "Labels.", &["a b", "c"]).with_label_values(&["1", "2"]).inc();
    metrics.histogram("no-name", "Dashes.", &[1.0]).observe(1.0);
    metrics.histogram("h_seconds", "Unordered.", &[2.0, 1.0]).observe(1.0);
    metrics.histogram_vec("no-name", "Dashes.", &["a"], &[1.0]).with_label_values(&["1"]).observe(1.0);
    assert_eq!(metrics.render(), before);

    metrics.counter("a_total", "A counter.").inc();
    metrics.int_gauge("a_total", "Of another kind.").set(7);
    metrics.counter_vec("b_total", "B.", &["x"]).with_label_values(&["1"]).inc();
    metrics.counter_vec("b_total", "Of other labels.", &["y", "z"]).with_label_values(&["1", "2"]).inc();
    let text = metrics.render();
    assert!(
        text.contains("a_total 1") && text.contains("b_total{x=\"1\"} 1") && !text.contains("y="),
        "{text}"
    );
}

#[test]
fn latency_buckets_go_from_a_millisecond_to_minutes() {
    assert!(LATENCY_BUCKETS.is_sorted());
    assert_eq!((LATENCY_BUCKETS.first(), LATENCY_BUCKETS.last()), (Some(&0.001), Some(&600.0)));
}

#[test]
fn promtool_accepts_what_is_rendered() {
    let pulses = Pulses::new();
    let metrics = Metrics::new("1.2.3", &pulses);
    let _pulse = pulses.start("poller-\"1\"\\\n", Duration::from_secs(1));
    metrics.counter("producer_messages_published_total", "Messages the topic has taken.").inc();
    metrics.int_gauge("consumer_in_flight_messages", "Messages held.").set(3);
    metrics
        .counter_vec("consumer_receive_calls_total", "Receives.", &["outcome"])
        .with_label_values(&["ok"])
        .inc();
    metrics.histogram("consumer_handle_duration_seconds", "Handling.", LATENCY_BUCKETS).observe(0.2);
    let server = Server::builder(pulses, Readiness::new(), metrics)
        .access_log_to(std::io::sink())
        .listen("127.0.0.1:0".parse().unwrap())
        .unwrap();
    let text = lifeline_health::ask(server.local_addr(), "/metrics", Duration::from_secs(5)).unwrap().body;

    let promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut promtool = match promtool {
        Ok(promtool) => promtool,
        Err(error) if std::env::var_os("CI").is_some() => {
            panic!("promtool, of Debian's package prometheus, does not start: {error}")
        }
        Err(_) => return println!("not checked: no promtool here"),
    };
    promtool.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "promtool: {said}\n{text}");
}
