//! The gate's bounds, each on its own and with times short enough to wait for.
#![allow(clippy::unwrap_used)] // as in any test

mod wire;

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use lifeline_health::{AccessLog, Limits, Pulses};
use proptest::prelude::*;
use wire::{Service, connect, get, header, one_answer, service_with, status};

fn limited(limits: Limits) -> Service {
    service_with(Pulses::new(), AccessLog::default(), limits)
}

const SHORT: Duration = Duration::from_millis(300);

#[test]
fn a_byte_now_and_then_does_not_extend_the_time_for_a_request() {
    let it = limited(Limits { head: SHORT, ..Limits::default() });
    let mut stream = connect(it.addr);
    let begun = Instant::now();
    stream.write_all(b"GET /health HTTP/1.1\r\nX: ").unwrap();
    stream.set_read_timeout(Some(Duration::from_millis(50))).unwrap();
    let mut answer = Vec::new();
    let mut chunk = [0; 1024];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => answer.extend_from_slice(&chunk[..read]),
            // Another byte for each 50 ms of silence.
            Err(error) if error.kind() == ErrorKind::WouldBlock && answer.is_empty() => {
                _ = stream.write_all(b"x");
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error}"),
        }
        assert!(begun.elapsed() < wire::PATIENCE);
    }
    assert_eq!(status(std::str::from_utf8(&answer).unwrap()), 408);
    assert!(begun.elapsed() >= SHORT);
    assert!(it.log.next().ends_with("\"GET /health HTTP/1.1\" 408 -\n"));
}

#[test]
fn a_connection_without_a_request_is_closed_and_not_logged() {
    let it = limited(Limits { head: SHORT, ..Limits::default() });
    let mut stream = connect(it.addr);
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(it.log.none_left());
}

#[test]
fn a_kept_connection_is_closed_when_it_idles_too_long() {
    let it = limited(Limits { idle: SHORT, ..Limits::default() });
    let mut stream = connect(it.addr);
    stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    one_answer(&mut stream, false);
    let begun = Instant::now();
    assert_eq!(stream.read(&mut [0]).unwrap(), 0);
    assert!(begun.elapsed() >= SHORT / 2);
}

#[test]
fn a_client_that_does_not_take_its_answer_is_dropped() {
    let it = limited(Limits { answer: SHORT, ..Limits::default() });
    let counts = it.metrics.counter_vec("many_total", "Many.", &["n"]);
    for n in 0..200_000 {
        counts.with_label_values(&[&n.to_string()]);
    }
    let mut stream = connect(it.addr);
    stream.write_all(b"GET /metrics HTTP/1.1\r\n\r\n").unwrap();
    // What the kernels' buffers took arrives; then the end, or a reset, long before the announced length.
    let begun = Instant::now();
    it.log.next();
    while it.metrics.render().is_empty() || begun.elapsed() < 3 * SHORT {
        std::thread::park_timeout(SHORT);
    }
    let mut taken = Vec::new();
    let _ = stream.read_to_end(&mut taken);
    let text = String::from_utf8_lossy(&taken);
    let announced: usize = header(&text, "content-length").unwrap().parse().unwrap();
    assert!(taken.len() < announced, "{} of {announced}", taken.len());
    assert_eq!(status(&get(it.addr, "/health")), 200);
}

#[test]
fn a_new_connection_evicts_the_longest_idle() {
    let it = limited(Limits { connections: 3, ..Limits::default() });
    // One after the other, each known to the server before the next.
    let mut kept: Vec<TcpStream> = (0..3)
        .map(|_| {
            let mut stream = connect(it.addr);
            stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
            one_answer(&mut stream, false);
            stream
        })
        .collect();
    let mut latest = connect(it.addr);
    latest.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
    assert_eq!(status(&one_answer(&mut latest, false)), 200);
    assert_eq!(kept[0].read(&mut [0]).unwrap(), 0, "the longest idle went");
    for stream in &mut kept[1..] {
        stream.write_all(b"GET /health HTTP/1.1\r\n\r\n").unwrap();
        assert_eq!(status(&one_answer(stream, false)), 200, "the others stayed");
    }
    assert_eq!(it.metrics.counter("health_connections_evicted_total", "").get(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn no_bytes_stop_the_server(pieces in prop::collection::vec(piece(), 0..6)) {
        use std::sync::OnceLock;
        static SERVICE: OnceLock<std::sync::Mutex<Service>> = OnceLock::new();
        let it = SERVICE.get_or_init(|| std::sync::Mutex::new(limited(Limits::default()))).lock().unwrap();
        let mut stream = connect(it.addr);
        for piece in &pieces {
            if stream.write_all(piece).is_err() {
                break; // it was shown the door
            }
        }
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // It may end with a reset, but it ends: the client has said all.
        let _ = stream.read_to_end(&mut Vec::new()).map_err(|error| {
            assert_ne!(error.kind(), ErrorKind::WouldBlock, "left hanging by {pieces:?}");
        });
        let answer = get(it.addr, "/health");
        prop_assert_eq!(wire::body(&answer), r#"{ "status": "UP!" }"#);
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        prop::collection::vec(any::<u8>(), 0..300),
        Just(b"GET /health HTTP/1.1\r\n\r\n".to_vec()),
        Just(b"HEAD /metrics HTTP/1.0\r\nConnection: keep-alive\r\n\r\n".to_vec()),
        "[A-Z]{1,10} [ -~]{0,80} HTTP/1\\.[01]\r\n([A-Za-z-]{1,12}: [ -~]{0,40}\r\n){0,4}(\r\n)?"
            .prop_map(String::into_bytes),
        Just(vec![b'x'; 9000]),
    ]
}
