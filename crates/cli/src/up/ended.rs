//! How the pipeline ended: both services' summaries, what is left in the queues, and the exit code that follows.

use lifeline_consumer::Drained;
use lifeline_producer::Summary as Published;
use lifeline_service::Summary;

use super::queues::Queues;
use super::report;
use crate::screen::messages::Messages;

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
    fn is(&self, planned: u64) -> bool {
        self.dead_letters == Ok(planned) && self.lost == Ok(0)
    }
}

/// How the pipeline ended.
pub(super) struct Ended {
    pub(super) produced: Published,
    pub(super) consumed: Drained,
    pub(super) left: Left,
    /// Dead letters that are no reason to exit with 1: the demo's.
    pub(super) planned: u64,
    /// The compact view, where the summary is a table.
    pub(super) view: Option<Messages>,
}

impl Summary for Ended {
    fn log(&self) {
        let Self { produced, consumed, left, view, .. } = self;
        if let Some(view) = view {
            return report::table(view.finish(), produced, consumed, left, self.exit_code());
        }
        match &left.dead_letters {
            Ok(0) => {}
            Ok(dead_letters) => {
                tracing::warn!(target: "lifeline", dead_letters, "some messages could not be handled");
            }
            Err(reason) => {
                tracing::warn!(target: "lifeline", %reason, "it is unknown how many messages are dead letters");
            }
        }
        log_lost(&left.lost);
        produced.log();
        consumed.log();
    }

    fn exit_code(&self) -> u8 {
        let services = self.produced.exit_code() != 0 || self.consumed.exit_code() != 0;
        u8::from(services || !self.left.is(self.planned))
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
