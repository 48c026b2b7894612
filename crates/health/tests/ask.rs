//! The self-check: what it says of servers of every kind.
#![allow(clippy::unwrap_used)] // as in any test

mod wire;

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::thread;
use std::time::{Duration, Instant};

use lifeline_health::{AskError, ask};

const TIMEOUT: Duration = Duration::from_millis(300);

/// A server of one connection, which says `pieces` with `pause` between them and then `stays` open.
fn says(pieces: Vec<Vec<u8>>, pause: Duration, stays: bool) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        let _ = stream.read(&mut [0; 1024]);
        for piece in pieces {
            if stream.write_all(&piece).is_err() {
                return;
            }
            thread::park_timeout(pause);
        }
        if stays {
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    addr
}

#[test]
fn it_tells_up_from_down_with_the_body() {
    let it = wire::service();
    let answer = ask(it.addr, "/health", wire::PATIENCE).unwrap();
    assert_eq!((answer.status, answer.is_ok(), answer.body.as_str()), (200, true, r#"{ "status": "UP!" }"#));
    let _stuck = it.pulses.start("poller-2", Duration::ZERO);
    let answer = ask(it.addr, "/health", wire::PATIENCE).unwrap();
    assert_eq!((answer.status, answer.is_ok()), (503, false));
    assert_eq!(answer.body, r#"{ "status": "DOWN", "stale": ["poller-2"] }"#);
}

#[test]
fn an_unspecified_address_is_asked_over_loopback() {
    for any in ["0.0.0.0:0", "[::]:0"] {
        let pulses = lifeline_health::Pulses::new();
        let metrics = lifeline_health::Metrics::new("1", &pulses);
        let server = lifeline_health::Server::builder(pulses, lifeline_health::Readiness::new(), metrics)
            .access_log_to(std::io::sink())
            .listen(any.parse().unwrap());
        match server {
            Ok(server) => {
                assert_eq!(ask(server.local_addr(), "/health", wire::PATIENCE).unwrap().status, 200)
            }
            Err(error) => assert!(any.starts_with('['), "{error}"), // no IPv6 here
        }
    }
}

#[test]
fn nobody_there_is_said_with_the_address() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let error = ask(free, "/health", wire::PATIENCE).unwrap_err();
    assert!(matches!(error, AskError::Connect { .. }));
    assert!(error.to_string().contains(&free.to_string()), "{error}");
}

#[test]
fn silence_and_trickle_end_at_the_timeout() {
    let trickle = b"HTTP/1.0 200 OK\r\n\r\n".iter().chain([&b'x'; 1000]).map(|byte| vec![*byte]).collect();
    for addr in [says(vec![], TIMEOUT, true), says(trickle, Duration::from_millis(10), true)] {
        let begun = Instant::now();
        let error = ask(addr, "/health", TIMEOUT).unwrap_err();
        assert!(matches!(error, AskError::Timeout { .. }), "{error}");
        assert!((TIMEOUT..TIMEOUT * 10).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
    let error = ask(says(vec![], TIMEOUT, true), "/health", Duration::ZERO).unwrap_err();
    assert!(matches!(error, AskError::Timeout { .. }), "{error}");
}

#[test]
fn rubbish_and_floods_are_no_answers() {
    for pieces in [vec![], vec![b"SSH-2.0-OpenSSH\r\n".to_vec()], vec![vec![b'x'; 1024 * 1024]; 6]] {
        let error = ask(says(pieces, Duration::ZERO, false), "/health", wire::PATIENCE).unwrap_err();
        assert!(matches!(error, AskError::NotHttp { .. } | AskError::Broken { .. }), "{error}");
    }
}

#[test]
fn a_path_cannot_smuggle_a_request() {
    let it = wire::service();
    for path in ["", "health", "/a b", "/a\r\nX: y"] {
        assert!(matches!(ask(it.addr, path, TIMEOUT), Err(AskError::NotHttp { .. })), "{path:?}");
    }
    assert!(it.log.none_left());
}
