//! Reads lines in a thread of its own: reading may block, and the runtime must not.
//!
//! The thread reads when lines are requested, and holds one chunk of the input and one line of at most
//! [`LONGEST_LINE`](super::LONGEST_LINE) bytes besides. When it is stopped, a read that waits returns, and what is left of
//! the chunk is handed over: nothing that was taken out of a pipe is lost.

use std::io::{self, BufReader, PipeWriter};
use std::sync::mpsc as blocking;
use std::thread;
use std::time::Duration;

use tokio::sync::mpsc;

use super::follow::Followed;
use super::lines::Lines;
use super::source_file::{Kind, SourceFile, is_stopped};
use super::{Content, Input, InvalidLine, Line, Rest};

/// Bytes read at once: what a pipe holds.
const CHUNK: usize = 64 << 10;

/// How long a read in progress may delay the shutdown: of a file on a network that is gone, for example.
const LAST_READ: Duration = Duration::from_secs(2);

pub(crate) struct LineReader {
    requests: blocking::SyncSender<Request>,
    responses: mpsc::Receiver<io::Result<Response>>,
    /// A request is with the thread: its caller was cancelled, the next one takes the response.
    requested: bool,
    stop: Option<PipeWriter>,
}

enum Request {
    Lines(usize),
    Rest,
}

enum Response {
    /// None at the end of the input.
    Lines(Vec<Line>),
    /// No lines, because reading was stopped.
    Stopped,
    Rest(Rest),
}

impl LineReader {
    pub(crate) fn start(input: Input, from: u64, follow: bool) -> io::Result<Self> {
        let (requests, requested) = blocking::sync_channel(1);
        let (respond, responses) = mpsc::channel(1);
        let (stopped, stop) = io::pipe()?;
        // It is not joined: at the end of the process it may be in a read of a file system that does not answer.
        thread::Builder::new().name("input".to_owned()).spawn(move || {
            let serve = || -> io::Result<()> {
                let source = SourceFile::open(&input, follow, stopped)?;
                let path = match &input {
                    Input::File(path) if follow => Some(path.clone()),
                    _ => None,
                };
                let source = BufReader::with_capacity(CHUNK, Followed::new(source, path));
                let mut lines = Lines::new(source, input.to_string());
                let mut skipped = false;
                while let Ok(request) = requested.recv() {
                    let response = match request {
                        Request::Rest => Ok(Response::Rest(rest(&mut lines))),
                        Request::Lines(most) => {
                            let read = match skipped {
                                true => lines.some(most),
                                false => lines.skip(from.saturating_sub(1)).and_then(|()| {
                                    skipped = true;
                                    lines.some(most)
                                }),
                            };
                            match read {
                                Err(error) if is_stopped(&error) => Ok(Response::Stopped),
                                read => read.map(Response::Lines),
                            }
                        }
                    };
                    if respond.blocking_send(response).is_err() {
                        break;
                    }
                }
                Ok(())
            };
            if let Err(error) = serve() {
                drop(respond.blocking_send(Err(error)));
            }
        })?;
        Ok(Self { requests, responses, requested: false, stop: Some(stop) })
    }

    pub(crate) async fn next(&mut self, most: usize) -> io::Result<Vec<Line>> {
        match self.request(Request::Lines(most)).await? {
            Response::Lines(lines) => Ok(lines),
            Response::Stopped | Response::Rest(_) => Err(ended()),
        }
    }

    pub(crate) async fn stop(&mut self) -> io::Result<Rest> {
        drop(self.stop.take());
        let mut lines = Vec::new();
        if self.requested {
            match tokio::time::timeout(LAST_READ, self.response()).await {
                Ok(Ok(Response::Lines(read))) if read.is_empty() => return Ok(Rest::default()),
                Ok(Ok(Response::Lines(read))) => lines = read,
                Ok(Ok(_)) => {}
                Ok(Err(error)) => return Err(error),
                Err(_) => return Err(io::Error::new(io::ErrorKind::TimedOut, "a read does not return")),
            }
        }
        match self.request(Request::Rest).await? {
            Response::Rest(rest) => {
                lines.extend(rest.lines);
                Ok(Rest { lines, more: rest.more })
            }
            _ => Err(ended()),
        }
    }

    async fn request(&mut self, request: Request) -> io::Result<Response> {
        if !self.requested {
            // never full, and closed only after an error, which is received below
            self.requested = self.requests.try_send(request).is_ok();
        }
        self.response().await
    }

    async fn response(&mut self) -> io::Result<Response> {
        let response = self.responses.recv().await;
        self.requested = false;
        response.unwrap_or_else(|| Err(ended()))
    }
}

/// What is left of the chunk. A file keeps what is not handed over, and can be read again.
fn rest(lines: &mut Lines<Followed>) -> Rest {
    let kind = lines.source().source().kind();
    if kind == Kind::Regular {
        return Rest { lines: Vec::new(), more: true };
    }
    let (mut left, incomplete) = lines.left_over();
    left.extend(incomplete.map(|(number, bytes)| {
        let content = Content::Invalid(InvalidLine::Incomplete { bytes });
        Line { number, content }
    }));
    // a FIFO keeps what is in it for its next reader
    let more = kind == Kind::Stream && lines.source().source().has_more();
    Rest { lines: left, more }
}

fn ended() -> io::Error {
    io::Error::other("the thread that reads INPUT exited unexpectedly")
}
