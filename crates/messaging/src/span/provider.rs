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

static TRACER: OnceLock<BoxedTracer> = OnceLock::new();

/// The first span showed that there is no provider. Asking the no-op tracer for every message would cost 300 instructions.
static ABSENT: AtomicBool = AtomicBool::new(false);

/// A span that is recorded.
pub(super) struct Started(Mutex<BoxedSpan>);

pub(super) fn is_installed() -> bool {
    TRACER.get().is_some() && !ABSENT.load(Ordering::Relaxed)
}

/// A span's context, and the span if it is sampled; `None` if there is no provider.
pub(super) fn start(
    operation: Operation,
    parent: Option<TraceContext>,
) -> Option<(TraceContext, Option<Started>)> {
    if ABSENT.load(Ordering::Relaxed) {
        return None;
    }
    let tracer = TRACER.get_or_init(|| {
        let scope = InstrumentationScope::builder("lifeline").with_version(env!("CARGO_PKG_VERSION"));
        global::tracer_with_scope(scope.build())
    });
    let (name, kind) = match operation {
        Operation::Publish => ("publish", SpanKind::Producer),
        Operation::Process => ("process", SpanKind::Consumer),
    };
    let around = match parent {
        Some(parent) => Context::new().with_remote_span_context(SpanContext::new(
            TraceId::from_bytes(parent.trace_bytes()),
            SpanId::from_bytes(parent.span_bytes()),
            TraceFlags::SAMPLED,
            true,
            TraceState::NONE,
        )),
        None => Context::new(),
    };
    let span = tracer.build_with_context(SpanBuilder::from_name(name).with_kind(kind), &around);
    let context = span.span_context();
    let (trace_id, span_id) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
    // the no-op tracer has no ids of its own, and hands back its parent's
    if !context.is_valid() || parent.is_some_and(|parent| parent.span_bytes() == span_id) {
        ABSENT.store(true, Ordering::Relaxed);
        return None;
    }
    let sampled = context.is_sampled();
    let context = TraceContext::new(trace_id, span_id).sampled(sampled);
    Some((context, sampled.then(|| Started(Mutex::new(span)))))
}

impl Started {
    pub(super) fn end(&self, facts: Facts<'_>) {
        let Facts { operation, destination, message_id, receive_count, outcome, failure } = facts;
        let (system, name, kind) = match operation {
            Operation::Publish => ("aws.sns", "publish", "send"),
            Operation::Process => ("aws_sqs", "process", "process"),
        };
        let text = |key, value: &str| KeyValue::new(key, value.to_owned());
        let mut attributes = vec![
            KeyValue::new("messaging.system", system),
            KeyValue::new("messaging.operation.name", name),
            KeyValue::new("messaging.operation.type", kind),
            text("messaging.destination.name", destination),
            KeyValue::new("lifeline.outcome", outcome),
        ];
        attributes.extend(message_id.map(|id| text("messaging.message.id", id)));
        // the conventions have no name for it
        attributes
            .extend(receive_count.map(|count| KeyValue::new("lifeline.receive_count", i64::from(count))));
        let mut span = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(failure) = failure {
            attributes.push(KeyValue::new("error.type", outcome));
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
