//! What is left in the queues when the services have ended.

use super::queues::Queues;

/// A number of messages, or why it is unknown.
pub(super) type Count = Result<u64, String>;

/// What is left in the queues when the services have ended.
#[derive(Debug)]
pub(super) struct Left {
    /// Messages that ended in the dead-letter queue.
    pub(super) dead_letters: Count,
    /// Messages that were still queued when the endpoint ended.
    pub(super) queued: Count,
    /// Whether these are in the file of `--data`, and not lost.
    pub(super) kept: bool,
}

impl Left {
    pub(super) async fn count(queues: &Queues, kept: bool) -> Self {
        let known = |count: anyhow::Result<u64>| count.map_err(|error| format!("{error:#}"));
        let (dead_letters, queued) = (queues.dead_letters().await, queues.unhandled().await);
        Self { dead_letters: known(dead_letters), queued: known(queued), kept }
    }

    /// Whether it is no more than `planned` dead letters. What is unknown may be more; what is kept is not lost.
    pub(super) fn is(&self, planned: u64) -> bool {
        self.dead_letters == Ok(planned) && (self.kept || self.queued == Ok(0))
    }

    /// Says what became of messages that were still queued.
    pub(super) fn log_queued(&self) {
        match (&self.queued, self.kept) {
            (Ok(0), _) => {}
            (Ok(kept), true) => {
                tracing::info!(target: "lifeline", kept, "messages were still queued and are kept; the next run with this --data handles them");
            }
            (Err(reason), true) => {
                tracing::warn!(target: "lifeline", %reason, "it is unknown how many messages were still queued; they are kept in the file of --data");
            }
            (Ok(lost), false) => {
                tracing::warn!(target: "lifeline", lost, "messages were still queued and are lost with the endpoint in this process; \
                    to keep them, use --data FILE");
            }
            (Err(reason), false) => {
                tracing::warn!(target: "lifeline", %reason, "it is unknown how many messages were still queued; \
                    they are lost with the endpoint in this process");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_unknown_is_not_zero_and_what_is_kept_is_not_lost() {
        let unknown = || Err("the endpoint does not respond".to_owned());
        for (dead_letters, queued, kept, planned, nothing_else) in [
            (Ok(0), Ok(0), false, 0, true),
            (Ok(1), Ok(0), false, 1, true),
            (Ok(1), Ok(0), false, 0, false),
            (Ok(0), Ok(0), false, 1, false),
            (Ok(0), Ok(1), false, 0, false),
            (Ok(0), Ok(1), true, 0, true),
            (Ok(1), Ok(1), true, 0, false),
            (unknown(), Ok(0), false, 0, false),
            (unknown(), Ok(0), true, 0, false),
            (Ok(0), unknown(), false, 0, false),
            (Ok(0), unknown(), true, 0, true),
        ] {
            let left = Left { dead_letters, queued, kept };
            assert_eq!(left.is(planned), nothing_else, "{left:?} {planned}");
        }
    }
}
