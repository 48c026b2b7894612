//! All that a service shows of itself, in one hand: whoever runs a service makes it, gives it to the service's parts,
//! and serves it.

use crate::metrics::Metrics;
use crate::pulse::Pulses;
use crate::readiness::Readiness;
#[cfg(feature = "server")]
use crate::server::{self, Server};

/// A service's pulses, readiness and metrics. Cheap to clone; clones share everything.
#[derive(Clone, Debug)]
pub struct Health {
    /// Who must make progress.
    pub pulses: Pulses,
    /// What must hold before it is ready.
    pub readiness: Readiness,
    /// What is counted.
    pub metrics: Metrics,
}

impl Health {
    /// Fresh ones, with the service's version in `build_info`: mostly `env!("CARGO_PKG_VERSION")`.
    pub fn new(version: &str) -> Health {
        let pulses = Pulses::new();
        let metrics = Metrics::new(version, &pulses);
        Health { pulses, readiness: Readiness::new(), metrics }
    }

    /// A server that tells them: the feature `server`.
    #[cfg(feature = "server")]
    pub fn server(&self) -> server::Builder {
        Server::builder(self.pulses.clone(), self.readiness.clone(), self.metrics.clone())
    }
}
