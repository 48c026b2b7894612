//! The exporter: a bounded queue, and a thread that brings what is in it to the collector, by OTLP over HTTP.
//!
//! The thread has a runtime of its own, so that neither shares anything with the services but the queue: a collector
//! that hangs blocks nobody, and services whose runtime is blocked still have their last spans exported. A batch that
//! the collector may take later is tried again while the queue fills; then spans are dropped, counted and told.

use std::io;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::thread;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Bytes;
use hyper::header::{CONTENT_TYPE, HeaderMap, HeaderValue, USER_AGENT};
use hyper::{Request, Uri};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::encoding;
use super::recorded::Ended;
use crate::call::Outage;
use crate::call::backoff::Backoff;
use crate::call::{CallError, Fault, chain};
use crate::trace::TraceContext;
use lifeline_http as http;
use lifeline_service::signals as shutdown;

/// Spans that wait, at most; each holds half a kilobyte.
const QUEUE: usize = 4096;

/// Spans of one request, at most.
const BATCH: usize = 512;

/// How long a span waits for company.
const LINGER: Duration = Duration::from_secs(1);

/// The first wait after a failure is at most this.
const BACKOFF: Duration = Duration::from_millis(500);

/// How long the end of a process waits for its last spans, at most.
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The same where the grace of a shutdown is used up.
const LEAST: Duration = Duration::from_millis(200);

/// Bytes of an answer that are read.
const ANSWER_MAX: usize = 64 * 1024;

/// One for the process, as its log is.
static INSTALLED: OnceLock<Exporter> = OnceLock::new();

/// Where ended spans are brought.
#[derive(Debug)]
pub(super) struct Exporter {
    queue: mpsc::Sender<Ended>,
    dropped: AtomicU64,
    /// Of 2^56: the traces that are kept.
    threshold: u64,
}

/// What the thread needs to know.
pub(super) struct Plan {
    pub(super) endpoint: Uri,
    pub(super) headers: HeaderMap,
    pub(super) timeout: Duration,
    pub(super) resource: Resource,
}

/// The exporter, if there is one.
pub(super) fn installed() -> Option<&'static Exporter> {
    INSTALLED.get()
}

impl Exporter {
    pub(super) fn start(plan: Plan, ratio: f64) -> io::Result<Exporting> {
        let (queue, inbox) = mpsc::channel(QUEUE);
        let (closing, (done, ended)) = (CancellationToken::new(), sync_channel(0));
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 to 2^56, which f64 holds"
        )]
        let threshold = (ratio * (1_u64 << 56) as f64) as u64;
        let exporter = Self { queue, dropped: AtomicU64::new(0), threshold };
        let endpoint = plan.endpoint.clone();
        http::trust(&endpoint)?;
        let worker = Worker {
            client: http::client(plan.timeout, 1),
            plan,
            inbox,
            closing: closing.clone(),
            outage: Outage::new("exporting spans"),
            told: 0,
        };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        if INSTALLED.set(exporter).is_err() {
            return Ok(Exporting::none());
        }
        thread::Builder::new().name("otlp".to_owned()).spawn(move || {
            runtime.block_on(worker.run());
            drop(done);
        })?;
        // an address may have a password in it
        let to = endpoint.host().unwrap_or_default();
        tracing::info!(to, port = endpoint.port_u16(), path = endpoint.path(), "exporting spans");
        Ok(Exporting(Some(Handle { closing, ended })))
    }

    /// Whether a trace that begins here is kept, by its id, so that others of the same ratio decide alike.
    pub(super) fn samples(&self, trace: TraceContext) -> bool {
        let bytes = trace.trace_bytes();
        let low = bytes[9..].iter().fold(0, |sum, byte| sum << 8 | u64::from(*byte));
        low < self.threshold
    }

    /// Never blocks.
    pub(super) fn take(&self, span: Ended) {
        if self.queue.try_send(span).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// A running export; [`finish`](Self::finish) it before the process ends.
#[derive(Debug)]
#[must_use = "the last spans are exported by `finish`"]
pub struct Exporting(Option<Handle>);

#[derive(Debug)]
struct Handle {
    closing: CancellationToken,
    ended: Receiver<()>,
}

impl Exporting {
    pub(super) fn none() -> Self {
        Self(None)
    }

    /// Exports what has ended, for at most 2 s, and after a signal for no longer than what it left of `grace`. Blocks its
    /// thread.
    pub fn finish(self, grace: Duration) {
        let Some(Handle { closing, ended }) = self.0 else { return };
        closing.cancel();
        let left = shutdown::asked_for().map_or(LAST_SPANS, |asked| grace.saturating_sub(asked));
        if ended.recv_timeout(left.clamp(LEAST, LAST_SPANS)) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the last spans were not exported: the collector did not take them in time");
        }
    }
}

/// What the thread runs.
struct Worker {
    client: http::Client<Full<Bytes>>,
    plan: Plan,
    inbox: mpsc::Receiver<Ended>,
    closing: CancellationToken,
    outage: Outage,
    /// Dropped spans that the log knows of.
    told: u64,
}

impl Worker {
    async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            let spans = batch.len();
            let body = Bytes::from(encoding::request(&self.plan.resource, batch));
            self.export(body, spans).await;
            self.tell_dropped();
        }
    }

    /// The next batch: a full one, or what came within the linger of its first; `None` when all is exported.
    async fn gather(&mut self) -> Option<Vec<Ended>> {
        let mut batch = Vec::with_capacity(BATCH);
        let closing = self.closing.clone();
        tokio::select! {
            biased;
            () = closing.cancelled() => self.inbox.close(),
            _ = self.inbox.recv_many(&mut batch, BATCH) => {}
        }
        let flush_at = Instant::now() + LINGER;
        while batch.len() < BATCH {
            let (room, closed) = (BATCH - batch.len(), self.inbox.is_closed());
            tokio::select! {
                more = timeout_at(flush_at, self.inbox.recv_many(&mut batch, room)) => {
                    if !matches!(more, Ok(1..)) {
                        break;
                    }
                }
                () = closing.cancelled(), if !closed => self.inbox.close(),
            }
        }
        (!batch.is_empty()).then_some(batch)
    }

    /// Tries until the collector takes them or never will; once, when the process ends.
    async fn export(&self, body: Bytes, spans: usize) {
        let mut backoff = Backoff::new(BACKOFF);
        loop {
            let answer = timeout(self.plan.timeout, self.post(body.clone())).await;
            let Err(error) = answer.unwrap_or_else(|_| {
                Err(failed(Fault::TimedOut, format!("no answer within {:?}", self.plan.timeout)))
            }) else {
                return self.outage.succeeded();
            };
            self.outage.failed(&error);
            if error.fault == Fault::Refused {
                tracing::debug!(spans, "the collector will not take them");
                return;
            }
            let wait = tokio::time::sleep(backoff.next(error.fault.backoff_cap()));
            tokio::select! { () = wait => {}, () = self.closing.cancelled() => return }
        }
    }

    async fn post(&self, body: Bytes) -> Result<(), CallError> {
        let mut request = Request::post(self.plan.endpoint.clone());
        if let Some(headers) = request.headers_mut() {
            headers.extend(self.plan.headers.clone());
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-protobuf"));
            let agent = concat!("lifeline/", env!("CARGO_PKG_VERSION"));
            headers.insert(USER_AGENT, HeaderValue::from_static(agent));
        }
        let request = request.body(Full::new(body)).map_err(|e| failed(Fault::Refused, e.to_string()))?;
        let answer = self.client.request(request).await.map_err(|e| failed(Fault::Unreachable, chain(&e)))?;
        let status = answer.status();
        let body = Limited::new(answer.into_body(), ANSWER_MAX).collect().await;
        let body = body.map_err(|e| failed(Fault::Server, chain(&*e)))?.to_bytes();
        match status.as_u16() {
            200..=299 => taken(&body),
            // which to try again: https://opentelemetry.io/docs/specs/otlp/#retryable-response-codes
            429 => Err(failed(Fault::Throttled, status.to_string())),
            502..=504 => Err(failed(Fault::Server, status.to_string())),
            _ => Err(failed(Fault::Refused, status.to_string())),
        }
    }

    fn tell_dropped(&mut self) {
        let dropped = installed().map_or(0, |exporter| exporter.dropped.load(Ordering::Relaxed));
        // a batch a line at most, and the next only when it has doubled
        if dropped > self.told * 2 || (dropped > self.told && self.inbox.is_closed()) {
            self.told = dropped;
            tracing::warn!(dropped, "spans were dropped: they end faster than the collector takes them");
        }
    }
}

/// The collector may take a part of them.
fn taken(answer: &[u8]) -> Result<(), CallError> {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    match partial {
        Some(part) if part.rejected_spans > 0 => Err(failed(
            Fault::Refused,
            format!("{} spans were rejected: {}", part.rejected_spans, part.error_message),
        )),
        _ => Ok(()),
    }
}

fn failed(fault: Fault, detail: String) -> CallError {
    let detail = lifeline_escape::Line::new(&detail).limit(1024).to_string();
    CallError::local("an OTLP export", fault, detail)
}
