//! The steady part of a run, and statistics over several runs.
//!
//! A run is observed from outside: the number of messages in the queue, and the CPU time of contender and endpoint. The steady
//! part leaves out start, connection setup, JIT compilation and the last deletes, in the same way for all contenders.

use serde::{Deserialize, Serialize};

/// The shares of messages done between which a run is steady.
pub const STEADY: (f64, f64) = (0.15, 0.95);

/// One observation of a run.
#[derive(Debug, Clone, Copy)]
pub struct Look {
    /// Seconds since the run began.
    pub at: f64,
    /// Messages done: deleted, or published.
    pub done: u64,
    /// CPU seconds of the contender and its child processes.
    pub cpu: f64,
    /// CPU seconds of the endpoint.
    pub endpoint_cpu: f64,
}

/// The steady part of a run.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Span {
    /// Messages done.
    pub messages: u64,
    /// Length in seconds.
    pub seconds: f64,
    /// CPU seconds of the contender.
    pub cpu: f64,
    /// CPU seconds of the endpoint.
    pub endpoint_cpu: f64,
}

impl Span {
    /// Messages per second.
    pub fn rate(&self) -> f64 {
        self.messages as f64 / self.seconds
    }

    /// CPU time of the contender per message, in microseconds.
    pub fn cpu_micros(&self) -> f64 {
        self.cpu * 1e6 / self.messages as f64
    }

    /// CPU time of the endpoint per message, in microseconds.
    pub fn endpoint_micros(&self) -> f64 {
        self.endpoint_cpu * 1e6 / self.messages as f64
    }

    /// Cores that the endpoint used.
    pub fn endpoint_cores(&self) -> f64 {
        self.endpoint_cpu / self.seconds
    }
}

/// Finds the steady part of a run while it is observed.
#[derive(Debug)]
pub struct Watch {
    total: u64,
    from: Option<Look>,
    to: Option<Look>,
}

impl Watch {
    /// For a run of `total` messages.
    pub fn of(total: u64) -> Self {
        Self { total, from: None, to: None }
    }

    /// Adds an observation.
    pub fn see(&mut self, look: Look) {
        let share = look.done as f64 / self.total as f64;
        if self.from.is_none() {
            if share >= STEADY.0 {
                self.from = Some(look);
            }
        } else if self.to.is_none() && share >= STEADY.1 {
            self.to = Some(look);
        }
    }

    /// The steady part, once it has ended.
    pub fn span(&self) -> Option<Span> {
        let (from, to) = (self.from?, self.to?);
        (to.done > from.done).then(|| Span {
            messages: to.done - from.done,
            seconds: to.at - from.at,
            cpu: to.cpu - from.cpu,
            endpoint_cpu: to.endpoint_cpu - from.endpoint_cpu,
        })
    }
}

/// Median, minimum and maximum of several runs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spread {
    /// The median.
    pub median: f64,
    /// The minimum.
    pub least: f64,
    /// The maximum.
    pub most: f64,
}

/// The spread of the values; `None` if there are none.
pub fn spread(values: impl IntoIterator<Item = f64>) -> Option<Spread> {
    let mut sorted: Vec<f64> = values.into_iter().collect();
    sorted.sort_by(f64::total_cmp);
    let (least, most) = (*sorted.first()?, *sorted.last()?);
    let middle = sorted.len() / 2;
    let median =
        if sorted.len() % 2 == 1 { sorted[middle] } else { (sorted[middle - 1] + sorted[middle]) / 2.0 };
    Some(Spread { median, least, most })
}

/// A percentile, by the nearest-rank method.
pub fn percentile(values: &[f64], percent: f64) -> Option<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (percent / 100.0 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.max(1) - 1).copied()
}

/// At most `most` of the values, evenly spaced by rank and rounded to three decimals: the same percentiles in a smaller file.
pub fn thinned(values: &[f64], most: usize) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let kept = sorted.len().min(most);
    let ranks = (1..=kept).map(|n| (n * sorted.len()).div_ceil(kept) - 1);
    ranks.map(|rank| (sorted[rank] * 1e3).round() / 1e3).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_of_all_runs() {
        assert_eq!(spread([3.0, 1.0, 2.0]), Some(Spread { median: 2.0, least: 1.0, most: 3.0 }));
        assert_eq!(spread([4.0, 1.0]).map(|s| s.median), Some(2.5));
        assert_eq!(spread([]), None);
    }

    #[test]
    fn a_percentile_is_a_value_that_was_measured() {
        let values: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(percentile(&values, 50.0), Some(50.0));
        assert_eq!(percentile(&values, 99.0), Some(99.0));
        assert_eq!(percentile(&values, 0.0), Some(1.0));
        assert_eq!(percentile(&[7.0], 99.0), Some(7.0));
        assert_eq!(percentile(&[], 50.0), None);
    }

    #[test]
    fn what_is_thinned_keeps_its_percentiles() {
        let values: Vec<f64> = (1..=40_000).map(f64::from).collect();
        let thin = thinned(&values, 1000);
        assert_eq!(thin.len(), 1000);
        for percent in [50.0, 99.0, 100.0] {
            assert_eq!(percentile(&thin, percent), percentile(&values, percent));
        }
        assert_eq!(thinned(&[2.0, 1.00049], 1000), [1.0, 2.0]);
        assert!(thinned(&[], 1000).is_empty());
    }

    #[test]
    fn the_steady_part_leaves_out_the_start_and_the_end() {
        let mut watch = Watch::of(1000);
        for (at, done) in [(0.0, 0), (2.0, 100), (2.1, 160), (2.6, 700), (3.0, 960), (9.0, 1000)] {
            watch.see(Look { at, done, cpu: at * 0.5, endpoint_cpu: at * 0.25 });
        }
        let span = watch.span().unwrap();
        assert_eq!(span.messages, 800);
        assert!((span.seconds - 0.9).abs() < 1e-9 && (span.cpu - 0.45).abs() < 1e-9);
        assert!((span.rate() - 800.0 / 0.9).abs() < 1e-6);
        assert!((span.endpoint_cores() - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_run_that_jumped_over_its_steady_part_says_nothing() {
        let mut watch = Watch::of(10);
        watch.see(Look { at: 1.0, done: 10, cpu: 0.0, endpoint_cpu: 0.0 });
        assert_eq!(watch.span(), None);
    }
}
