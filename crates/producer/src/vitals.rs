//! What a publisher and the service tell of themselves: pulses, readiness and metrics, of one program.

use std::future::Future;
use std::time::Duration;

use health::{Metrics, Pulse, Pulses, Readiness};

/// How long a part of the producer may stand still. A call is bounded by `CALL_TIMEOUT` (60 s at most) but runs in a
/// task of its own, so that nothing with a pulse waits for one.
pub(crate) const PULSE_BOUND: Duration = Duration::from_secs(45);

/// How often a part that waits says so.
pub(crate) const BEAT: Duration = Duration::from_secs(10);

/// Where a publisher tells how it is. Cheap to clone; clones share everything.
#[derive(Debug, Clone)]
pub struct Vitals {
    /// Who must move: `batcher`, `input`, `runtime`.
    pub pulses: Pulses,
    /// Why there is no publishing now: `topology`, `aws`, `draining`.
    pub readiness: Readiness,
    /// What was done.
    pub metrics: Metrics,
}

impl Vitals {
    /// New ones, with the version of this crate in `build_info`.
    pub fn new() -> Self {
        let pulses = Pulses::new();
        let metrics = Metrics::new(env!("CARGO_PKG_VERSION"), &pulses);
        Self { pulses, readiness: Readiness::new(), metrics }
    }
}

impl Default for Vitals {
    fn default() -> Self {
        Self::new()
    }
}

/// Awaits something that may take for ever by right, such as input or room, and beats meanwhile.
///
/// # Cancel safety
/// That of `wait`.
pub(crate) async fn beating<T>(pulse: &Pulse, wait: impl Future<Output = T>) -> T {
    tokio::pin!(wait);
    loop {
        pulse.beat();
        tokio::select! {
            biased;
            done = &mut wait => return done,
            () = tokio::time::sleep(BEAT) => {}
        }
    }
}
