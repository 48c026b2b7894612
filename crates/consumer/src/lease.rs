//! Leases: for how long each message held here is ours.
//!
//! SQS hides a received message for the queue's visibility timeout; that is the lease. It runs from the receive, so a
//! message that waits for its handler counts as well as one that runs. The table knows every lease; the
//! `extender` renews what is due; a lease that could not be renewed in time, or that SQS says is gone, is *lost*: its
//! handler is told, and its delete is not sent, for it could delete what another consumer is handling.

use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use slab::Slab;
use tokio::sync::Notify;
use tokio::time::Instant;

/// The longest that SQS keeps a message invisible, counted from its receive.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-visibility-timeout.html>
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// Why a handler should stop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cancelled {
    /// The lease is lost: another consumer may have the message now.
    LostLease,
    /// The grace of a shutdown is over: the message will be given back.
    Shutdown,
}

const HELD: u8 = 0;
const LOST: u8 = 1;
const SHUT_DOWN: u8 = 2;

/// One message's lease, shared by the table, the handler's [`Context`] and whoever settles the message.
#[derive(Debug)]
pub(crate) struct Lease {
    pub(crate) receipt: String,
    received_at: Instant,
    /// Milliseconds after `received_at`, as are the next two.
    renewed: AtomicU64,
    expires: AtomicU64,
    extend_at: AtomicU64,
    state: AtomicU8,
    /// Extensions in the air: one that hangs is overtaken by the next.
    extending: AtomicU32,
    told: Notify,
}

impl Lease {
    pub(crate) fn new(receipt: String, received_at: Instant, visibility: Duration) -> Self {
        let lease = Self {
            receipt,
            received_at,
            renewed: AtomicU64::new(0),
            expires: AtomicU64::new(0),
            extend_at: AtomicU64::new(0),
            state: AtomicU8::new(HELD),
            extending: AtomicU32::new(0),
            told: Notify::new(),
        };
        lease.renewed(received_at, visibility);
        lease
    }

    /// The lease runs for `visibility` from `at`; it is due for the next extension after two thirds of that. The answer
    /// to an older question than the last says nothing.
    pub(crate) fn renewed(&self, at: Instant, visibility: Duration) {
        let age = at.saturating_duration_since(self.received_at);
        if self.renewed.fetch_max(millis(age), Ordering::Relaxed) <= millis(age) {
            self.expires.store(millis(age + visibility), Ordering::Relaxed);
            self.extend_at.store(millis(age + visibility * 2 / 3), Ordering::Relaxed);
        }
    }

    pub(crate) fn extend_at(&self) -> Instant {
        self.received_at + Duration::from_millis(self.extend_at.load(Ordering::Relaxed))
    }

    /// Puts the next extension off without changing the lease: one is in the air, or has failed.
    pub(crate) fn try_again_at(&self, at: Instant) {
        self.extend_at.store(millis(at.saturating_duration_since(self.received_at)), Ordering::Relaxed);
    }

    pub(crate) fn expires_at(&self) -> Instant {
        self.received_at + Duration::from_millis(self.expires.load(Ordering::Relaxed))
    }

    /// What SQS will still grant: 12 hours from the receive, whole seconds.
    pub(crate) fn grantable(&self, now: Instant) -> Duration {
        let left = LONGEST.saturating_sub(now.saturating_duration_since(self.received_at));
        Duration::from_secs(left.as_secs())
    }

    pub(crate) fn is_lost(&self) -> bool {
        self.is_told_lost() || Instant::now() >= self.expires_at()
    }

    fn is_told_lost(&self) -> bool {
        self.state.load(Ordering::Acquire) == LOST
    }

    /// Nothing more is to be done for it: it is lost, or it ran out after its handler was told to stop for another reason,
    /// which stands.
    fn is_over(&self) -> bool {
        match self.state.load(Ordering::Acquire) {
            HELD => false,
            LOST => true,
            _ => Instant::now() >= self.expires_at(),
        }
    }

    /// An extension is in the air.
    pub(crate) fn extension_began(&self) {
        self.extending.fetch_add(1, Ordering::AcqRel);
    }

    /// One is back, whatever it brought.
    pub(crate) fn extension_ended(&self) {
        self.extending.fetch_sub(1, Ordering::AcqRel);
        self.told.notify_waiters();
    }

    /// Completes when no extension is in the air: a release that overtook one would be undone by it.
    pub(crate) async fn settled(&self) {
        loop {
            let told = self.told.notified();
            if self.extending.load(Ordering::Acquire) == 0 {
                return;
            }
            told.await;
        }
    }

    pub(crate) fn lose(&self) {
        self.end(LOST);
    }

    pub(crate) fn shut_down(&self) {
        self.end(SHUT_DOWN);
    }

    fn end(&self, state: u8) {
        // the first reason stands
        if self.state.compare_exchange(HELD, state, Ordering::AcqRel, Ordering::Acquire).is_ok() {
            self.told.notify_waiters();
        }
    }

    pub(crate) async fn cancelled(&self) -> Cancelled {
        loop {
            let told = self.told.notified();
            match self.is_cancelled() {
                Some(why) => return why,
                None => told.await,
            }
        }
    }

    /// Whether the handler was told to stop, and why.
    pub(crate) fn is_cancelled(&self) -> Option<Cancelled> {
        match self.state.load(Ordering::Acquire) {
            LOST => Some(Cancelled::LostLease),
            SHUT_DOWN => Some(Cancelled::Shutdown),
            _ => None,
        }
    }
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// What a handler may ask about the lease of its message. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Context {
    lease: Arc<Lease>,
}

impl Context {
    pub(crate) fn new(lease: Arc<Lease>) -> Self {
        Self { lease }
    }

    /// Completes when the handler should stop, with the reason. A handler that goes on is dropped soon after: a
    /// second, or half of what a short grace has left.
    ///
    /// # Cancel safety
    /// Safe: nothing is lost by dropping it and asking again.
    pub async fn cancelled(&self) -> Cancelled {
        self.lease.cancelled().await
    }

    /// Whether the lease is lost: the message may be handled elsewhere, and will not be deleted from here.
    pub fn lease_lost(&self) -> bool {
        self.lease.is_lost()
    }

    /// For how long the message is ours as things stand. It is extended before it ends, up to 12 hours from the
    /// receive, as long as SQS answers.
    pub fn lease_remaining(&self) -> Duration {
        self.lease.expires_at().saturating_duration_since(Instant::now())
    }
}

/// All leases held.
#[derive(Debug, Default)]
pub(crate) struct Leases {
    table: Mutex<Table>,
    /// Wakes the extender: something is due before it would wake by itself, or an extension came back.
    pub(crate) changed: Notify,
}

#[derive(Debug, Default)]
struct Table {
    slots: Slab<Arc<Lease>>,
    /// What the extender sleeps until; `None` while nothing is due.
    next: Option<Instant>,
}

/// A place in the table; leaving it ends the extensions.
#[derive(Debug)]
pub(crate) struct LeaseKey(usize);

impl Leases {
    pub(crate) fn insert(&self, leases: impl Iterator<Item = Arc<Lease>>) -> Vec<LeaseKey> {
        let mut table = self.table();
        let mut sooner = false;
        let keys = leases
            .map(|lease| {
                // as a rule what comes later is due later; not after the queue's timeout was shortened
                sooner |= table.next.is_none_or(|next| lease.extend_at() < next);
                LeaseKey(table.slots.insert(lease))
            })
            .collect();
        drop(table);
        if sooner {
            self.changed.notify_one();
        }
        keys
    }

    pub(crate) fn remove(&self, key: &LeaseKey) {
        self.table().slots.try_remove(key.0);
    }

    /// When the extender has something to do, if ever.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        let mut table = self.table();
        let held = table.slots.iter().filter(|(_, l)| !l.is_over());
        table.next = held.map(|(_, l)| l.extend_at().min(l.expires_at())).min();
        table.next
    }

    /// What is due at `now`; what has expired is lost instead.
    pub(crate) fn due(&self, now: Instant, slack: Duration) -> Vec<Arc<Lease>> {
        let table = self.table();
        let mut due = Vec::new();
        for (_, lease) in &table.slots {
            if lease.is_over() {
                continue;
            }
            if now >= lease.expires_at() {
                lease.lose();
            } else if now + slack >= lease.extend_at() {
                due.push(Arc::clone(lease));
            }
        }
        due
    }

    pub(crate) fn shut_down(&self) {
        self.table().slots.iter().for_each(|(_, lease)| lease.shut_down());
    }

    pub(crate) fn lose_all(&self) {
        self.table().slots.iter().for_each(|(_, lease)| lease.lose());
    }

    fn table(&self) -> MutexGuard<'_, Table> {
        self.table.lock().expect("no panic while it is held")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(visibility: u64) -> Arc<Lease> {
        Arc::new(Lease::new("r".to_owned(), Instant::now(), Duration::from_secs(visibility)))
    }

    /// The extender sleeps until what this says: a time that is over for good would keep it awake.
    #[tokio::test(start_paused = true)]
    async fn a_lease_that_runs_out_after_its_handler_was_told_to_stop_is_never_due_again() {
        let leases = Leases::default();
        let held = lease(30);
        let _key = leases.insert(std::iter::once(Arc::clone(&held)));
        leases.shut_down();
        assert!(leases.next_due().is_some(), "it is extended while its handler winds down");
        tokio::time::advance(Duration::from_secs(30)).await;
        assert!(leases.due(Instant::now(), Duration::ZERO).is_empty());
        assert_eq!(leases.next_due(), None);
        assert_eq!(held.is_cancelled(), Some(Cancelled::Shutdown), "the first reason stands");
        assert!(held.is_lost());
    }

    #[tokio::test(start_paused = true)]
    async fn a_lease_is_due_at_two_thirds_and_lost_at_its_end() {
        let leases = Leases::default();
        let held = lease(30);
        let _key = leases.insert(std::iter::once(Arc::clone(&held)));
        tokio::time::advance(Duration::from_secs(19)).await;
        assert!(leases.due(Instant::now(), Duration::ZERO).is_empty());
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(leases.due(Instant::now(), Duration::ZERO).len(), 1);
        tokio::time::advance(Duration::from_secs(10)).await;
        assert!(leases.due(Instant::now(), Duration::ZERO).is_empty());
        assert!(held.is_lost());
        assert_eq!(held.cancelled().await, Cancelled::LostLease);
    }

    #[tokio::test(start_paused = true)]
    async fn nothing_is_asked_past_the_twelve_hours() {
        let held = lease(30);
        tokio::time::advance(Duration::from_secs(12 * 3600 - 10)).await;
        assert_eq!(held.grantable(Instant::now()), Duration::from_secs(10));
        tokio::time::advance(Duration::from_secs(60)).await;
        assert_eq!(held.grantable(Instant::now()), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn an_answer_that_comes_late_changes_nothing() {
        let held = lease(30);
        let (first, second) = (Instant::now(), Instant::now() + Duration::from_secs(7));
        held.renewed(second, Duration::from_secs(30));
        held.renewed(first, Duration::from_secs(30));
        assert_eq!(held.expires_at(), second + Duration::from_secs(30));
        assert_eq!(held.extend_at(), second + Duration::from_secs(20));
    }

    #[tokio::test(start_paused = true)]
    async fn the_first_reason_to_stop_stands() {
        let held = lease(30);
        held.shut_down();
        held.lose();
        assert_eq!(Context::new(held).cancelled().await, Cancelled::Shutdown);
    }
}
