//! The handler of `up` as the page sees and breaks it: what it did last, and two ways to fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use lifeline_consumer::{Context, Failure, Handler, Message};
use serde_json::json;

use super::events::Events;

/// The attribute of messages that the handler fails for.
pub(super) const POISON: &str = "lifeline-poison";

/// Most bytes of a body that are kept.
const SHORT: usize = 200;

/// What the page may break of the handler, and what it did last.
#[derive(Debug, Default)]
pub(super) struct Broken {
    pub(super) unavailable: AtomicBool,
    pub(super) poison: AtomicBool,
    pub(super) failed: AtomicU64,
    /// Time spent on the messages that were handled, in microseconds, and how many there were.
    pub(super) spent: (AtomicU64, AtomicU64),
    pub(super) recent: Events,
    pub(super) events: Events,
}

impl Broken {
    /// Mends everything.
    pub(super) fn mend(&self) {
        self.unavailable.store(false, Ordering::Relaxed);
        self.poison.store(false, Ordering::Relaxed);
    }

    fn note_poisoned(&self, receives: u32, last: bool, failed: bool) {
        match (failed, last) {
            (false, _) => self.events.good("the poisoned message was handled"),
            (true, false) => self
                .events
                .bad(&format!("the poisoned message failed, attempt {receives}; it is tried again")),
            (true, true) => {
                self.events.bad(&format!(
                    "the poisoned message failed, attempt {receives}, the last: it becomes a dead letter"
                ));
            }
        }
    }

    fn failure(&self, message: &Message) -> Result<(), Failure> {
        if self.unavailable.load(Ordering::Relaxed) {
            return Err(Failure::unavailable("made unavailable at the page"));
        }
        if self.poison.load(Ordering::Relaxed) && message.attribute(POISON).is_some() {
            return Err(Failure::failed("poisoned at the page"));
        }
        Ok(())
    }
}

/// A handler that can be broken.
#[derive(Debug)]
pub(super) struct Watched<H> {
    pub(super) handler: H,
    pub(super) broken: Arc<Broken>,
}

impl<H: Handler> Handler for Watched<H> {
    async fn handle(&self, message: Message, context: Context) -> Result<(), Failure> {
        let started = Instant::now();
        let (id, receives) = (message.id.clone(), message.receive_count);
        let (poisoned, last) = (message.attribute(POISON).is_some(), context.is_last_receive());
        let body = message.body[..message.body.floor_char_boundary(SHORT)].to_owned();
        let result = match self.broken.failure(&message) {
            Ok(()) => self.handler.handle(message, context).await,
            failed => failed,
        };
        let micros = u64::try_from(started.elapsed().as_micros()).unwrap_or(u64::MAX);
        let reason = result.as_ref().err().map(ToString::to_string);
        match &reason {
            None => {
                self.broken.spent.0.fetch_add(micros, Ordering::Relaxed);
                self.broken.spent.1.fetch_add(1, Ordering::Relaxed);
            }
            Some(_) => {
                self.broken.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        if poisoned {
            self.broken.note_poisoned(receives, last, reason.is_some());
        }
        self.broken.recent.add(json!({
            "id": id,
            "body": body,
            "receives": receives,
            "outcome": if reason.is_none() { "handled" } else { "failed" },
            "reason": reason,
            "millis": micros as f64 / 1000.0,
        }));
        result
    }
}
