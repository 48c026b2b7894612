//! Supervision: a task that panics or returns unasked is started again, with a delay, and counted.
//!
//! Its pulse is not retired meanwhile, so if starting again does not help, it goes stale and `/health` says which.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use health::Pulse;
use messaging::backoff::Backoff;
use tokio_util::task::AbortOnDropHandle;

use crate::shared::Shared;

/// The wait before a restart grows to this: four tries a minute at the least.
const CAP: Duration = Duration::from_secs(15);

/// Keeps `work` running until `done` says that its end was asked for.
pub(crate) async fn keep<F>(
    shared: Arc<Shared>,
    name: String,
    bound: Duration,
    done: impl Fn(&Shared) -> bool,
    work: impl Fn(Pulse) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let pulse = shared.vitals.pulses.start(name.clone(), bound);
    let mut backoff = Backoff::new(Duration::from_millis(500));
    loop {
        // a supervisor that is dropped takes its task with it
        let ended = AbortOnDropHandle::new(tokio::spawn(work(pulse.clone()))).await;
        if ended.is_ok() && done(&shared) {
            return pulse.retire();
        }
        shared.metrics.poller_restarts.inc();
        let wait = backoff.next(CAP);
        let how = match ended {
            Ok(()) => "returned".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(task = name, how, restart_in = ?wait, "a task of the worker ended unasked");
        tokio::time::sleep(wait).await;
    }
}
