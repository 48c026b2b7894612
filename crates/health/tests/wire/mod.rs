//! Speaking to a server in plain bytes, as a probe, a person with netcat or an attacker would.
#![allow(dead_code, unreachable_pub)] // every test binary uses its own part of it
#![allow(clippy::unwrap_used)] // as in any test

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use lifeline_health::{AccessLog, Limits, Metrics, Pulses, Readiness, Server};

/// Longer than anything here takes on a machine that works at all.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A server on a free port, and what it is made of.
pub struct Service {
    pub pulses: Pulses,
    pub readiness: Readiness,
    pub metrics: Metrics,
    pub server: Server,
    pub addr: SocketAddr,
    pub log: Lines,
}

/// The lines of an access log.
pub struct Lines(Receiver<String>);

struct Out(Sender<String>);

impl Write for Out {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // The test may be over.
        let _ = self.0.send(String::from_utf8(line.to_vec()).expect("the log is ASCII"));
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Lines {
    pub fn next(&self) -> String {
        self.0.recv_timeout(PATIENCE).expect("a line of the access log")
    }

    pub fn none_left(&self) -> bool {
        self.0.try_recv().is_err()
    }
}

pub fn service() -> Service {
    service_with(Pulses::new(), AccessLog::default(), Limits::default())
}

pub fn service_with(pulses: Pulses, log: AccessLog, limits: Limits) -> Service {
    let (out, lines) = channel();
    let readiness = Readiness::new();
    let metrics = Metrics::new("1.2.3", &pulses);
    let server = Server::builder(pulses.clone(), readiness.clone(), metrics.clone())
        .limits(limits)
        .access_log(log)
        .access_log_to(Out(out))
        .listen(([127, 0, 0, 1], 0).into())
        .expect("a free port");
    let addr = server.local_addr();
    Service { pulses, readiness, metrics, server, addr, log: Lines(lines) }
}

pub fn connect(addr: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(addr).expect("the server listens");
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    stream
}

/// Sends `request` on a connection of its own and reads until the server closes it.
pub fn exchange(addr: SocketAddr, request: impl AsRef<[u8]>) -> String {
    let mut stream = connect(addr);
    stream.write_all(request.as_ref()).unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer, then the end");
    answer
}

/// Reads one answer with a `Content-Length`, leaving the connection open.
pub fn one_answer(stream: &mut TcpStream, head_only: bool) -> String {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        stream.read_exact(&mut byte).expect("a head");
        bytes.push(byte[0]);
    }
    let head = String::from_utf8(bytes).unwrap();
    let length = header(&head, "content-length").map_or(0, |value| value.parse().unwrap());
    let mut body = vec![0; if head_only { 0 } else { length }];
    stream.read_exact(&mut body).expect("a body");
    head + std::str::from_utf8(&body).unwrap()
}

pub fn get(addr: SocketAddr, path: &str) -> String {
    exchange(addr, format!("GET {path} HTTP/1.1\r\nHost: pod\r\nConnection: close\r\n\r\n"))
}

pub fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer:?}"))
}

pub fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("{answer:?}")).1
}

pub fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines()
        .filter_map(|line| line.split_once(": "))
        .find(|(it, _)| it.eq_ignore_ascii_case(name))
        .map(|it| it.1)
}
