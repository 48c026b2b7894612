//! One line per request, in the required form, whatever the client or the output does.
#![allow(clippy::unwrap_used)] // as in any test

mod wire;

use std::io::{self, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::time::Duration;

use lifeline_health::{AccessFormat, AccessLog, Limits, Metrics, Pulses, Readiness, Server};
use wire::{exchange, get, service, service_with, status};

/// `127.0.0.1 - - [30/Jan/2021 00:25:58] "…" 200 -`, to the byte, the digits aside.
fn in_form(line: &str, request: &str, status: u16) -> bool {
    let shape: String = line.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    let month = line.get(18..21).unwrap_or_default();
    let expected = format!("127.0.0.1 - - [22/{month}/2026 13:54:35] \"{request}\" {status} -\n");
    let expected: String = expected.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == expected
        && line.ends_with(&format!("\"{request}\" {status} -\n"))
        && ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"]
            .contains(&month)
}

#[test]
fn every_request_is_one_line_in_the_required_form() {
    let it = service();
    for (request, answered, line) in [
        ("GET /health HTTP/1.1\r\nConnection: close\r\n\r\n", 200, "GET /health HTTP/1.1"),
        ("GET /health HTTP/1.0\r\n\r\n", 200, "GET /health HTTP/1.0"),
        ("HEAD /ready?x=1 HTTP/1.0\r\n\r\n", 200, "HEAD /ready?x=1 HTTP/1.0"),
        ("GET /nowhere HTTP/1.0\r\n\r\n", 404, "GET /nowhere HTTP/1.0"),
        ("POST /metrics HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", 413, "POST /metrics HTTP/1.0"),
        ("\x16\x03\x01\r\n\r\n", 400, r"\x16\x03\x01"),
        ("GET / HTTP/2.0\r\n\r\n", 505, "GET / HTTP/2.0"),
        // Ended by a byte that no head may have.
        ("GET /\"quoted\"\\ HTTP/1.0\0", 400, r#"GET /\"quoted\"\\ HTTP/1.0\x00"#),
    ] {
        assert_eq!(status(&exchange(it.addr, request)), answered, "{request:?}");
        let logged = it.log.next();
        assert!(in_form(&logged, line, answered), "{logged:?} for {request:?}");
    }
    assert!(it.log.none_left());
}

#[test]
fn a_line_has_a_bounded_length() {
    let it = service();
    assert_eq!(status(&get(it.addr, &format!("/{}", "\u{e9}".repeat(3000)))), 404);
    assert!(it.log.next().len() < 2100);
}

#[test]
fn off_silences_healthy_probes_alone() {
    let log = AccessLog { silence_healthy: true, ..AccessLog::default() };
    let it = service_with(Pulses::new(), log, Limits::default());
    assert_eq!(status(&get(it.addr, "/health")), 200);
    assert_eq!(status(&get(it.addr, "/health?x")), 200);
    assert_eq!(status(&exchange(it.addr, "HEAD /health HTTP/1.0\r\n\r\n")), 200);
    assert_eq!(status(&get(it.addr, "/ready")), 200);
    assert!(it.log.next().contains("GET /ready "), "what is no /health is written");
    let stuck = it.pulses.start("poller-2", Duration::ZERO);
    assert_eq!(status(&get(it.addr, "/health")), 503);
    assert!(it.log.next().ends_with("\"GET /health HTTP/1.1\" 503 -\n"), "what is no 200 is written");
    stuck.retire();
    assert_eq!(status(&exchange(it.addr, "POST /health HTTP/1.0\r\n\r\n")), 405);
    assert!(it.log.next().ends_with("405 -\n"));
    assert!(it.log.none_left());
}

#[test]
fn json_is_one_object_a_line() {
    let log = AccessLog { format: AccessFormat::Json, ..AccessLog::default() };
    let it = service_with(Pulses::new(), log, Limits::default());
    get(it.addr, "/health");
    let line = it.log.next();
    let value: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(value["fields"]["message"], "GET /health HTTP/1.1");
    assert_eq!(value["fields"]["status"], 200);
    assert_eq!(value["fields"]["peer"], "127.0.0.1");
    assert_eq!(value["target"], "access");
    assert_eq!(line.matches('\n').count(), 1);
}

#[test]
fn a_client_cannot_pass_for_another() {
    let it = service();
    exchange(it.addr, "GET /health HTTP/1.0\r\nX-Forwarded-For: 8.8.8.8\r\nForwarded: for=8.8.8.8\r\n\r\n");
    assert!(it.log.next().starts_with("127.0.0.1 - - ["));
}

#[test]
fn a_mapped_address_is_written_as_the_address_it_is() {
    let pulses = Pulses::new();
    let (out, lines) = sync_channel(10);
    let metrics = Metrics::new("1", &pulses);
    let Ok(server) = Server::builder(pulses, Readiness::new(), metrics)
        .access_log_to(Blocked { out, gate: None })
        .listen("[::]:0".parse().unwrap())
    else {
        return; // no IPv6 here
    };
    assert_eq!(status(&get(([127, 0, 0, 1], server.local_addr().port()).into(), "/health")), 200);
    assert!(lines.recv_timeout(wire::PATIENCE).unwrap().starts_with("127.0.0.1 - - ["));
}

/// An output that blocks until something is sent through its gate, as a stopped terminal does.
struct Blocked {
    out: SyncSender<String>,
    gate: Option<Receiver<()>>,
}

impl Write for Blocked {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        if let Some(gate) = &self.gate {
            let _ = gate.recv();
        }
        let _ = self.out.try_send(String::from_utf8_lossy(line).into_owned());
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_blocked_output_drops_lines_and_counts_them_and_never_delays_an_answer() {
    let pulses = Pulses::new();
    let (out, lines) = sync_channel(5000);
    let (open, gate) = sync_channel(0);
    let metrics = Metrics::new("1", &pulses);
    let server = Server::builder(pulses, Readiness::new(), metrics.clone())
        .access_log_to(Blocked { out, gate: Some(gate) })
        .listen("127.0.0.1:0".parse().unwrap())
        .unwrap();
    let requests = "GET /ready HTTP/1.1\r\n\r\n".repeat(1500) + "GET /health HTTP/1.0\r\n\r\n";
    assert_eq!(exchange(server.local_addr(), requests).matches("HTTP/1.").count(), 1501);
    let dropped = metrics.counter("access_log_lines_dropped_total", "").get();
    assert!((400..1501).contains(&dropped), "{dropped} of 1501 dropped with a queue of 1024");
    drop(open);
    drop(server);
    let written = std::iter::from_fn(|| lines.recv_timeout(wire::PATIENCE).ok()).count() as u64;
    assert_eq!(written + dropped, 1501, "every line is written or counted");
}
