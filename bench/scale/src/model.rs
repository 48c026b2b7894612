//! The closed formulas: how fast one pod can be, and what stops it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::rules::{AIR_BYTES, BATCH, IN_AIR};
use crate::sim::Place;
use crate::sim::consumer::Pod;
use crate::sim::producer::batch;

/// What stops a pod first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Bound {
    /// Each poller brings ten messages a round trip.
    Pollers,
    /// Each message holds its place from before its receive until its delete is confirmed.
    InFlight,
    /// Each message costs processor time.
    Processor,
    /// So many batches are in the air.
    Air,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pollers => "pollers",
            Self::InFlight => "in flight",
            Self::Processor => "processor",
            Self::Air => "batches in the air",
        })
    }
}

/// Messages a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    pub(crate) messages: f64,
    pub(crate) bound: Bound,
}

fn least(rates: &[(f64, Bound)]) -> Rate {
    let first = rates.iter().min_by(|a, b| a.0.total_cmp(&b.0));
    let (messages, bound) = first.copied().unwrap_or((0.0, Bound::Processor));
    Rate { messages, bound }
}

fn processor(place: &Place) -> f64 {
    place.cores as f64 / place.message_cost.as_secs_f64().max(1e-9)
}

/// How long a message holds its place: receive, handler, delete. Its delete does not linger: a receive's messages come in
/// tens, and their deletes go in tens.
pub(crate) fn held(pod: &Pod, place: &Place) -> Duration {
    place.call() * 2 + pod.handler
}

/// A consumer with more in its queue than it can take.
pub(crate) fn drain(pod: &Pod, place: &Place) -> Rate {
    least(&[
        ((pod.pollers * BATCH) as f64 / place.call().as_secs_f64(), Bound::Pollers),
        (pod.max_in_flight as f64 / held(pod, place).as_secs_f64(), Bound::InFlight),
        (processor(place), Bound::Processor),
    ])
}

/// A producer with more input than it can publish, messages of so many bytes.
pub(crate) fn publish(bytes: usize, place: &Place) -> Rate {
    let entries = batch(bytes);
    // launched as long as there are less than so many bytes in the air
    let by_bytes = AIR_BYTES.div_ceil((entries * bytes).max(1));
    let air = IN_AIR.min(by_bytes) * entries;
    least(&[(air as f64 / place.call().as_secs_f64(), Bound::Air), (processor(place), Bound::Processor)])
}
