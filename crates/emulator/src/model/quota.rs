//! FIFO queues take 300 calls per second for each action, unless they count by message group.

use std::collections::HashMap;

use crate::{
    action::Action,
    clock::Time,
    error::{Result, sqs},
};

/// Calls per second for each action.
const CALLS: u32 = 300;

/// The calls of the current second.
#[derive(Debug, Default)]
pub(crate) struct Quota {
    second: u64,
    calls: HashMap<Action, u32>,
}

impl Quota {
    /// Counts a call.
    ///
    /// # Errors
    ///
    /// `RequestThrottled` beyond the quota.
    pub(crate) fn count(&mut self, action: Action, now: Time) -> Result<()> {
        if self.second != now.seconds() {
            self.second = now.seconds();
            self.calls.clear();
        }
        let calls = self.calls.entry(action).or_default();
        *calls += 1;
        if *calls > CALLS {
            return Err(sqs::throttled("Rate exceeded"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_301st_call_of_a_second_is_throttled_and_the_next_second_is_free() {
        let mut quota = Quota::default();
        for _ in 0..CALLS {
            quota.count(Action::SendMessage, Time(5000)).unwrap();
        }
        assert_eq!(quota.count(Action::SendMessage, Time(5999)).unwrap_err().code, "RequestThrottled");
        assert!(quota.count(Action::ReceiveMessage, Time(5999)).is_ok());
        assert!(quota.count(Action::SendMessage, Time(6000)).is_ok());
    }
}
