//! Visibility: what was not handled goes back, after a delay (retry) or at once (release), in batches.
//!
//! If SQS cannot be reached the message comes back anyway, when its lease ends; so a change is tried a few
//! times and then left to that.

use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::{BatchResultErrorEntry, ChangeMessageVisibilityBatchRequestEntry};
use lifeline_health::Pulse;
use lifeline_messaging::call::backoff::{exponential, full_jitter};
use lifeline_messaging::call::{CallError, Fault, bounded};
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::time::Instant;

use crate::batch;
use crate::delivery::Held;
use crate::lease::Lease;
use crate::shared::Shared;
use crate::summary::Outcome;

const LINGER: Duration = Duration::from_millis(3);
const RETRY_CAP: Duration = Duration::from_secs(2);

/// How often a change is tried.
const ATTEMPTS: u32 = 5;

/// A message to give back.
#[derive(Debug)]
pub(crate) struct Change {
    held: Held,
    delay: Duration,
    outcome: Outcome,
}

impl Change {
    /// Back after a delay: its handler failed.
    pub(crate) fn retry(mut held: Held, delay: Duration) -> Self {
        held.leave_table();
        let now = Instant::now();
        let delay = delay.min(held.lease.grantable(now));
        held.back_at = Some(now + delay);
        Self { held, delay, outcome: Outcome::Retried }
    }

    /// Back unhandled, together with the one of its FIFO group that failed. SQS hides the group until then anyway; an
    /// endpoint that does not (LocalStack 4) would let it overtake.
    pub(crate) fn follow(mut held: Held, back_at: Instant) -> Self {
        held.leave_table();
        let now = Instant::now();
        let delay = back_at.saturating_duration_since(now).min(held.lease.grantable(now));
        Self { held, delay, outcome: Outcome::Released }
    }

    /// Back at once: nobody handled it.
    pub(crate) fn release(mut held: Held) -> Self {
        held.leave_table();
        Self { held, delay: Duration::ZERO, outcome: Outcome::Released }
    }

    fn settle(self) {
        self.held.settle(self.outcome);
    }

    /// SQS will not take the change, or the lease is over: it is not what was meant that made the message visible.
    fn lose(self) {
        self.held.settle(Outcome::LostLease);
    }
}

/// Runs until the worker has drained.
pub(crate) async fn run(shared: Arc<Shared>, inbox: &mut UnboundedReceiver<Change>, pulse: Pulse) {
    while let Some(batch) = batch::next(inbox, LINGER, &pulse, &shared.drained, pending()).await {
        tokio::spawn(change(Arc::clone(&shared), batch));
    }
}

async fn change(shared: Arc<Shared>, mut batch: Vec<Change>) {
    for change in &batch {
        change.held.lease.settled().await;
    }
    // a lease that is over needs no change: the message is visible already, or another's
    for over in batch.extract_if(.., |change| change.held.lease.is_lost()) {
        over.lose();
    }
    if batch.is_empty() {
        return;
    }
    let entries: Vec<_> = batch.iter().map(|c| (&*c.held.lease, c.delay)).collect();
    match call(&shared, &entries).await {
        Ok(failed) => {
            for (position, change) in batch.into_iter().enumerate() {
                match failed.iter().find(|entry| entry.id().parse() == Ok(position)) {
                    None => change.settle(),
                    Some(entry) => again(&shared, change, Fault::of_code(entry.code(), entry.sender_fault())),
                }
            }
        }
        Err(error) => batch.into_iter().for_each(|change| again(&shared, change, error.fault)),
    }
}

fn again(shared: &Arc<Shared>, mut change: Change, fault: Fault) {
    if matches!(fault, Fault::Refused | Fault::Missing) {
        return change.lose();
    }
    change.held.attempts += 1;
    if change.held.attempts >= ATTEMPTS {
        return match change.outcome {
            // it comes back when its lease ends: later than meant, or sooner
            Outcome::Retried => change.settle(),
            // to be given back at once is what a release means
            _ => change.lose(),
        };
    }
    let wait = full_jitter(exponential(Duration::from_millis(100), change.held.attempts, RETRY_CAP));
    let shared = Arc::clone(shared);
    tokio::spawn(async move {
        tokio::time::sleep(wait.min(change.held.remaining())).await;
        shared.changes.send(change).ok();
    });
}

/// One call for up to ten leases. The entries that failed; ids are positions.
pub(crate) async fn call(
    shared: &Shared,
    leases: &[(&Lease, Duration)],
) -> Result<Vec<BatchResultErrorEntry>, CallError> {
    let entries = leases.iter().enumerate().map(|(position, (lease, visibility))| {
        // a fraction of a second is a second: 0 would mean "at once"
        let seconds = i32::try_from(visibility.as_millis().div_ceil(1000)).unwrap_or(i32::MAX);
        ChangeMessageVisibilityBatchRequestEntry::builder()
            .id(position.to_string())
            .receipt_handle(&lease.receipt)
            .visibility_timeout(seconds)
            .build()
            .expect("id and receipt are set")
    });
    let call = shared.clients.sqs.change_message_visibility_batch().queue_url(shared.queue_url());
    let call = call.set_entries(Some(entries.collect())).send();
    let answer = bounded("ChangeMessageVisibilityBatch", shared.clients.call_timeout, call).await;
    shared.note(&shared.outages.visibility, &answer);
    let outcome = answer.as_ref().map_or_else(|error| error.fault.label(), |_| "ok");
    shared.metrics.visibility_calls.with_label_values(&[outcome]).inc();
    answer.map(|answer| answer.failed)
}
