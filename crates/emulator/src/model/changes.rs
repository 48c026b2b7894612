//! What has changed since it was last asked for: what a store has to write.

use super::{message::Key, world::World};
use crate::clock::Time;

/// Changes of a world, in the form in which they are stored.
#[derive(Debug, Default)]
pub(crate) struct Changes {
    /// Something other than messages changed.
    pub(crate) topology: bool,
    /// Numbers of queues whose messages are all gone; `messages` come after.
    pub(crate) cleared: Vec<u64>,
    /// Messages by queue number and key; `None` for one that is gone.
    pub(crate) messages: Vec<((u64, Key), Option<String>)>,
}

impl Changes {
    pub(crate) fn is_empty(&self) -> bool {
        !self.topology && self.cleared.is_empty() && self.messages.is_empty()
    }
}

impl World {
    /// From now on changes are kept for [`World::take_changes`]. Sequence numbers begin beyond those of an earlier run.
    pub(crate) fn track_changes(&mut self, now: Time) {
        self.tracks_changes = true;
        self.topology_changed = false;
        self.begin_sequence_at(now);
        for queue in self.queues.values_mut() {
            queue.track_changes();
        }
    }

    /// What has changed since the last time.
    pub(crate) fn take_changes(&mut self) -> Changes {
        let mut changes =
            Changes { topology: std::mem::take(&mut self.topology_changed), ..Changes::default() };
        for queue in self.queues.values_mut() {
            let Some(changed) = queue.changed.as_mut() else { continue };
            if std::mem::take(&mut changed.cleared) {
                changes.cleared.push(queue.number);
            }
            for key in std::mem::take(&mut changed.keys) {
                let message = queue.messages.get(&key);
                let text = message.map(|message| serde_json::to_string(message).unwrap_or_default());
                changes.messages.push(((queue.number, key), text));
            }
        }
        changes
    }
}
