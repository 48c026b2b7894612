//! Supervision: a task that panics or exits unexpectedly is started again, with a delay, and counted.
//!
//! A task that keeps dying may beat its pulse each time it starts, and would look alive. So from its first death until it
//! has done better for a while there is a second pulse, which nobody beats: if starting again does not help, that one goes
//! stale, and `/health` says which task it is.

use std::future::Future;
use std::time::Duration;

use lifeline_health::{IntCounter, Pulse, PulseGuard, Pulses};
use lifeline_messaging::call::backoff::Backoff;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::AbortOnDropHandle;
use tracing::{Instrument, Span};

use crate::guarded;

/// The wait before a restart grows to this: four tries a minute at the least.
const CAP: Duration = Duration::from_secs(15);

/// How long a task may keep dying before that is no longer healthy.
const PATIENCE: Duration = Duration::from_secs(45);

/// A wait that takes so much longer was one of a stopped process (SIGSTOP, a frozen cgroup), in which nothing was tried.
const STOPPED: Duration = Duration::from_secs(5);

/// Starts tasks again. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Supervisor {
    pub(crate) pulses: Pulses,
    pub(crate) restarts: IntCounter,
    /// With the worker's name, if it has one.
    pub(crate) span: Span,
}

impl Supervisor {
    /// Keeps `work` running until it returns when `done` says that it may; or, while it is being started again, until
    /// `over`. `bound` is the longest round of the task's loop: one that lasts for longer has recovered.
    pub(crate) async fn keep<F>(
        self,
        name: String,
        bound: Duration,
        over: CancellationToken,
        done: impl Fn() -> bool,
        work: impl Fn(Pulse) -> F,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let pulse = self.pulses.start(name.clone(), bound);
        let _remove = pulse.guard();
        let mut backoff = Backoff::new(Duration::from_millis(500));
        let mut dying: Option<PulseGuard> = None;
        loop {
            #[allow(
                clippy::disallowed_methods,
                reason = "a supervisor that is dropped takes its task with it"
            )]
            let mut task =
                AbortOnDropHandle::new(tokio::spawn(work(pulse.clone()).instrument(self.span.clone())));
            let ended = match timeout(bound, &mut task).await {
                Ok(ended) => ended,
                Err(_) => {
                    backoff.reset();
                    dying = None;
                    task.await
                }
            };
            if ended.is_ok() && done() {
                return;
            }
            self.restarts.inc();
            let wait = backoff.next(CAP);
            let how = match ended {
                Ok(()) => "returned".to_owned(),
                Err(error) => error.to_string(),
            };
            guarded::log(|| {
                tracing::error!(task = name, how, restart_in = ?wait, "a task of the worker exited unexpectedly");
            });
            dying.get_or_insert_with(|| self.pulses.start(format!("{name} (restarting)"), PATIENCE).guard());
            let due = Instant::now() + wait;
            if timeout(wait, over.cancelled()).await.is_ok() {
                return;
            }
            if due.elapsed() > STOPPED {
                dying = None;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn supervisor() -> Supervisor {
        // pulses that live in the time of the test, which is paused
        let pulses = Pulses::with_clock(|| tokio::time::Instant::now().into_std());
        let restarts = lifeline_health::Metrics::new("test", &pulses).counter("restarts", "For the test.");
        Supervisor { pulses, restarts, span: Span::none() }
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_dies_whenever_its_long_poll_returns_is_reported() {
        let supervisor = supervisor();
        let pulses = supervisor.pulses.clone();
        let bound = Duration::from_secs(35);
        let over = CancellationToken::new();
        let work = |pulse: Pulse| async move {
            pulse.beat();
            tokio::time::sleep(Duration::from_secs(20)).await;
            panic!("as scripted");
        };
        let kept = tokio::spawn(supervisor.keep("poller-1".to_owned(), bound, over, || false, work));
        let begun = tokio::time::Instant::now();
        while pulses.stale().is_empty() {
            tokio::time::sleep(Duration::from_secs(1)).await;
            assert!(begun.elapsed() < Duration::from_secs(120), "it looks alive: {pulses:?}");
        }
        assert_eq!(pulses.stale(), ["poller-1 (restarting)"]);
        // and stays so
        tokio::time::sleep(Duration::from_secs(3600)).await;
        assert_eq!(pulses.stale(), ["poller-1 (restarting)"]);
        kept.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn the_time_in_which_the_process_was_stopped_is_not_held_against_a_task() {
        let supervisor = supervisor();
        let pulses = supervisor.pulses.clone();
        let work = |pulse: Pulse| async move {
            pulse.beat();
            panic!("as scripted")
        };
        let bound = Duration::from_secs(35);
        let kept = tokio::spawn(supervisor.keep(
            "leases".to_owned(),
            bound,
            CancellationToken::new(),
            || false,
            work,
        ));
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(5) {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        // SIGSTOP
        tokio::time::advance(PATIENCE * 2).await;
        tokio::time::sleep(Duration::from_secs(1)).await;
        assert!(pulses.stale().is_empty(), "{pulses:?}");
        // but it goes on dying
        tokio::time::sleep(PATIENCE * 2).await;
        assert_eq!(pulses.stale(), ["leases (restarting)"]);
        kept.abort();
    }

    #[tokio::test(start_paused = true)]
    async fn a_task_that_lasts_longer_than_its_longest_round_has_recovered() {
        let supervisor = supervisor();
        let pulses = supervisor.pulses.clone();
        let bound = Duration::from_secs(35);
        let over = CancellationToken::new();
        let deaths = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let work = move |pulse: Pulse| {
            let deaths = std::sync::Arc::clone(&deaths);
            async move {
                if deaths.fetch_add(1, std::sync::atomic::Ordering::Relaxed) < 8 {
                    panic!("as scripted");
                }
                loop {
                    pulse.beat();
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
            }
        };
        let kept = tokio::spawn(supervisor.keep("leases".to_owned(), bound, over, || false, work));
        tokio::time::sleep(Duration::from_secs(300)).await;
        assert!(pulses.stale().is_empty() && pulses.ages().len() == 1, "{pulses:?}");
        kept.abort();
    }
}
