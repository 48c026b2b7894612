//! Spans in OTLP's own messages, with the attributes of OpenTelemetry's conventions for messaging:
//! <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>.

use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::SpanKind;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, SpanFlags, Status};
use prost::Message;

use super::Operation;
use super::recorded::{Ended, Owned};

/// Encodes a request with these spans.
pub(super) fn request(resource: &Resource, spans: Vec<Ended>) -> Vec<u8> {
    let scope = InstrumentationScope {
        name: env!("CARGO_PKG_NAME").to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(span).collect();
    let scope_spans = vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }];
    let resource =
        ResourceSpans { resource: Some(resource.clone()), scope_spans, ..ResourceSpans::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// The attributes of a resource.
pub(super) fn resource(attributes: impl IntoIterator<Item = (String, String)>) -> Resource {
    let attributes = attributes.into_iter().map(|(key, value)| text(&key, value)).collect();
    Resource { attributes, ..Resource::default() }
}

fn span(ended: Ended) -> Span {
    let Ended { context, parent, begun, ended, facts } = ended;
    let (name, kind) = match facts.operation {
        Operation::Publish => ("publish", SpanKind::Producer),
        Operation::Process => ("process", SpanKind::Consumer),
    };
    // the lowest byte is that of the W3C flags, which are those of a sampled trace
    let mut flags = 1 | SpanFlags::ContextHasIsRemoteMask as u32;
    if parent.is_some() {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    Span {
        trace_id: context.trace_bytes().to_vec(),
        span_id: context.span_bytes().to_vec(),
        parent_span_id: parent.map(|parent| parent.span_bytes().to_vec()).unwrap_or_default(),
        flags,
        name: format!("{name} {}", facts.destination),
        kind: kind as i32,
        start_time_unix_nano: nanos(begun),
        end_time_unix_nano: nanos(ended),
        status: facts
            .failure
            .as_ref()
            .map(|why| Status { message: why.clone(), code: StatusCode::Error as i32 }),
        attributes: attributes(name, facts),
        ..Span::default()
    }
}

fn attributes(name: &str, facts: Owned) -> Vec<KeyValue> {
    let (system, kind) = match facts.operation {
        Operation::Publish => ("aws.sns", "send"),
        Operation::Process => ("aws_sqs", "process"),
    };
    let mut attributes = vec![
        text("messaging.system", system.to_owned()),
        text("messaging.operation.name", name.to_owned()),
        text("messaging.operation.type", kind.to_owned()),
        text("messaging.destination.name", facts.destination),
        text("lifeline.outcome", facts.outcome.to_owned()),
    ];
    attributes.extend(facts.message_id.map(|id| text("messaging.message.id", id)));
    // the conventions have no name for it
    attributes
        .extend(facts.receive_count.map(|n| attribute("lifeline.receive_count", Value::IntValue(n.into()))));
    attributes.extend(facts.failure.map(|_| text("error.type", facts.outcome.to_owned())));
    attributes
}

fn text(key: &str, value: String) -> KeyValue {
    attribute(key, Value::StringValue(value))
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.to_owned(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}
