//! Logs rejected lines, each with its number and reason: 100 immediately, then ten a second. A file of the wrong kind is a
//! million rejections.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use lifeline_escape::{Line, unescaped};
use tokio::time::Instant;

/// Lines logged without a pause between them.
const BURST: u32 = 100;

/// Then one every so often.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct RejectionLog {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u32,
    since: Instant,
    suppressed: u64,
}

impl RejectionLog {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { left: BURST, since: Instant::now(), suppressed: 0 }) }
    }

    pub(crate) fn log(&self, line: u64, reason: &dyn Display) {
        if let Some(suppressed) = self.turn() {
            // what comes from a message or from SNS is on one line
            let reason = unescaped(reason);
            let reason = Line::new(&reason).limit(1024);
            match suppressed {
                0 => tracing::warn!(target: "producer", line, %reason, "rejected"),
                _ => tracing::warn!(target: "producer", line, %reason, suppressed, "rejected"),
            }
        }
    }

    /// At the end: how many more there were.
    pub(crate) fn log_rest(&self) {
        let suppressed =
            std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).suppressed);
        if suppressed > 0 {
            tracing::warn!(target: "producer", suppressed, "more lines were rejected");
        }
    }

    /// How many were not logged before this one, if this one may be.
    fn turn(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = state.since.elapsed().as_millis() / PAUSE.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        state.since += PAUSE * earned.min(BURST);
        state.left = state.left.saturating_add(earned).min(BURST);
        if earned > BURST {
            state.since = Instant::now();
        }
        if state.left == 0 {
            state.suppressed += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.suppressed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_million_rejections_are_counted_and_a_few_are_logged() {
        let rejections = RejectionLog::new();
        let logged = (0..1_000_000).filter_map(|_| rejections.turn()).count();
        assert_eq!(logged, 100);
        tokio::time::advance(PAUSE).await;
        assert_eq!(rejections.turn(), Some(999_900));
        assert_eq!(rejections.turn(), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..200).filter_map(|_| rejections.turn()).count(), 100);
    }
}
