//! Spans of calls to SQS: receives that brought messages, deletes, and changes of visibility.
//!
//! They are traces of their own, since a call is about messages of many; a receive is linked to those of its messages.
//! Nobody needs them day by day, and they triple what is exported, so [`SETTING`] asks for them: the name that
//! OpenTelemetry's instrumentation of Java has for the same.

use std::time::SystemTime;

use aws_sdk_sqs::error::ProvideErrorMetadata;
use aws_sdk_sqs::operation::change_message_visibility_batch::{
    ChangeMessageVisibilityBatchError, ChangeMessageVisibilityBatchInput,
};
use aws_sdk_sqs::operation::delete_message_batch::{DeleteMessageBatchError, DeleteMessageBatchInput};
use aws_sdk_sqs::operation::receive_message::{
    ReceiveMessageError, ReceiveMessageInput, ReceiveMessageOutput,
};
use aws_smithy_runtime_api::box_error::BoxError;
use aws_smithy_runtime_api::client::interceptors::context::{
    BeforeSerializationInterceptorContextRef, Error, FinalizerInterceptorContextRef, Input,
};
use aws_smithy_runtime_api::client::interceptors::{Intercept, dyn_dispatch_hint};
use aws_smithy_runtime_api::client::orchestrator::OrchestratorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::config_bag::{ConfigBag, Storable, StoreReplace};
use opentelemetry::trace::{Link, Span as _, SpanBuilder, SpanKind, Status, Tracer as _};
use opentelemetry::{Context, KeyValue};

use crate::envelope::{Envelope, Received};
use crate::span::{remote, tracer};

/// The variable that asks for spans of calls.
pub(crate) const SETTING: &str = "OTEL_INSTRUMENTATION_MESSAGING_EXPERIMENTAL_RECEIVE_TELEMETRY_ENABLED";

/// Makes a span of each call.
#[derive(Debug)]
pub(crate) struct CallSpans;

/// A call that has begun.
#[derive(Debug)]
struct Begun {
    at: SystemTime,
    /// As the conventions have it.
    name: &'static str,
    kind: &'static str,
    queue_url: String,
    /// Those that it is about; of a receive, those that it may bring.
    messages: usize,
}

impl Storable for Begun {
    type Storer = StoreReplace<Self>;
}

impl Begun {
    /// `None` for a call that has no span.
    #[allow(
        clippy::disallowed_methods,
        reason = "spans begin by the system's calendar, as the provider's own do"
    )]
    fn of(input: &Input) -> Option<Self> {
        let (name, kind, queue_url, messages) = if let Some(it) = input.downcast_ref::<ReceiveMessageInput>()
        {
            ("receive", "receive", it.queue_url(), 0)
        } else if let Some(it) = input.downcast_ref::<DeleteMessageBatchInput>() {
            ("delete", "settle", it.queue_url(), it.entries().len())
        } else if let Some(it) = input.downcast_ref::<ChangeMessageVisibilityBatchInput>() {
            ("change_visibility", "settle", it.queue_url(), it.entries().len())
        } else {
            return None;
        };
        let queue_url = queue_url.unwrap_or_default().to_owned();
        Some(Self { at: SystemTime::now(), name, kind, queue_url, messages })
    }
}

#[dyn_dispatch_hint]
impl Intercept for CallSpans {
    fn name(&self) -> &'static str {
        "CallSpans"
    }

    fn read_before_serialization(
        &self,
        context: &BeforeSerializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        if let Some(begun) = Begun::of(context.input()) {
            config.interceptor_state().store_put(begun);
        }
        Ok(())
    }

    fn read_after_execution(
        &self,
        context: &FinalizerInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        config: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let (Some(begun), Some(result)) = (config.load::<Begun>(), context.output_or_error()) else {
            return Ok(());
        };
        let brought = result.ok().and_then(|output| output.downcast_ref::<ReceiveMessageOutput>());
        if brought.is_some_and(|output| output.messages().is_empty()) {
            return Ok(());
        }
        let messages = brought.map_or(begun.messages, |output| output.messages().len());
        let queue = begun.queue_url.rsplit('/').next().unwrap_or_default();
        let mut attributes = vec![
            KeyValue::new("messaging.system.name", "aws.sqs"),
            KeyValue::new("messaging.system", "aws_sqs"),
            KeyValue::new("messaging.operation.name", begun.name),
            KeyValue::new("messaging.operation.type", begun.kind),
            KeyValue::new("messaging.destination.name", queue.to_owned()),
            KeyValue::new("messaging.batch.message_count", i64::try_from(messages).unwrap_or(0)),
            KeyValue::new("aws.sqs.queue.url", begun.queue_url.clone()),
        ];
        let id = context.response().and_then(|response| response.headers().get("x-amzn-requestid"));
        attributes.extend(id.map(|id| KeyValue::new("aws.request_id", id.to_owned())));
        let mut status = Status::Unset;
        if let Err(error) = result {
            attributes.push(KeyValue::new("error.type", code(error).unwrap_or("_OTHER").to_owned()));
            status = Status::error(error.to_string());
        }
        let links = brought.map(|output| output.messages().iter().filter_map(link).collect());
        let span = SpanBuilder::from_name(format!("{} {queue}", begun.name))
            .with_kind(SpanKind::Client)
            .with_start_time(begun.at)
            .with_attributes(attributes)
            .with_links(links.unwrap_or_default());
        let mut span = tracer().build_with_context(span, &Context::new());
        span.set_status(status);
        span.end();
        Ok(())
    }
}

/// To the context that the message was published with.
fn link(message: &aws_sdk_sqs::types::Message) -> Option<Link> {
    let message = Received::open(message.clone(), Envelope::Detect)?.message.ok()?;
    let trace = message.trace?;
    Some(Link::new(remote(trace, None), Vec::new(), 0))
}

/// AWS's code, where there is one.
fn code(error: &OrchestratorError<Error>) -> Option<&str> {
    let error = error.as_operation_error()?;
    None.or_else(|| error.downcast_ref::<ReceiveMessageError>()?.code())
        .or_else(|| error.downcast_ref::<DeleteMessageBatchError>()?.code())
        .or_else(|| error.downcast_ref::<ChangeMessageVisibilityBatchError>()?.code())
}
