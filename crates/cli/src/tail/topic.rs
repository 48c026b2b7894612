//! `lifeline tail topic`: each message of a topic, as a subscriber of its own gets it.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message as SqsMessage};
use lifeline_escape::Line;
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::{Envelope, Received, SYSTEM_ATTRIBUTES};
use lifeline_messaging::message::Message;
use lifeline_messaging::topology::{self, TopicRef};
use lifeline_service::Shutdown;
use serde_json::json;
use tokio::time::Instant;

use super::lines::Lines;
use crate::retry::retrying;
use crate::temporary::{RENEW, TemporaryQueue};
use crate::{age, attributes};

/// How long a receive waits for a message.
const WAIT: Duration = Duration::from_secs(5);

pub(super) async fn follow(
    clients: &Clients,
    topic: &TopicRef,
    filter_policy: Option<&str>,
    lines: Lines,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let topic = topology::topic(clients, topic, false).await?.arn;
    let queue = TemporaryQueue::subscribe(clients, &topic, filter_policy, None).await?;
    writeln!(io::stderr(), "following {topic} through the temporary queue {}; end with ctrl-c", queue.name)
        .ok();
    let followed = show(clients, &queue, lines, shutdown).await;
    let removed = queue.remove().await;
    if let Err(error) = &removed {
        tracing::warn!(queue = queue.name, %error, "the temporary queue is left; lifeline provision --sweep removes it");
    }
    followed
}

async fn show(
    clients: &Clients,
    queue: &TemporaryQueue,
    lines: Lines,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let mut shown = 0;
    let mut renew_at = Instant::now() + RENEW;
    while shown < lines.count {
        if Instant::now() >= renew_at {
            queue.renew().await?;
            renew_at = Instant::now() + RENEW;
        }
        let most = usize::try_from(lines.count - shown).unwrap_or(10).min(10);
        let entries = tokio::select! {
            biased;
            () = shutdown.requested() => return Ok(()),
            entries = receive(clients, &queue.url, most) => entries?,
        };
        // deleted first: a reader that is gone must not get a message again
        delete(clients, &queue.url, &entries).await;
        for received in entries.into_iter().filter_map(|entry| Received::open(entry, Envelope::Detect)) {
            let line = match &received.message {
                Ok(message) if lines.json => as_json(message),
                Ok(message) => as_text(message),
                Err(error) => format!("{}  unreadable: {error}", Line::new(&received.sqs_message_id)),
            };
            if writeln!(io::stdout(), "{line}").is_err() {
                // the reader of a pipe has what it wants
                return Ok(());
            }
            shown += 1;
        }
    }
    Ok(())
}

async fn receive(clients: &Clients, url: &str, most: usize) -> Result<Vec<SqsMessage>, CallError> {
    let receive = || {
        let call = clients
            .polls
            .receive_message()
            .queue_url(url)
            .max_number_of_messages(i32::try_from(most).unwrap_or(10))
            .wait_time_seconds(i32::try_from(WAIT.as_secs()).unwrap_or(0))
            .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()))
            .message_attribute_names("All");
        bounded("ReceiveMessage", clients.call_timeout + WAIT, call.send())
    };
    Ok(retrying(receive).await?.messages.unwrap_or_default())
}

async fn delete(clients: &Clients, url: &str, entries: &[SqsMessage]) {
    let entry = |(at, entry): (usize, &SqsMessage)| {
        let request = DeleteMessageBatchRequestEntry::builder().id(at.to_string());
        request.set_receipt_handle(entry.receipt_handle.clone()).build().ok()
    };
    let entries: Vec<_> = entries.iter().enumerate().filter_map(entry).collect();
    if entries.is_empty() {
        return;
    }
    let call = clients.sqs.delete_message_batch().queue_url(url).set_entries(Some(entries)).send();
    let deleted = bounded("DeleteMessageBatch", clients.call_timeout, call).await;
    if let Err(error) = deleted.map_err(|error| (error.fault != Fault::Missing).then_some(error)) {
        tracing::debug!(?error, "messages are shown again");
    }
}

fn as_text(message: &Message) -> String {
    let published = message.published_at.unwrap_or_else(SystemTime::now);
    let mut line = format!("{}  {}", age::timestamp(published), Line::new(&message.id));
    if let Some(group) = &message.group {
        line.push_str(&format!("  group={}", Line::new(group)));
    }
    for (name, value) in &message.attributes {
        line.push_str(&format!("  {}={}", Line::new(name), Line::new(&value.to_text())));
    }
    line.push_str(&format!("  {}", Line::new(&message.body)));
    line
}

fn as_json(message: &Message) -> String {
    json!({
        "message_id": message.id,
        "published_at": message.published_at.map(age::timestamp),
        "subject": message.subject,
        "group": message.group,
        "attributes": attributes::as_json(message),
        "body": message.body,
    })
    .to_string()
}
