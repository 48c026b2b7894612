//! What is left in the queues when the services have ended.

use super::queues::Queues;

/// A number of messages, or why it is unknown.
pub(super) type Count = Result<u64, String>;

/// What is left in the queues when the services have ended.
#[derive(Debug)]
pub(super) struct Left {
    /// Messages that ended in the dead-letter queue.
    pub(super) dead_letters: Count,
    /// Messages that were still queued when the endpoint, which has them in memory, ended.
    pub(super) lost: Count,
}

impl Left {
    pub(super) async fn count(queues: &Queues) -> Self {
        let known = |count: anyhow::Result<u64>| count.map_err(|error| format!("{error:#}"));
        Self { dead_letters: known(queues.dead_letters().await), lost: known(queues.unhandled().await) }
    }

    /// Whether it is no more than `planned` dead letters. What is unknown may be more.
    pub(super) fn is(&self, planned: u64) -> bool {
        self.dead_letters == Ok(planned) && self.lost == Ok(0)
    }
}

pub(super) fn log_lost(lost: &Count) {
    match lost {
        Ok(0) => {}
        Ok(lost) => {
            tracing::warn!(target: "lifeline", lost, "messages were still queued and are lost with the endpoint in this process; \
                to keep them, run `lifeline aws` and the services on their own");
        }
        Err(reason) => {
            tracing::warn!(target: "lifeline", %reason, "it is unknown how many messages were still queued; \
                they are lost with the endpoint in this process");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_count_that_is_unknown_is_not_zero() {
        let unknown = || Err("the endpoint does not respond".to_owned());
        for (dead_letters, lost, planned, nothing_else) in [
            (Ok(0), Ok(0), 0, true),
            (Ok(1), Ok(0), 1, true),
            (Ok(1), Ok(0), 0, false),
            (Ok(0), Ok(0), 1, false),
            (Ok(0), Ok(1), 0, false),
            (unknown(), Ok(0), 0, false),
            (Ok(0), unknown(), 0, false),
        ] {
            let left = Left { dead_letters, lost };
            assert_eq!(left.is(planned), nothing_else, "{left:?} {planned}");
        }
    }
}
