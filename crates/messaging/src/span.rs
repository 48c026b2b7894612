//! Spans: what the tracing of a whole system sees of a message, on either side of SNS and SQS.
//!
//! The producer's span has the id that its message's `traceparent` carries, and the consumer's is a child of it, so that
//! a collector shows both as one trace, whose id is the `trace_id` of both logs.
//!
//! With the cargo feature `otlp` they go to an OpenTelemetry collector; without it every type in here is empty, and every
//! function does nothing. This file is the one place that knows which of the two it is.
//!
//! Exporting never holds up a message: a span that ends is put into a bounded queue, or is dropped and counted when that
//! is full. A thread of its own takes it from there.

#[cfg(not(feature = "otlp"))]
mod absent;
#[cfg(feature = "otlp")]
mod encoding;
#[cfg(feature = "otlp")]
mod exporter;
#[cfg(feature = "otlp")]
mod recorded;
#[cfg(feature = "otlp")]
mod settings;

#[cfg(feature = "otlp")]
pub use self::{
    exporter::Exporting,
    recorded::{Destination, Span, onward},
    settings::{Export, SETTINGS},
};
#[cfg(not(feature = "otlp"))]
pub use absent::{Destination, Export, Exporting, SETTINGS, Span, onward};

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
    /// The topic's or the queue's name.
    pub destination: &'a str,
    /// SNS's message id where it is known, else SQS's; none for a message that SNS did not take.
    pub message_id: Option<&'a str>,
    /// How often SQS had delivered it, this time included.
    pub receive_count: Option<u32>,
    /// What became of it, in one word of a few.
    pub outcome: &'static str,
    /// Why that is a failure, if it is one.
    pub failure: Option<String>,
}
