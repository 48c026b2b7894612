//! Without the feature `otlp`: nothing, of no size.

use std::io;
use std::time::Duration;

use super::Facts;
use crate::trace::TraceContext;
use lifeline_service::settings::{Reader, Setting};

/// No settings.
pub const SETTINGS: &[Setting] = &[];

/// Where spans would go.
#[derive(Debug, Clone)]
pub struct Export;

impl Export {
    /// There is nothing to read.
    pub fn read(_: &mut Reader<'_>) -> Self {
        Self
    }

    /// Exports nothing, and says so where the environment asks for it.
    ///
    /// # Errors
    /// None.
    pub fn install(self, _service: &'static str) -> io::Result<Exporting> {
        let asked = ["OTEL_EXPORTER_OTLP_ENDPOINT", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"];
        if let Some(variable) =
            asked.iter().find(|name| std::env::var_os(name).is_some_and(|v| !v.is_empty()))
        {
            tracing::warn!(
                "{variable} is set, but this program was built without the feature otlp: no spans are exported"
            );
        }
        Ok(Exporting)
    }
}

/// What would run.
#[derive(Debug)]
pub struct Exporting;

impl Exporting {
    /// There is nothing to wait for.
    pub fn finish(self, _grace: Duration) {}
}

/// The name of a topic, for spans that are not there.
#[derive(Debug, Clone)]
pub struct Destination;

impl Destination {
    /// Of that name.
    pub fn new(_name: &str) -> Self {
        Self
    }

    /// No name.
    pub fn name(&self) -> &str {
        ""
    }
}

/// No span.
#[derive(Debug)]
pub struct Span;

impl Span {
    /// No span.
    pub fn none() -> Self {
        Self
    }

    /// A new trace, and no span.
    pub fn root() -> (TraceContext, Self) {
        (TraceContext::start(), Self)
    }

    /// No span.
    pub fn under(_parent: Option<TraceContext>) -> Self {
        Self
    }

    /// None.
    pub fn context(&self) -> Option<TraceContext> {
        None
    }

    /// Nothing is told of it.
    pub fn towards(&mut self, _destination: &Destination) {}

    /// The topic that it would go to.
    pub fn destination(&self) -> &str {
        ""
    }

    /// Nothing is told of it.
    pub fn fail(&mut self, _reason: impl FnOnce() -> String) {}

    /// Nothing is told of it.
    pub fn end<'a>(&self, _facts: impl FnOnce() -> Facts<'a>) {}
}

/// What a request on behalf of a message says of its trace: the next hop.
pub fn onward(trace: TraceContext) -> TraceContext {
    trace.child()
}
