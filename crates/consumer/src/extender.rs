//! Extends leases before they end: in batches, at two thirds, for what waits as well as for what runs.
//!
//! It shares nothing with handlers but the lease itself, so a call that hangs costs a handler nothing. What
//! SQS refuses to extend is lost; what failed for a passing reason is tried again while the lease lasts.

use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Pulse;
use lifeline_messaging::call::Fault;
use tokio::time::{Instant, sleep_until};

use crate::batch::LARGEST;
use crate::lease::Lease;
use crate::shared::Shared;
use crate::visibility;

/// Runs until the worker has drained.
pub(crate) async fn run(shared: Arc<Shared>, pulse: Pulse) {
    while !shared.drained.is_cancelled() {
        pulse.beat();
        let idle = Instant::now() + Shared::BEAT;
        let wake = shared.leases.next_due().map_or(idle, |due| due.min(idle));
        tokio::select! {
            () = sleep_until(wake) => {}
            () = shared.leases.changed.notified() => continue,
            () = shared.drained.cancelled() => return,
        }
        extend_due(&shared);
    }
}

fn extend_due(shared: &Arc<Shared>) {
    let Some(visibility) = shared.queue.borrow().as_ref().map(|q| q.visibility) else { return };
    let now = Instant::now();
    // what is due a little later goes into the same batch
    let due = shared.leases.due(now, visibility / 20);
    for batch in due.chunks(LARGEST) {
        for lease in batch {
            // not due again while this one is in the air, unless it hangs: then another overtakes it in time
            lease.try_again_at(now + patience(lease, now, shared.clients.call_timeout));
            lease.extension_began();
        }
        tokio::spawn(extend(Arc::clone(shared), batch.to_vec(), visibility));
    }
}

async fn extend(shared: Arc<Shared>, batch: Vec<Arc<Lease>>, visibility: Duration) {
    let asked = Instant::now();
    let asks: Vec<_> = batch.iter().map(|lease| (&**lease, visibility.min(lease.grantable(asked)))).collect();
    // past the twelve hours there is nothing to ask for: the lease runs out
    let asks: Vec<_> = asks.into_iter().filter(|(_, grant)| !grant.is_zero()).collect();
    if !asks.is_empty() {
        let answer = visibility::call(&shared, &asks).await;
        for (position, (lease, granted)) in asks.iter().enumerate() {
            let fault = match &answer {
                Err(error) => Some(error.fault),
                Ok(failed) => failed
                    .iter()
                    .find(|entry| entry.id().parse() == Ok(position))
                    .map(|entry| Fault::of_code(entry.code(), entry.sender_fault())),
            };
            match fault {
                // counted from before the call: SQS may have done it any time since
                None => lease.renewed(asked, *granted),
                Some(Fault::Refused | Fault::Missing) => lease.lose(),
                Some(_) => lease.try_again_at(retry_at(lease)),
            }
        }
    }
    batch.iter().for_each(|lease| lease.extension_ended());
    shared.leases.changed.notify_one();
}

/// How long an answer is awaited before the question is asked again beside it: half of what is left of the lease, for a
/// lease of 2 s is over long before the call's own bound; not so little that calls pile up.
fn patience(lease: &Lease, now: Instant, call_timeout: Duration) -> Duration {
    let left = lease.expires_at().saturating_duration_since(now);
    (left / 2).max(Duration::from_millis(250)).min(call_timeout)
}

/// A quarter of what is left, so that there are several tries, between 50 ms and 2 s.
fn retry_at(lease: &Lease) -> Instant {
    let now = Instant::now();
    let left = lease.expires_at().saturating_duration_since(now);
    now + (left / 4).clamp(Duration::from_millis(50), Duration::from_secs(2))
}
