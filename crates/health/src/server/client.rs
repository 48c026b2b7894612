//! One client's connection: a state machine over a socket that never blocks.
//!
//! Every phase has a deadline counted from its beginning, which no trickle of bytes extends, and a bounded buffer.

use std::io::{self, ErrorKind, Read as _, Write as _};
use std::net::{IpAddr, Shutdown};
use std::time::{Duration, Instant};

use mio::net::TcpStream;

use crate::server::access_log::LINE_MAX;
use crate::server::head::{self, HEAD_MAX, Head, Read, Refusal};
use crate::server::limits::Limits;
use crate::server::upstream::Urgency;

/// How long, and for how many bytes, a connection that we have closed for writing is read on, so that its client
/// gets the answer instead of a reset.
const DRAIN: Duration = Duration::from_secs(1);
const DRAIN_MAX: usize = 64 * 1024;

/// How long an answer may take. It comes from memory; past this the router is stuck, or never gets to it.
const ASKED: Duration = Duration::from_secs(10);

pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) peer: IpAddr,
    /// Tells this client from an earlier one in the same slot.
    pub(crate) id: u64,
    phase: Phase,
    since: Instant,
    asked_before: bool,
    /// The socket may have bytes for us. Edge-triggered: stays true until a read would block.
    pub(crate) readable: bool,
    input: Vec<u8>,
    output: Vec<u8>,
    written: usize,
}

enum Phase {
    /// No byte of a request yet: a new connection, or one kept alive (`kept`).
    Awaiting { kept: bool },
    /// A request is arriving.
    Reading,
    /// The router has it.
    Asked(Asked),
    /// The answer is leaving.
    Answering { keep_alive: bool },
    /// All is said; the client's remaining bytes are thrown away until it closes too.
    Draining { read: usize },
}

/// A request that waits for its answer.
pub(crate) struct Asked {
    pub(crate) line: Vec<u8>,
    pub(crate) on_health: bool,
    minor: u8,
    keep_alive: bool,
}

/// What the gate has to do after a client has moved.
pub(crate) enum Step {
    /// Nothing, until the socket is ready or the deadline passes.
    Wait,
    /// Ask the router.
    Ask(Head, Urgency),
    /// Log that this request line was refused, and go on.
    Refused(Vec<u8>, Refusal),
    /// Drop the client.
    Close,
}

impl Client {
    pub(crate) fn new(stream: TcpStream, peer: IpAddr, id: u64, now: Instant) -> Self {
        Self {
            stream,
            peer,
            id,
            phase: Phase::Awaiting { kept: false },
            since: now,
            asked_before: false,
            // The request often arrives with the connection.
            readable: true,
            input: Vec::new(),
            output: Vec::new(),
            written: 0,
        }
    }

    pub(crate) fn stream(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Goes as far as it can without waiting. After [`Step::Refused`], call again.
    pub(crate) fn drive(&mut self, now: Instant, scratch: &mut [u8; HEAD_MAX]) -> Step {
        loop {
            let moved = match self.phase {
                Phase::Awaiting { .. } | Phase::Reading => match self.next_request(now) {
                    Some(step) => return step,
                    None => self.receive(now, scratch),
                },
                Phase::Asked(_) => return Step::Wait,
                Phase::Answering { .. } => self.send(now),
                Phase::Draining { .. } => self.drain(scratch),
            };
            match moved {
                Ok(true) => {}
                Ok(false) => return Step::Wait,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return Step::Close,
            }
        }
    }

    /// The request that the input holds, if it does.
    fn next_request(&mut self, now: Instant) -> Option<Step> {
        if self.input.is_empty() {
            return None;
        }
        match head::read(&self.input) {
            Read::Partial => None,
            Read::Refused(refusal) => Some(self.refuse(refusal, now)),
            Read::Whole(head, length) => {
                let on_health = head.path == crate::server::router::HEALTH;
                let urgency = match (self.asked_before, on_health) {
                    (true, _) => Urgency::Later,
                    (false, false) => Urgency::First,
                    (false, true) => Urgency::Probe,
                };
                self.asked_before = true;
                let asked =
                    Asked { line: self.line(), on_health, minor: head.minor, keep_alive: head.keep_alive };
                self.input.drain(..length);
                if self.input.is_empty() {
                    // An idle connection holds no memory but its socket's.
                    self.input = Vec::new();
                }
                self.enter(Phase::Asked(asked), now);
                Some(Step::Ask(head, urgency))
            }
        }
    }

    /// Ends the connection with an answer of the gate's own.
    pub(crate) fn refuse(&mut self, refusal: Refusal, now: Instant) -> Step {
        let (status, phrase, why) = refusal.status();
        let line = match &self.phase {
            Phase::Asked(asked) => asked.line.clone(),
            _ => self.line(),
        };
        let body = format!(r#"{{ "error": "{why}" }}"#);
        self.input = Vec::new();
        self.output = format!(
            "HTTP/1.1 {status} {phrase}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        )
        .into_bytes();
        self.enter(Phase::Answering { keep_alive: false }, now);
        Step::Refused(line, refusal)
    }

    /// Takes the router's answer; returns the request it belongs to.
    pub(crate) fn answer(&mut self, answer: &[u8], now: Instant) -> Option<Asked> {
        let asked = match std::mem::replace(&mut self.phase, Phase::Awaiting { kept: true }) {
            Phase::Asked(asked) => asked,
            // Too late: the client has been told that there is none.
            other => {
                self.phase = other;
                return None;
            }
        };
        self.enter(Phase::Answering { keep_alive: asked.keep_alive }, now);
        // tiny_http never says what becomes of the connection, and it is ours to say.
        let status_line = answer.iter().position(|&byte| byte == b'\n').map_or(0, |end| end + 1);
        let connection: &[u8] = match (asked.keep_alive, asked.minor) {
            (false, _) => b"Connection: close\r\n",
            (true, 0) => b"Connection: keep-alive\r\n",
            (true, _) => b"",
        };
        self.output = [&answer[..status_line], connection, &answer[status_line..]].concat();
        Some(asked)
    }

    /// `Ok(true)` if there may be more to do, `Ok(false)` if the socket has nothing now.
    fn receive(&mut self, now: Instant, scratch: &mut [u8; HEAD_MAX]) -> io::Result<bool> {
        if !self.readable {
            return Ok(false);
        }
        // A whole head fits, and a partial one that fills the buffer was refused: there is always room.
        let room = HEAD_MAX - self.input.len();
        match self.stream.read(&mut scratch[..room]) {
            Ok(0) => Err(ErrorKind::UnexpectedEof.into()),
            Ok(read) => {
                if self.input.is_empty() {
                    self.enter(Phase::Reading, now);
                }
                self.input.extend_from_slice(&scratch[..read]);
                Ok(true)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.readable = false;
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn send(&mut self, now: Instant) -> io::Result<bool> {
        let Phase::Answering { keep_alive } = self.phase else {
            return Ok(true);
        };
        while self.written < self.output.len() {
            match self.stream.write(&self.output[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        self.output = Vec::new();
        self.written = 0;
        if !keep_alive {
            self.stream.shutdown(Shutdown::Write)?;
            self.enter(Phase::Draining { read: 0 }, now);
        } else if self.input.is_empty() {
            self.enter(Phase::Awaiting { kept: true }, now);
        } else {
            self.enter(Phase::Reading, now);
        }
        Ok(true)
    }

    fn drain(&mut self, scratch: &mut [u8; HEAD_MAX]) -> io::Result<bool> {
        let Phase::Draining { read: total } = &mut self.phase else {
            return Ok(true);
        };
        match self.stream.read(scratch) {
            Ok(read) if read > 0 && *total < DRAIN_MAX => {
                *total += read;
                Ok(true)
            }
            Ok(_) => Err(ErrorKind::UnexpectedEof.into()),
            Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn line(&self) -> Vec<u8> {
        let line = head::request_line(&self.input);
        line[..line.len().min(LINE_MAX)].to_vec()
    }

    fn enter(&mut self, phase: Phase, now: Instant) {
        self.phase = phase;
        self.since = now;
    }

    /// Bytes of the answer that the client has not taken yet.
    pub(crate) fn unsent(&self) -> usize {
        self.output.len() - self.written
    }

    pub(crate) fn is_asked(&self) -> bool {
        matches!(self.phase, Phase::Asked(_))
    }

    /// When this phase must be over.
    pub(crate) fn deadline(&self, limits: &Limits) -> Instant {
        self.since
            + match self.phase {
                Phase::Awaiting { kept: true } => limits.idle,
                Phase::Awaiting { kept: false } | Phase::Reading => limits.head,
                Phase::Asked(_) => ASKED,
                Phase::Answering { .. } => limits.answer,
                Phase::Draining { .. } => DRAIN,
            }
    }

    /// What a passed deadline means.
    pub(crate) fn expire(&mut self, now: Instant) -> Step {
        match self.phase {
            Phase::Reading => self.refuse(Refusal::TooSlow, now),
            Phase::Asked(_) => self.refuse(Refusal::Broken, now),
            Phase::Awaiting { .. } | Phase::Answering { .. } | Phase::Draining { .. } => Step::Close,
        }
    }

    /// Who goes first when room is needed, least first: those already answered, then the longest without a request,
    /// then the slowest readers; last those whose answer is on its way.
    pub(crate) fn claim(&self) -> (u8, Instant) {
        let rank = match self.phase {
            Phase::Draining { .. } => 0,
            Phase::Awaiting { .. } | Phase::Reading => 1,
            Phase::Answering { .. } => 2,
            Phase::Asked(_) => 3,
        };
        (rank, self.since)
    }
}
