//! What SNS and SQS hold, as JSON for the page: bounded, whatever they hold.

use lifeline_emulator::{Emulator, MessageView, Place, QueueView, TopicView};
use serde_json::{Value, json};

/// Most queues, and most topics, that the page lists.
const LISTED: usize = 100;
/// Most messages of a queue at a time.
const MESSAGES: usize = 25;
/// Most bytes of a body in a list of messages.
const SHORT: usize = 2000;

/// Queues, topics and faults.
pub(super) fn state(emulator: &Emulator) -> Value {
    let (queues, topics) = (emulator.queues(), emulator.topics());
    let faults = emulator.faults().into_iter().take(LISTED);
    let faults = faults.map(|fault| json!({"id": fault.id, "text": fault.text, "hits": fault.hits}));
    json!({
        "hidden": queues.len().saturating_sub(LISTED) + topics.len().saturating_sub(LISTED),
        "queues": queues.into_iter().take(LISTED).map(queue).collect::<Vec<_>>(),
        "topics": topics.into_iter().take(LISTED).map(topic).collect::<Vec<_>>(),
        "faults": faults.collect::<Vec<_>>(),
    })
}

fn queue(queue: QueueView) -> Value {
    let dead_letters = queue.dead_letters.map(|(name, receives)| json!({"queue": name, "after": receives}));
    json!({
        "name": queue.name,
        "arn": queue.arn,
        "fifo": queue.fifo,
        "visible": queue.counts.visible,
        "in_flight": queue.counts.in_flight,
        "delayed": queue.counts.delayed,
        "sent": queue.sent,
        "oldest": queue.oldest.map(|age| age.as_secs_f64()),
        "dead_letters": dead_letters,
        "dead_letters_of": queue.dead_letters_of,
        "visibility_timeout": queue.visibility_timeout.as_secs(),
    })
}

fn topic(topic: TopicView) -> Value {
    let subscriptions = topic.subscriptions.into_iter().map(|subscription| {
        json!({
            "protocol": subscription.protocol,
            "endpoint": subscription.endpoint,
            "raw": subscription.raw,
            "filter": subscription.filter_policy,
        })
    });
    json!({
        "name": topic.name,
        "arn": topic.arn,
        "fifo": topic.fifo,
        "subscriptions": subscriptions.collect::<Vec<_>>(),
    })
}

/// Messages of a queue after a cursor, `TIME-KEY`, with the beginning of their bodies; or the message at a cursor, whole.
/// `None` if there is no such queue.
pub(super) fn messages(
    emulator: &Emulator,
    queue: &str,
    after: Option<&str>,
    at: Option<&str>,
) -> Option<Value> {
    let read = |text: &str| {
        let (time, key) = text.split_once('-')?;
        Some((time.parse::<u64>().ok()?, key.parse::<u64>().ok()?))
    };
    let (after, most, whole) = match at.and_then(read) {
        // keys are whole numbers: nothing is between this and the one that is asked for
        Some((time, key)) => (Some((time, key.saturating_sub(1))), 1, true),
        None => (after.and_then(read), MESSAGES, false),
    };
    let messages = emulator.messages(queue, after, most)?;
    Some(messages.into_iter().map(|view| message(&view, whole)).collect())
}

fn message(message: &MessageView, whole: bool) -> Value {
    let (time, key) = message.cursor;
    let end = if whole { message.body.len() } else { message.body.floor_char_boundary(SHORT) };
    let place = match message.place {
        Place::InFlight => "in flight",
        Place::Delayed => "delayed",
        _ => "visible",
    };
    json!({
        "cursor": format!("{time}-{key}"),
        "id": message.id,
        "body": message.body[..end],
        "bytes": message.body.len(),
        "cut": end < message.body.len(),
        "attributes": message.attributes,
        "receive_count": message.receive_count,
        "group": message.group,
        "age": message.age.as_secs_f64(),
        "place": place,
        "visible_in": message.visible_in.map(|time| time.as_secs_f64()),
        "dead_letter_of": message.dead_letter_of,
    })
}
