//! Trace export: installs OpenTelemetry's SDK with its OTLP exporter, and brings out the last spans at the end.
//!
//! It is configured by OpenTelemetry's own variables and does nothing unless one of them names a collector. Without the
//! feature `otlp` it only warns that they have no effect.

use std::env;
use std::time::Duration;

use crate::settings::Problems;

#[cfg(feature = "otlp")]
mod exporter;

/// The variables that name a collector.
const ENDPOINTS: [&str; 2] = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];

/// How long the end of a process waits for its last spans.
#[cfg(feature = "otlp")]
const LAST_SPANS: Duration = Duration::from_secs(2);

/// The same if the grace period of a shutdown is used up.
#[cfg(feature = "otlp")]
const LEAST: Duration = Duration::from_millis(200);

/// A running export, if there is one.
#[derive(Debug)]
pub(crate) struct Export {
    #[cfg(feature = "otlp")]
    running: Option<exporter::Running>,
}

/// A variable that is set and not empty.
fn variable(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

/// Whether the environment asks for an export.
fn is_wanted() -> bool {
    let disabled = variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true"));
    let none = variable("OTEL_TRACES_EXPORTER").is_some_and(|value| value == "none");
    !disabled && !none && ENDPOINTS.iter().any(|name| variable(name).is_some())
}

/// Where spans go: the URL for traces, else the general one with their path.
#[cfg(feature = "otlp")]
fn endpoint() -> Option<String> {
    let [traces, general] = ENDPOINTS.map(|name| variable(name).filter(|url| is_url(url)));
    traces.or_else(|| Some(format!("{}/v1/traces", general?.trim_end_matches('/'))))
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// Warns of variables that are not supported and are ignored: a platform injects them into every container, and they never
/// prevent a start, as the specification asks.
pub(crate) fn check(problems: &mut Problems) {
    if !is_wanted() {
        return;
    }
    if cfg!(not(feature = "otlp")) {
        problems.warn("OTEL_EXPORTER_OTLP_ENDPOINT is set, but this binary was built without the feature otlp: no spans are exported");
        return;
    }
    let mut expect = |name: &str, expected: &str, valid: fn(&str) -> bool| {
        if let Some(value) = variable(name).filter(|value| !valid(value)) {
            problems.ignored(name, &value, expected);
        }
    };
    for name in ENDPOINTS {
        expect(name, "a URL that begins with http:// or https://", is_url);
    }
    for name in ["OTEL_EXPORTER_OTLP_PROTOCOL", "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL"] {
        expect(name, "http/protobuf", |protocol| protocol == "http/protobuf");
    }
    for name in ["OTEL_EXPORTER_OTLP_TIMEOUT", "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT"] {
        expect(name, "milliseconds", |timeout| timeout.parse::<u64>().is_ok());
    }
    for name in ["OTEL_EXPORTER_OTLP_HEADERS", "OTEL_EXPORTER_OTLP_TRACES_HEADERS"] {
        // the value may be a credential
        if variable(name).is_some_and(|headers| headers.split(',').any(|header| !header.contains('='))) {
            problems.ignored(name, "***", "name=value,…");
        }
    }
}

impl Export {
    /// Starts the export that the environment asks for. `service` is the service's name unless the environment has one. One
    /// that cannot start, because the system trusts no certificate for example, is logged.
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables))]
    pub(crate) fn install(service: &'static str) -> Self {
        #[cfg(feature = "otlp")]
        {
            let endpoint = endpoint().filter(|_| is_wanted());
            let running = endpoint.and_then(|endpoint| match exporter::Running::start(service, &endpoint) {
                Ok(running) => Some(running),
                Err(error) => {
                    tracing::warn!(target: "service", %error, "no spans are exported: the trace export cannot start");
                    None
                }
            });
            Self { running }
        }
        #[cfg(not(feature = "otlp"))]
        Self {}
    }

    /// Exports what has ended, for at most 2 s and no longer than `remaining`. Blocks its thread.
    #[cfg_attr(not(feature = "otlp"), allow(unused_variables))]
    pub(crate) fn finish(self, remaining: Duration) {
        #[cfg(feature = "otlp")]
        if let Some(running) = self.running {
            running.finish(remaining.clamp(LEAST, LAST_SPANS));
        }
    }
}
