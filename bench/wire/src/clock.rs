//! A timer that wakes when it is told to.
//!
//! tokio's rounds up to the next millisecond: a wire of 1 ms would be one of 3. A thread that sleeps in the kernel is
//! late by some 60 µs.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::oneshot;

/// Cheap to clone. Its thread ends with the last clone.
#[derive(Debug, Clone)]
pub(crate) struct Clock {
    line: Arc<Line>,
    /// Told apart from the thread's own share in the line.
    _owner: Arc<Owner>,
}

#[derive(Debug, Default)]
struct Line {
    waiting: Mutex<Waiting>,
    sooner: Condvar,
}

#[derive(Debug, Default)]
struct Waiting {
    over: bool,
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
struct Owner(Arc<Line>);

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.waiting.lock().unwrap_or_else(PoisonError::into_inner).over = true;
        self.0.sooner.notify_one();
    }
}

impl Clock {
    pub(crate) fn start() -> io::Result<Self> {
        let line = Arc::new(Line::default());
        let own = Arc::clone(&line);
        std::thread::Builder::new().name("clock".to_owned()).spawn(move || run(&own))?;
        Ok(Self { _owner: Arc::new(Owner(Arc::clone(&line))), line })
    }

    /// Completes at `due`.
    pub(crate) async fn until(&self, due: Instant) {
        if due <= Instant::now() {
            return;
        }
        let (wake, woken) = oneshot::channel();
        {
            let mut waiting = self.line.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let first = waiting.heap.peek().is_none_or(|Reverse(first)| due < first.due);
            waiting.heap.push(Reverse(Waiter { due, wake }));
            if first {
                self.line.sooner.notify_one();
            }
        }
        woken.await.ok();
    }
}

fn run(line: &Line) {
    let mut waiting = line.waiting.lock().unwrap_or_else(PoisonError::into_inner);
    while !waiting.over {
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
                line.sooner.wait_timeout(waiting, rest).unwrap_or_else(PoisonError::into_inner).0
            }
            None => line.sooner.wait(waiting).unwrap_or_else(PoisonError::into_inner),
        };
    }
}
