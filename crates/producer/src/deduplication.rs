//! Deduplication ids that are unique over pods and restarts.
//!
//! A process id is 1 in every container and a clock repeats itself, so neither is in here (powersemmi/ruststream's
//! `rs-{pid}-{seq}` loses messages so). The body is not either: two equal events are two events.

use std::hash::{BuildHasher, RandomState};
use std::sync::atomic::{AtomicU64, Ordering};

/// Gives out ids: 128 random bits of the process, and a counter.
#[derive(Debug)]
pub(crate) struct DeduplicationIds {
    prefix: u128,
    next: AtomicU64,
}

impl DeduplicationIds {
    pub(crate) fn new() -> Self {
        #[allow(
            clippy::disallowed_methods,
            reason = "128 bits of the operating system's randomness; fastrand has 64"
        )]
        let random = RandomState::new();
        let prefix = u128::from(random.hash_one(0)) << 64 | u128::from(random.hash_one(1));
        Self { prefix, next: AtomicU64::new(0) }
    }

    /// At most 49 characters; SNS takes 128.
    pub(crate) fn next(&self) -> String {
        format!("{:032x}-{:x}", self.prefix, self.next.fetch_add(1, Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn two_processes_and_many_messages_share_no_id() {
        let (one, two) = (DeduplicationIds::new(), DeduplicationIds::new());
        let ids: HashSet<_> = (0..1000).flat_map(|_| [one.next(), two.next()]).collect();
        assert_eq!(ids.len(), 2000);
        assert!(ids.iter().all(|id| id.len() <= 49));
    }
}
