//! How the producer's parts show that they move: pulses `batcher`, `input`, `runtime`; conditions `topology`, `aws`,
//! `draining`.

use std::time::Duration;

pub(crate) use health::Vitals;
pub(crate) use messaging::pulse::{BEAT, beating};

/// How long a part of the producer may stand still. A call is bounded by `CALL_TIMEOUT` (60 s at most) but runs in a
/// task of its own, so that nothing with a pulse waits for one.
pub(crate) const PULSE_BOUND: Duration = Duration::from_secs(45);
