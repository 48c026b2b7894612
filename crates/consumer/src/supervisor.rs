//! Supervision: a task that panics or returns unasked is started again, with a delay, and counted.
//!
//! A task that keeps dying may beat its pulse each time it starts, and would look alive. So from its first death until it
//! has lasted for a while there is a second pulse, which nobody beats: if starting again does not help, that one goes
//! stale, and `/health` says which task it is.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::{Pulse, PulseGuard};
use lifeline_messaging::call::backoff::Backoff;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;

use crate::shared::Shared;

/// The wait before a restart grows to this: four tries a minute at the least.
const CAP: Duration = Duration::from_secs(15);

/// A task that lasts this long has recovered.
const STEADY: Duration = Duration::from_secs(20);

/// How long a task may keep dying before that is no longer healthy.
const PATIENCE: Duration = Duration::from_secs(45);

/// Keeps `work` running until it returns when it may, by `done`; or, while it is being started again, until `over`.
pub(crate) async fn keep<F>(
    shared: Arc<Shared>,
    name: String,
    bound: Duration,
    over: CancellationToken,
    done: impl Fn(&Shared) -> bool,
    work: impl Fn(Pulse) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let pulse = shared.health.pulses.start(name.clone(), bound);
    let _retire = pulse.guard();
    let mut backoff = Backoff::new(Duration::from_millis(500));
    let mut dying: Option<PulseGuard> = None;
    loop {
        // a supervisor that is dropped takes its task with it
        let mut task = AbortOnDropHandle::new(tokio::spawn(work(pulse.clone())));
        let ended = match timeout(STEADY, &mut task).await {
            Ok(ended) => ended,
            Err(_) => {
                backoff.reset();
                dying = None;
                task.await
            }
        };
        if ended.is_ok() && done(&shared) {
            return;
        }
        shared.metrics.poller_restarts.inc();
        let wait = backoff.next(CAP);
        let how = match ended {
            Ok(()) => "returned".to_owned(),
            Err(error) => error.to_string(),
        };
        tracing::error!(task = name, how, restart_in = ?wait, "a task of the worker ended unasked");
        dying.get_or_insert_with(|| {
            shared.health.pulses.start(format!("{name} keeps ending"), PATIENCE).guard()
        });
        if timeout(wait, over.cancelled()).await.is_ok() {
            return;
        }
    }
}
