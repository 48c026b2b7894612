//! The log: one line an event on standard output, as text or as JSON.

use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{Accept, Reader, Setting, boolean, choice};

/// The rows of the log's settings, for a program's table.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "LOG_FORMAT", default: Some("text"), help: "text, or json: one object a line" },
    Setting { name: "ACCESS_LOG", default: Some("on"), help: "off silences 200s on /health" },
    Setting { name: "RUST_LOG", default: Some("info"), help: "what is logged: a level, or target=level,…" },
];

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `2026-01-30T00:25:58.123456Z  INFO consumer: received message_id=…`
    Text,
    /// One object a line.
    Json,
}

/// What is logged, and how.
#[derive(Debug, Clone)]
pub struct Log {
    /// `LOG_FORMAT`.
    pub format: Format,
    filter: Targets,
}

impl Log {
    /// Reads `LOG_FORMAT` and `RUST_LOG`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let format = reader.read("LOG_FORMAT", choice(&[("text", Format::Text), ("json", Format::Json)]));
        let filter =
            Accept::new("a level (off, error, warn, info, debug, trace) or target=level,…", |text| {
                text.parse::<Targets>().ok().map(|filter| quieten(text, filter))
            });
        Self { format, filter: reader.read("RUST_LOG", filter) }
    }

    /// Reads `ACCESS_LOG`: the health server's log has the same form.
    pub fn access_log(&self, reader: &mut Reader<'_>) -> health::AccessLog {
        let format = match self.format {
            Format::Text => health::AccessFormat::Text,
            Format::Json => health::AccessFormat::Json,
        };
        health::AccessLog { format, silence_healthy: !reader.read("ACCESS_LOG", boolean()) }
    }

    /// Installs it for the process. A second call changes nothing: a test or an embedding program came first.
    ///
    /// Lines go to standard output without buffering and without colours: what reads them is a collector.
    pub fn install(self) {
        self.install_to(std::io::stdout);
    }

    /// The same with lines written elsewhere: each line in one write.
    pub fn install_to(self, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(writer);
        let layer = match self.format {
            Format::Text => layer.boxed(),
            Format::Json => {
                layer.json().flatten_event(true).with_current_span(false).with_span_list(false).boxed()
            }
        };
        tracing_subscriber::registry().with(layer.with_filter(self.filter)).try_init().ok();
    }
}

/// The SDK warns of missing credentials at every call, in kilobytes; an [`Outage`](crate::outage::Outage) says the same
/// once. Who names the SDK's own targets gets all of it.
fn quieten(asked: &str, filter: Targets) -> Targets {
    let warns = filter.default_level().is_some_and(|level| level > LevelFilter::ERROR);
    if warns && !asked.contains("aws_config") {
        filter.with_target("aws_config", LevelFilter::ERROR)
    } else {
        filter
    }
}
