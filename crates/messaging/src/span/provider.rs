//! Spans of OpenTelemetry's API, by whatever provider the process has installed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use opentelemetry::global::{self, BoxedSpan, BoxedTracer};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt as _, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, InstrumentationScope, KeyValue};

use super::{Facts, Operation, TraceContext};

/// The conventions that names and values of attributes follow.
const SCHEMA: &str = "https://opentelemetry.io/schemas/1.45.0";

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// The first span showed that there is no provider. Asking the no-op tracer for every message would cost 300 instructions.
static ABSENT: AtomicBool = AtomicBool::new(false);

/// A span that is recorded.
pub(super) struct Started(Mutex<BoxedSpan>);

pub(super) fn is_installed() -> bool {
    TRACER.get().is_some() && !ABSENT.load(Ordering::Relaxed)
}

/// Makes spans, by the provider that was there when the first was made.
pub(crate) fn tracer() -> &'static BoxedTracer {
    TRACER.get_or_init(|| {
        let scope = InstrumentationScope::builder("lifeline").with_version(env!("CARGO_PKG_VERSION"));
        let scope = scope.with_schema_url(SCHEMA);
        global::tracer_with_scope(scope.build())
    })
}

/// A context that came with a message.
pub(crate) fn remote(trace: TraceContext, state: Option<&str>) -> SpanContext {
    SpanContext::new(
        TraceId::from_bytes(trace.trace_bytes()),
        SpanId::from_bytes(trace.span_bytes()),
        if trace.is_sampled() { TraceFlags::SAMPLED } else { TraceFlags::NOT_SAMPLED },
        true,
        // one that cannot be read counts as none, as the specification asks
        state.and_then(|state| state.parse().ok()).unwrap_or(TraceState::NONE),
    )
}

/// A span's context, and the span if it is sampled; `None` if there is no provider.
pub(super) fn start(
    operation: Operation,
    parent: Option<(TraceContext, Option<&str>)>,
) -> Option<(TraceContext, Option<Started>)> {
    if ABSENT.load(Ordering::Relaxed) {
        return None;
    }
    let (name, kind) = match operation {
        Operation::Publish => ("publish", SpanKind::Producer),
        Operation::Process => ("process", SpanKind::Consumer),
    };
    let around = match parent {
        Some((parent, state)) => Context::new().with_remote_span_context(remote(parent, state)),
        None => Context::new(),
    };
    let span = tracer().build_with_context(SpanBuilder::from_name(name).with_kind(kind), &around);
    let context = span.span_context();
    let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    // the no-op tracer has no ids of its own, and hands back its parent's
    if !context.is_valid() || parent.is_some_and(|(parent, _)| parent.span_bytes() == span_id) {
        ABSENT.store(true, Ordering::Relaxed);
        return None;
    }
    let sampled = context.is_sampled();
    let context = TraceContext::new(trace_id, span_id).sampled(sampled);
    Some((context, sampled.then(|| Started(Mutex::new(span)))))
}

impl Started {
    pub(super) fn end(&self, facts: Facts<'_>) {
        let Facts { operation, destination, message_id, receive_count, outcome, failure, .. } = facts;
        // the second was the first's name until 1.44, and its value for SQS another one
        let (system, former_system, name, kind) = match operation {
            Operation::Publish => ("aws.sns", "aws.sns", "publish", "send"),
            Operation::Process => ("aws.sqs", "aws_sqs", "process", "process"),
        };
        let text = |key, value: &str| KeyValue::new(key, value.to_owned());
        let mut attributes = vec![
            KeyValue::new("messaging.system.name", system),
            KeyValue::new("messaging.system", former_system),
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.operation.type", kind),
            text("messaging.destination.name", destination),
            KeyValue::new("lifeline.outcome", outcome),
        ];
        attributes.extend(message_id.map(|id| text("messaging.message.id", id)));
        attributes.extend(facts.request_id.map(|id| text("aws.request_id", id)));
        attributes.extend(facts.queue_url.map(|url| KeyValue::new("aws.sqs.queue.url", url)));
        // the conventions have no names for these
        let count = |key, count: i64| KeyValue::new(key, count);
        attributes.extend(receive_count.map(|n| count("lifeline.receive_count", i64::from(n))));
        attributes
            .extend(facts.batch_size.map(|n| count("lifeline.batch_size", i64::try_from(n).unwrap_or(0))));
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure {
            attributes.push(text("error.type", facts.error_type.unwrap_or("_OTHER")));
            span.set_status(Status::error(failure));
        }
        span.update_name(format!("{name} {destination}"));
        span.set_attributes(attributes);
        span.end();
    }
}

impl std::fmt::Debug for Started {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Started").finish_non_exhaustive()
    }
}
