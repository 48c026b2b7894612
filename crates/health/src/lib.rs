//! Health that tells the truth: liveness that means progress, readiness with its reasons, metrics, and the small
//! HTTP server that tells them to Kubernetes, systemd, Prometheus and people.
//!
//! It knows nothing of what a program does. Any service adopts it in five lines:
//!
//! ```
//! use lifeline_health::Health;
//! # fn main() -> Result<(), lifeline_health::ListenError> {
//! let health = Health::new(env!("CARGO_PKG_VERSION"));
//! let server = health.server().listen(([127, 0, 0, 1], 0).into())?;
//! let pulse = health.pulses.start("worker", std::time::Duration::from_secs(45)); // then, whenever it comes round:
//! pulse.beat();
//! # Ok(())
//! # }
//! ```
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health` | 200 `{ "status": "UP!" }` while every pulse is fresh; else 503 `{ "status": "DOWN", "stale": ["worker"] }` |
//! | `GET /ready` | 200 `{ "status": "READY" }` while every condition is met; else 503 `{ "status": "NOT READY", "reasons": { "topic": "starting" } }` |
//! | `GET /metrics` | Prometheus text |
//! | `HEAD` on these | the same without the body |
//! | anything else | 404; 405 with `Allow`; 413 for a body; 400, 408, 431, 505 for what is no request |
//!
//! # What the server promises
//!
//! * It answers from memory, on threads of its own: four, whatever clients do. No runtime, lock or output of the
//!   program can keep it from answering, and it answers 503 when *they* are what is stuck.
//! * It cannot be starved. tiny_http, which routes and answers, keeps one thread a connection and waits for bytes
//!   without a limit, so clients do not reach it: a gate in front of it, one thread, takes at most [`Limits`], and
//!   gives the place of the longest idle client to a new one.
//! * Every request is one line of the access log, and no request can forge another.
//!
//! # Right both ways
//!
//! Let a part beat whenever a call *returns*, be it with work, with none or with an error, and whenever it waits by
//! choice; give it a bound above the longest call. Then an idle service, a peer that is down, and a long job are UP,
//! and a part that never came back is DOWN. Ask about peers in [`Readiness`] only.

mod clock;
mod health;
mod metrics;
mod pulse;
mod readiness;
mod report;
#[cfg(feature = "server")]
mod server;

pub use clock::{Clock, TimeSource};
pub use health::Health;
pub use metrics::{
    Collector, Gauge, Histogram, HistogramTimer, HistogramVec, IntCounter, IntCounterVec, IntGauge,
    LATENCY_BUCKETS, Metrics, exponential_buckets,
};
#[cfg(feature = "tokio")]
pub use pulse::BEAT;
pub use pulse::{Pulse, PulseGuard, Pulses};
pub use readiness::{Condition, Readiness};
pub use report::Report;
#[cfg(feature = "server")]
pub use server::{
    AccessFormat, AccessLog, Answer, AskError, Builder, Limits, ListenError, Server, ask, self_check,
};

/// Tests the example of the README.
#[cfg(all(doctest, feature = "server"))]
#[doc = include_str!("../README.md")]
struct Readme;
