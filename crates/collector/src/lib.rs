//! An OpenTelemetry collector that takes spans by OTLP over HTTP, decodes them with the protocol's own types, and hangs
//! or refuses on cue. On threads of its own, for tests that run the real programs.
#![cfg(feature = "otlp")]
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests only: a panic is a failed test"
)]

use std::collections::BTreeMap;
use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use prost::Message;

/// A running collector.
#[derive(Debug)]
pub struct Collector {
    url: String,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    mood: Mood,
    seen: Mutex<Seen>,
    news: Condvar,
}

#[derive(Debug, Default)]
struct Seen {
    spans: Vec<Span>,
    requests: Vec<String>,
}

/// What it does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mood {
    /// Takes it.
    Takes,
    /// Reads it, and never answers.
    Hangs,
    /// Answers with this status.
    Refuses(u16),
}

/// A span as it came.
#[derive(Debug, Clone)]
pub struct Span {
    /// `publish events`.
    pub name: String,
    /// Its kind.
    pub kind: SpanKind,
    /// 32 hex digits.
    pub trace_id: String,
    /// 16 hex digits.
    pub span_id: String,
    /// 16 hex digits; none of the first span of a trace.
    pub parent: String,
    /// How long it took.
    pub took: Duration,
    /// Why it failed, if it did.
    pub error: Option<String>,
    /// Its attributes as text.
    pub attributes: BTreeMap<String, String>,
    /// The traces and spans that it is linked to.
    pub links: Vec<(String, String)>,
    /// The `tracestate` of its trace.
    pub trace_state: String,
    /// The conventions that it follows.
    pub schema_url: String,
    /// Those of its resource.
    pub resource: BTreeMap<String, String>,
}

impl Collector {
    /// Listens on a free loopback port until the process ends.
    pub fn start(mood: Mood) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let shared = Arc::new(Shared { mood, seen: Mutex::default(), news: Condvar::new() });
        let serving = Arc::clone(&shared);
        thread::spawn(move || {
            for connection in listener.incoming().flatten() {
                let serving = Arc::clone(&serving);
                thread::spawn(move || serving.serve(&connection));
            }
        });
        Self { url, shared }
    }

    /// `http://127.0.0.1:<port>`.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// The heads of all requests, in lower case.
    pub fn requests(&self) -> Vec<String> {
        self.shared.seen().requests.clone()
    }

    /// All spans until now.
    pub fn spans(&self) -> Vec<Span> {
        self.shared.seen().spans.clone()
    }

    /// Waits until there are so many spans; all of them.
    ///
    /// # Panics
    /// If they do not come within `timeout`.
    #[track_caller]
    pub fn wait_for(&self, spans: usize, timeout: Duration) -> Vec<Span> {
        let until = Instant::now() + timeout;
        let mut seen = self.shared.seen();
        while seen.spans.len() < spans {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "{} of {spans} spans came: {:#?}", seen.spans.len(), seen.spans);
            seen = self.shared.news.wait_timeout(seen, left).unwrap().0;
        }
        seen.spans.clone()
    }
}

impl Shared {
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn serve(&self, connection: &TcpStream) {
        let mut input = BufReader::new(connection);
        while let Some((head, body)) = request(&mut input) {
            self.seen().requests.push(head);
            let status = match self.mood {
                Mood::Hangs => continue,
                Mood::Refuses(status) => status,
                Mood::Takes => {
                    self.seen().spans.extend(spans(&body));
                    200
                }
            };
            self.news.notify_all();
            let answer = format!("HTTP/1.1 {status} x\r\ncontent-length: 0\r\n\r\n");
            let mut output = connection;
            if output.write_all(answer.as_bytes()).is_err() {
                break;
            }
        }
        connection.shutdown(Shutdown::Both).ok();
    }
}

/// The next request's head and body; `None` when the client is gone.
fn request(input: &mut impl Read) -> Option<(String, Vec<u8>)> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        input.read_exact(&mut byte).ok()?;
        head.push(byte[0]);
    }
    let head = String::from_utf8(head).unwrap().to_lowercase();
    let length = head.lines().find_map(|line| line.strip_prefix("content-length:")).unwrap();
    let mut body = vec![0; length.trim().parse().unwrap()];
    input.read_exact(&mut body).ok()?;
    Some((head, body))
}

fn spans(body: &[u8]) -> Vec<Span> {
    let request = ExportTraceServiceRequest::decode(body).unwrap();
    let mut spans = Vec::new();
    for of_resource in request.resource_spans {
        let resource = texts(of_resource.resource.unwrap_or_default().attributes);
        let scopes = of_resource.scope_spans.into_iter();
        for (schema_url, span) in scopes.flat_map(|scope| {
            let url = scope.schema_url;
            scope.spans.into_iter().map(move |span| (url.clone(), span))
        }) {
            let nanoseconds = span.end_time_unix_nano.checked_sub(span.start_time_unix_nano);
            spans.push(Span {
                kind: span.kind(),
                name: span.name,
                trace_id: hex(&span.trace_id),
                span_id: hex(&span.span_id),
                parent: hex(&span.parent_span_id),
                took: Duration::from_nanos(nanoseconds.unwrap()),
                error: span.status.filter(|status| status.code == 2).map(|status| status.message),
                attributes: texts(span.attributes),
                links: span.links.iter().map(|to| (hex(&to.trace_id), hex(&to.span_id))).collect(),
                trace_state: span.trace_state,
                schema_url,
                resource: resource.clone(),
            });
        }
    }
    spans
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    let text = |KeyValue { key, value, .. }| match value.and_then(|any| any.value) {
        Some(Value::StringValue(text)) => (key, text),
        Some(Value::IntValue(number)) => (key, number.to_string()),
        other => panic!("an attribute {key} of {other:?}"),
    };
    attributes.into_iter().map(text).collect()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
