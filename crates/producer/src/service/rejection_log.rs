//! The log of rejected lines: each with its number and reason, but no flood. A file of the wrong kind is a million
//! rejections, and its log must not be the second problem.

use std::fmt::Display;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;

/// Lines said without a pause between them.
const AT_ONCE: u32 = 100;

/// Then one every so often.
const PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(crate) struct Rejections {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    left: u32,
    since: Instant,
    unsaid: u64,
}

impl Rejections {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::new(State { left: AT_ONCE, since: Instant::now(), unsaid: 0 }) }
    }

    pub(crate) fn say(&self, line: u64, reason: &dyn Display) {
        if let Some(unsaid) = self.turn() {
            // what comes from a message or from SNS is on one line
            let reason = reason.to_string();
            let reason = lifeline_escape::Line::new(&reason).limit(1024);
            match unsaid {
                0 => tracing::warn!(target: "producer", line, %reason, "rejected"),
                _ => tracing::warn!(target: "producer", line, %reason, unsaid, "rejected"),
            }
        }
    }

    /// At the end: how many more there were.
    pub(crate) fn say_rest(&self) {
        let unsaid = std::mem::take(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner).unsaid);
        if unsaid > 0 {
            tracing::warn!(target: "producer", unsaid, "more lines were rejected");
        }
    }

    /// How many were not said before this one, if this one may be.
    fn turn(&self) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let earned = state.since.elapsed().as_millis() / PAUSE.as_millis();
        let earned = u32::try_from(earned).unwrap_or(u32::MAX);
        state.since += PAUSE * earned.min(AT_ONCE);
        state.left = state.left.saturating_add(earned).min(AT_ONCE);
        if earned > AT_ONCE {
            state.since = Instant::now();
        }
        if state.left == 0 {
            state.unsaid += 1;
            return None;
        }
        state.left -= 1;
        Some(std::mem::take(&mut state.unsaid))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_million_rejections_are_counted_and_a_few_are_said() {
        let rejections = Rejections::new();
        let said = (0..1_000_000).filter_map(|_| rejections.turn()).count();
        assert_eq!(said, 100);
        tokio::time::advance(PAUSE).await;
        assert_eq!(rejections.turn(), Some(999_900));
        assert_eq!(rejections.turn(), None);
        tokio::time::advance(Duration::from_secs(3600)).await;
        assert_eq!((0..200).filter_map(|_| rejections.turn()).count(), 100);
    }
}
