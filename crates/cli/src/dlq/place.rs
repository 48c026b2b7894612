//! A queue and its dead-letter queue.

use std::time::Duration;

use anyhow::Context;
use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, Queue, QueueRef};

/// A queue and its dead-letter queue.
pub(super) struct Place {
    pub(super) clients: Clients,
    pub(super) queue: Queue,
    /// Receives after which SQS moves a message.
    pub(super) max_receives: u32,
    /// The dead-letter queue's URL.
    pub(super) url: String,
    /// The dead-letter queue's ARN.
    pub(super) arn: String,
}

/// What a queue holds, as SQS counts it: approximately.
#[derive(Debug, Clone, Copy, serde::Serialize)]
pub(super) struct Counts {
    pub(super) visible: u64,
    pub(super) in_flight: u64,
    pub(super) delayed: u64,
    pub(super) retention_seconds: u64,
}

impl Counts {
    pub(super) fn total(self) -> u64 {
        self.visible + self.in_flight + self.delayed
    }

    pub(super) fn retention(self) -> Duration {
        Duration::from_secs(self.retention_seconds)
    }
}

impl Place {
    /// Finds both by the queue's redrive policy.
    pub(super) async fn find(access: &Access, queue: &QueueRef) -> anyhow::Result<Self> {
        let clients = Clients::connect(access).await?;
        let queue = topology::look_up(&clients, queue).await?;
        let url = queue.dead_letter_url();
        let (Some(redrive), Some(url)) = (queue.redrive.clone(), url) else {
            anyhow::bail!(
                "queue {} has no redrive policy, and so no dead letters; name the queue whose dead letters are meant, \
                 not its dead-letter queue",
                queue.arn
            );
        };
        Ok(Self { clients, queue, max_receives: redrive.max_receives, url, arn: redrive.dead_letter_arn })
    }

    /// What the dead-letter queue holds.
    pub(super) async fn counts(&self) -> anyhow::Result<Counts> {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
            QueueAttributeName::ApproximateNumberOfMessagesDelayed,
            QueueAttributeName::MessageRetentionPeriod,
        ];
        let attributes = topology::queue_attributes(&self.clients, &self.url, &names).await;
        let attributes =
            attributes.with_context(|| format!("the dead-letter queue of {}", self.queue.arn))?;
        let [visible, in_flight, delayed, retention_seconds] =
            names.map(|name| attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0));
        Ok(Counts { visible, in_flight, delayed, retention_seconds })
    }
}
