//! The consumer of `up`, on threads of its own: if they hang it is replaced, as Kubernetes restarts a container.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::Context as _;
use lifeline_consumer::Drained;
use lifeline_health::Health;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::Notify;
use tokio_util::context::TokioContext;

/// Threads of the consumer.
const THREADS: usize = 2;

/// One consumer after another.
#[derive(Debug, Default)]
pub(super) struct Replaced {
    now: Mutex<Option<Now>>,
    replace: Notify,
    restarts: AtomicU64,
}

/// The threads of the consumer that runs now.
#[derive(Debug, Clone)]
struct Now {
    handle: Handle,
    gate: Arc<Gate>,
}

/// Where threads block while it is shut.
#[derive(Debug, Default)]
struct Gate {
    shut: Mutex<bool>,
    opened: Condvar,
}

impl Gate {
    fn is_shut(&self) -> bool {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set(&self, shut: bool) {
        *self.shut.lock().unwrap_or_else(PoisonError::into_inner) = shut;
        self.opened.notify_all();
    }

    fn pass(&self) {
        let shut = self.shut.lock().unwrap_or_else(PoisonError::into_inner);
        drop(self.opened.wait_while(shut, |shut| *shut));
    }
}

/// A runtime that ends without waiting for its threads: those that hang never end.
struct Threads(Option<Runtime>);

impl Threads {
    fn start() -> anyhow::Result<Self> {
        let mut builder = Builder::new_multi_thread();
        builder.worker_threads(THREADS).thread_name("consumer").enable_all();
        Ok(Self(Some(builder.build().context("starting the consumer's threads")?)))
    }

    fn handle(&self) -> Option<Handle> {
        self.0.as_ref().map(|runtime| runtime.handle().clone())
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}

impl Replaced {
    /// Runs what `start` makes, on threads of its own, and anew after each [`replace`](Self::replace). What it was
    /// working on becomes visible in the queue again when its visibility timeout ends.
    pub(super) async fn run<F>(&self, health: &Health, start: impl Fn() -> F) -> anyhow::Result<Drained>
    where
        F: Future<Output = anyhow::Result<Drained>>,
    {
        loop {
            let threads = Threads::start()?;
            let Some(handle) = threads.handle() else { continue };
            let now = Now { handle: handle.clone(), gate: Arc::default() };
            *self.now.lock().unwrap_or_else(PoisonError::into_inner) = Some(now);
            // it is polled here, and all that it spawns runs there: so it can be dropped though those threads hang
            let consumer = TokioContext::new(start(), handle);
            tokio::select! {
                biased;
                ended = consumer => return ended,
                () = self.replace.notified() => {}
            }
            self.restarts.fetch_add(1, Ordering::Relaxed);
            health.pulses.clear();
        }
    }

    fn now(&self) -> Option<Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Blocks every thread of the consumer, or lets them go on.
    pub(super) fn hang(&self, on: bool) {
        let Some(Now { handle, gate }) = self.now() else { return };
        if gate.is_shut() == on {
            return;
        }
        gate.set(on);
        for _ in 0..if on { THREADS * 4 } else { 0 } {
            let gate = Arc::clone(&gate);
            handle.spawn(async move { gate.pass() });
        }
    }

    pub(super) fn is_hung(&self) -> bool {
        self.now().is_some_and(|now| now.gate.is_shut())
    }

    /// Drops the consumer and starts another.
    pub(super) fn replace(&self) {
        self.replace.notify_one();
    }

    pub(super) fn restarts(&self) -> u64 {
        self.restarts.load(Ordering::Relaxed)
    }
}
