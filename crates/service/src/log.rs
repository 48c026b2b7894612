//! The log: one line per event on standard output, as text or as JSON.

use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::{self, Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{Layer, Registry};

use crate::settings::Accept;
use crate::summary::SUMMARY;

/// The workspace's crates: their modules log as `lifeline_…`, and `RUST_LOG` may leave that out.
const CRATES: [&str; 6] = ["producer", "consumer", "messaging", "health", "http", "emulator"];

/// How lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Format {
    /// `2026-01-30T00:25:58.123456Z  INFO consumer: received message_id=…`
    Text,
    /// One object per line.
    Json,
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
        self.install_layer(layer);
    }

    /// The same with events that are shown another way, by `layer`.
    pub fn install_layer(self, layer: impl Layer<Registry> + Send + Sync) {
        Registry::default().with(layer.with_filter(self.filter)).try_init().ok();
    }
}

/// What `RUST_LOG` asks for, and the summaries, unless those are switched off: by `off`, or by `off` for their target.
#[derive(Debug, Clone)]
pub struct Filter(Targets);

impl Filter {
    /// `RUST_LOG`: a level, or `target=level,…`.
    ///
    /// `consumer=debug` stands for `lifeline_consumer=debug` too: the crates' names in the code are longer than those of
    /// the services, and users write the latter.
    #[must_use]
    pub fn accept() -> Accept<Self> {
        let expected = "a level (off, error, warn, info, debug, trace) or target=level,…";
        Accept::new(expected, Self::parse)
    }

    fn parse(text: &str) -> Option<Self> {
        // a target without a level would switch off all others, and is mostly a misspelt level
        let complete = |part: &str| part.contains('=') || part.trim().parse::<LevelFilter>().is_ok();
        let targets: Targets = text.split(',').all(complete).then(|| text.parse().ok())??;
        Some(Self(quieten(text, with_crate_names(targets))))
    }

    fn enables(&self, metadata: &Metadata<'_>) -> bool {
        self.0.would_enable(metadata.target(), metadata.level())
            || (metadata.name() == SUMMARY && !self.switches_off(metadata.target()))
    }

    /// A target that no directive names, where there is no level for all, was not switched off.
    fn switches_off(&self, target: &str) -> bool {
        let named =
            self.0.default_level().is_some() || self.0.iter().any(|(prefix, _)| target.starts_with(prefix));
        named && !self.0.would_enable(target, &Level::ERROR)
    }
}

fn with_crate_names(targets: Targets) -> Targets {
    let ours = |target: &str| CRATES.contains(&target.split("::").next().unwrap_or_default());
    let named: Vec<_> = targets.iter().map(|(target, level)| (target.to_owned(), level)).collect();
    let longer =
        named.iter().filter(|(target, _)| ours(target)).map(|(t, level)| (format!("lifeline_{t}"), *level));
    let new =
        longer.filter(|(target, _)| !named.iter().any(|(known, _)| known == target)).collect::<Vec<_>>();
    targets.with_targets(new)
}

/// The SDK warns of missing credentials at every call, in kilobytes; our own calls report the same once. `RUST_LOG` with
/// the SDK's own targets shows all of it.
fn quieten(asked: &str, filter: Targets) -> Targets {
    let warns = filter.default_level().is_some_and(|level| level > LevelFilter::ERROR);
    if warns && !asked.contains("aws_config") {
        filter.with_target("aws_config", LevelFilter::ERROR)
    } else {
        filter
    }
}

impl<S: Subscriber> layer::Filter<S> for Filter {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        self.enables(metadata)
    }

    // decided once for each place in the code that logs
    fn callsite_enabled(&self, metadata: &'static Metadata<'static>) -> Interest {
        if self.enables(metadata) { Interest::always() } else { Interest::never() }
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        let asked = layer::Filter::<S>::max_level_hint(&self.0);
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

    /// What is logged with this `RUST_LOG`: i for another line at info, w for one at warn, A for the summary.
    fn logged(asked: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let layer = tracing_subscriber::fmt::layer().with_writer(move || writer.clone());
        let filter = Filter::parse(asked).unwrap();
        tracing::subscriber::with_default(
            tracing_subscriber::registry().with(layer.with_filter(filter)),
            || {
                tracing::info!(target: "consumer", "<i>");
                tracing::warn!(target: "consumer", "<w>");
                tracing::info!(name: SUMMARY, target: "consumer", "<A>");
            },
        );
        let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
        ["i", "w", "A"].into_iter().filter(|mark| text.contains(&format!("<{mark}>"))).collect()
    }

    #[test]
    fn the_summary_is_shown_unless_it_is_switched_off() {
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

    #[test]
    fn the_name_of_a_service_stands_for_its_crate() {
        let enables = |asked: &str, target: &str, level: Level| {
            Filter::parse(asked).unwrap().0.would_enable(target, &level)
        };
        for name in CRATES {
            let debug = format!("info,{name}=debug,{name}::deep=trace");
            for target in [name.to_owned(), format!("lifeline_{name}"), format!("lifeline_{name}::lease")] {
                assert!(enables(&debug, &target, Level::DEBUG), "{target}");
                assert!(!enables(&debug, &target, Level::TRACE), "{target}");
            }
            assert!(enables(&debug, &format!("lifeline_{name}::deep::er"), Level::TRACE));
            assert!(!enables(&debug, "hyper", Level::DEBUG) && enables(&debug, "hyper", Level::INFO));
        }
        let both = "consumer=debug,lifeline_consumer=warn";
        assert!(
            !enables(both, "lifeline_consumer::lease", Level::INFO)
                && enables(both, "consumer", Level::DEBUG)
        );
        assert!(enables("lifeline=debug", "lifeline_consumer::lease", Level::DEBUG));
    }

    #[test]
    fn a_misspelt_level_is_refused() {
        for bad in ["inof", "blah", "warn,consumer", "a=b=c", "consumer=loud"] {
            assert!(Filter::parse(bad).is_none(), "{bad:?}");
        }
        assert!(Filter::parse("warn,consumer=debug").is_some());
    }
}
