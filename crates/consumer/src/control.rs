//! The handle of a worker: pauses, resumes and drains it, and tells how it stands, from anywhere in the program.

use std::sync::{Arc, OnceLock};

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::summary::{Account, Tally};

/// How a worker stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum WorkerState {
    /// It does not know its queue yet, or was not started.
    Starting,
    /// It receives.
    Receiving,
    /// It was paused: nothing is received, and what is in flight goes on.
    Paused,
    /// The handler reports that a dependency is unavailable, or different messages keep failing.
    Unavailable,
    /// It shuts down.
    Draining,
    /// It has ended.
    Drained,
}

/// Pauses, resumes and drains a worker, and tells how it stands. Cheap to clone; clones are the same worker.
///
/// ```
/// use lifeline_consumer::{Failure, Message, Worker, Workers};
///
/// async fn print(message: Message) -> Result<(), Failure> {
///     println!("{}", message.body);
///     Ok(())
/// }
///
/// let worker = Worker::on("orders");
/// let handle = worker.handle();
/// let _run = Workers::new().add(worker, print).run(std::future::pending());
/// handle.pause(); // receives stop; what is in flight goes on
/// println!("{} {:?}", handle.summary(), handle.state());
/// handle.resume();
/// ```
#[derive(Debug, Clone)]
pub struct WorkerHandle(Arc<Control>);

#[derive(Debug)]
struct Control {
    paused: watch::Sender<bool>,
    state: watch::Sender<WorkerState>,
    drain: CancellationToken,
    tally: OnceLock<Tally>,
}

impl WorkerHandle {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Control {
            paused: watch::Sender::new(false),
            state: watch::Sender::new(WorkerState::Starting),
            drain: CancellationToken::new(),
            tally: OnceLock::new(),
        }))
    }

    /// Stops receiving. A receive in flight ends, and what it brings is handled.
    pub fn pause(&self) {
        self.0.paused.send_replace(true);
        self.change(|state| (state == WorkerState::Receiving).then_some(WorkerState::Paused));
    }

    /// Receives again.
    pub fn resume(&self) {
        self.0.paused.send_replace(false);
        self.change(|state| (state == WorkerState::Paused).then_some(WorkerState::Receiving));
    }

    /// Shuts this worker down, as its shutdown would.
    pub fn drain(&self) {
        self.0.drain.cancel();
    }

    /// What became of the messages that were received until now.
    pub fn summary(&self) -> Account {
        self.0.tally.get().map(Tally::account).unwrap_or_default()
    }

    /// How it stands, at most a second ago.
    pub fn state(&self) -> WorkerState {
        *self.0.state.borrow()
    }

    /// Completes when its state is not `from`, with the new one.
    ///
    /// # Cancel safety
    /// Safe.
    pub async fn changed(&self, from: WorkerState) -> WorkerState {
        let mut state = self.0.state.subscribe();
        let changed = state.wait_for(|state| *state != from).await.map(|state| *state);
        // its sender lives as long as this handle
        changed.unwrap_or(WorkerState::Drained)
    }

    pub(crate) fn started(&self, tally: Tally) {
        self.0.tally.set(tally).ok();
    }

    pub(crate) fn is(&self, now: WorkerState) {
        self.change(|_| Some(now));
    }

    /// Notes how things stand where neither a shutdown nor a pause does.
    pub(crate) fn seen(&self, known: bool, available: bool) {
        let paused = *self.0.paused.borrow();
        self.change(|state| match state {
            WorkerState::Draining | WorkerState::Drained => None,
            _ if !known => Some(WorkerState::Starting),
            _ if paused => Some(WorkerState::Paused),
            _ if !available => Some(WorkerState::Unavailable),
            _ => Some(WorkerState::Receiving),
        });
    }

    fn change(&self, to: impl FnOnce(WorkerState) -> Option<WorkerState>) {
        self.0.state.send_if_modified(|state| match to(*state) {
            Some(new) if new != *state => {
                *state = new;
                true
            }
            _ => false,
        });
    }

    /// Completes when it is not paused.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn resumed(&self) {
        if *self.0.paused.borrow() {
            self.0.paused.subscribe().wait_for(|paused| !paused).await.ok();
        }
    }

    /// Completes when it is to shut down.
    ///
    /// # Cancel safety
    /// Safe.
    pub(crate) async fn draining(&self) {
        self.0.drain.cancelled().await;
    }
}
