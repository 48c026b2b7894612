//! Pods, AWS calls and dollars for a rate of messages, a handler and a body size.

use std::time::Duration;

use crate::aws::Aws;
use crate::cluster::Cluster;
use crate::figures::Figures;
use crate::model::{self, BATCH, Bound, Costs, Pod, batch};
use crate::settings::Settings;

/// Duration of a call within a region, on an open connection (an assumption).
pub(crate) const CALL: Duration = Duration::from_millis(10);

/// Bytes that SNS's envelope, the attributes and the fields of an entry add to a body.
const ENVELOPE: f64 = 1000.0;

/// Bytes per second that a pod may receive or send: 1 Gbit/s (an assumption: what a small EC2 instance sustains).
pub(crate) const NETWORK: f64 = 125e6;

/// Share of a pod's CPU, memory and network, and of a queue's in-flight limit, that a plan uses.
pub(crate) const USED: f64 = 0.7;

/// The highest `MAX_IN_FLIGHT` that a plan uses: more are redelivered when a pod is lost.
const MAX_IN_FLIGHT: usize = 2000;

const SECONDS_PER_MONTH: f64 = 730.0 * 3600.0;

/// What must be handled.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Demand {
    /// Messages per second.
    pub(crate) rate: f64,
    pub(crate) bytes: usize,
}

/// The AWS calls that a demand needs, and their price.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Calls {
    pub(crate) producers: f64,
    /// Calls per second.
    pub(crate) publishes: f64,
    pub(crate) receives: f64,
    pub(crate) deletes: f64,
    /// Dollars per month.
    pub(crate) sns: f64,
    pub(crate) sqs: f64,
    /// Dollars per million messages.
    pub(crate) per_million: f64,
    /// Multiple of the quota of us-east-1.
    pub(crate) quota: f64,
}

/// The consumer pods that a demand needs.
#[derive(Debug, Clone)]
pub(crate) struct Consumers {
    pub(crate) pod: Pod,
    /// Messages per second of one pod.
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
    pub(crate) settings: Settings,
}

impl Planner {
    pub(crate) fn read() -> anyhow::Result<Self> {
        Ok(Self {
            figures: Figures::read()?,
            aws: Aws::read()?,
            cluster: Cluster::read()?,
            settings: Settings::read()?,
        })
    }

    /// The costs of a pod that may use its share of a core's time.
    fn costs(&self, message: Duration) -> Costs {
        Costs { call: CALL, message: message.div_f64(USED), cores: self.cluster.cores }
    }

    pub(crate) fn calls(&self, demand: Demand) -> Calls {
        let Demand { rate, bytes } = demand;
        let prices = &self.aws.prices;
        let entries = batch(bytes) as f64;
        let publisher = model::publish(
            bytes,
            self.settings.publish_concurrency.default,
            &self.costs(self.figures.producer_cost(bytes)),
        );
        let publisher = publisher.messages;
        let publisher = publisher.min(network(bytes));
        let (publishes, receives, deletes) = (rate / entries, rate / BATCH as f64, rate / BATCH as f64);
        let sns = prices.sns(publishes * SECONDS_PER_MONTH * prices.requests(entries * bytes as f64));
        let requests = receives * prices.requests(BATCH as f64 * (bytes as f64 + ENVELOPE)) + deletes;
        let sqs = prices.sqs(requests * SECONDS_PER_MONTH);
        Calls {
            producers: (rate / publisher).ceil(),
            publishes,
            receives,
            deletes,
            sns,
            sqs,
            per_million: (sns + sqs) * 1e6 / (rate * SECONDS_PER_MONTH),
            quota: rate / self.aws.publish_quota("us-east-1"),
        }
    }

    pub(crate) fn consumers(&self, demand: Demand, handler: Duration) -> Consumers {
        let Demand { rate, bytes } = demand;
        let costs = self.costs(self.figures.consumer_cost(bytes));
        let fits = self.fits(bytes);
        let most = fits.min(MAX_IN_FLIGHT);
        // A pod needs as many messages in flight as its CPU or the demand can use, whichever is less.
        let enough = (costs.cores as f64 / costs.message.as_secs_f64()).min(network(bytes)).min(rate);
        let time = model::time_in_flight(&Pod { pollers: 1, max_in_flight: 1, handler }, &costs);
        let wanted = (enough * time.as_secs_f64()).ceil() as usize + BATCH;
        let max_in_flight = wanted.clamp(self.cluster.max_in_flight.min(most), most);
        let turn = max_in_flight as f64 / time.as_secs_f64();
        let pollers = (turn * costs.call.as_secs_f64() / BATCH as f64).ceil() as usize + 1;
        let pod = Pod {
            pollers: pollers.clamp(self.settings.pollers.default, self.settings.pollers.most),
            max_in_flight,
            handler,
        };
        let model = model::drain(&pod, &costs);
        let each = model.messages.min(network(bytes));
        let pods = (rate / each).ceil();
        let in_flight = rate * time.as_secs_f64();
        let queues = (in_flight / (self.aws.sqs_in_flight.messages * USED)).ceil();
        let bound = match model.bound {
            _ if pods == 1.0 => "one pod is enough",
            _ if each < model.messages => "network",
            Bound::InFlight if max_in_flight == fits => "memory",
            Bound::InFlight => "in flight",
            Bound::Cpu => "CPU",
            Bound::Pollers | Bound::PublishCalls => "pollers",
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

    /// The AWS limit that the demand exceeds.
    pub(crate) fn aws_limit(&self, demand: Demand, consumers: &Consumers) -> String {
        let quota = self.aws.publish_quota("us-east-1");
        match (demand.rate > quota, consumers.queues > 1.0) {
            (true, true) => format!("the SNS quota, then {:.0} queues", consumers.queues),
            (true, false) => "the SNS quota".to_owned(),
            (false, true) => format!("in flight: {:.0} queues", consumers.queues),
            (false, false) => "none".to_owned(),
        }
    }

    /// Messages of `bytes` in flight that fit into a pod's memory.
    fn fits(&self, bytes: usize) -> usize {
        let free = self.cluster.memory_mib * USED - self.figures.consumer_memory(bytes, 0);
        ((free / self.figures.message_memory(bytes)) as usize).max(BATCH)
    }
}

/// Messages of `bytes` per second that a pod's network carries.
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
    fn planned_pods_meet_the_demand_within_their_limits() {
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
                    assert!(
                        plan.pod.pollers <= planner.settings.pollers.most
                            && plan.pod.max_in_flight <= MAX_IN_FLIGHT
                    );
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
