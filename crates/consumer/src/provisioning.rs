//! Provisioning: keeps topic, queue policy and subscription in place, with `PROVISION` only.
//!
//! It is a task of its own with its own condition in `/ready`: a queue that exists is received from and measured, whatever
//! provisioning cannot finish. It runs each time that [the queue watch](crate::queue_watch) has seen the queue, once a minute and
//! when the queue was created again, for a topic or a subscription may vanish without any call failing.

use std::time::Duration;

use lifeline_health::{Condition, Pulse};
use lifeline_messaging::call::Outage;
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, QueueSpec};
use tokio_util::sync::CancellationToken;

use crate::guarded;
use crate::queue_watch::{KnownQueue, as_call_error, in_time};

/// Keeps what is around the queue.
#[derive(Debug)]
pub(crate) struct Provisioning {
    pub(crate) clients: Clients,
    pub(crate) spec: QueueSpec,
    pub(crate) queue: KnownQueue,
    pub(crate) condition: Condition,
    pub(crate) outage: Outage,
    pub(crate) drained: CancellationToken,
}

impl Provisioning {
    /// Runs until the worker has drained.
    pub(crate) async fn run(&self, pulse: &Pulse) {
        tokio::select! {
            biased;
            () = self.drained.cancelled() => {}
            () = pulse.beat_while(self.keep()) => {}
        }
    }

    async fn keep(&self) {
        let mut backoff = Backoff::new(Duration::from_millis(500));
        loop {
            let queue = self.queue.known().await;
            let seen_again = self.queue.seen_again();
            match in_time(&self.spec, topology::connect(&self.clients, &self.spec, &queue)).await {
                Ok(()) => {
                    guarded::log(|| self.outage.succeeded());
                    self.condition.met();
                    backoff.reset();
                    seen_again.await;
                }
                Err(error) => {
                    self.condition.unmet(error.to_string());
                    guarded::log(|| self.outage.failed(&as_call_error("provisioning", &error)));
                    tokio::time::sleep(backoff.next(error.fault().backoff_cap())).await;
                }
            }
        }
    }
}
