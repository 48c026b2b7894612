//! The keeper: knows the queue, and gets it back when it vanishes.
//!
//! It finds the topology at start, again when a call says that the queue is gone, and now and then to see what an
//! operator changed. With `PROVISION` it also creates what is missing. It never gives up.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_health::Pulse;
use lifeline_messaging::call::CallError;
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::topology::{self, Queue, TopologyError};
use tokio::time::{Instant, timeout};

use crate::shared::Shared;

/// How often the queue's depth is measured: two calls a minute. Not while it stays empty: then nothing was received since it
/// was, a receive would have brought what came, and every call of an idle queue is paid for.
const MEASURE: Duration = Duration::from_secs(60);

/// Each of its calls is bounded; so is their sum, whatever number of pages an endpoint may have.
const LOOK: Duration = Duration::from_secs(5 * 60);

/// How often the topology is looked at again where nothing is wrong: an operator's changes are seen within this. Where it
/// is ours to keep (`PROVISION`) it is looked at with every measure, for then a topic or a subscription may vanish
/// without any call failing.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// Runs until the worker has drained.
pub(crate) async fn run(shared: Arc<Shared>, pulse: Pulse) {
    let mut backoff = Backoff::new(Duration::from_millis(500));
    let mut looked: Option<Instant> = None;
    // how much had been received when the queue was last found empty
    let mut empty_at = None;
    while !shared.drained.is_cancelled() {
        pulse.beat();
        let fresh = looked.is_some_and(|at| at.elapsed() < REFRESH) && !shared.spec.provision;
        let known = shared.queue.borrow().clone().filter(|_| fresh);
        let received = shared.ledger.account().received;
        let result = match known {
            Some(_) if empty_at == Some(received) => Ok(true),
            Some(queue) => Ok(pulse.beat_while(measure(&shared, &queue)).await),
            None => pulse.beat_while(look(&shared)).await,
        };
        empty_at = matches!(result, Ok(true)).then_some(received);
        let pause = match &result {
            Ok(_) => {
                looked = looked.filter(|_| fresh).or(Some(Instant::now()));
                backoff.reset();
                MEASURE
            }
            Err(error) => backoff.next(error.fault().backoff_cap()),
        };
        let until = Instant::now() + pause;
        // after a failure only time helps: a call that finds the queue missing must not make this loop spin
        let hurry = result.is_ok();
        while Instant::now() < until {
            pulse.beat();
            tokio::select! {
                () = tokio::time::sleep_until(until.min(Instant::now() + Shared::BEAT)) => {}
                () = shared.queue_missing.notified(), if hurry => {
                    looked = None;
                    break;
                }
                () = shared.drained.cancelled() => return,
            }
        }
    }
}

/// Finds the queue and measures it: whether it is known to be empty.
async fn look(shared: &Arc<Shared>) -> Result<bool, TopologyError> {
    let found = timeout(LOOK, topology::queue(&shared.clients, &shared.spec)).await;
    let found = found.unwrap_or_else(|_| {
        Err(TopologyError::Nonsense {
            subject: format!("queue {}", shared.spec.queue.name()),
            detail: format!("looking for it did not end within {LOOK:?}"),
        })
    });
    match found {
        Ok(queue) => {
            shared.outages.topology.succeeded();
            shared.health.topology.met();
            if shared.queue.borrow().is_none() {
                // AWS answers; the first receive of an idle queue would say so a whole wait later
                shared.health.aws.met();
            }
            adopt(shared, queue.clone());
            Ok(measure(shared, &queue).await)
        }
        Err(error) => {
            shared.health.topology.unmet(error.to_string());
            shared.outages.topology.failed(&as_call_error(&error));
            Err(error)
        }
    }
}

/// Publishes the queue if it is new or changed. A queue without visibility timeout gets 30 s, SQS's own default: a lease
/// of zero is none.
fn adopt(shared: &Shared, mut queue: Queue) {
    if queue.visibility < Duration::from_secs(1) {
        tracing::warn!(
            queue_arn = queue.arn,
            "the queue's visibility timeout is 0; receiving with 30 s instead"
        );
        queue.visibility = Duration::from_secs(30);
    }
    let changed = shared.queue.send_if_modified(|known| {
        let changed = known.as_deref() != Some(&queue);
        if changed {
            *known = Some(Arc::new(queue.clone()));
        }
        changed
    });
    if !changed {
        return;
    }
    shared.metrics.without_redrive.set(i64::from(queue.redrive.is_none()));
    match &queue.redrive {
        Some(redrive) => tracing::info!(queue_arn = queue.arn, visibility = ?queue.visibility,
            dead_letter_arn = redrive.dead_letter_arn, max_receives = redrive.max_receives, "receiving"),
        None => tracing::warn!(queue_arn = queue.arn, visibility = ?queue.visibility,
            "receiving from a queue without a redrive policy: what always fails stays in it and is tried for ever; \
             give the queue a dead-letter queue"),
    }
}

/// Depths for the dashboard; whether the queue is known to be empty. A failure here is not worth a word: the calls that
/// matter have their own.
async fn measure(shared: &Shared, queue: &Queue) -> bool {
    let mut empty = false;
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    ];
    if let Ok(depth) = topology::queue_attributes(&shared.clients, &queue.url, &names).await {
        let of = |name| depth.get(name).and_then(|n| n.parse().ok()).unwrap_or(0);
        shared.metrics.queue_visible.set(of(&names[0]));
        shared.metrics.queue_in_flight.set(of(&names[1]));
        empty = of(&names[0]) == 0 && of(&names[1]) == 0;
    }
    let Some(redrive) = &queue.redrive else { return empty };
    let name = redrive.dead_letter_arn.rsplit(':').next().unwrap_or_default();
    // a redrive policy names a queue of the same account and region: its URL differs in the last part alone
    let base = queue.url.rsplit_once('/').map_or("", |(base, _)| base);
    let url = format!("{base}/{name}");
    if let Ok(depth) = topology::queue_attributes(&shared.clients, &url, &names[..1]).await {
        shared.metrics.dead_letters.set(depth.get(&names[0]).and_then(|n| n.parse().ok()).unwrap_or(0));
    }
    empty
}

fn as_call_error(error: &TopologyError) -> CallError {
    CallError { action: "looking for the queue", fault: error.fault(), code: None, detail: error.to_string() }
}
