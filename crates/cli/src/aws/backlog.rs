//! What the queues hold of what came through topics, in bytes, and the wait when that is too much.
//!
//! An estimate, to bound memory: a message counts from its delivery until a delete names it, a purge or the deletion
//! of its queue takes it. FIFO messages are not counted: a duplicate is accepted and not stored.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tokio::sync::Notify;

/// What rustack keeps beside a body: ids, digests, the maps of attributes, places in queues.
const OVERHEAD: usize = 700;
/// A publisher that waited this long is told to slow down: less than a client's own timeout for one attempt.
const PATIENCE: Duration = Duration::from_secs(3);

#[derive(Debug)]
pub(crate) struct Backlog {
    limit: Option<usize>,
    held: Mutex<Held>,
    less: Notify,
}

#[derive(Debug, Default)]
struct Held {
    bytes: usize,
    messages: HashMap<u128, (usize, Arc<str>)>,
}

impl Backlog {
    pub(crate) fn new(limit: Option<usize>) -> Self {
        Self { limit, held: Mutex::default(), less: Notify::new() }
    }

    /// Waits until there is room. `false` when there was none for [`PATIENCE`].
    pub(crate) async fn room(&self) -> bool {
        let Some(limit) = self.limit else { return true };
        let room = async {
            loop {
                let less = self.less.notified();
                tokio::pin!(less);
                less.as_mut().enable();
                if self.held().bytes < limit {
                    return;
                }
                less.await;
            }
        };
        tokio::time::timeout(PATIENCE, room).await.is_ok()
    }

    pub(crate) fn delivered(&self, message_id: &str, bytes: usize, queue: &Arc<str>) {
        if self.limit.is_none() || queue.ends_with(".fifo") {
            return;
        }
        let Some(id) = number(message_id) else { return };
        let bytes = bytes + OVERHEAD;
        let mut held = self.held();
        held.bytes += bytes;
        held.messages.insert(id, (bytes, Arc::clone(queue)));
    }

    pub(crate) fn deleted(&self, receipt: &str) {
        if self.limit.is_none() {
            return;
        }
        let Some(id) = message_of(receipt) else { return };
        let mut held = self.held();
        if let Some((bytes, _)) = held.messages.remove(&id) {
            held.bytes -= bytes;
            drop(held);
            self.less.notify_waiters();
        }
    }

    pub(crate) fn emptied(&self, queue: &str) {
        let mut held = self.held();
        held.messages.retain(|_, (_, of)| of.as_ref() != queue);
        held.bytes = held.messages.values().map(|(bytes, _)| bytes).sum();
        drop(held);
        self.less.notify_waiters();
    }

    fn held(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The id of the message that a receipt was given for; `None` for what is no receipt. rustack's receipts are the
/// base64 of `message-id:time:nonce`; 36 bytes of id are 48 characters.
pub(crate) fn message_of(receipt: &str) -> Option<u128> {
    let id = STANDARD.decode(receipt.get(..48)?).ok()?;
    number(std::str::from_utf8(&id).ok()?)
}

/// A UUID as a number.
fn number(uuid: &str) -> Option<u128> {
    let hex: String = uuid.chars().filter(|c| *c != '-').collect();
    u128::from_str_radix(&hex, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "6f1c1c1e-58c8-4d20-a1f5-3d1b0b4f8f01";

    fn receipt() -> String {
        STANDARD.encode(format!("{ID}:1700000000000000000:c8e2e1f4-0f9b-4c7e-9c1a-0d6f5a4b3c2d"))
    }

    #[tokio::test]
    async fn a_full_backlog_makes_room_when_a_message_is_deleted() {
        let backlog = Backlog::new(Some(500));
        assert!(backlog.room().await);
        backlog.delivered(ID, 100, &"events".into());
        let (room, ()) = tokio::join!(backlog.room(), async {
            tokio::task::yield_now().await;
            backlog.deleted(&receipt());
        });
        assert!(room);
        assert_eq!(backlog.held().bytes, 0);
    }

    #[tokio::test]
    async fn a_purge_takes_what_its_queue_held() {
        let backlog = Backlog::new(Some(10));
        backlog.delivered(ID, 100, &"events".into());
        backlog.emptied("others");
        assert_eq!(backlog.held().messages.len(), 1);
        backlog.emptied("events");
        assert_eq!(backlog.held().bytes, 0);
        assert!(backlog.room().await);
    }
}
