//! The plan of a run: all that its seed decides before time begins.

mod draw;
mod fault;
mod setting;

pub(crate) use fault::{Calls, Effect};
pub use fault::{Fault, What};
pub use setting::Setting;
pub(crate) use setting::{Burst, Temper};

/// A run's plan.
#[derive(Debug, Clone)]
pub struct Plan {
    /// What it was drawn from, and what all that is random within the run is drawn from.
    pub seed: u64,
    /// How the world is set up, and what is published.
    pub setting: Setting,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Plan {
    /// What this seed decides.
    pub fn of(seed: u64) -> Self {
        draw::plan(seed)
    }

    /// The same with other faults.
    pub fn with_faults(&self, faults: Vec<Fault>) -> Self {
        Self { faults, ..self.clone() }
    }
}

/// A generator for one purpose: what is drawn from it does not depend on what else was drawn.
pub(crate) fn dice(seed: u64, purpose: u64) -> fastrand::Rng {
    fastrand::Rng::with_seed(
        seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ purpose.wrapping_mul(0xD1B5_4A32_D192_ED03),
    )
}
