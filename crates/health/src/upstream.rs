//! The gate's one connection to tiny_http: requests go in, answers come back in the same order.
//!
//! Requests that arrive together travel together, so that a crowd costs tiny_http's two threads one wake-up, not
//! one each.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

use crate::head::Head;

pub(crate) struct Upstream {
    stream: TcpStream,
    output: Vec<u8>,
    input: Vec<u8>,
    pending: VecDeque<Pending>,
    broken: bool,
}

/// Whose turn it is.
#[derive(Clone, Copy)]
pub(crate) struct Pending {
    pub(crate) slot: usize,
    pub(crate) id: u64,
    head_only: bool,
}

impl Upstream {
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, output: Vec::new(), input: Vec::new(), pending: VecDeque::new(), broken: false }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// tiny_http is gone, and with it every answer that is still owed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Queues a request; it leaves with the next [`flush`](Self::flush). Its words are plain ASCII, see [`Head`].
    pub(crate) fn ask(&mut self, head: &Head, slot: usize, id: u64) {
        let request =
            format!("{} {} HTTP/1.{}\r\nConnection: keep-alive\r\n\r\n", head.method, head.path, head.minor);
        self.output.extend_from_slice(request.as_bytes());
        self.pending.push_back(Pending { slot, id, head_only: head.method == "HEAD" });
    }

    pub(crate) fn flush(&mut self) {
        while !self.output.is_empty() && !self.broken {
            match self.stream.write(&self.output) {
                Ok(written) => _ = self.output.drain(..written),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.broken = true,
            }
        }
    }

    /// Reads on. True until the socket has nothing more for now; take the answers after each.
    pub(crate) fn receive(&mut self, scratch: &mut [u8]) -> bool {
        match self.stream.read(scratch) {
            Ok(0) => self.broken = true,
            Ok(read) => {
                self.input.extend_from_slice(&scratch[..read]);
                return true;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => return true,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {}
            Err(_) => self.broken = true,
        }
        false
    }

    /// The next whole answer: whose it is, its status, its bytes.
    pub(crate) fn next_answer(&mut self) -> Option<(Pending, u16, Vec<u8>)> {
        let pending = *self.pending.front()?;
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut response = httparse::Response::new(&mut headers);
        let (status, mut length) = match response.parse(&self.input) {
            Ok(httparse::Status::Complete(length)) => (response.code?, length),
            Ok(httparse::Status::Partial) => return None,
            Err(_) => {
                self.broken = true;
                return None;
            }
        };
        if !pending.head_only {
            length += content_length(response.headers);
        }
        if self.input.len() < length {
            return None;
        }
        self.pending.pop_front();
        let answer = self.input.drain(..length).collect();
        if self.input.is_empty() {
            self.input = Vec::new();
        }
        Some((pending, status, answer))
    }
}

fn content_length(headers: &[httparse::Header<'_>]) -> usize {
    headers
        .iter()
        .find(|header| header.name.eq_ignore_ascii_case("content-length"))
        .and_then(|header| std::str::from_utf8(header.value).ok()?.parse().ok())
        .unwrap_or(0)
}
