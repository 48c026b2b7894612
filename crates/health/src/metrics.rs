//! Metrics: counters, gauges and histograms in Prometheus' text format.
//!
//! A program makes its metrics once, at start, and keeps the handles; counting is then one atomic operation.
//! Labels are fixed names with values from a small set known in advance, never ids or texts of users: each new
//! combination is a new series, kept forever.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::core::Desc;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, HistogramOpts, IntGaugeVec, Opts, Registry};

pub use prometheus::core::Collector;
pub use prometheus::{
    Gauge, Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge, exponential_buckets,
};

use crate::pulse::Pulses;
#[cfg(feature = "server")]
use crate::readiness::Readiness;

/// What a program counts, over a registry of its own. Cheap to clone; clones share everything.
///
/// Every constructor may be called again with the same name and returns the metric that is already there. A name
/// that Prometheus does not allow, or that is taken by a metric of another kind or other labels, gives a metric
/// that counts but is not shown: a wrong name must not stop a program that works.
///
/// ```
/// let metrics = lifeline_health::Metrics::new("1.2.3", &lifeline_health::Pulses::new());
/// let sent = metrics.counter("mail_sent_total", "Mails handed to the server.");
/// sent.inc();
/// assert!(metrics.render().contains("mail_sent_total 1"));
/// assert!(metrics.render().contains(r#"build_info{version="1.2.3"} 1"#));
/// ```
#[derive(Clone)]
pub struct Metrics {
    own: Labelled,
    all: Arc<Mutex<BTreeMap<(String, String), Labelled>>>,
}

/// The metrics that have one label in common, or none. A registry refuses a name twice with different labels, so each has
/// its own.
#[derive(Clone)]
struct Labelled {
    registry: Registry,
    made: Arc<Mutex<HashMap<String, Made>>>,
}

/// A metric as it was made, for the caller who asks for it again.
#[derive(Clone)]
enum Made {
    Counter(IntCounter),
    CounterVec(IntCounterVec, Vec<String>),
    IntGauge(IntGauge),
    Gauge(Gauge),
    Histogram(Histogram),
    HistogramVec(HistogramVec, Vec<String>),
    AtScrape(AtScrape),
}

impl Metrics {
    /// A registry that already shows `build_info{version}`, always 1; `process_start_time_seconds`, the moment of this
    /// call, by whose changes restarts are counted; and `pulse_age_seconds{pulse}` for every pulse of `pulses`.
    pub fn new(version: &str, pulses: &Pulses) -> Self {
        let own = Labelled { registry: Registry::new(), made: Arc::default() };
        let all = BTreeMap::from([(<(String, String)>::default(), own.clone())]);
        let metrics = Self { own, all: Arc::new(Mutex::new(all)) };
        let opts = Opts::new("build_info", "The version that runs; always 1.");
        if let Ok(info) = IntGaugeVec::new(opts, &["version"]) {
            info.with_label_values(&[version]).set(1);
            metrics.register(info);
        }
        let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        metrics
            .gauge("process_start_time_seconds", "When the process started, in seconds since 1970.")
            .set(started.as_secs_f64());
        metrics.show_per_name(
            "pulse_age_seconds",
            "Time since a part that must make progress last did.",
            "pulse",
            {
                let pulses = pulses.clone();
                move || {
                    let ages = pulses.ages();
                    ages.into_iter().map(|(name, age)| (name, age.as_secs_f64())).collect()
                }
            },
        );
        metrics
    }

    /// The same metrics; what is made through it has this label.
    #[must_use]
    pub fn labelled(&self, label: &str, value: &str) -> Self {
        let mut all = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        let own = all.entry((label.to_owned(), value.to_owned())).or_insert_with(|| {
            let labels = HashMap::from([(label.to_owned(), value.to_owned())]);
            // fails on an empty prefix alone
            let registry = Registry::new_custom(None, Some(labels)).unwrap_or_default();
            Labelled { registry, made: Arc::default() }
        });
        Self { own: own.clone(), all: Arc::clone(&self.all) }
    }

    /// A counter; its name ends in `_total`. `inc` is one atomic addition, about 8 ns.
    pub fn counter(&self, name: &str, help: &str) -> IntCounter {
        let make = || IntCounter::new(name, help).map(|it| (it.clone(), Made::Counter(it)));
        self.make(name, make, |made| match made {
            Made::Counter(it) => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| valid(IntCounter::new("unnamed", help)))
    }

    /// Counters told apart by `labels`. Keep what `with_label_values` returns: looking it up again costs a hash and
    /// a read lock.
    pub fn counter_vec(&self, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
        let make = || {
            let it = IntCounterVec::new(Opts::new(name, help), labels)?;
            Ok((it.clone(), Made::CounterVec(it, owned(labels))))
        };
        self.make(name, make, |made| match made {
            Made::CounterVec(it, with) if with == labels => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| {
            valid(IntCounterVec::new(Opts::new("unnamed", help), &borrowed(&placeholders(labels))))
        })
    }

    /// A gauge of whole numbers.
    pub fn int_gauge(&self, name: &str, help: &str) -> IntGauge {
        let make = || IntGauge::new(name, help).map(|it| (it.clone(), Made::IntGauge(it)));
        self.make(name, make, |made| match made {
            Made::IntGauge(it) => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| valid(IntGauge::new("unnamed", help)))
    }

    /// A gauge of any number.
    pub fn gauge(&self, name: &str, help: &str) -> Gauge {
        let make = || Gauge::new(name, help).map(|it| (it.clone(), Made::Gauge(it)));
        self.make(name, make, |made| match made {
            Made::Gauge(it) => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| valid(Gauge::new("unnamed", help)))
    }

    /// A gauge of what `read` returns, computed anew at each scrape, on the server's thread; it must not block. With `None` it
    /// is not shown: what is not known is not 0. Called again with the same name, the last `read` counts.
    pub fn gauge_at_scrape(
        &self,
        name: &str,
        help: &str,
        read: impl Fn() -> Option<f64> + Send + Sync + 'static,
    ) {
        let read: Arc<Reading> = Arc::new(read);
        let make = || {
            let read = Arc::new(Mutex::new(Arc::clone(&read)));
            Gauge::new(name, help).map(|gauge| ((), Made::AtScrape(AtScrape { gauge, read })))
        };
        self.make(name, make, |made| match made {
            Made::AtScrape(it) => {
                *it.reading() = Arc::clone(&read);
                Some(())
            }
            _ => None,
        });
    }

    /// What a [`gauge_at_scrape`](Self::gauge_at_scrape) shows now.
    #[must_use]
    pub fn read(&self, name: &str) -> Option<f64> {
        let made = self.own.made.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        match made? {
            Made::AtScrape(it) => it.read(),
            _ => None,
        }
    }

    /// A histogram with these upper bounds, ascending and in base units (seconds, bytes); for latencies there is
    /// [`LATENCY_BUCKETS`]. `observe` is a search among the bounds and two atomic additions, about 20 ns.
    pub fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        let opts = |name: &str| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let make = || Histogram::with_opts(opts(name)).map(|it| (it.clone(), Made::Histogram(it)));
        self.make(name, make, |made| match made {
            Made::Histogram(it) => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| valid(Histogram::with_opts(HistogramOpts::new("unnamed", help))))
    }

    /// Histograms told apart by `labels`; see [`histogram`](Self::histogram) and
    /// [`counter_vec`](Self::counter_vec).
    pub fn histogram_vec(&self, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
        let opts = |name: &str| HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let make = || {
            let it = HistogramVec::new(opts(name), labels)?;
            Ok((it.clone(), Made::HistogramVec(it, owned(labels))))
        };
        self.make(name, make, |made| match made {
            Made::HistogramVec(it, with) if with == labels => Some(it.clone()),
            _ => None,
        })
        .unwrap_or_else(|| {
            valid(HistogramVec::new(HistogramOpts::new("unnamed", help), &borrowed(&placeholders(labels))))
        })
    }

    /// Shows what `collector` collects, anew at each scrape, on the server's thread; it must not block. One that is
    /// already shown, or clashes with what is, is ignored.
    pub fn register(&self, collector: impl Collector + 'static) {
        let _ = self.own.registry.register(Box::new(collector));
    }

    /// Everything in Prometheus' text format, version 0.0.4.
    pub fn render(&self) -> String {
        let all: Vec<_> = self.all.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect();
        let mut families = BTreeMap::<String, MetricFamily>::new();
        for mut family in all.iter().flat_map(|labelled| labelled.registry.gather()) {
            match families.entry(family.name().to_owned()) {
                Entry::Vacant(new) => {
                    new.insert(family);
                }
                Entry::Occupied(mut there) => there.get_mut().mut_metric().extend(family.take_metric()),
            }
        }
        let families: Vec<_> = families.into_values().collect();
        let mut text = String::new();
        // It fails on a family without metrics, which the registry never gathers, and writing to a string cannot.
        let _ = prometheus::TextEncoder::new().encode_utf8(&families, &mut text);
        text
    }

    /// Shows `readiness_condition{condition}`: 1 for each that is met, 0 for the rest.
    #[cfg(feature = "server")]
    pub(crate) fn show_readiness(&self, readiness: &Readiness) {
        let readiness = readiness.clone();
        self.show_per_name(
            "readiness_condition",
            "Whether a condition of readiness is met (1) or not (0).",
            "condition",
            move || {
                let states = readiness.states();
                states.into_iter().map(|(name, met)| (name.into_owned(), f64::from(u8::from(met)))).collect()
            },
        );
    }

    /// The one way in: what is there under `name`, or what `make` makes, now shown. `None` if it cannot be shown.
    fn make<T>(
        &self,
        name: &str,
        make: impl FnOnce() -> prometheus::Result<(T, Made)>,
        take: impl FnOnce(&Made) -> Option<T>,
    ) -> Option<T> {
        let mut made = self.own.made.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(there) = made.get(name) {
            return take(there);
        }
        let (metric, kind) = make().ok()?;
        self.own.registry.register(kind.collector()).ok()?;
        made.insert(name.to_owned(), kind);
        Some(metric)
    }

    /// A family of gauges read anew at each scrape, so that what has gone is not shown forever.
    fn show_per_name(
        &self,
        name: &str,
        help: &str,
        label: &str,
        read: impl Fn() -> Vec<(String, f64)> + Send + Sync + 'static,
    ) {
        let opts = Opts::new(name, help);
        if let Ok(probe) = GaugeVec::new(opts.clone(), &[label]) {
            self.register(PerName {
                desc: probe.desc().into_iter().cloned().collect(),
                opts,
                label: label.to_owned(),
                read: Box::new(read),
            });
        }
    }
}

impl Made {
    fn collector(&self) -> Box<dyn Collector> {
        match self {
            Made::Counter(it) => Box::new(it.clone()),
            Made::CounterVec(it, _) => Box::new(it.clone()),
            Made::IntGauge(it) => Box::new(it.clone()),
            Made::Gauge(it) => Box::new(it.clone()),
            Made::Histogram(it) => Box::new(it.clone()),
            Made::HistogramVec(it, _) => Box::new(it.clone()),
            Made::AtScrape(it) => Box::new(it.clone()),
        }
    }
}

/// Computes a gauge.
type Reading = dyn Fn() -> Option<f64> + Send + Sync;

/// A gauge that is computed when it is asked for.
#[derive(Clone)]
struct AtScrape {
    gauge: Gauge,
    read: Arc<Mutex<Arc<Reading>>>,
}

impl AtScrape {
    fn reading(&self) -> MutexGuard<'_, Arc<Reading>> {
        self.read.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn read(&self) -> Option<f64> {
        let read = Arc::clone(&*self.reading());
        read()
    }
}

impl Collector for AtScrape {
    fn desc(&self) -> Vec<&Desc> {
        self.gauge.desc()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Some(value) = self.read() else { return Vec::new() };
        self.gauge.set(value);
        self.gauge.collect()
    }
}

struct PerName {
    desc: Vec<Desc>,
    opts: Opts,
    label: String,
    read: Box<dyn Fn() -> Vec<(String, f64)> + Send + Sync>,
}

impl Collector for PerName {
    fn desc(&self) -> Vec<&Desc> {
        self.desc.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let Ok(gauges) = GaugeVec::new(self.opts.clone(), &[&self.label]) else {
            return Vec::new();
        };
        for (name, value) in (self.read)() {
            gauges.with_label_values(&[&name]).set(value);
        }
        gauges.collect()
    }
}

/// Upper bounds in seconds for anything between a call in the same machine room and a handler that takes minutes:
/// 1 ms to 10 min in 18 steps.
pub const LATENCY_BUCKETS: &[f64] = &[
    0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    600.0,
];

fn owned(labels: &[&str]) -> Vec<String> {
    labels.iter().map(|&label| label.to_owned()).collect()
}

/// As many labels as `labels`, so that the caller's `with_label_values` fits.
fn placeholders(labels: &[&str]) -> Vec<String> {
    (0..labels.len()).map(|i| format!("label_{i}")).collect()
}

fn borrowed(labels: &[String]) -> Vec<&str> {
    labels.iter().map(String::as_str).collect()
}

fn valid<T>(metric: prometheus::Result<T>) -> T {
    metric.expect("made from fixed, valid names")
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}
