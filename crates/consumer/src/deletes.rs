//! Deletes: what was handled is deleted in batches, and every entry's result is read.
//!
//! An entry that failed for a passing reason is tried again alone, as long as its lease lasts; the extender keeps
//! the lease until then. One whose lease is lost is not sent: SQS may have handed the message to somebody else,
//! and a stale receipt is accepted without deleting anything, so that "success" would be no proof.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, DeleteMessageBatchRequestEntry};
use lifeline_health::Pulse;
use lifeline_messaging::call::backoff::{exponential, full_jitter};
use lifeline_messaging::call::{CallError, Fault, bounded};
use tokio::sync::mpsc::UnboundedReceiver;

use crate::batch;
use crate::delivery::Held;
use crate::shared::Shared;
use crate::summary::Outcome;

/// How long a delete may wait for company: long enough to fill batches under load, too short to be felt.
const LINGER: Duration = Duration::from_millis(3);

/// Retries begin soon and stay frequent: each lost second is one of the lease.
const RETRY_CAP: Duration = Duration::from_secs(2);

/// Runs until the worker has drained.
pub(crate) async fn run(shared: Arc<Shared>, inbox: &mut UnboundedReceiver<Held>, pulse: Pulse) {
    let fifo = shared.spec.queue.is_fifo();
    loop {
        let alone = shared.company.none(fifo);
        let next = batch::next(inbox, LINGER, &pulse, &shared.drained, alone).await;
        let Some(batch) = next else { return };
        // each in a task of its own: a call that hangs must not hold up the next batch. Their number is bounded by
        // the room, for every message in them holds a permit
        tokio::spawn(delete(Arc::clone(&shared), batch));
    }
}

async fn delete(shared: Arc<Shared>, batch: Vec<Held>) {
    let (lost, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|held| held.lease.is_lost());
    lost.into_iter().for_each(lose);
    if batch.is_empty() {
        return;
    }
    let answer = call(&shared, &batch).await;
    shared.note(&shared.outages.delete, &answer);
    match answer {
        Ok(failed) => {
            shared.metrics.delete_calls.with_label_values(&["ok"]).inc();
            settle(&shared, batch, failed);
        }
        Err(error) => {
            shared.metrics.delete_calls.with_label_values(&[error.fault.label()]).inc();
            batch.into_iter().for_each(|held| again(&shared, held, error.fault));
        }
    }
}

/// The entries that failed. Ids are positions: the same message may be in a batch twice.
async fn call(shared: &Shared, batch: &[Held]) -> Result<Vec<BatchResultErrorEntry>, CallError> {
    let entries = batch.iter().enumerate().map(|(position, held)| {
        DeleteMessageBatchRequestEntry::builder()
            .id(position.to_string())
            .receipt_handle(&held.lease.receipt)
            .build()
            .expect("id and receipt are set")
    });
    let call = shared.clients.sqs.delete_message_batch().queue_url(shared.queue_url());
    let call = call.set_entries(Some(entries.collect())).send();
    bounded("DeleteMessageBatch", shared.clients.call_timeout, call).await.map(|answer| answer.failed)
}

fn settle(shared: &Arc<Shared>, batch: Vec<Held>, failed: Vec<BatchResultErrorEntry>) {
    for (position, held) in batch.into_iter().enumerate() {
        match failed.iter().find(|entry| entry.id().parse() == Ok(position)) {
            None => {
                match held.trace {
                    Some(trace_id) => {
                        tracing::info!(target: "consumer", message_id = %held.id, %trace_id, "deleted")
                    }
                    None => tracing::info!(target: "consumer", message_id = %held.id, "deleted"),
                }
                held.settle(Outcome::Deleted);
            }
            Some(entry) => {
                let fault = Fault::of_code(entry.code(), entry.sender_fault());
                shared.metrics.delete_calls.with_label_values(&["entry_failed"]).inc();
                again(shared, held, fault);
            }
        }
    }
}

/// Tries once more, or gives up where that is useless: the receipt is refused, or the queue is gone.
fn again(shared: &Arc<Shared>, mut held: Held, fault: Fault) {
    if held.lease.is_lost() || matches!(fault, Fault::Refused | Fault::Missing) {
        return lose(held);
    }
    let wait = full_jitter(exponential(Duration::from_millis(100), held.attempts, RETRY_CAP));
    held.attempts += 1;
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        // never past the end of the lease, where it is found to be lost
        tokio::time::sleep(wait.min(held.remaining())).await;
        shared.deletes.send(held).ok();
    });
}

fn lose(held: Held) {
    held.lease.lose();
    tracing::warn!(target: "consumer", message_id = %held.id, receive_count = held.receive_count,
        "handled, but its lease was lost before the delete: it will be delivered again");
    held.settle(Outcome::LostLease);
}
