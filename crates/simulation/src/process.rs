//! A process of the simulation: its name, and whether it is alive.

use std::sync::Arc;

use tokio_util::sync::CancellationToken;

/// A pod or the producer. Cheap to clone; clones are one process.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    name: Arc<str>,
    /// The number of a pod's place, by which faults name it.
    slot: Option<usize>,
    ended: CancellationToken,
}

impl Process {
    pub(crate) fn new(name: String, slot: Option<usize>) -> Self {
        Self { name: name.into(), slot, ended: CancellationToken::new() }
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn slot(&self) -> Option<usize> {
        self.slot
    }

    /// It is gone from now on: it sends nothing, and hears nothing.
    pub(crate) fn end(&self) {
        self.ended.cancel();
    }

    pub(crate) fn is_alive(&self) -> bool {
        !self.ended.is_cancelled()
    }

    /// What the process does: nothing any more once it has ended, and its futures do not end either.
    pub(crate) async fn while_alive<T>(&self, work: impl Future<Output = T>) -> T {
        tokio::select! {
            biased;
            () = self.ended.cancelled() => std::future::pending().await,
            done = work => if self.is_alive() { done } else { std::future::pending().await },
        }
    }
}
