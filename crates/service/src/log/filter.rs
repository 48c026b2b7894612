//! The filter: what `RUST_LOG` shows of the log.

use lifeline_escape::{Line, unescaped};
use tracing::subscriber::Interest;
use tracing::{Level, Metadata, Subscriber};
use tracing_subscriber::filter::{LevelFilter, Targets};
use tracing_subscriber::layer::{self, Context};

use crate::settings::Accept;
use crate::summary::SUMMARY;

/// What a directive looks like.
const FORM: &str = "a level (off, error, warn, info, debug, trace) or target=level,…";

/// Longest part of an ignored directive that is shown.
const SHOWN: usize = 100;

/// The workspace's crates: their modules log as `lifeline_…`, and `RUST_LOG` may leave that out.
const CRATES: [&str; 6] = ["producer", "consumer", "messaging", "health", "http", "emulator"];

/// What `RUST_LOG` asks for, and the summaries, unless those are switched off: by `off`, or by `off` for their target.
///
/// A directive that cannot be read is ignored: the variable is every Rust program's, and may be meant for another one.
#[derive(Debug, Clone)]
pub struct Filter {
    targets: Targets,
    ignored: Vec<String>,
}

impl Filter {
    /// `RUST_LOG`: a level, or `target=level,…`.
    ///
    /// `consumer=debug` stands for `lifeline_consumer=debug` too: the crates' names in the code are longer than those of
    /// the services, and users write the latter.
    #[must_use]
    pub fn accept() -> Accept<Self> {
        Accept::new(FORM, |text| Some(Self::parse(text)))
    }

    /// What the log should say about the directives that were ignored.
    pub(crate) fn warning(&self) -> Option<String> {
        let ignored = self.ignored.iter().map(|part| unescaped(Line::new(part).limit(SHOWN)));
        let ignored = ignored.collect::<Vec<_>>().join(", ");
        (!ignored.is_empty()).then(|| format!("RUST_LOG: ignored {ignored}; expected {FORM}"))
    }

    /// Everything at info, where no directive can be read.
    fn parse(text: &str) -> Self {
        let parts = text.split([',', ';']).map(str::trim).filter(|part| !part.is_empty());
        let (read, ignored): (Vec<&str>, Vec<&str>) = parts.partition(|part| is_directive(part));
        let read = if read.is_empty() { "info".to_owned() } else { read.join(",") };
        let targets = read.parse().unwrap_or_else(|_| Targets::new().with_default(LevelFilter::INFO));
        let targets = quieten(&read, with_crate_names(targets));
        Self { targets, ignored: ignored.into_iter().map(str::to_owned).collect() }
    }

    fn enables(&self, metadata: &Metadata<'_>) -> bool {
        self.targets.would_enable(metadata.target(), metadata.level())
            || (metadata.name() == SUMMARY && !self.switches_off(metadata.target()))
    }

    /// A target that no directive names, where there is no level for all, was not switched off.
    fn switches_off(&self, target: &str) -> bool {
        let named = self.targets.default_level().is_some()
            || self.targets.iter().any(|(prefix, _)| target.starts_with(prefix));
        named && !self.targets.would_enable(target, &Level::ERROR)
    }
}

/// A level, or a target with one. A target alone would switch off all others, and is mostly a misspelt level; a number is
/// a level to nobody who writes one; brackets select spans, and there are none.
fn is_directive(part: &str) -> bool {
    let (target, level) = part.split_once('=').map_or((None, part), |(target, level)| (Some(target), level));
    let named = target.is_none_or(|target| !target.is_empty() && !target.contains(['[', ']', '{', '}']));
    named && level.starts_with(char::is_alphabetic) && level.parse::<LevelFilter>().is_ok()
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
        let asked = layer::Filter::<S>::max_level_hint(&self.targets);
        asked.map(|level| if level == LevelFilter::OFF { level } else { level.max(LevelFilter::INFO) })
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use tracing_subscriber::Layer;
    use tracing_subscriber::layer::SubscriberExt;

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
        let filter = Filter::parse(asked);
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
            Filter::parse(asked).targets.would_enable(target, &level)
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
    fn what_is_meant_for_another_program_is_ignored_and_named() {
        for (asked, ignored, shown) in [
            ("inof", "inof", "iwA"),
            ("2", "2", "iwA"),
            ("warning", "warning", "iwA"),
            ("a=b=c", "a=b=c", "iwA"),
            ("my-app=verbose", "my-app=verbose", "iwA"),
            ("info,[request{id=7}]=debug", "[request{id=7}]=debug", "iwA"),
            ("info/regex", "info/regex", "iwA"),
            ("warn,consumer", "consumer", "wA"),
            ("warn;loud", "loud", "wA"),
            ("off,x=", "x=", ""),
        ] {
            assert_eq!(logged(asked), shown, "{asked}");
            let warning = Filter::parse(asked).warning().unwrap_or_default();
            assert_eq!(warning, format!("RUST_LOG: ignored {ignored}; expected {FORM}"));
        }
        for fine in ["", "info,", " warn , consumer=debug ", "WARN", "h2=off;info"] {
            assert_eq!(Filter::parse(fine).warning(), None, "{fine}");
        }
        assert_eq!(logged("warn,"), "wA");
    }
}
