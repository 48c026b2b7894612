//! systemd's notification protocol: `Type=notify` and `WatchdogSec=`, for a service that runs without Kubernetes.
//!
//! Without systemd's variables in the environment all of it does nothing, so a service calls it always.

use std::env;
use std::fmt;
use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use lifeline_health::Pulses;

/// The line to the service manager. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Notifier {
    socket: Option<SocketAddr>,
    watchdog: Option<Duration>,
}

/// Feeds systemd's watchdog until it is dropped. See [`Notifier::watch`].
#[must_use = "dropping it stops feeding the watchdog"]
pub struct Watchdog {
    running: Option<(SyncSender<()>, JoinHandle<()>)>,
}

impl Notifier {
    /// The service manager that `NOTIFY_SOCKET`, `WATCHDOG_USEC` and `WATCHDOG_PID` name; nobody if they are unset
    /// or unusable.
    pub fn from_env() -> Self {
        let for_us = env::var("WATCHDOG_PID").map_or(true, |pid| pid == std::process::id().to_string());
        let watchdog =
            env::var("WATCHDOG_USEC").ok().and_then(|usec| usec.parse().ok()).map(Duration::from_micros);
        Self {
            socket: env::var("NOTIFY_SOCKET").ok().and_then(|name| address(&name).ok()),
            watchdog: watchdog.filter(|period| for_us && !period.is_zero()),
        }
    }

    /// The service manager at `socket`, a path or an abstract name that begins with `@`, which restarts a service
    /// that is silent for longer than `watchdog`.
    ///
    /// # Errors
    ///
    /// The name is too long for a socket, or abstract where the system has no such names.
    pub fn to(socket: &str, watchdog: Option<Duration>) -> io::Result<Self> {
        Ok(Self { socket: Some(address(socket)?), watchdog })
    }

    /// Nobody: everything below does nothing.
    pub(crate) fn none() -> Self {
        Self { socket: None, watchdog: None }
    }

    /// `READY=1`: the service has started; a unit of `Type=notify` is up from now on.
    pub fn ready(&self) {
        self.send("READY=1");
    }

    /// `STOPPING=1`: the service is shutting down.
    pub fn stopping(&self) {
        self.send("STOPPING=1");
    }

    /// Starts a thread that sends `WATCHDOG=1` twice in each watchdog period for as long as no pulse is stale, so
    /// that systemd restarts the service under the same rule by which `/health` says DOWN. Without a watchdog there
    /// is no thread.
    ///
    /// # Errors
    ///
    /// The system has no thread to give.
    pub fn watch(&self, pulses: &[Pulses]) -> io::Result<Watchdog> {
        let (Some(_), Some(period)) = (&self.socket, self.watchdog) else {
            return Ok(Watchdog { running: None });
        };
        let (stop, stopped) = sync_channel(0);
        let (notifier, pulses) = (self.clone(), pulses.to_vec());
        let thread = thread::Builder::new().name("watchdog".to_owned()).spawn(move || {
            loop {
                if pulses.iter().all(|pulses| pulses.stale().is_empty()) {
                    notifier.send("WATCHDOG=1");
                }
                if stopped.recv_timeout(period / 2) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        })?;
        Ok(Watchdog { running: Some((stop, thread)) })
    }

    /// A manager that does not listen is no reason to fail: it will notice the silence.
    fn send(&self, state: &str) {
        if let Some(socket) = &self.socket
            && let Ok(datagram) = UnixDatagram::unbound()
            && datagram.set_nonblocking(true).is_ok()
        {
            let _ = datagram.send_to_addr(state.as_bytes(), socket);
        }
    }
}

impl Drop for Watchdog {
    fn drop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }
}

impl fmt::Debug for Watchdog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watchdog").field("running", &self.running.is_some()).finish()
    }
}

fn address(name: &str) -> io::Result<SocketAddr> {
    match name.strip_prefix('@') {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        Some(name) => <SocketAddr as std::os::linux::net::SocketAddrExt>::from_abstract_name(name),
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        Some(_) => Err(io::ErrorKind::Unsupported.into()),
        None => SocketAddr::from_pathname(name),
    }
}
