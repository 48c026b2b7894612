//! The record of every call: what was asked, when, beside how many others, and how it ended.

use serde_json::Value;
use tokio::time::Instant;

/// One call that the endpoint read to its end.
#[derive(Debug, Clone)]
pub struct Call {
    /// Counts up from 0 over all calls.
    pub id: usize,
    /// The action, such as `ReceiveMessage` or `PublishBatch`.
    pub action: String,
    /// When its last byte was read.
    pub at: Instant,
    /// How many calls of this action were unanswered then, this one included.
    pub concurrent: usize,
    /// The parameters. SNS' flattened form is folded back: `member` lists are arrays.
    pub request: Value,
    /// What it asks for, one by one: the entries of a batch, or the call itself.
    pub entries: Vec<Entry>,
    /// The access key that signed it; empty when unsigned.
    pub access_key: String,
    /// Which connection it came by; calls that reuse one have the same number.
    pub connection: u64,
    /// How it ended; `Pending` until it did.
    pub outcome: Outcome,
}

/// How a call ended, as far as the endpoint knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// Not answered yet, or held by a fault.
    Pending,
    /// Answered with this HTTP status, all bytes written.
    Answered(u16),
    /// Ended by a fault or by the client going away.
    Broken,
}

/// One entry of a batch, or a single call seen as one.
#[derive(Debug, Clone, Default)]
pub struct Entry {
    /// The entry's id in its batch; empty for a single call.
    pub id: String,
    /// The body it is about: of the message sent or published, or of the one that the receipt leases.
    pub body: String,
    /// The message's id, when a receipt names it.
    pub message_id: String,
    /// The receipt handle, when it has one.
    pub receipt: String,
    /// Everything, as sent.
    pub value: Value,
}

impl Call {
    /// The queue's name, when the call names one by its URL or name.
    #[must_use]
    pub fn queue(&self) -> Option<&str> {
        let named = self.request["QueueUrl"].as_str().or_else(|| self.request["QueueName"].as_str())?;
        named.rsplit('/').next()
    }

    /// The topic's ARN, when the call names one.
    #[must_use]
    pub fn topic(&self) -> Option<&str> {
        self.request["TopicArn"].as_str()
    }

    /// The bodies of its entries, in order.
    #[must_use]
    pub fn bodies(&self) -> Vec<&str> {
        self.entries.iter().map(|entry| entry.body.as_str()).collect()
    }
}
