//! `DeleteMessageBatch`.

use std::sync::Arc;

use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use lifeline_messaging::call::{CallError, bounded};
use lifeline_messaging::client::Clients;

use super::batcher::BatchCall;
use super::{Verdict, verdicts};
use crate::call_monitor::CallMonitor;
use crate::queue_watch::KnownQueue;

/// Deletes messages by their receipts.
#[derive(Debug)]
pub(crate) struct Delete {
    pub(crate) clients: Clients,
    pub(crate) queue: KnownQueue,
    pub(crate) monitor: CallMonitor,
}

impl BatchCall for Delete {
    type Ask = ();

    async fn call(&self, entries: &[(Arc<str>, ())]) -> Result<Vec<Verdict>, CallError> {
        let request = entries.iter().enumerate().map(|(position, (receipt, ()))| {
            DeleteMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(&**receipt)
                .build()
                .expect("id and receipt are set")
        });
        let call = self.clients.sqs.delete_message_batch().queue_url(self.queue.url());
        let call = call.set_entries(Some(request.collect())).send();
        let response = bounded("DeleteMessageBatch", self.clients.call_timeout, call).await;
        self.monitor.note(&response, |_| "ok");
        let response = response?;
        self.monitor.entries_failed(response.failed.len());
        let successful = response.successful.iter().map(|entry| entry.id());
        Ok(verdicts(entries.len(), successful, &response.failed))
    }
}
