//! Progress of a response: whether it has begun to arrive, and how much of it is here.
//!
//! [`bounded`](super::bounded) bounds the wait for a response, not its transfer. What arrives is seen by the connector, which
//! the SDK runs inside of the call's own future; so it finds the call's progress in a task-local variable.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use aws_smithy_types::body::SdkBody;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame, SizeHint};

tokio::task_local! {
    static CURRENT: Arc<Progress>;
}

/// What has arrived of the response to one call: 0 before its head is here.
#[derive(Debug, Default)]
pub(crate) struct Progress(AtomicU64);

impl Progress {
    /// Runs `call` with this progress.
    pub(crate) fn of<F: Future>(self: Arc<Self>, call: F) -> impl Future<Output = F::Output> {
        CURRENT.scope(self, call)
    }

    /// The progress of the call that runs here.
    pub(crate) fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(Arc::clone).ok()
    }

    pub(crate) fn add(&self, bytes: usize) {
        self.0.fetch_add(u64::try_from(bytes).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// Bytes, about.
    pub(crate) fn arrived(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// The head of a response has arrived for the call that runs here, and its body will: what a connector says, so that
/// [`bounded`](super::bounded) waits for a response for as long as it goes on arriving.
pub fn arriving<B>(response: Response<B>) -> Response<SdkBody>
where
    B: Body<Data = Bytes, Error: Into<Box<dyn std::error::Error + Send + Sync>>>
        + Send
        + Sync
        + Unpin
        + 'static,
{
    match Progress::current() {
        Some(progress) => {
            progress.add(1);
            response.map(|body| SdkBody::from_body_1_x(Counted { body, progress }))
        }
        None => response.map(SdkBody::from_body_1_x),
    }
}

/// A body whose bytes are counted as they arrive.
#[derive(Debug)]
struct Counted<B> {
    body: B,
    progress: Arc<Progress>,
}

impl<B: Body<Data = Bytes> + Unpin> Body for Counted<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let frame = Pin::new(&mut self.body).poll_frame(context);
        if let Poll::Ready(Some(Ok(frame))) = &frame {
            self.progress.add(frame.data_ref().map_or(0, Bytes::len));
        }
        frame
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
