//! A pulse over a wait: what one waits for by right must not look like standing still.

use std::future::Future;
use std::time::Duration;

use health::Pulse;

/// How long a wait may go on before its pulse must beat: a sixth of the shortest bound.
pub const BEAT: Duration = Duration::from_secs(5);

/// Awaits something that one waits for by choice, such as input or room, or whose end is bounded elsewhere, and beats
/// meanwhile.
///
/// # Cancel safety
/// As that of what it awaits.
pub async fn beating<T>(pulse: &Pulse, wait: impl Future<Output = T>) -> T {
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
