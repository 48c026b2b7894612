//! The HTTP server: a bounded proxy in front, tiny_http behind it, the access log beside them.

mod access_log;
mod client;
mod gate;
mod head;
mod limits;
mod router;
mod self_check;
mod upstream;

pub use access_log::{AccessFormat, AccessLog};
pub use limits::Limits;
pub use self_check::{Answer, AskError, ask, self_check};

use std::fmt;
use std::io::{self, Write};
use std::net::SocketAddr;
use std::time::Duration;

use self::access_log::{AccessQueue, Written};
use self::gate::Gate;
use self::router::{Router, Sources};
use crate::metrics::Metrics;
use crate::pulse::Pulses;
use crate::readiness::Readiness;

/// How long the end of a server waits for lines of the access log that are not yet written.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The server for `/health`, `/ready` and `/metrics`; see the [crate] for what it promises. Dropping it stops it:
/// its port is free and its threads have ended when `drop` returns, but for the access log's, which may be blocked
/// by its output.
pub struct Server {
    addr: SocketAddr,
    // Dropped in this order: nobody asks the router any more when it ends, nobody logs when the log does.
    gate: Option<Gate>,
    router: Option<Router>,
    written: Written,
}

/// What a [`Server`] is made of. See [`Server::builder`].
pub struct Builder {
    sources: Sources,
    limits: Limits,
    log: AccessLog,
    out: Box<dyn Write + Send>,
}

/// Why a server could not start.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The address is taken.
    #[error(
        "cannot listen on {0} (HEALTH_ADDR): another process has this port; stop it, or set HEALTH_ADDR to a free \
         one, as in HEALTH_ADDR={ip}:0 for any",
        ip = bracketed(.0)
    )]
    InUse(SocketAddr),
    /// The address cannot be had: it is not this machine's, or the port is below 1024 and this is not root.
    #[error(
        "cannot listen on {addr} (HEALTH_ADDR): {source}; set HEALTH_ADDR to an address of this machine and a port \
         from 1024 up, as in HEALTH_ADDR=0.0.0.0:5000"
    )]
    Bind {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
    /// The parts behind the port did not start: no loopback interface, no file descriptors, no threads.
    #[error("cannot start the health server behind {addr}: {source}")]
    Start {
        /// What was asked for.
        addr: SocketAddr,
        /// What the system said.
        source: io::Error,
    },
}

fn bracketed(addr: &SocketAddr) -> String {
    match addr {
        SocketAddr::V4(addr) => addr.ip().to_string(),
        SocketAddr::V6(addr) => format!("[{}]", addr.ip()),
    }
}

impl Server {
    /// A server that answers from these three, with an access log in text on standard output.
    pub fn builder(pulses: Pulses, readiness: Readiness, metrics: Metrics) -> Builder {
        Builder {
            sources: Sources { pulses, readiness, metrics },
            limits: Limits::default(),
            log: AccessLog::default(),
            out: Box::new(io::stdout()),
        }
    }

    /// Where it listens; with the port that was found when 0 was asked for.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }
}

impl Builder {
    /// What clients may take.
    #[must_use]
    pub fn limits(mut self, limits: Limits) -> Self {
        self.limits = limits;
        self
    }

    /// How the access log is kept.
    #[must_use]
    pub fn access_log(mut self, log: AccessLog) -> Self {
        self.log = log;
        self
    }

    /// Where the access log goes, instead of standard output: one `write` and one `flush` a line, from a thread of
    /// its own, so that `out` may block.
    #[must_use]
    pub fn access_log_to(mut self, out: impl Write + Send + 'static) -> Self {
        self.out = Box::new(out);
        self
    }

    /// Starts the server; it answers when this returns.
    ///
    /// # Errors
    ///
    /// [`ListenError`], which reads as one line for the person who starts the program.
    pub fn listen(self, addr: SocketAddr) -> Result<Server, ListenError> {
        let start = |source| ListenError::Start { addr, source };
        let listener = gate::bind(addr).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => ListenError::InUse(addr),
            _ => ListenError::Bind { addr, source },
        })?;
        let local = listener.local_addr().map_err(start)?;

        let metrics = &self.sources.metrics;
        metrics.show_readiness(&self.sources.readiness);
        let evicted = metrics.counter(
            "health_connections_evicted_total",
            "Connections to the health server closed early to make room for new ones.",
        );
        let dropped = metrics.counter(
            "access_log_lines_dropped_total",
            "Lines of the access log dropped because its output was blocked.",
        );
        let (queue, written) = AccessQueue::start(self.log, self.out, dropped).map_err(start)?;
        let (router, upstream) = Router::start(self.sources).map_err(start)?;
        let gate = Gate::start(listener, upstream, self.limits, queue, evicted).map_err(start)?;
        Ok(Server { addr: local, gate: Some(gate), router: Some(router), written })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.gate.take());
        drop(self.router.take());
        self.written.wait(LAST_LINES);
    }
}

impl fmt::Debug for Server {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("addr", &self.addr).finish_non_exhaustive()
    }
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder").field("log", &self.log).finish_non_exhaustive()
    }
}
