//! The formulas: how many messages per second one pod can do, and what limits it.

use std::fmt;
use std::time::Duration;

/// Messages per receive, delete or publish call: the limit of SNS and SQS.
pub(crate) const BATCH: usize = 10;

/// Bytes per publish call: the default of an SNS topic.
const BATCH_BYTES: usize = 262_144;

/// Bytes in flight at which a producer starts no further publish call.
pub(crate) const PUBLISH_BYTES: usize = 2 << 20;

/// A consumer's settings, and the time that its handler takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Pod {
    pub(crate) pollers: usize,
    pub(crate) max_in_flight: usize,
    pub(crate) handler: Duration,
}

/// What a call and a message take.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Costs {
    /// Duration of a call on an open connection.
    pub(crate) call: Duration,
    /// CPU time per message.
    pub(crate) message: Duration,
    /// Cores that share the CPU time.
    pub(crate) cores: usize,
}

/// What limits a pod first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Bound {
    /// Each poller receives ten messages per call.
    Pollers,
    /// Each message is in flight from before its receive until its delete is confirmed.
    InFlight,
    /// Each message costs CPU time.
    Cpu,
    /// The number of concurrent publish calls, or their bytes.
    PublishCalls,
}

impl fmt::Display for Bound {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Pollers => "pollers",
            Self::InFlight => "in flight",
            Self::Cpu => "CPU",
            Self::PublishCalls => "publish calls",
        })
    }
}

/// A limit of a pod.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Rate {
    /// Messages per second.
    pub(crate) messages: f64,
    pub(crate) bound: Bound,
}

/// The lowest of several limits.
fn lowest<const N: usize>(limits: [Rate; N]) -> Rate {
    let mut limits = limits.into_iter();
    let first = Rate { messages: f64::INFINITY, bound: Bound::Cpu };
    let first = limits.next().unwrap_or(first);
    limits.fold(first, |lowest, next| if next.messages < lowest.messages { next } else { lowest })
}

impl Costs {
    fn cpu(&self) -> Rate {
        let messages = self.cores as f64 / self.message.as_secs_f64().max(1e-9);
        Rate { messages, bound: Bound::Cpu }
    }
}

/// How long a message counts as in flight: its receive, its handler and its delete. A delete does not wait for its batch to
/// fill: a receive returns ten messages, which are deleted together.
pub(crate) fn time_in_flight(pod: &Pod, costs: &Costs) -> Duration {
    costs.call * 2 + pod.handler
}

/// The rate of a consumer whose queue is never empty.
pub(crate) fn drain(pod: &Pod, costs: &Costs) -> Rate {
    let receives = (pod.pollers * BATCH) as f64 / costs.call.as_secs_f64();
    let in_flight = pod.max_in_flight as f64 / time_in_flight(pod, costs).as_secs_f64();
    lowest([
        Rate { messages: receives, bound: Bound::Pollers },
        Rate { messages: in_flight, bound: Bound::InFlight },
        costs.cpu(),
    ])
}

/// Messages of `bytes` that fit into one publish call.
pub(crate) fn batch(bytes: usize) -> usize {
    (BATCH_BYTES / bytes.max(1)).clamp(1, BATCH)
}

/// The rate of a producer whose input never waits, for messages of `bytes` and with `concurrency` calls at a time.
pub(crate) fn publish(bytes: usize, concurrency: usize, costs: &Costs) -> Rate {
    let entries = batch(bytes);
    // A call starts while fewer than `PUBLISH_BYTES` are in flight.
    let calls = concurrency.min(PUBLISH_BYTES.div_ceil((entries * bytes).max(1)));
    let messages = (calls * entries) as f64 / costs.call.as_secs_f64();
    lowest([Rate { messages, bound: Bound::PublishCalls }, costs.cpu()])
}

#[cfg(test)]
mod tests {
    use super::*;

    const COSTS: Costs =
        Costs { call: Duration::from_millis(20), message: Duration::from_micros(50), cores: 1 };

    #[test]
    fn a_consumer_is_limited_by_messages_in_flight_then_pollers_then_cpu() {
        let rate = |pollers, max_in_flight| {
            let rate = drain(&Pod { pollers, max_in_flight, handler: Duration::ZERO }, &COSTS);
            (rate.messages.round(), rate.bound)
        };
        assert_eq!(rate(4, 64), (1600.0, Bound::InFlight));
        assert_eq!(rate(4, 640), (2000.0, Bound::Pollers));
        assert_eq!(rate(64, 6400), (20_000.0, Bound::Cpu));
    }

    #[test]
    fn a_producer_is_limited_by_calls_and_for_large_messages_by_bytes() {
        assert_eq!(publish(200, 16, &COSTS), Rate { messages: 8000.0, bound: Bound::PublishCalls });
        assert_eq!(batch(200_000), 1);
        assert_eq!(publish(200_000, 16, &COSTS).messages, 11.0 * 50.0);
    }

    /// The producer keeps these private, and a plan with other numbers would be wrong.
    #[test]
    fn the_limits_are_those_of_the_producer() {
        let batcher =
            std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../crates/producer/src/batcher/mod.rs");
        let source = std::fs::read_to_string(batcher).unwrap();
        assert!(
            source.contains("MAX_BYTES_IN_FLIGHT: usize = 2 << 20;"),
            "PUBLISH_BYTES is not the limit in batcher/mod.rs any more"
        );
    }
}
