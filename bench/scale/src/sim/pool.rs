//! Connections, handed out as hyper's pool does: an idle one if there is one; otherwise one is made, and the call takes
//! what is ready first, that one or one that another call is done with.

use std::collections::VecDeque;

/// Calls are known by a number.
#[derive(Default)]
pub(super) struct Pool {
    idle: usize,
    waiting: VecDeque<usize>,
    pub(super) made: usize,
}

impl Pool {
    /// `true` when `call` has a connection; otherwise one is to be made, and it waits.
    pub(super) fn take(&mut self, call: usize) -> bool {
        if self.idle > 0 {
            self.idle -= 1;
            return true;
        }
        self.made += 1;
        self.waiting.push_back(call);
        false
    }

    /// A connection is new, or its call is done: who has it now.
    pub(super) fn free(&mut self) -> Option<usize> {
        let next = self.waiting.pop_front();
        self.idle += usize::from(next.is_none());
        next
    }
}
