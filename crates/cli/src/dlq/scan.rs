//! A scan: receives every message of a queue once.
//!
//! SQS has no way to look at a message without receiving it. A scan costs each message one receive, and hides it until the
//! scan is over, or for [`HIDDEN`] if it is killed.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use aws_sdk_sqs::types::{ChangeMessageVisibilityBatchRequestEntry, MessageSystemAttributeName};
use lifeline_messaging::call::{CallError, bounded};

use super::letter::Letter;
use super::place::Place;
use crate::retry::retrying;

/// How long a received message is hidden.
pub(super) const HIDDEN: Duration = Duration::from_secs(120);
/// How long a receive waits for a message: above zero, so that SQS asks all its servers.
const WAIT: i32 = 1;

/// Receives every message of a dead-letter queue once.
pub(super) struct Scan<'a> {
    place: &'a Place,
    seen: HashSet<String>,
    /// The receipts of the messages that are hidden, by id.
    held: HashMap<String, String>,
    /// Messages in succession that were there before: their time was over.
    repeated: usize,
    /// Receives of a message.
    pub(super) received: u64,
}

impl<'a> Scan<'a> {
    pub(super) fn of(place: &'a Place) -> Self {
        Self { place, seen: HashSet::new(), held: HashMap::new(), repeated: 0, received: 0 }
    }

    pub(super) fn place(&self) -> &'a Place {
        self.place
    }

    /// At most `most` messages that were not there before; none when all were.
    pub(super) async fn next(&mut self, most: usize) -> Result<Vec<Letter>, CallError> {
        loop {
            let entries = self.receive(most.clamp(1, 10)).await?;
            if entries.is_empty() {
                return Ok(Vec::new());
            }
            let mut new = Vec::new();
            for letter in entries {
                self.received += 1;
                self.held.insert(letter.id.clone(), letter.receipt.clone());
                if self.seen.insert(letter.id.clone()) {
                    new.push(letter);
                } else {
                    self.repeated += 1;
                }
            }
            if !new.is_empty() {
                self.repeated = 0;
                return Ok(new);
            }
            if self.repeated > self.seen.len() {
                return Ok(Vec::new());
            }
        }
    }

    async fn receive(&self, most: usize) -> Result<Vec<Letter>, CallError> {
        let Place { clients, url, max_receives, .. } = self.place;
        let limit = clients.call_timeout + Duration::from_secs(1);
        let receive = || {
            let call = clients
                .polls
                .receive_message()
                .queue_url(url)
                .max_number_of_messages(i32::try_from(most).unwrap_or(10))
                .visibility_timeout(i32::try_from(HIDDEN.as_secs()).unwrap_or(i32::MAX))
                .wait_time_seconds(WAIT)
                .message_attribute_names("All")
                .message_system_attribute_names(MessageSystemAttributeName::All)
                .send();
            bounded("ReceiveMessage", limit, call)
        };
        let answer = retrying(receive).await?;
        let entries = answer.messages.unwrap_or_default().into_iter();
        Ok(entries.filter_map(|entry| Letter::of(entry, *max_receives)).collect())
    }

    /// Takes note that a message is no longer in the queue.
    pub(super) fn deleted(&mut self, id: &str) {
        self.held.remove(id);
    }

    /// Makes what is hidden visible again. What cannot be is so after [`HIDDEN`] by itself.
    pub(super) async fn release(&mut self) {
        let Place { clients, url, .. } = self.place;
        let receipts: Vec<_> = self.held.drain().map(|(_, receipt)| receipt).collect();
        for chunk in receipts.chunks(10) {
            let entry = |(at, receipt): (usize, &String)| {
                let entry = ChangeMessageVisibilityBatchRequestEntry::builder().id(at.to_string());
                entry.receipt_handle(receipt).visibility_timeout(0).build().expect("id and receipt are set")
            };
            let entries: Vec<_> = chunk.iter().enumerate().map(entry).collect();
            let change = || {
                let call = clients.sqs.change_message_visibility_batch().queue_url(url);
                bounded(
                    "ChangeMessageVisibilityBatch",
                    clients.call_timeout,
                    call.set_entries(Some(entries.clone())).send(),
                )
            };
            if let Err(error) = retrying(change).await {
                tracing::warn!(%error, "some messages stay hidden for two minutes");
                return;
            }
        }
    }
}
