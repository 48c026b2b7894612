//! The last things that happened to the pipeline, for the page. Cheap to clone.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

/// Most that is kept.
const KEPT: usize = 40;

/// Things that happened, the latest first.
#[derive(Debug, Clone, Default)]
pub(super) struct Events(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    next: u64,
    events: VecDeque<Value>,
}

impl Events {
    /// What a person did.
    pub(super) fn done(&self, text: &str) {
        self.add(json!({"kind": "", "text": text}));
    }

    /// Something that is over, or was to be expected.
    pub(super) fn good(&self, text: &str) {
        self.add(json!({"kind": "good", "text": text}));
    }

    /// Something that needs attention.
    pub(super) fn bad(&self, text: &str) {
        self.add(json!({"kind": "bad", "text": text}));
    }

    /// Adds an event, with a key and the time.
    pub(super) fn add(&self, mut event: Value) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.next += 1;
        event["key"] = kept.next.into();
        event["at"] = millis().into();
        kept.events.push_front(event);
        kept.events.truncate(KEPT);
    }

    pub(super) fn list(&self) -> Vec<Value> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).events.iter().cloned().collect()
    }
}

/// Milliseconds since 1970, as browsers count.
fn millis() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
