//! How the pipeline ended: both services' summaries, what is left in the queues, and the exit code that follows.

use lifeline_consumer::Drained;
use lifeline_producer::Summary as Published;
use lifeline_service::Summary;

use super::left::Left;
use super::report;
use crate::screen::Screen;
use crate::screen::messages::Messages;

/// How the pipeline ended.
pub(super) struct Ended {
    pub(super) produced: Published,
    pub(super) consumed: Drained,
    pub(super) left: Left,
    /// Dead letters that are no reason to exit with 1: the demo's.
    pub(super) planned: u64,
    /// The compact view, where the summary is a table.
    pub(super) view: Option<(Messages, Screen)>,
}

impl Summary for Ended {
    fn log(&self) {
        let Self { produced, consumed, left, view, .. } = self;
        if let Some((view, screen)) = view {
            view.finish();
            return report::table(screen, produced, consumed, left, self.exit_code());
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
        left.log_queued();
        produced.log();
        consumed.log();
    }

    fn exit_code(&self) -> u8 {
        let services = self.produced.exit_code() != 0 || self.consumed.exit_code() != 0;
        u8::from(services || !self.left.is(self.planned))
    }
}
