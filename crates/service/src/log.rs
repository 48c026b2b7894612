//! The log: one line per event on standard output, as text or as JSON.

mod filter;
mod line;
mod queue;

use std::fmt;
use std::sync::OnceLock;
use std::time::Duration;

use lifeline_health::IntCounter;
use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

pub use self::filter::Filter;
pub(crate) use self::line::line;
use self::queue::Lines;

/// The queue of the installed log.
static LINES: OnceLock<Lines> = OnceLock::new();

/// The format of the installed log.
static FORMAT: OnceLock<Format> = OnceLock::new();

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `2026-01-30T00:25:58.123456Z  INFO consumer: received message_id=…`
    Text,
    /// One object per line.
    Json,
}

impl Format {
    /// What `LOG_FORMAT` asks for, for errors of a process whose settings cannot be read. `prefix` is what the program's
    /// variables begin with.
    pub(crate) fn asked_for(prefix: &str) -> Self {
        let arguments: Vec<_> = std::env::args_os().map(|a| a.to_string_lossy().into_owned()).collect();
        let flag = arguments.iter().enumerate().rev().find_map(|(n, argument)| {
            match argument.strip_prefix("--log-format")? {
                "" => arguments.get(n + 1).cloned(),
                value => value.strip_prefix('=').map(str::to_owned),
            }
        });
        let asked = flag.or_else(|| std::env::var(format!("{prefix}LOG_FORMAT")).ok());
        if asked.as_deref() == Some("json") { Self::Json } else { Self::Text }
    }

    /// That of the installed log.
    pub(crate) fn in_force() -> Self {
        FORMAT.get().copied().unwrap_or(Self::Text)
    }
}

/// What is logged, and how.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Log {
    /// `LOG_FORMAT`.
    pub format: Format,
    /// `RUST_LOG`.
    pub filter: Filter,
}

impl Log {
    /// Installs it for the process. A second call changes nothing: a test or an embedding program came first.
    ///
    /// Lines go to standard output without colours: what reads them is a collector.
    pub fn install(self) {
        self.install_to(std::io::stdout);
    }

    /// The same with lines written elsewhere, by a thread of their own: logging never waits for `writer`, and
    /// [`flush_log`] waits for the last lines. Each write is of whole lines.
    pub fn install_to(self, writer: impl for<'a> MakeWriter<'a> + Send + Sync + 'static) {
        // without a thread for the log there is none for the rest either: standard error shows the error that ends us
        let Ok(lines) = Lines::start(self.format, writer) else { return };
        FORMAT.set(self.format).ok();
        let layer = tracing_subscriber::fmt::layer().with_ansi(false).with_writer(lines.clone());
        let layer = match self.format {
            Format::Text => layer.boxed(),
            Format::Json => {
                let layer = layer.json().flatten_event(true).with_current_span(true).with_span_list(false);
                layer.map_event_format(Verbatim).boxed()
            }
        };
        if self.try_install_layer(layer) {
            LINES.set(lines).ok();
        }
    }

    /// The same with events that are shown another way, by `layer`, which should not block.
    pub fn install_layer(self, layer: impl Layer<Registry> + Send + Sync) {
        self.try_install_layer(layer);
    }

    fn try_install_layer(self, layer: impl Layer<Registry> + Send + Sync) -> bool {
        Registry::default().with(layer.with_filter(self.filter)).try_init().is_ok()
    }
}

/// JSON, in which a value reads back as what it was: what escapes texts for the log's other form leaves them alone.
struct Verbatim<F>(F);

impl<S, N, F: FormatEvent<S, N>> FormatEvent<S, N> for Verbatim<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        lifeline_escape::verbatim(|| self.0.format_event(context, writer, event))
    }
}

/// Waits until the lines logged so far are written, but no longer than `within`: whoever reads them may have stopped.
/// A program that does not end through [`main`](crate::main) or [`failed`](crate::failed) calls it last.
pub fn flush_log(within: Duration) {
    if let Some(lines) = LINES.get() {
        lines.flush(within);
    }
}

/// Counts the lines that were dropped because the output did not take them.
pub(crate) fn dropped_lines() -> Option<IntCounter> {
    LINES.get().map(Lines::dropped)
}
