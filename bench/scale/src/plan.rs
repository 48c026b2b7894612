//! From a rate, a handler and a body to pods, calls and dollars.

use std::time::Duration;

use crate::aws::Aws;
use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::model::{self, Bound};
use crate::rules::BATCH;
use crate::sim::Place;
use crate::sim::consumer::Pod;
use crate::sim::producer::batch;

/// A call within a region, on an open connection. An assumption: SQS' own time is most of it.
pub(crate) const CALL: Duration = Duration::from_millis(10);

/// Bytes that SNS' envelope, the attributes and an entry's own fields add to a body.
const ENVELOPE: f64 = 1000.0;

/// Bytes a second that a pod may receive or send: 1 Gbit/s. An assumption: what a small EC2 instance has all day.
pub(crate) const NETWORK: f64 = 125e6;

/// How much of a pod's processor, memory and network, and of a queue's in-flight limit, a plan uses.
pub(crate) const USED: f64 = 0.7;

/// The most that our settings take.
const MOST_POLLERS: usize = 256;

/// In flight at most: more gains nothing where a handler waits this long, and less is lost with a pod.
const MOST_IN_FLIGHT: usize = 2000;

const SECONDS_A_MONTH: f64 = 730.0 * 3600.0;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    /// Messages a second.
    pub(crate) rate: f64,
    pub(crate) bytes: usize,
}

/// What it takes from AWS.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) producers: f64,
    /// Calls a second.
    pub(crate) publishes: f64,
    pub(crate) receives: f64,
    pub(crate) deletes: f64,
    /// Dollars a month.
    pub(crate) sns: f64,
    pub(crate) sqs: f64,
    pub(crate) per_million: f64,
    /// Times the quota of us-east-1.
    pub(crate) quota: f64,
}

/// What it takes from the cluster, with one handler.
#[derive(Debug, Clone)]
pub(crate) struct Consumers {
    pub(crate) pod: Pod,
    /// Messages a second of one.
    pub(crate) each: f64,
    pub(crate) pods: f64,
    pub(crate) memory_mib: f64,
    pub(crate) cores: f64,
    pub(crate) in_flight: f64,
    pub(crate) queues: f64,
    pub(crate) bound: &'static str,
}

#[derive(Debug, Clone)]
pub(crate) struct Planner {
    pub(crate) figures: Figures,
    pub(crate) aws: Aws,
    pub(crate) cluster: Cluster,
}

impl Planner {
    pub(crate) fn read() -> anyhow::Result<Self> {
        Ok(Self { figures: Figures::read()?, aws: Aws::read()?, cluster: Cluster::read()? })
    }

    /// A pod's own place: what it may use of its cores, and calls within a region.
    fn place(&self, cost: Duration) -> Place {
        Place {
            round_trip: CALL,
            setup_trips: 2,
            service: Duration::ZERO,
            message_cost: cost.div_f64(USED),
            cores: self.cluster.cores,
        }
    }

    pub(crate) fn calls(&self, demand: Demand) -> Calls {
        let Demand { rate, bytes } = demand;
        let prices = &self.aws.prices;
        let entries = batch(bytes) as f64;
        let publisher = model::publish(bytes, &self.place(self.figures.producer_cost(bytes))).messages;
        let publisher = publisher.min(network(bytes));
        let (publishes, receives, deletes) = (rate / entries, rate / BATCH as f64, rate / BATCH as f64);
        let sns = prices.sns(publishes * SECONDS_A_MONTH * prices.requests(entries * bytes as f64));
        let requests = receives * prices.requests(BATCH as f64 * (bytes as f64 + ENVELOPE)) + deletes;
        let sqs = prices.sqs(requests * SECONDS_A_MONTH);
        Calls {
            producers: (rate / publisher).ceil(),
            publishes,
            receives,
            deletes,
            sns,
            sqs,
            per_million: (sns + sqs) * 1e6 / (rate * SECONDS_A_MONTH),
            quota: rate / self.aws.publish_quota("us-east-1"),
        }
    }

    pub(crate) fn consumers(&self, demand: Demand, handler: Duration) -> Consumers {
        let Demand { rate, bytes } = demand;
        let place = self.place(self.figures.consumer_cost(bytes));
        let fits = self.fits(bytes);
        let most = fits.min(MOST_IN_FLIGHT);
        // what one pod's processor could do decides how much it must hold; and a pod need not do more than is asked
        let enough = (place.cores as f64 / place.message_cost.as_secs_f64()).min(network(bytes)).min(rate);
        let held = model::held(&Pod { pollers: 1, max_in_flight: 1, handler }, &place);
        let wanted = (enough * held.as_secs_f64()).ceil() as usize + BATCH;
        let max_in_flight = wanted.clamp(self.cluster.max_in_flight.min(most), most);
        let turn = max_in_flight as f64 / held.as_secs_f64();
        let pollers = (turn * place.call().as_secs_f64() / BATCH as f64).ceil() as usize + 1;
        let pod = Pod { pollers: pollers.clamp(4, MOST_POLLERS), max_in_flight, handler };
        let model = model::drain(&pod, &place);
        let each = model.messages.min(network(bytes));
        let pods = (rate / each).ceil();
        let in_flight = rate * held.as_secs_f64();
        let queues = (in_flight / (self.aws.sqs_in_flight.messages * USED)).ceil();
        let bound = match model.bound {
            _ if pods == 1.0 => "one pod is enough",
            _ if each < model.messages => "network",
            Bound::InFlight if max_in_flight == fits => "memory",
            Bound::InFlight => "in flight",
            Bound::Processor => "processor",
            Bound::Pollers | Bound::Air => "pollers",
        };
        Consumers {
            pod,
            each,
            pods,
            memory_mib: self.figures.consumer_memory(bytes, max_in_flight),
            cores: rate * self.figures.consumer_cost(bytes).as_secs_f64(),
            in_flight,
            queues,
            bound,
        }
    }

    /// What stops first on AWS' side.
    pub(crate) fn wall(&self, demand: Demand, consumers: &Consumers) -> String {
        let quota = self.aws.publish_quota("us-east-1");
        match (demand.rate > quota, consumers.queues > 1.0) {
            (true, true) => format!("SNS' quota, then {:.0} queues", consumers.queues),
            (true, false) => "SNS' quota".to_owned(),
            (false, true) => format!("in flight: {:.0} queues", consumers.queues),
            (false, false) => "none".to_owned(),
        }
    }

    /// Messages of this size that a pod may hold within its memory.
    fn fits(&self, bytes: usize) -> usize {
        let free = self.cluster.memory_mib * USED - self.figures.consumer_memory(bytes, 0);
        ((free / self.figures.held_memory(bytes)) as usize).max(BATCH)
    }
}

/// Messages a second of this size that the network carries.
fn network(bytes: usize) -> f64 {
    NETWORK * USED / (bytes as f64 + ENVELOPE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn planner() -> Planner {
        Planner::read().unwrap()
    }

    #[test]
    fn pods_together_do_what_is_asked_and_stay_within_their_limits() {
        let planner = planner();
        for rate in [1e3, 1e4, 1e5, 1e6] {
            for bytes in [200, 10_000, 200_000] {
                for handler in [1, 100, 1000].map(Duration::from_millis) {
                    let plan = planner.consumers(Demand { rate, bytes }, handler);
                    assert!(plan.pods * plan.each >= rate, "{rate} {bytes} {handler:?}: {plan:?}");
                    assert!(
                        plan.memory_mib <= planner.cluster.memory_mib,
                        "{rate} {bytes} {handler:?}: {plan:?}"
                    );
                    assert!(plan.pod.pollers <= MOST_POLLERS && plan.pod.max_in_flight <= MOST_IN_FLIGHT);
                }
            }
        }
    }

    #[test]
    fn a_million_a_second_with_a_handler_of_a_second_needs_more_than_one_queue() {
        let planner = planner();
        let demand = Demand { rate: 1e6, bytes: 200 };
        let plan = planner.consumers(demand, Duration::from_secs(1));
        assert!(plan.in_flight > planner.aws.sqs_in_flight.messages && plan.queues >= 9.0);
        assert!(planner.calls(demand).quota > 30.0);
    }
}
