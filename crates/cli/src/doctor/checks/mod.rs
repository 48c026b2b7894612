//! All checks, in the order of a message's path. Each is a pure function of a [`Snapshot`](super::snapshot::Snapshot).

mod access;
mod dead_letters;
mod queue;
mod subscription;
mod topic;

use super::check::Check;
use super::snapshot::Snapshot;

/// Every check.
pub fn all() -> impl Iterator<Item = &'static Check> {
    [access::CHECKS, topic::CHECKS, queue::CHECKS, subscription::CHECKS, dead_letters::CHECKS]
        .into_iter()
        .flatten()
}

/// An attribute as a number.
fn number(attributes: &super::snapshot::Attributes, name: &str) -> Option<u64> {
    attributes.get(name)?.parse().ok()
}

/// A call of the AWS CLI that reaches what the snapshot looked at.
fn aws(snapshot: &Snapshot, call: impl std::fmt::Display) -> String {
    let endpoint = snapshot.endpoint.as_ref().map_or(String::new(), |url| format!(" --endpoint-url {url}"));
    format!("aws{endpoint} --region {} {call}", snapshot.region)
}

/// The call that sets attributes of the queue.
fn set_queue_attributes(snapshot: &Snapshot, attributes: &serde_json::Value) -> String {
    let url = snapshot.queue_url.as_deref().unwrap_or_default();
    aws(
        snapshot,
        format_args!(
            "sqs set-queue-attributes --queue-url {url} --attributes {}",
            quoted(&attributes.to_string())
        ),
    )
}

/// A text as one word of a POSIX shell.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// Seconds as people write them.
fn span(seconds: u64) -> String {
    match seconds {
        0 => "0 s".to_owned(),
        s if s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s % 3600 == 0 => format!("{} h", s / 3600),
        s if s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

#[cfg(test)]
mod tests;
