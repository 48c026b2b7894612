//! Queue watch: looks the queue up at start, again when a call finds it missing, and every five minutes.
//!
//! With `PROVISION` it also creates a queue that is missing. It never gives up. What it knows, [`KnownQueue`] tells the others.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_escape::unescaped;
use lifeline_health::{BEAT, Condition, Pulse};
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::call::{CallError, Fault, Outage};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, Queue, QueueSpec, TopologyError};
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use crate::caution::Caution;
use crate::guarded;
use crate::metrics::QueueMetrics;
use crate::summary::Tally;

/// How often the queue's depth is measured: two calls per minute. Not while it stays empty: then nothing was received since it
/// was, a receive would have brought what came, and every call of an idle queue is paid for.
const MEASURE: Duration = Duration::from_secs(60);

/// Each of its calls is bounded; so is their sum, whatever number of pages an endpoint may have.
const LOOK: Duration = Duration::from_secs(5 * 60);

/// How often the topology is looked at again where nothing is wrong: an operator's changes are seen within this. Where it
/// is ours to keep (`PROVISION`) it is looked at with every measure, for then a topic or a subscription may vanish
/// without any call failing.
const REFRESH: Duration = Duration::from_secs(5 * 60);

/// SQS's own default.
const VISIBILITY: Duration = Duration::from_secs(30);

/// The queue as it was last seen. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct KnownQueue(watch::Receiver<Option<Arc<Queue>>>);

impl KnownQueue {
    /// A queue that is never known, for tests of parts that do not need it.
    #[cfg(any(test, feature = "testing"))]
    pub(crate) fn unknown() -> Self {
        Self(watch::channel(None).1)
    }

    /// The queue, once it is known.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn known(&self) -> Arc<Queue> {
        let mut queue = self.0.clone();
        let known = queue.wait_for(Option::is_some).await.map(|queue| queue.clone());
        match known.ok().flatten() {
            Some(queue) => queue,
            // the watch is gone without having found it, and the worker with it
            None => std::future::pending().await,
        }
    }

    /// Waits until the queue has been looked up anew, from now on.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) fn seen_again(&self) -> impl Future<Output = ()> + use<> {
        let mut queue = self.0.clone();
        queue.mark_unchanged();
        async move {
            if queue.changed().await.is_err() {
                std::future::pending().await
            }
        }
    }

    /// Whether it is known.
    pub(crate) fn is_known(&self) -> bool {
        self.0.borrow().is_some()
    }

    /// The URL for a call about a message that came from it.
    pub(crate) fn url(&self) -> String {
        self.0.borrow().as_ref().map(|queue| queue.url.clone()).unwrap_or_default()
    }

    /// Whether a message that was received so often is a dead letter if it is received once more.
    pub(crate) fn is_last_receive(&self, receive_count: u32) -> bool {
        let queue = self.0.borrow();
        let redrive = queue.as_ref().and_then(|queue| queue.redrive.as_ref());
        redrive.is_some_and(|redrive| receive_count >= redrive.max_receives)
    }

    /// The URL of its dead-letter queue, if it has one, and its own ARN.
    pub(crate) fn dead_letters(&self) -> Option<(String, String)> {
        let queue = self.0.borrow();
        let queue = queue.as_ref()?;
        Some((queue.dead_letter_url()?, queue.arn.clone()))
    }

    /// The visibility timeout, as far as it is known.
    pub(crate) fn visibility(&self) -> Duration {
        self.0.borrow().as_ref().map_or(VISIBILITY, |queue| queue.visibility)
    }
}

/// Watches the queue.
#[derive(Debug)]
pub(crate) struct QueueWatch {
    pub(crate) clients: Clients,
    pub(crate) spec: QueueSpec,
    pub(crate) topology: Condition,
    pub(crate) aws: Condition,
    pub(crate) outage: Outage,
    /// A call found the queue missing.
    pub(crate) missing: Arc<Notify>,
    pub(crate) metrics: QueueMetrics,
    pub(crate) caution: Arc<Caution>,
    pub(crate) tally: Tally,
    pub(crate) drained: CancellationToken,
    pub(crate) queue: watch::Sender<Option<Arc<Queue>>>,
    /// It is in the log that the dead-letter queue cannot be read.
    pub(crate) unread: AtomicBool,
}

impl QueueWatch {
    /// What it knows, for the others.
    pub(crate) fn queue(&self) -> KnownQueue {
        KnownQueue(self.queue.subscribe())
    }

    /// Runs until the worker has drained.
    pub(crate) async fn run(&self, pulse: &Pulse) {
        let mut backoff = Backoff::new(Duration::from_millis(500));
        let mut looked: Option<Instant> = None;
        // how much had been received when the queue was last found empty
        let mut empty_at = None;
        while !self.drained.is_cancelled() {
            pulse.beat();
            let fresh = looked.is_some_and(|at| at.elapsed() < REFRESH) && !self.spec.provision;
            let known = self.queue.borrow().clone().filter(|_| fresh);
            let received = self.tally.received();
            let result = match known {
                Some(_) if empty_at == Some(received) => Ok(true),
                Some(queue) => Ok(pulse.beat_while(self.measure(&queue)).await),
                None => pulse.beat_while(self.look()).await,
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
                    biased;
                    () = tokio::time::sleep_until(until.min(Instant::now() + BEAT)) => {}
                    () = self.missing.notified(), if hurry => {
                        looked = None;
                        break;
                    }
                    () = self.drained.cancelled() => return,
                }
            }
        }
    }

    /// Finds the queue and measures it: whether it is known to be empty.
    async fn look(&self) -> Result<bool, TopologyError> {
        let queue = match in_time(&self.spec, topology::find_queue(&self.clients, &self.spec)).await {
            Ok(queue) => queue,
            Err(error) => {
                self.topology.unmet(error.to_string());
                guarded::log(|| self.outage.failed(&as_call_error("looking for the queue", &error)));
                return Err(error);
            }
        };
        guarded::log(|| self.outage.succeeded());
        // before the first receive: what is hidden now is another's
        let empty = self.measure(&queue).await;
        if self.queue.borrow().is_none() {
            // AWS answers; the first receive of an idle queue would say so a whole wait later
            self.aws.met();
        }
        self.adopt(queue.clone());
        self.topology.met();
        Ok(empty)
    }

    /// Publishes the queue, to those also who wait for it to be [seen again](KnownQueue::seen_again). A queue without
    /// visibility timeout gets 30 s, SQS's own default: a lease of zero is none.
    fn adopt(&self, mut queue: Queue) {
        let none = queue.visibility < Duration::from_secs(1);
        if none {
            queue.visibility = VISIBILITY;
        }
        let known = self.queue.send_replace(Some(Arc::new(queue.clone())));
        if known.as_deref() == Some(&queue) {
            return;
        }
        self.metrics.without_redrive.set(i64::from(queue.redrive.is_none()));
        guarded::log(|| {
            if none {
                tracing::warn!(
                    queue_arn = queue.arn,
                    "the queue's visibility timeout is 0; receiving with 30 s instead"
                );
            }
            match &queue.redrive {
                Some(redrive) => {
                    tracing::info!(queue_arn = queue.arn, visibility_timeout = ?queue.visibility,
                        dead_letter_queue = redrive.dead_letter_arn, max_receives = redrive.max_receives, "receiving from queue");
                }
                None => {
                    tracing::warn!(queue_arn = queue.arn, visibility_timeout = ?queue.visibility,
                        "receiving from a queue without a redrive policy: messages that always fail are retried forever; \
                         configure a dead-letter queue");
                }
            }
        });
    }

    /// Depths for the dashboard; whether the queue is known to be empty. Failures are not logged, since the calls that matter log
    /// their own; but no other call reads the dead-letter queue.
    async fn measure(&self, queue: &Queue) -> bool {
        let mut empty = false;
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        if let Ok(depth) = topology::queue_attributes(&self.clients, &queue.url, &names).await {
            let counts = (count(&depth, &names[0]), count(&depth, &names[1]));
            self.metrics.visible.set(counts.0);
            self.metrics.in_flight.set(counts.1);
            empty = counts == (Some(0), Some(0));
            if counts.1 == Some(0) && self.queue.borrow().is_none() {
                self.caution.nothing_hidden();
            }
        }
        let Some(url) = queue.dead_letter_url() else { return empty };
        match topology::queue_attributes(&self.clients, &url, &names[..1]).await {
            Ok(depth) => {
                self.unread.store(false, Ordering::Relaxed);
                self.metrics.dead_letters.set(count(&depth, &names[0]));
            }
            Err(error) if error.fault() == Fault::Denied && !self.unread.swap(true, Ordering::Relaxed) => {
                guarded::log(|| {
                    tracing::warn!(%error, "the dead-letter queue cannot be read: consumer_dead_letter_messages is absent");
                });
            }
            Err(_) => {}
        }
        empty
    }
}

/// One of the counts that SQS returned, if it did.
fn count(depth: &HashMap<QueueAttributeName, String>, name: &QueueAttributeName) -> Option<u32> {
    depth.get(name)?.parse().ok()
}

/// Bounds a look at the topology, however many calls it makes.
pub(crate) async fn in_time<T>(
    spec: &QueueSpec,
    look: impl Future<Output = Result<T, TopologyError>>,
) -> Result<T, TopologyError> {
    timeout(LOOK, look).await.unwrap_or_else(|_| {
        Err(TopologyError::Nonsense {
            subject: format!("queue {}", spec.queue.name()),
            detail: format!("looking for it did not end within {LOOK:?}"),
        })
    })
}

pub(crate) fn as_call_error(action: &'static str, error: &TopologyError) -> CallError {
    CallError::local(action, error.fault(), unescaped(error))
}
