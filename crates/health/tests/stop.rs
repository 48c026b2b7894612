//! Starting and stopping: the port, the threads, the error that says what to do.
#![allow(clippy::unwrap_used)] // as in any test

mod wire;

use std::net::TcpListener;
use std::time::Duration;

use lifeline_health::{ListenError, Metrics, Pulses, Readiness, Server};

fn listen(addr: &str) -> Result<Server, ListenError> {
    let pulses = Pulses::new();
    let metrics = Metrics::new("1", &pulses);
    Server::builder(pulses, Readiness::new(), metrics)
        .access_log_to(std::io::sink())
        .listen(addr.parse().unwrap())
}

/// One test, since it counts the threads of the process.
#[test]
fn a_server_leaves_no_thread_and_no_port_behind_and_a_taken_port_is_explained() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = taken.local_addr().unwrap();
    assert_eq!(
        listen(&addr.to_string()).unwrap_err().to_string(),
        format!(
            "cannot listen on {addr} (HEALTH_ADDR): another process has this port; stop it, or set HEALTH_ADDR to a \
             free one, as in HEALTH_ADDR=127.0.0.1:0 for any"
        )
    );
    drop(taken);
    let error = listen("192.0.2.1:5000").unwrap_err();
    assert!(matches!(error, ListenError::Bind { .. }));
    assert!(error.to_string().contains("HEALTH_ADDR") && !error.to_string().contains('\n'), "{error}");

    let idle = threads();
    for _ in 0..20 {
        let server = listen(&addr.to_string()).expect("the port is free again at once");
        let kept = wire::connect(addr);
        assert_eq!(lifeline_health::ask(addr, "/health", wire::PATIENCE).unwrap().status, 200);
        drop(server);
        assert!(lifeline_health::ask(addr, "/health", wire::PATIENCE).is_err());
        drop(kept);
    }
    // tiny_http's own threads notice that nobody is left within five seconds.
    for _ in 0..200 {
        if threads() == idle {
            return;
        }
        std::thread::park_timeout(Duration::from_millis(50));
    }
    panic!("{} threads before, {} after", idle, threads());
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").map_or(0, Iterator::count)
}
