//! A response body that can stall, break off, or take its time.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use tokio::time::Sleep;

/// How often a slow body sends something.
const TICK: Duration = Duration::from_millis(50);

/// How a response's body is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Whole,
    /// Half, then nothing.
    Stall,
    /// Half, then the end of the connection.
    Truncate,
    /// Bytes per second.
    Slow(u64),
}

/// A response body.
#[derive(Debug)]
pub(crate) struct PacedBody {
    rest: Bytes,
    pace: Pace,
    started: bool,
    pause: Option<Pin<Box<Sleep>>>,
}

impl PacedBody {
    pub(crate) fn new(body: Bytes, pace: Pace) -> Self {
        Self { rest: body, pace, started: false, pause: None }
    }

    fn next(&mut self) -> Bytes {
        let bytes = match self.pace {
            Pace::Whole => self.rest.len(),
            Pace::Stall | Pace::Truncate => self.rest.len() / 2,
            Pace::Slow(rate) => usize::try_from(rate / 20).unwrap_or(usize::MAX).clamp(1, self.rest.len()),
        };
        self.rest.split_to(bytes)
    }
}

impl Body for PacedBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, io::Error>>> {
        if self.rest.is_empty() {
            return Poll::Ready(None);
        }
        match self.pace {
            Pace::Stall if self.started => return Poll::Pending,
            Pace::Truncate if self.started => {
                return Poll::Ready(Some(Err(io::Error::other("truncated by the emulator's fault"))));
            }
            Pace::Slow(rate) if self.started => {
                // Below 20 bytes per second the pause grows instead of the piece shrinking.
                let pause = if rate < 20 { Duration::from_millis(1000 / rate.max(1)) } else { TICK };
                let sleep = self.pause.get_or_insert_with(|| Box::pin(tokio::time::sleep(pause)));
                if sleep.as_mut().poll(context).is_pending() {
                    return Poll::Pending;
                }
                self.pause = None;
            }
            _ => {}
        }
        self.started = true;
        let bytes = self.next();
        Poll::Ready(Some(Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        self.rest.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(u64::try_from(self.rest.len()).unwrap_or(u64::MAX))
    }
}
