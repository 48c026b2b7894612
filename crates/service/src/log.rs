//! The log: one line an event on standard output, as text or as JSON.

use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{Context, Filter, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

use crate::settings::{Accept, Reader, Setting, boolean, choice};

/// The rows of the log's settings, for a program's table.
pub const SETTINGS: &[Setting] = &[
    Setting { name: "LOG_FORMAT", default: Some("text"), help: "text, or json: one object a line" },
    Setting { name: "ACCESS_LOG", default: Some("on"), help: "off silences 200s on /health" },
    Setting { name: "RUST_LOG", default: Some("info"), help: "what is logged: a level, or target=level,…" },
];

/// The name of the event that is a program's account: `RUST_LOG=warn` leaves it in the log, whose last line it is.
pub const ACCOUNT: &str = "account";

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
    filter: Shown,
}

impl Log {
    /// Reads `LOG_FORMAT` and `RUST_LOG`.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let format = reader.read("LOG_FORMAT", choice(&[("text", Format::Text), ("json", Format::Json)]));
        let filter =
            Accept::new("a level (off, error, warn, info, debug, trace) or target=level,…", |text| {
                text.parse::<Targets>().ok().map(|filter| Shown(quieten(text, filter)))
            });
        Self { format, filter: reader.read("RUST_LOG", filter) }
    }

    /// Reads `ACCESS_LOG`: the health server's log has the same form.
    pub fn access_log(&self, reader: &mut Reader<'_>) -> lifeline_health::AccessLog {
        let format = match self.format {
            Format::Text => lifeline_health::AccessFormat::Text,
            Format::Json => lifeline_health::AccessFormat::Json,
        };
        lifeline_health::AccessLog { format, silence_healthy: !reader.read("ACCESS_LOG", boolean()) }
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

/// What `RUST_LOG` asks for, and the account, unless that is switched off: by `off`, or by `off` for its target.
#[derive(Debug, Clone)]
struct Shown(Targets);

impl Shown {
    fn enables(&self, metadata: &Metadata<'_>) -> bool {
        self.0.would_enable(metadata.target(), metadata.level())
            || (metadata.name() == ACCOUNT && !self.switches_off(metadata.target()))
    }

    /// A target that no directive names, where there is no level for all, was not switched off.
    fn switches_off(&self, target: &str) -> bool {
        let named =
            self.0.default_level().is_some() || self.0.iter().any(|(prefix, _)| target.starts_with(prefix));
        named && !self.0.would_enable(target, &Level::ERROR)
    }
}

impl<S: Subscriber> Filter<S> for Shown {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.enables(metadata)
    }

    // decided once for each place in the code that logs
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enables(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let asked = Filter::<S>::max_level_hint(&self.0);
        asked.map(|level| if level == LevelFilter::OFF { level } else { level.max(LevelFilter::INFO) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

    #[derive(Clone, Default)]
    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    /// What is logged with this `RUST_LOG`: i for another line at info, w for one at warn, A for the account.
    fn logged(asked: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let filter = Shown(quieten(asked, asked.parse().unwrap()));
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(layer.with_filter(filter)),
            || {
                tracing::info!(target: "consumer", "<i>");
                tracing::warn!(target: "consumer", "<w>");
                tracing::info!(name: ACCOUNT, target: "consumer", "<A>");
            },
        );
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        ["i", "w", "A"].into_iter().filter(|mark| text.contains(&format!("<{mark}>"))).collect()
    }

    #[test]
    fn the_account_is_shown_unless_it_is_switched_off() {
        for (asked, shown) in [
            ("info", "iwA"),
            ("warn", "wA"),
            ("error", "A"),
            ("warn,consumer=info", "iwA"),
            ("consumer=warn", "wA"),
            ("hyper=debug", "A"),
            ("info,consumer=off", ""),
            ("consumer=off", ""),
            ("off,consumer=warn", "wA"),
            ("off", ""),
            ("off,hyper=debug", ""),
        ] {
            assert_eq!(logged(asked), shown, "{asked}");
        }
    }
}
