//! What the tasks of one worker share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use lifeline_messaging::call::CallError;
use lifeline_messaging::call::Outage;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{Queue, QueueSpec};
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::company::Company;
use crate::delivery::Held;
use crate::lease::Leases;
use crate::metrics::WorkerMetrics;
use crate::poller_scale::Crew;
use crate::summary::Ledger;
use crate::visibility::Change;
use crate::worker::Options;

/// Behind an `Arc`; nothing in it is locked across an await.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) clients: Clients,
    pub(crate) spec: QueueSpec,
    pub(crate) options: Options,
    pub(crate) metrics: WorkerMetrics,
    pub(crate) ledger: Ledger,
    pub(crate) leases: Leases,
    /// One permit a message held.
    pub(crate) room: Arc<Semaphore>,
    /// The queue as last seen; `None` until it is known.
    pub(crate) queue: watch::Sender<Option<Arc<Queue>>>,
    /// Wakes the keeper: a call said that the queue is gone.
    pub(crate) queue_missing: Notify,
    pub(crate) deletes: mpsc::UnboundedSender<Held>,
    pub(crate) changes: mpsc::UnboundedSender<Change>,
    pub(crate) crew: Crew,
    /// No new receive.
    pub(crate) draining: CancellationToken,
    /// All is settled: the tasks may end.
    pub(crate) drained: CancellationToken,
    pub(crate) company: Company,
    /// Handlers cancelled at the end of the grace.
    pub(crate) cancelled: AtomicU64,
    pub(crate) health: Health,
    pub(crate) outages: Outages,
}

/// What the worker tells about its health.
#[derive(Debug)]
pub(crate) struct Health {
    pub(crate) pulses: lifeline_health::Pulses,
    pub(crate) topology: lifeline_health::Condition,
    pub(crate) aws: lifeline_health::Condition,
    pub(crate) draining: lifeline_health::Condition,
}

/// One for each kind of call, so that a lasting failure is logged once.
#[derive(Debug)]
pub(crate) struct Outages {
    pub(crate) receive: Outage,
    pub(crate) delete: Outage,
    pub(crate) visibility: Outage,
    pub(crate) topology: Outage,
}

impl Shared {
    /// The queue, once it is known.
    pub(crate) async fn known_queue(&self) -> Arc<Queue> {
        let mut queue = self.queue.subscribe();
        let known = queue.wait_for(Option::is_some).await.map(|q| q.clone());
        // the sender lives in `self`, and `wait_for` returned because there is one
        known.ok().flatten().expect("the queue is known")
    }

    /// The queue's URL for a call on a message that came from it.
    pub(crate) fn queue_url(&self) -> String {
        self.queue.borrow().as_ref().map(|q| q.url.clone()).unwrap_or_default()
    }

    /// Notes how a call ended: readiness, the log, and the keeper where the queue is gone.
    pub(crate) fn note<T>(&self, outage: &Outage, result: &Result<T, CallError>) {
        match result {
            Ok(_) => {
                outage.succeeded();
                self.health.aws.met();
            }
            Err(error) => {
                outage.failed(error);
                self.health.aws.unmet(format!("{} failed: {}", error.action, error.fault.label()));
                if error.fault == lifeline_messaging::call::Fault::Missing {
                    self.queue_missing.notify_one();
                }
            }
        }
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.is_cancelled()
    }

    /// How long a wait may go on before the pulse must beat.
    pub(crate) const BEAT: Duration = lifeline_health::BEAT;
}
