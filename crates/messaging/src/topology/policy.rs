//! Queue policies: whether a topic may send to a queue, as AWS decides it. No I/O.

use std::time::{SystemTime, UNIX_EPOCH};

use lifeline_policy::{Decision, Policy, Request};

/// Whether the policy of a queue allows a topic to send to it at `now`. The empty text is the policy of a queue that has
/// none.
pub fn topic_may_send(policy: &str, queue_arn: &str, topic_arn: &str, now: SystemTime) -> Decision {
    let seconds = now.duration_since(UNIX_EPOCH).map_or(0, |now| now.as_secs());
    let request = Request::sns_delivery(topic_arn, queue_arn).at(i64::try_from(seconds).unwrap_or(i64::MAX));
    Policy::parse(policy).map_or_else(Decision::from, |policy| policy.evaluate(&request))
}

#[cfg(test)]
mod tests {
    use lifeline_policy::with_topic;

    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:t";

    #[test]
    fn what_provisioning_writes_allows_the_topic() {
        let may_send = |policy: &str| topic_may_send(policy, QUEUE, TOPIC, SystemTime::now());
        assert!(may_send("").is_denied());
        assert!(may_send(&with_topic("", QUEUE, TOPIC).unwrap().unwrap()).is_allowed());
        assert!(matches!(may_send("{"), Decision::CannotTell { .. }));
    }
}
