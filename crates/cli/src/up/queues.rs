//! The embedded queues as `up` looks at them: how much is left in the queue, and what is in the dead-letter queue.

use std::io::Write;

use anyhow::Context;
use aws_sdk_sqs::types::QueueAttributeName::{self, *};
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::{Envelope, Received, SYSTEM_ATTRIBUTES};
use lifeline_messaging::topology;

/// Where a message of a queue is until it is deleted. AWS calls the figures approximate; the embedded endpoint counts.
const UNHANDLED: [QueueAttributeName; 3] =
    [ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible, ApproximateNumberOfMessagesDelayed];

/// The queue of the pipeline, and its dead-letter queue.
pub(super) struct Queues {
    clients: Clients,
    queue: String,
    dead_letters: String,
}

impl Queues {
    pub(super) fn new(clients: Clients, queue: &str) -> Self {
        Self { clients, queue: queue.to_owned(), dead_letters: topology::dead_letter_name(queue) }
    }

    /// How many messages wait in the queue, are delayed or in flight.
    pub(super) async fn unhandled(&self) -> anyhow::Result<u64> {
        self.count(&self.queue, &UNHANDLED).await
    }

    /// How many messages are in the dead-letter queue.
    pub(super) async fn dead_letters(&self) -> anyhow::Result<u64> {
        self.count(&self.dead_letters, &UNHANDLED).await
    }

    /// Moves what is in the dead-letter queue to `lines`, one body per line.
    pub(super) async fn write_dead_letters(&self, mut lines: impl Write) -> anyhow::Result<()> {
        let url = self.url(&self.dead_letters).await?;
        loop {
            let receive = self.clients.sqs.receive_message().queue_url(&url).max_number_of_messages(10);
            let receive = receive.set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()));
            let batch = receive.message_attribute_names("All").send().await?.messages.unwrap_or_default();
            if batch.is_empty() {
                return Ok(());
            }
            for entry in batch {
                let raw = entry.body.clone().unwrap_or_default();
                let Some(received) = Received::open(entry, Envelope::Detect) else { continue };
                writeln!(lines, "{}", received.message.map_or(raw, |message| message.body))?;
                let delete = self.clients.sqs.delete_message().queue_url(&url);
                delete.receipt_handle(received.receipt).send().await?;
            }
        }
    }

    async fn count(&self, queue: &str, names: &[QueueAttributeName]) -> anyhow::Result<u64> {
        let counts = topology::queue_attributes(&self.clients, &self.url(queue).await?, names).await?;
        let count = |name| counts.get(name).and_then(|count: &String| count.parse::<u64>().ok());
        let sum = names.iter().map(count).sum::<Option<u64>>();
        sum.with_context(|| format!("queue {queue}: the response is incomplete"))
    }

    async fn url(&self, queue: &str) -> anyhow::Result<String> {
        let found = self.clients.sqs.get_queue_url().queue_name(queue).send().await?;
        found.queue_url.with_context(|| format!("queue {queue}: the response is incomplete"))
    }
}
