//! The subscription of the queue to the topic.

use super::aws;
use crate::doctor::check::{Check, Group, Outcome};
use crate::doctor::snapshot::{Attributes, Read, Snapshot};
use lifeline_messaging::topology::arn_account;

pub(super) const CHECKS: &[Check] = &[
    Check { code: "subscription-exists", group: Group::Subscription, run: exists },
    Check { code: "subscription-owner", group: Group::Subscription, run: owner },
    Check { code: "raw-delivery", group: Group::Subscription, run: raw_delivery },
    Check { code: "filter-policy", group: Group::Subscription, run: filter_policy },
];

fn attributes(snapshot: &Snapshot) -> Option<&Attributes> {
    snapshot.subscription.found()?.attributes.found()
}

fn exists(snapshot: &Snapshot) -> Option<Outcome> {
    let (topic, queue) = (snapshot.topic_arn.as_deref()?, snapshot.queue_arn()?);
    let subscribe = || {
        aws(
            snapshot,
            format_args!("sns subscribe --topic-arn {topic} --protocol sqs --notification-endpoint {queue}"),
        )
    };
    Some(match &snapshot.subscription {
        Read::Found(subscription) => {
            let pending = attributes(snapshot).and_then(|attributes| attributes.get("PendingConfirmation"));
            match subscription.arn.as_str() {
                "Deleted" => {
                    Outcome::fail("the subscription is deleted", "subscribe the queue again").fix(subscribe())
                }
                "PendingConfirmation" => pending_confirmation(),
                _ if pending.is_some_and(|pending| pending.eq_ignore_ascii_case("true")) => {
                    pending_confirmation()
                }
                arn => Outcome::ok(format!("subscription {arn}")),
            }
        }
        Read::Missing => Outcome::fail(
            "the queue is not subscribed to the topic",
            "subscribe it, or run lifeline provision",
        )
        .fix(subscribe()),
        Read::Denied(why) => Outcome::warn("cannot tell whether the queue is subscribed to the topic", why),
        Read::Failed(why) => Outcome::fail(why, "try again; if it stays, AWS's text says more"),
        Read::Skipped => return None,
    })
}

fn pending_confirmation() -> Outcome {
    Outcome::fail(
        "the subscription waits for its confirmation: SNS sends nothing but the request to confirm",
        "a message of type SubscriptionConfirmation is in the queue; open its SubscribeURL, or let the queue's owner subscribe",
    )
}

fn owner(snapshot: &Snapshot) -> Option<Outcome> {
    let owner = snapshot.subscription.found()?.owner.as_str();
    let account = arn_account(snapshot.queue_arn()?)?;
    (!owner.is_empty() && owner != account).then(|| {
        Outcome::warn(
            format!("the subscription belongs to account {owner}, the queue to {account}"),
            "only its owner may change or delete it",
        )
    })
}

fn raw_delivery(snapshot: &Snapshot) -> Option<Outcome> {
    let raw =
        attributes(snapshot)?.get("RawMessageDelivery").is_some_and(|raw| raw.eq_ignore_ascii_case("true"));
    Some(Outcome::ok(match raw {
        true => {
            "raw delivery: SNS discards messages with more than ten attributes (the producer never sends one)"
        }
        false => "messages arrive in SNS's envelope",
    }))
}

fn filter_policy(snapshot: &Snapshot) -> Option<Outcome> {
    let attributes = attributes(snapshot)?;
    let policy = attributes.get("FilterPolicy").filter(|policy| !policy.is_empty() && *policy != "{}")?;
    let scope = attributes.get("FilterPolicyScope").map_or("MessageAttributes", String::as_str);
    let arn = &snapshot.subscription.found()?.arn;
    let remove = format!(
        "sns set-subscription-attributes --subscription-arn {arn} --attribute-name FilterPolicy --attribute-value '{{}}'"
    );
    Some(
        Outcome::warn(
            format!("only messages that match a filter policy arrive (scope {scope}): {policy}"),
            "remove it if that is not meant; a change takes up to 15 minutes",
        )
        .fix(aws(snapshot, remove)),
    )
}
