//! `ChangeMessageVisibilityBatch`: for extensions, and for messages that go back to the queue.

use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::ChangeMessageVisibilityBatchRequestEntry;
use lifeline_messaging::call::{CallError, bounded};
use lifeline_messaging::client::Clients;

use super::batcher::BatchCall;
use super::{Verdict, verdicts};
use crate::call_monitor::CallMonitor;
use crate::queue_watch::KnownQueue;

/// What asks for a visibility.
pub(crate) trait Seconds {
    fn seconds(&self) -> Duration;
}

/// Sets the visibility of messages by their receipts; `A` says to what.
#[derive(Debug)]
pub(crate) struct Visibility<A> {
    pub(crate) clients: Clients,
    pub(crate) queue: KnownQueue,
    pub(crate) monitor: CallMonitor,
    pub(crate) asks: PhantomData<fn() -> A>,
}

impl<A> BatchCall for Visibility<A>
where
    A: Seconds + Copy + std::fmt::Debug + Send + Sync + 'static,
{
    type Ask = A;

    async fn call(&self, entries: &[(Arc<str>, A)]) -> Result<Vec<Verdict>, CallError> {
        let request = entries.iter().enumerate().map(|(position, (receipt, ask))| {
            // a fraction of a second is a second: 0 would mean "at once"
            let seconds = i32::try_from(ask.seconds().as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
            ChangeMessageVisibilityBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(&**receipt)
                .visibility_timeout(seconds)
                .build()
                .expect("id and receipt are set")
        });
        let call = self.clients.sqs.change_message_visibility_batch().queue_url(self.queue.url());
        let call = call.set_entries(Some(request.collect())).send();
        let response = bounded("ChangeMessageVisibilityBatch", self.clients.call_timeout, call).await;
        self.monitor.note(&response, |_| "ok");
        let response = response?;
        self.monitor.entries_failed(response.failed.len());
        let successful = response.successful.iter().map(|entry| entry.id());
        Ok(verdicts(entries.len(), successful, &response.failed))
    }
}
