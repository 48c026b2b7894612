//! Readiness: whether a program can do its work *now*, and if not, why.
//!
//! Unlike a pulse, a condition may depend on others (a server that answers, a topic that exists): being not ready
//! takes a program out of rotation, it restarts nothing.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

type Name = Cow<'static, str>;
type Reason = Cow<'static, str>;

/// The conditions under which a program is ready: all of them, always. Without any, it is ready. Cheap to clone;
/// clones share everything.
#[derive(Clone, Default)]
pub struct Readiness {
    conditions: Arc<Mutex<BTreeMap<Name, Condition>>>,
    /// Before the name of each condition that is added here.
    prefix: Arc<str>,
}

/// One condition of readiness. Cheap to clone; clones are the same condition.
#[derive(Clone)]
pub struct Condition {
    state: Arc<State>,
}

struct State {
    /// Says what `reason` says, without its lock: [`Condition::met`] stands on the hot path.
    met: AtomicBool,
    reason: Mutex<Option<Reason>>,
}

impl Readiness {
    /// Ready, until a condition is added.
    pub fn new() -> Self {
        Self::default()
    }

    /// The same conditions; those that are added through it are called `part/…`.
    #[must_use]
    pub fn of_part(&self, part: &str) -> Self {
        Self { conditions: Arc::clone(&self.conditions), prefix: format!("{}{part}/", self.prefix).into() }
    }

    /// The condition called `name`. New, it is unmet with the reason `starting`; one that is already there is
    /// returned as it stands.
    pub fn condition(&self, name: &'static str) -> Condition {
        let name =
            if self.prefix.is_empty() { name.into() } else { Name::from(format!("{}{name}", self.prefix)) };
        self.conditions()
            .entry(name)
            .or_insert_with(|| Condition {
                state: Arc::new(State {
                    met: AtomicBool::new(false),
                    reason: Mutex::new(Some(Cow::Borrowed("starting"))),
                }),
            })
            .clone()
    }

    /// The unmet conditions with their reasons, sorted by name. Empty is ready.
    pub fn reasons(&self) -> Vec<(Cow<'static, str>, Cow<'static, str>)> {
        self.conditions()
            .iter()
            .filter_map(|(name, condition)| Some((name.clone(), condition.reason().clone()?)))
            .collect()
    }

    /// Every condition and whether it is met, sorted by name.
    pub fn states(&self) -> Vec<(Cow<'static, str>, bool)> {
        self.conditions().iter().map(|(name, condition)| (name.clone(), condition.is_met())).collect()
    }

    fn conditions(&self) -> MutexGuard<'_, BTreeMap<Name, Condition>> {
        self.conditions.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Condition {
    /// The condition holds. One atomic load when it already did.
    pub fn met(&self) {
        if !self.is_met() {
            let mut reason = self.reason();
            *reason = None;
            self.state.met.store(true, Ordering::Release);
        }
    }

    /// The condition does not hold, because of `reason`: a line for a person, without secrets. Cheap when that was
    /// already so.
    pub fn unmet(&self, reason: impl Into<Cow<'static, str>>) {
        let new = reason.into();
        let mut reason = self.reason();
        if reason.as_ref() != Some(&new) {
            *reason = Some(new);
            self.state.met.store(false, Ordering::Release);
        }
    }

    /// Whether the condition holds.
    pub fn is_met(&self) -> bool {
        self.state.met.load(Ordering::Acquire)
    }

    fn reason(&self) -> MutexGuard<'_, Option<Reason>> {
        self.state.reason.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Readiness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.conditions().iter()).finish()
    }
}

impl fmt::Debug for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &*self.reason() {
            None => f.write_str("met"),
            Some(reason) => write!(f, "unmet: {reason}"),
        }
    }
}
