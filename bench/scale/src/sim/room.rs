//! Permits, handed out as tokio's semaphore does: in the order of asking, to the first in line piece by piece. What a waiter
//! that gives up had gathered goes to the next in line.

use std::collections::VecDeque;

pub(super) struct Room {
    free: usize,
    line: VecDeque<Waiter>,
}

struct Waiter {
    who: usize,
    wanted: usize,
    had: usize,
}

impl Room {
    pub(super) fn new(permits: usize) -> Self {
        Self { free: permits, line: VecDeque::new() }
    }

    /// Permits that nobody waits for.
    pub(super) fn free(&self) -> usize {
        self.free
    }

    /// `true` when `who` has them at once; otherwise it is in line.
    pub(super) fn take(&mut self, who: usize, wanted: usize) -> bool {
        if self.try_take(wanted) {
            return true;
        }
        let had = std::mem::take(&mut self.free);
        self.line.push_back(Waiter { who, wanted, had });
        false
    }

    pub(super) fn try_take(&mut self, wanted: usize) -> bool {
        let taken = self.free >= wanted;
        if taken {
            self.free -= wanted;
        }
        taken
    }

    /// Gives permits back; those who have all of theirs now.
    pub(super) fn give(&mut self, mut permits: usize) -> Vec<usize> {
        let mut served = Vec::new();
        while permits > 0
            && let Some(first) = self.line.front_mut()
        {
            let more = permits.min(first.wanted - first.had);
            first.had += more;
            permits -= more;
            if first.had == first.wanted {
                served.extend(self.line.pop_front().map(|waiter| waiter.who));
            }
        }
        self.free += permits;
        served
    }

    /// `who` waits no more.
    pub(super) fn leave(&mut self, who: usize) -> Vec<usize> {
        match self.line.iter().position(|waiter| waiter.who == who) {
            Some(at) => {
                let had = self.line.remove(at).map_or(0, |waiter| waiter.had);
                self.give(had)
            }
            None => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_waiter_had_gathered_goes_to_the_next_in_line() {
        let mut room = Room::new(3);
        assert!(room.take(1, 1));
        assert!(!room.take(2, 9), "it has two of nine");
        assert!(!room.take(3, 1));
        assert!(room.give(1).is_empty());
        assert_eq!(room.leave(2), [3]);
        assert_eq!(room.free(), 2);
    }
}
