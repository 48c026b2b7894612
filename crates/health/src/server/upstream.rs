//! The gate's one connection to tiny_http: requests go in, answers come back in the same order.
//!
//! A few travel together, so that a crowd costs tiny_http's two threads one wake-up for all and not one each. The
//! rest waits here by its [`Urgency`], so that a probe is not behind whoever has sent a thousand requests at once.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};

use mio::net::TcpStream;

use crate::server::head::Head;

/// Who is asked for first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Urgency {
    /// `/health` as the first request of its connection: a probe opens one each time.
    Probe,
    /// Another first request.
    First,
    /// One more on the same connection.
    Later,
}

/// Requests that tiny_http has at a time.
const IN_FLIGHT: usize = 16;

pub(crate) struct Upstream {
    stream: TcpStream,
    /// By urgency.
    waiting: [VecDeque<Waiting>; 3],
    output: Vec<u8>,
    input: Vec<u8>,
    pending: VecDeque<Pending>,
    broken: bool,
}

struct Waiting {
    request: String,
    whose: Pending,
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
        Self {
            stream,
            waiting: Default::default(),
            output: Vec::new(),
            input: Vec::new(),
            pending: VecDeque::new(),
            broken: false,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// tiny_http is gone, and with it every answer that is still owed.
    pub(crate) fn is_broken(&self) -> bool {
        self.broken
    }

    /// Queues a request, one per client; it leaves with one of the next [`flush`](Self::flush)es. Its words are plain
    /// ASCII, see [`Head`].
    pub(crate) fn ask(&mut self, head: &Head, slot: usize, id: u64, urgency: Urgency) {
        let request =
            format!("{} {} HTTP/1.{}\r\nConnection: keep-alive\r\n\r\n", head.method, head.path, head.minor);
        let whose = Pending { slot, id, head_only: head.method == "HEAD" };
        self.waiting[urgency as usize].push_back(Waiting { request, whose });
    }

    /// The client has left: its request, unless it is on its way, will not be asked.
    pub(crate) fn forget(&mut self, id: u64) {
        for queue in &mut self.waiting {
            queue.retain(|waiting| waiting.whose.id != id);
        }
    }

    pub(crate) fn flush(&mut self) {
        while self.pending.len() < IN_FLIGHT
            && let Some(waiting) = self.waiting.iter_mut().find_map(VecDeque::pop_front)
        {
            self.output.extend_from_slice(waiting.request.as_bytes());
            self.pending.push_back(waiting.whose);
        }
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
