//! What the endpoints say, to the byte.
#![allow(clippy::unwrap_used)] // as in any test

mod wire;

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use wire::{body, connect, exchange, get, header, one_answer, service, status};

#[test]
fn health_is_up_to_the_byte_while_every_pulse_is_fresh() {
    let it = service();
    let _pulse = it.pulses.start("poller-1", Duration::from_secs(3600));
    let answer = get(it.addr, "/health");
    assert_eq!((status(&answer), body(&answer)), (200, r#"{ "status": "UP!" }"#));
    assert_eq!(header(&answer, "content-type"), Some("application/json"));
    assert_eq!(header(&answer, "content-length"), Some("19"));
}

#[test]
fn health_is_down_and_names_the_stale_pulses_and_comes_back() {
    let it = service();
    let stuck = it.pulses.start("poller-2", Duration::ZERO);
    let _fresh = it.pulses.start("poller-1", Duration::from_secs(3600));
    let _odd = it.pulses.start("a \"quoted\"\nname", Duration::ZERO);
    let answer = get(it.addr, "/health");
    let down = r#"{ "status": "DOWN", "stale": ["a \"quoted\"\nname", "poller-2"] }"#;
    assert_eq!((status(&answer), body(&answer)), (503, down));
    _odd.retire();
    let answer = get(it.addr, "/health");
    assert_eq!((status(&answer), body(&answer)), (503, r#"{ "status": "DOWN", "stale": ["poller-2"] }"#));
    stuck.retire();
    assert_eq!(status(&get(it.addr, "/health")), 200);
}

#[test]
fn ready_gives_every_reason_until_all_conditions_are_met() {
    let it = service();
    assert_eq!(body(&get(it.addr, "/ready")), r#"{ "status": "READY" }"#);
    let (topology, aws) = (it.readiness.condition("topology"), it.readiness.condition("aws"));
    aws.unmet(format!("receive failed: {}", "\"x\""));
    let answer = get(it.addr, "/ready");
    let reasons =
        r#"{ "status": "NOT READY", "reasons": { "aws": "receive failed: \"x\"", "topology": "starting" } }"#;
    assert_eq!((status(&answer), body(&answer)), (503, reasons));
    assert!(serde_json::from_str::<serde_json::Value>(reasons).is_ok());
    topology.met();
    aws.met();
    let answer = get(it.addr, "/ready");
    assert_eq!((status(&answer), body(&answer)), (200, r#"{ "status": "READY" }"#));
    assert_eq!(status(&get(it.addr, "/health")), 200, "readiness is not liveness");
}

#[test]
fn metrics_are_prometheus_text() {
    let it = service();
    it.metrics.counter("things_total", "Things.").inc_by(3);
    let answer = get(it.addr, "/metrics");
    assert_eq!(status(&answer), 200);
    assert_eq!(header(&answer, "content-type"), Some("text/plain; version=0.0.4; charset=utf-8"));
    assert!(body(&answer).contains("\nthings_total 3\n"));
}

#[test]
fn an_answer_larger_than_every_buffer_arrives_whole() {
    let it = service();
    let counts = it.metrics.counter_vec("many_total", "Many.", &["n"]);
    for n in 0..10_000 {
        counts.with_label_values(&[&n.to_string()]).inc();
    }
    let answer = get(it.addr, "/metrics");
    assert_eq!(header(&answer, "content-length").unwrap().parse::<usize>().unwrap(), body(&answer).len());
    assert_eq!(body(&answer).matches("many_total{").count(), 10_000);
}

#[test]
fn http_1_0_closes_unless_asked_to_stay() {
    let it = service();
    let answer = exchange(it.addr, "GET /health HTTP/1.0\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.0 200 OK\r\n"), "{answer}");
    assert_eq!(header(&answer, "connection"), Some("close"));

    let mut stream = connect(it.addr);
    for _ in 0..3 {
        stream.write_all(b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").unwrap();
        let answer = one_answer(&mut stream, false);
        assert_eq!(header(&answer, "connection"), Some("keep-alive"));
        assert_eq!(body(&answer), r#"{ "status": "UP!" }"#);
    }
}

#[test]
fn http_1_1_stays_open_until_asked_to_close() {
    let it = service();
    let mut stream = connect(it.addr);
    for path in ["/health", "/ready", "/metrics", "/nowhere", "/health"] {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: pod\r\n\r\n").unwrap();
        let answer = one_answer(&mut stream, false);
        assert!(answer.starts_with("HTTP/1.1 "), "{answer}");
        assert_eq!(header(&answer, "connection"), None);
    }
    stream.write_all(b"GET /health HTTP/1.1\r\nConnection: close\r\n\r\n").unwrap();
    let mut rest = String::new();
    stream.read_to_string(&mut rest).unwrap();
    assert_eq!(header(&rest, "connection"), Some("close"));
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let it = service();
    let requests = "GET /health HTTP/1.1\r\n\r\nHEAD /health HTTP/1.1\r\n\r\nGET /nowhere HTTP/1.1\r\n\r\n"
        .repeat(100)
        + "GET /ready HTTP/1.0\r\n\r\n";
    let answer = exchange(it.addr, &requests);
    let statuses: Vec<_> = answer.split("HTTP/1.").skip(1).map(|one| one[2..5].to_owned()).collect();
    let mut expected = ["200", "200", "404"].repeat(100);
    expected.push("200");
    assert_eq!(statuses, expected);
    assert_eq!(answer.matches("UP!").count(), 100);
}

#[test]
fn a_request_in_pieces_is_one_request() {
    let it = service();
    let mut stream = connect(it.addr);
    for byte in b"GET /health HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n" {
        stream.write_all(&[*byte]).unwrap();
    }
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(body(&answer), r#"{ "status": "UP!" }"#);
}

#[test]
fn a_client_that_stops_sending_after_its_request_is_answered() {
    let it = service();
    let mut stream = connect(it.addr);
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    stream.shutdown(std::net::Shutdown::Write).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert_eq!(body(&answer), r#"{ "status": "UP!" }"#);
}

#[test]
fn head_is_get_without_the_body() {
    let it = service();
    let _stuck = it.pulses.start("poller-2", Duration::ZERO);
    for (path, expected) in [("/health", 503), ("/ready", 200), ("/metrics", 200), ("/nowhere", 404)] {
        let answer = exchange(it.addr, format!("HEAD {path} HTTP/1.1\r\nConnection: close\r\n\r\n"));
        assert_eq!((status(&answer), body(&answer)), (expected, ""), "{path}");
        let length: usize = header(&answer, "content-length").unwrap().parse().unwrap();
        // The age of a pulse makes /metrics a digit longer now and then.
        assert!(length.abs_diff(body(&get(it.addr, path)).len()) < 30, "{path}");
    }
}

#[test]
fn queries_and_absolute_targets_are_the_same_path() {
    let it = service();
    for target in ["/health?probe=1", "http://pod:5000/health", "/health#x"] {
        assert_eq!(status(&get(it.addr, target)), 200, "{target}");
    }
    for target in ["/", "/health/", "/healthz", "//health", "/HEALTH", "*", "/%68ealth"] {
        let answer = get(it.addr, target);
        assert_eq!(status(&answer), 404, "{target}");
        assert!(serde_json::from_str::<serde_json::Value>(body(&answer)).is_ok());
    }
}

#[test]
fn another_method_is_405_with_allow_and_a_json_body() {
    let it = service();
    for path in ["/health", "/ready", "/metrics"] {
        for method in ["POST", "PUT", "DELETE", "OPTIONS", "TRACE", "get", "BREW"] {
            let answer = exchange(
                it.addr,
                format!("{method} {path} HTTP/1.1\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"),
            );
            assert_eq!(status(&answer), 405, "{method}");
            assert_eq!(header(&answer, "allow"), Some("GET, HEAD"));
            assert!(serde_json::from_str::<serde_json::Value>(body(&answer)).is_ok());
        }
    }
}

#[test]
fn a_body_is_refused_unread_and_its_sender_hears_why() {
    let it = service();
    for head in ["Content-Length: 1000000000000", "Transfer-Encoding: chunked"] {
        let begun = Instant::now();
        let answer = exchange(
            it.addr,
            format!("POST /health HTTP/1.1\r\nExpect: 100-continue\r\n{head}\r\n\r\n{}", "x".repeat(30_000)),
        );
        assert_eq!((status(&answer), header(&answer, "connection")), (413, Some("close")));
        assert!(begun.elapsed() < Duration::from_secs(2));
    }
}

#[test]
fn what_is_no_request_gets_an_answer_and_the_door() {
    let it = service();
    for (bytes, expected) in [
        (&b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"[..], 400),
        (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
        (b"GET /health\r\n\r\n", 400),
        (b"GET /he\xffalth HTTP/1.1\r\n\r\n", 400),
        (b"GET /health HTTP/1.1\r\nContent-Length: 0\r\nContent-Length: 1\r\n\r\n", 400),
    ] {
        let answer = exchange(it.addr, bytes);
        assert_eq!(status(&answer), expected, "{:?}", String::from_utf8_lossy(bytes));
        assert_eq!(header(&answer, "connection"), Some("close"));
    }
    let long = format!("GET /health HTTP/1.1\r\nCookie: {}\r\n\r\n", "x".repeat(9000));
    assert_eq!(status(&exchange(it.addr, long)), 431);
    assert_eq!(status(&get(it.addr, "/health")), 200);
}

#[test]
fn a_panicking_collector_is_a_500_and_nothing_else() {
    #[derive(Debug)]
    struct Rude(prometheus::IntGauge);
    impl prometheus::core::Collector for Rude {
        fn desc(&self) -> Vec<&prometheus::core::Desc> {
            prometheus::core::Collector::desc(&self.0)
        }
        fn collect(&self) -> Vec<prometheus::proto::MetricFamily> {
            panic!("a collector of others")
        }
    }
    let it = service();
    it.metrics.register(Rude(prometheus::IntGauge::new("rude", "Rude.").unwrap()));
    assert_eq!(status(&get(it.addr, "/metrics")), 500);
    assert_eq!(status(&get(it.addr, "/health")), 200);
    assert_eq!(status(&get(it.addr, "/metrics")), 500);
}
