//! The endpoints, on tiny_http behind the gate.
//!
//! tiny_http listens on loopback for exactly one connection, the gate's, and then stops listening: nobody else can
//! reach it, so that the one thread it keeps for a connection is the only one it ever keeps.

use std::io::{self, Cursor};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use tiny_http::{Header, Method, Request, Response};

use crate::metrics::Metrics;
use crate::pulse::Pulses;
use crate::readiness::Readiness;
use crate::report::Report;

pub(crate) const HEALTH: &str = "/health";
const READY: &str = "/ready";
const METRICS: &str = "/metrics";

const JSON: &str = "application/json";
const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Time for tiny_http to answer the first request, at start; a machine slower than that is stuck.
const START: Duration = Duration::from_secs(10);

/// The thread that answers; stops when dropped.
pub(crate) struct Router {
    http: Arc<tiny_http::Server>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// What the answers are made of.
pub(crate) struct Sources {
    pub(crate) pulses: Pulses,
    pub(crate) readiness: Readiness,
    pub(crate) metrics: Metrics,
}

impl Router {
    /// Starts tiny_http, and returns the one connection to it.
    pub(crate) fn start(sources: Sources) -> io::Result<(Router, TcpStream)> {
        let listener = TcpListener::bind(
            &[SocketAddr::from((Ipv4Addr::LOCALHOST, 0)), SocketAddr::from((Ipv6Addr::LOCALHOST, 0))][..],
        )?;
        let addr = listener.local_addr()?;
        // Inherited by the connection, which tiny_http gives no access to. With Nagle's algorithm the second of two
        // answers would wait 40 ms for the acknowledgement of the first.
        socket2::SockRef::from(&listener).set_tcp_nodelay(true)?;
        let door = listener.try_clone()?;
        let http = Arc::new(tiny_http::Server::from_listener(listener, None).map_err(io::Error::other)?);
        let gate = TcpStream::connect(addr)?;
        gate.set_nodelay(true)?;

        let stop = Arc::new(AtomicBool::new(false));
        let thread = thread::Builder::new().name("health-router".to_owned()).spawn({
            let (http, stop, gate) = (Arc::clone(&http), Arc::clone(&stop), gate.local_addr()?);
            move || route(&http, &stop, gate, &sources)
        })?;
        let router = Router { http, stop, thread: Some(thread) };
        first_answer(&gate)?;
        close(door, addr)?;
        Ok((router, gate))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.http.unblock();
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Proves that the gate's connection has been taken in and is answered.
fn first_answer(mut gate: &TcpStream) -> io::Result<()> {
    use io::{Read, Write};
    gate.set_read_timeout(Some(START))?;
    gate.write_all(b"HEAD / HTTP/1.1\r\n\r\n")?;
    let mut answer = Vec::new();
    let mut chunk = [0; 256];
    while !answer.ends_with(b"\r\n\r\n") {
        match gate.read(&mut chunk)? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => answer.extend_from_slice(&chunk[..read]),
        }
    }
    gate.set_read_timeout(None)
}

/// Ends tiny_http's accepting thread, and the listener with it: once its `accept` would block it gives up. A last
/// connection wakes it if it already waits there.
fn close(door: TcpListener, addr: SocketAddr) -> io::Result<()> {
    door.set_nonblocking(true)?;
    drop(TcpStream::connect(addr));
    Ok(())
}

fn route(http: &tiny_http::Server, stop: &AtomicBool, gate: SocketAddr, sources: &Sources) {
    while !stop.load(Ordering::Relaxed) {
        match http.recv() {
            // Another process of this machine slipped in before the door was closed.
            Ok(request) if request.remote_addr() != Some(&gate) => {
                let _ = request.respond(Response::empty(403));
            }
            Ok(request) => {
                // A metric's collector is code of others. tiny_http answers 500 for a request dropped by a panic.
                let _ = catch_unwind(AssertUnwindSafe(|| answer(request, sources)));
            }
            // The accepting thread says goodbye, or `unblock` was called.
            Err(_) => {}
        }
    }
}

fn answer(request: Request, sources: &Sources) {
    let response = match (request.url(), request.method()) {
        (HEALTH, Method::Get | Method::Head) => respond(&Report::of_pulses(&sources.pulses)),
        (READY, Method::Get | Method::Head) => respond(&Report::of_conditions(&sources.readiness)),
        (METRICS, Method::Get | Method::Head) => reply(200, PROMETHEUS, sources.metrics.render()),
        (HEALTH | READY | METRICS, _) => {
            reply(405, JSON, r#"{ "error": "method not allowed", "allow": ["GET", "HEAD"] }"#)
                .with_header(header("Allow", "GET, HEAD"))
        }
        _ => reply(404, JSON, r#"{ "error": "not found", "paths": ["/health", "/ready", "/metrics"] }"#),
    };
    // The gate is on the other end; if it is gone, so is this server.
    let _ = request.respond(response);
}

fn respond(report: &Report) -> Response<Cursor<Vec<u8>>> {
    reply(if report.is_up() { 200 } else { 503 }, JSON, report.to_json())
}

fn reply(status: u16, content_type: &str, body: impl Into<String>) -> Response<Cursor<Vec<u8>>> {
    Response::from_data(body.into().into_bytes())
        .with_status_code(status)
        .with_header(header("Content-Type", content_type))
        // The gate reads by Content-Length, which tiny_http leaves out above 32 KiB.
        .with_chunked_threshold(usize::MAX)
}

fn header(name: &str, value: &str) -> Header {
    Header::from_bytes(name, value).expect("fixed ASCII")
}
