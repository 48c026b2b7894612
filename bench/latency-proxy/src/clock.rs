//! A timer with a resolution of about 60 µs: a thread that sleeps in the kernel.
//!
//! The timer of tokio rounds up to the next millisecond, which would turn a latency of 1 ms into 3 ms.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// The timer. Cheap to clone; its thread exits with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    shared: Arc<Shared>,
    /// Stops the thread, which holds `shared` too.
    _owner: Arc<Owner>,
}

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    stopped: bool,
    heap: BinaryHeap<Reverse<Waiter>>,
}

#[derive(Debug)]
struct Waiter {
    due: Instant,
    wake: oneshot::Sender<()>,
}

impl PartialEq for Waiter {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiter {}

impl PartialOrd for Waiter {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Waiter {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

#[derive(Debug)]
struct Owner(Arc<Shared>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.0.changed.notify_one();
    }
}

impl Clock {
    pub(crate) fn start() -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("clock".to_owned()).spawn(move || run(&own))?;
        Ok(Self { _owner: Arc::new(Owner(Arc::clone(&shared))), shared })
    }

    /// Completes at `due`.
    pub(crate) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        {
            let mut waiting = self.shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let first = waiting.heap.peek().is_none_or(|Reverse(first)| due < first.due);
            waiting.heap.push(Reverse(Waiter { due, wake }));
            if first {
                self.shared.changed.notify_one();
            }
        }
        woken.await.ok();
    }
}

fn run(shared: &Shared) {
    let mut waiting = shared.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while !waiting.stopped {
        let now = Instant::now();
        while let Some(Reverse(first)) = waiting.heap.peek()
            && first.due <= now
        {
            if let Some(Reverse(waiter)) = waiting.heap.pop() {
                waiter.wake.send(()).ok();
            }
        }
        let next = waiting.heap.peek().map(|Reverse(first)| first.due);
        waiting = match next {
            Some(due) => {
                let rest = due.saturating_duration_since(now);
                shared.changed.wait_timeout(waiting, rest).unwrap_or_else(PoisonError::into_inner).0
            }
            None => shared.changed.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
