//! Spans: what tracing shows of a message, on either side of SNS and SQS.
//!
//! The producer's span has the id that its message's `traceparent` carries, and the consumer's is a child of it, so that
//! both are one trace, whose id is the `trace_id` of both logs. Names and attributes follow OpenTelemetry's conventions for
//! messaging, version 1.45: <https://opentelemetry.io/docs/specs/semconv/messaging/messaging-spans/>. The span of one message has no
//! `messaging.batch.message_count`, which the conventions keep for spans of a batch: `lifeline.batch_size` is ours.
//!
//! With the feature `otlp` they go to OpenTelemetry's global tracer provider, if there is one when the first message is
//! published or received. Without the feature, or without a provider, a span is nothing and costs nothing.

use std::sync::Arc;

use crate::trace::TraceContext;

#[cfg(feature = "otlp")]
mod provider;
#[cfg(feature = "otlp")]
pub(crate) use provider::{remote, tracer};
#[cfg(not(feature = "otlp"))]
mod provider {
    //! Without the feature `otlp` no span is ever started.

    use super::{Facts, Operation, TraceContext};

    #[derive(Debug)]
    pub(super) enum Started {}

    pub(super) fn is_installed() -> bool {
        false
    }

    pub(super) fn start(
        _: Operation,
        _: Option<(TraceContext, Option<&str>)>,
    ) -> Option<(TraceContext, Option<Started>)> {
        None
    }

    impl Started {
        pub(super) fn end(&self, _: Facts<'_>) {
            match *self {}
        }
    }
}

/// What was done with the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    /// It was handed to SNS; a span of the kind `PRODUCER`.
    Publish,
    /// It was received from SQS and handled; a span of the kind `CONSUMER`.
    Process,
}

/// What a span says when it ends.
#[derive(Debug, Clone)]
pub struct Facts<'a> {
    /// What was done.
    pub operation: Operation,
    /// Name of the topic or queue.
    pub destination: &'a str,
    /// SNS's message id if it is known, else SQS's; none for a message that SNS did not take.
    pub message_id: Option<&'a str>,
    /// How often SQS had delivered it, this time included.
    pub receive_count: Option<u32>,
    /// The message's outcome, in one word of a few.
    pub outcome: &'static str,
    /// Why that is a failure, if it is one.
    pub failure: Option<String>,
    /// The class of the failure, in one word of a few: AWS's code where there is one.
    pub error_type: Option<&'a str>,
    /// The queue's URL.
    pub queue_url: Option<String>,
    /// AWS's id of the call that settled it.
    pub request_id: Option<&'a str>,
    /// How many messages that call had.
    pub batch_size: Option<usize>,
}

/// The name of a topic, shared by the spans of its messages.
#[derive(Debug, Clone)]
pub struct Destination(Arc<str>);

impl Destination {
    /// Of that name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }
}

/// One operation on one message.
#[derive(Debug)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    context: TraceContext,
    started: provider::Started,
    destination: Option<Destination>,
    failure: Option<String>,
}

impl Span {
    /// The span of a message whose trace cannot be read: nothing is exported.
    pub fn none() -> Self {
        Self(None)
    }

    /// The first span of a new trace, and that trace. The provider decides whether it is sampled.
    pub fn root(operation: Operation) -> (TraceContext, Self) {
        match provider::start(operation, None) {
            None => (TraceContext::start(), Self(None)),
            Some((context, started)) => (context, Self::open(context, started)),
        }
    }

    /// The next span of a trace, if that is sampled; of a message without one, the first of a new trace. `state` is the trace's
    /// `tracestate`, which the span and those under it keep.
    pub fn under(operation: Operation, parent: Option<TraceContext>, state: Option<&str>) -> Self {
        if parent.is_some_and(|parent| !parent.is_sampled()) {
            return Self(None);
        }
        provider::start(operation, parent.map(|parent| (parent, state)))
            .map_or(Self(None), |(context, started)| Self::open(context, started))
    }

    fn open(context: TraceContext, started: Option<provider::Started>) -> Self {
        Self(started.map(|started| Box::new(Open { context, started, destination: None, failure: None })))
    }

    /// The parent of spans that this operation causes; `None` if it is not exported.
    pub fn context(&self) -> Option<TraceContext> {
        self.0.as_ref().map(|open| open.context)
    }

    /// Notes the topic.
    pub fn towards(&mut self, destination: &Destination) {
        if let Some(open) = &mut self.0 {
            open.destination = Some(destination.clone());
        }
    }

    /// The topic's name, once it is noted.
    pub fn destination(&self) -> &str {
        self.0.as_ref().and_then(|open| open.destination.as_ref()).map_or("", |destination| &destination.0)
    }

    /// Notes why the operation failed.
    pub fn fail(&mut self, reason: impl FnOnce() -> String) {
        if let Some(open) = &mut self.0 {
            open.failure = Some(reason());
        }
    }

    /// Ends it. Never blocks.
    pub fn end<'a>(&self, facts: impl FnOnce() -> Facts<'a>) {
        if let Some(open) = &self.0 {
            let facts = facts();
            let failure = open.failure.clone().or_else(|| facts.failure.clone());
            open.started.end(Facts { failure, ..facts });
        }
    }
}

/// The trace context of a request on behalf of a message: the message's own span if spans are exported, which the
/// receiver's is then a child of, else the next hop.
pub fn onward(trace: TraceContext) -> TraceContext {
    if provider::is_installed() { trace } else { trace.child() }
}
