//! With the feature `otlp`: a span from its begin to its end. Nothing is kept of one that nobody collects.

use std::sync::Arc;
use std::time::SystemTime;

use super::Facts;
use super::exporter::{self, Exporter};
use crate::trace::TraceContext;

/// The name of a topic, shared by the spans of its messages.
#[derive(Debug, Clone)]
pub struct Destination(Arc<str>);

impl Destination {
    /// Of that name.
    pub fn new(name: &str) -> Self {
        Self(name.into())
    }

    /// The name.
    pub fn name(&self) -> &str {
        &self.0
    }
}

/// One operation on one message. Dropped without an [`end`](Self::end), it is not exported.
#[derive(Debug)]
pub struct Span(Option<Box<Open>>);

#[derive(Debug)]
struct Open {
    context: TraceContext,
    parent: Option<TraceContext>,
    begun: SystemTime,
    destination: Option<Destination>,
    failure: Option<String>,
    exporter: &'static Exporter,
}

/// A span that ended, on its way to the collector.
#[derive(Debug)]
pub(super) struct Ended {
    pub(super) context: TraceContext,
    pub(super) parent: Option<TraceContext>,
    pub(super) begun: SystemTime,
    pub(super) ended: SystemTime,
    pub(super) facts: Owned,
}

/// [`Facts`] that outlive the message.
#[derive(Debug)]
pub(super) struct Owned {
    pub(super) operation: super::Operation,
    pub(super) destination: String,
    pub(super) message_id: Option<String>,
    pub(super) receive_count: Option<u32>,
    pub(super) outcome: &'static str,
    pub(super) failure: Option<String>,
}

impl Span {
    /// Of a message whose trace nobody understands: nothing is exported.
    pub fn none() -> Self {
        Self(None)
    }

    /// A new trace, and the span that it names. The sampler decides whether it is kept.
    pub fn root() -> (TraceContext, Self) {
        let trace = TraceContext::start();
        match exporter::installed() {
            None => (trace, Self(None)),
            Some(exporter) => {
                let trace = trace.sampled(exporter.samples(trace));
                (trace, Self::open(exporter, trace, None))
            }
        }
    }

    /// The next span of a trace, where that is sampled; of a message without one, the first of a new trace.
    pub fn under(parent: Option<TraceContext>) -> Self {
        match (exporter::installed(), parent) {
            (None, _) => Self(None),
            (Some(_), None) => Self::root().1,
            (Some(exporter), Some(parent)) => Self::open(exporter, parent.child(), Some(parent)),
        }
    }

    fn open(exporter: &'static Exporter, context: TraceContext, parent: Option<TraceContext>) -> Self {
        let open = || {
            let begun = SystemTime::now();
            Box::new(Open { context, parent, begun, destination: None, failure: None, exporter })
        };
        Self(context.is_sampled().then(open))
    }

    /// What those that it causes are children of; `None` where it is not exported.
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
        self.0.as_ref().and_then(|open| open.destination.as_ref()).map_or("", Destination::name)
    }

    /// Notes why the operation failed.
    pub fn fail(&mut self, reason: impl FnOnce() -> String) {
        if let Some(open) = &mut self.0 {
            open.failure = Some(reason());
        }
    }

    /// Hands it over for export. Never blocks.
    pub fn end<'a>(&self, facts: impl FnOnce() -> Facts<'a>) {
        let Some(open) = &self.0 else { return };
        let Facts { operation, destination, message_id, receive_count, outcome, failure } = facts();
        let failure = open.failure.clone().or(failure);
        let (destination, message_id) = (destination.to_owned(), message_id.map(str::to_owned));
        open.exporter.take(Ended {
            context: open.context,
            parent: open.parent,
            begun: open.begun,
            ended: SystemTime::now(),
            facts: Owned { operation, destination, message_id, receive_count, outcome, failure },
        });
    }
}

/// What a request on behalf of a message says of its trace: where spans are exported the message's own span, which the
/// receiver's then is a child of; else the next hop.
pub fn onward(trace: TraceContext) -> TraceContext {
    if exporter::installed().is_some() { trace } else { trace.child() }
}
