//! Signals: the first asks the process to drain, the second ends it immediately.
//!
//! They are received on a thread of their own, so that a process whose runtime is blocked still ends when it is told to.
//! SIGTERM (Kubernetes, systemd), SIGINT (ctrl-c) and SIGHUP (a closed terminal) count, SIGHUP only where it was not
//! ignored at the start, as `nohup` does.
//!
//! A signal takes effect first and is logged after.

use std::future::Future;
use std::io;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::log::flush_log;

/// The exit code after a second signal: 128 + SIGINT, as shells report it.
pub const SECOND_SIGNAL: i32 = 130;

/// How much longer than the grace period a process may take. After that it is ended from here.
const MARGIN: Duration = Duration::from_secs(3);

/// How long a log line is waited for.
const LOGGED_WITHIN: Duration = Duration::from_millis(100);

/// A repeated signal within this time counts as the same one: `docker stop` in a terminal, or a process group that gets
/// ctrl-c from the terminal and again from its parent.
const SAME: Duration = Duration::from_secs(1);

/// When the first signal came.
static FIRST: OnceLock<Instant> = OnceLock::new();

/// The request to shut down. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Shutdown {
    requested: CancellationToken,
    /// The signal that requested it is in the log.
    logged: CancellationToken,
}

/// Logs from another thread: whatever shows the log, and however it blocks, signals must be received and the deadline kept.
async fn briefly(log: impl FnOnce() + Send + 'static) {
    let (done, logged) = tokio::sync::oneshot::channel::<()>();
    std::thread::spawn(move || {
        log();
        flush_log(LOGGED_WITHIN);
        drop(done);
    });
    tokio::time::timeout(LOGGED_WITHIN, logged).await.ok();
}

impl Shutdown {
    /// A shutdown that only [`request`](Self::request) requests.
    #[must_use]
    pub fn manual() -> Self {
        Self { requested: CancellationToken::new(), logged: CancellationToken::new() }
    }

    /// Requests it.
    pub fn request(&self) {
        self.logged.cancel();
        self.requested.cancel();
    }

    /// Starts to receive signals; the first one requests the shutdown.
    ///
    /// A second signal exits with [`SECOND_SIGNAL`]. If the process still runs `grace` and 3 s after the first, it is
    /// ended with code 1.
    ///
    /// # Errors
    /// The signal handlers cannot be installed, or the system has no thread to give.
    pub fn on_signals(grace: Duration) -> io::Result<Self> {
        let shutdown = Self::manual();
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let mut signals = {
            let _entered = runtime.enter();
            Signals::new()?
        };
        let Self { requested, logged } = shutdown.clone();
        std::thread::Builder::new().name("signals".to_owned()).spawn(move || {
            runtime.block_on(async {
                let name = signals.next().await;
                let first = *FIRST.get_or_init(Instant::now);
                requested.cancel();
                briefly(move || {
                    tracing::info!(target: "service", signal = name, "shutting down; a second signal exits immediately");
                })
                .await;
                logged.cancel();
                let second = async {
                    loop {
                        signals.next().await;
                        if first.elapsed() > SAME {
                            return;
                        }
                    }
                };
                tokio::select! {
                    biased;
                    () = second => std::process::exit(SECOND_SIGNAL),
                    () = tokio::time::sleep(grace.saturating_add(MARGIN)) => {
                        briefly(move || {
                            tracing::error!(target: "service", ?grace, "the shutdown did not end within SHUTDOWN_GRACE; exiting");
                        })
                        .await;
                        std::process::exit(1)
                    }
                }
            });
        })?;
        Ok(shutdown)
    }

    /// Completes when the shutdown is requested. The future owns what it needs, so that it can be spawned.
    ///
    /// # Cancel safety
    /// Safe.
    pub fn requested(&self) -> impl Future<Output = ()> + Send + 'static {
        self.requested.clone().cancelled_owned()
    }

    /// Completes when the signal that requested it is in the log, or could not be logged in time: a drain that takes no time
    /// must not log its summary first.
    pub(crate) async fn logged(&self) {
        if self.is_requested() {
            self.logged.cancelled().await;
        }
    }

    /// Whether it was requested.
    #[must_use]
    pub fn is_requested(&self) -> bool {
        self.requested.is_cancelled()
    }

    /// What is left of the grace period: all of it before the first signal.
    #[must_use]
    pub fn remaining(grace: Duration) -> Duration {
        FIRST.get().map_or(grace, |first| grace.saturating_sub(first.elapsed()))
    }
}

struct Signals {
    interrupt: Signal,
    terminate: Signal,
    hangup: Option<Signal>,
}

impl Signals {
    fn new() -> io::Result<Self> {
        let hangup = if hangup_is_ignored() { None } else { Some(signal(SignalKind::hangup())?) };
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
            hangup,
        })
    }

    async fn next(&mut self) -> &'static str {
        let hangup = async {
            match &mut self.hangup {
                Some(hangup) => hangup.recv().await,
                None => std::future::pending().await,
            }
        };
        // which of several comes first makes no difference
        tokio::select! {
            biased;
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
            _ = hangup => "SIGHUP",
        }
    }
}

/// Whether SIGHUP was ignored when the process started. Asking the system needs `unsafe`, so Linux's own record is read.
/// Where there is none, SIGHUP is left as it is: ignored stays ignored, and otherwise it ends the process.
fn hangup_is_ignored() -> bool {
    let Ok(status) = std::fs::read_to_string("/proc/self/status") else { return true };
    let mask = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    mask.and_then(|mask| u64::from_str_radix(mask.trim(), 16).ok()).is_none_or(|mask| mask & 1 != 0)
}
