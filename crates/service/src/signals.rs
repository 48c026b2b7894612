//! Signals: the first asks to drain, the second ends the process at once.
//!
//! They are heard on a thread of their own, so that a runtime whose threads are all blocked still ends when it
//! is told to. Both SIGINT (a laptop's ctrl-c) and SIGTERM (Kubernetes, systemd) count.

use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// The exit code after a second signal: 128 + SIGINT, as shells say it.
pub const SECOND_SIGNAL: i32 = 130;

/// How much longer than the grace a process may take that drains by itself. Past it, it is ended from here.
const MARGIN: Duration = Duration::from_secs(3);

/// When the first signal came.
static ASKED: OnceLock<Instant> = OnceLock::new();

/// How long ago the first signal came, if one did.
pub fn asked_for() -> Option<Duration> {
    ASKED.get().map(Instant::elapsed)
}

/// Starts to listen, and returns the token that the first signal cancels.
///
/// A second signal exits with [`SECOND_SIGNAL`]. If the process still runs `grace` (and a margin of 3 s) after the
/// first, nothing in it drains any more: it is ended with code 1.
///
/// # Errors
/// When the handlers cannot be installed.
pub fn on_signals(grace: Duration) -> io::Result<CancellationToken> {
    let token = CancellationToken::new();
    let asked = token.clone();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (mut interrupt, mut terminate) = {
        let _entered = runtime.enter();
        (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?)
    };
    std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
        runtime.block_on(async {
            let name = tokio::select! { _ = interrupt.recv() => "SIGINT", _ = terminate.recv() => "SIGTERM" };
            tracing::info!(signal = name, "draining; a second signal exits at once");
            ASKED.get_or_init(Instant::now);
            asked.cancel();
            tokio::select! {
                _ = interrupt.recv() => std::process::exit(SECOND_SIGNAL),
                _ = terminate.recv() => std::process::exit(SECOND_SIGNAL),
                () = tokio::time::sleep(grace.saturating_add(MARGIN)) => {
                    tracing::error!(?grace, "the drain did not end in time; exiting");
                    std::process::exit(1)
                }
            }
        });
    })?;
    Ok(token)
}
