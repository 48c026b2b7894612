//! Pulses: which parts of a program must make progress, and how long each may go without it.
//!
//! A part takes a [`Pulse`] and beats it whenever it has come round its loop. Whoever wants to know whether the
//! program is alive asks [`Pulses::stale`]. A beat is one atomic store and takes no lock, so that it can stand in
//! the tightest loop and can never block, and so that no blocked part can hide another.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::clock::{Clock, TimeSource};

/// How long a wait may go on before its pulse must beat: a sixth of the shortest bound.
#[cfg(feature = "tokio")]
pub const BEAT: Duration = Duration::from_secs(5);

/// The parts of one program that must make progress. Cheap to clone; clones share everything.
///
/// ```
/// use std::time::Duration;
/// let pulses = lifeline_health::Pulses::new();
/// let pulse = pulses.start("poller-1", Duration::from_secs(45));
/// pulse.beat();
/// assert!(pulses.stale().is_empty());
/// ```
#[derive(Clone)]
pub struct Pulses {
    shared: Arc<Shared>,
    /// Before the name of each pulse that is started here.
    prefix: Arc<str>,
}

struct Shared {
    clock: Clock,
    /// All beats are nanoseconds since this moment, which is what makes one an atomic store.
    epoch: Instant,
    entries: Mutex<BTreeMap<String, Arc<Entry>>>,
}

struct Entry {
    bound: Duration,
    beaten: AtomicU64,
}

/// One part's pulse. Cheap to clone; clones beat the same pulse.
///
/// Dropping it does *not* retire it: a part that died, by a panic for instance, keeps its entry and goes stale,
/// which is the point. A part that ends as it should says so with [`retire`](Pulse::retire) or holds a
/// [`guard`](Pulse::guard).
#[derive(Clone)]
pub struct Pulse {
    name: Arc<str>,
    entry: Arc<Entry>,
    pulses: Pulses,
}

/// Retires its pulse when dropped. See [`Pulse::guard`].
#[must_use = "dropping the guard retires the pulse"]
pub struct PulseGuard {
    pulse: Pulse,
}

impl Default for Pulses {
    fn default() -> Self {
        Self::new()
    }
}

impl Pulses {
    /// No pulses yet, on the monotonic clock.
    pub fn new() -> Self {
        Self::on(Clock::system())
    }

    /// As [`new`](Self::new), with the time from `source`: for tests that let an hour pass at once.
    pub fn with_clock(source: impl TimeSource) -> Self {
        Self::on(Clock::new(source))
    }

    fn on(clock: Clock) -> Self {
        let epoch = clock.monotonic();
        let shared = Arc::new(Shared { clock, epoch, entries: Mutex::default() });
        Self { shared, prefix: "".into() }
    }

    /// The same pulses; those that are started through it are called `part/…`.
    #[must_use]
    pub fn of_part(&self, part: &str) -> Self {
        Self { shared: Arc::clone(&self.shared), prefix: format!("{}{part}/", self.prefix).into() }
    }

    /// Registers `name`, which from now on must beat at least once every `bound`; starting counts as a beat.
    ///
    /// A name that is already there is replaced: its former handles beat nothing any more, so that a successor
    /// (a restarted poller, say) answers for itself.
    pub fn start(&self, name: impl Into<String>, bound: Duration) -> Pulse {
        let name = format!("{}{}", self.prefix, name.into());
        let entry = Arc::new(Entry { bound, beaten: AtomicU64::new(self.nanos()) });
        let pulse = Pulse { name: name.as_str().into(), entry: Arc::clone(&entry), pulses: self.clone() };
        self.entries().insert(name, entry);
        pulse
    }

    /// Takes all pulses off the list: what they were of was ended, and its successor will start its own. Later beats of
    /// those do nothing.
    pub fn clear(&self) {
        self.entries().clear();
    }

    /// The names of the pulses that have not beaten within their bound, sorted. Empty is healthy.
    pub fn stale(&self) -> Vec<String> {
        let now = self.nanos();
        self.entries()
            .iter()
            .filter(|(_, entry)| entry.age(now) > entry.bound)
            .map(|(name, _)| name.clone())
            .collect()
    }

    /// Every pulse with the time since its last beat, sorted by name.
    pub fn ages(&self) -> Vec<(String, Duration)> {
        let now = self.nanos();
        self.entries().iter().map(|(name, entry)| (name.clone(), entry.age(now))).collect()
    }

    fn nanos(&self) -> u64 {
        let since = self.shared.clock.monotonic().saturating_duration_since(self.shared.epoch);
        // 584 years fit.
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// No code of others runs under this lock and nothing under it can panic half-way, so a poisoned one is as
    /// good as any.
    fn entries(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Entry>>> {
        self.shared.entries.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entry {
    fn age(&self, now: u64) -> Duration {
        // A beat may be newer than `now`, which was read before it.
        Duration::from_nanos(now.saturating_sub(self.beaten.load(Ordering::Relaxed)))
    }
}

impl Pulse {
    /// Says that this part moved. Costs one reading of the clock and one atomic store: about 25 ns.
    pub fn beat(&self) {
        self.entry.beaten.store(self.pulses.nanos(), Ordering::Relaxed);
    }

    /// Keeps this pulse fresh during a wait that is expected to be long, such as for input or for capacity, or whose end
    /// is bounded elsewhere.
    ///
    /// # Cancel safety
    /// As that of what it awaits.
    #[cfg(feature = "tokio")]
    pub async fn beat_while<T>(&self, wait: impl Future<Output = T>) -> T {
        tokio::pin!(wait);
        loop {
            self.beat();
            tokio::select! {
                biased;
                done = &mut wait => return done,
                () = tokio::time::sleep(BEAT) => {}
            }
        }
    }

    /// Takes this pulse off the list: the part ended as it should. Later beats do nothing. A successor of the same
    /// name stays.
    pub fn retire(&self) {
        let mut entries = self.pulses.entries();
        if entries.get(&*self.name).is_some_and(|entry| Arc::ptr_eq(entry, &self.entry)) {
            entries.remove(&*self.name);
        }
    }

    /// A guard that retires this pulse when it is dropped, *also in a panic*. Use it where the end of a scope is
    /// always a good end; where a panic must be seen, call [`retire`](Self::retire) at the end instead.
    pub fn guard(&self) -> PulseGuard {
        PulseGuard { pulse: self.clone() }
    }

    /// The name given to [`Pulses::start`], after that of its part.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl Drop for PulseGuard {
    fn drop(&mut self) {
        self.pulse.retire();
    }
}

impl fmt::Debug for Pulses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.ages()).finish()
    }
}

impl fmt::Debug for Pulse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Pulse")
            .field("name", &self.name)
            .field("bound", &self.entry.bound)
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for PulseGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("PulseGuard").field(&self.pulse.name).finish()
    }
}
