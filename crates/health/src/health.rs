//! All that a service shows of itself, in one hand: whoever runs a service makes it, gives it to the service's parts,
//! and serves it.

use crate::metrics::Metrics;
use crate::pulse::Pulses;
use crate::readiness::Readiness;
use crate::report::Report;
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

    /// The same health as one part of the program reports to it, where several do the same work: its pulses and conditions
    /// are called `name/…`, and its metrics have the label `label="name"`.
    ///
    /// ```
    /// use std::time::Duration;
    ///
    /// let health = lifeline_health::Health::new("1.2.3");
    /// let orders = health.of_part("worker", "orders");
    /// let _pulse = orders.pulses.start("poller", Duration::from_secs(45));
    /// orders.metrics.counter("received_total", "Messages received.").inc();
    /// assert_eq!(health.pulses.ages()[0].0, "orders/poller");
    /// assert!(health.metrics.render().contains(r#"received_total{worker="orders"} 1"#));
    /// ```
    #[must_use]
    pub fn of_part(&self, label: &str, name: &str) -> Health {
        Health {
            pulses: self.pulses.of_part(name),
            readiness: self.readiness.of_part(name),
            metrics: self.metrics.labelled(label, name),
        }
    }

    /// What `/health` responds, for a server of your own. From memory: it never waits.
    ///
    /// ```
    /// let health = lifeline_health::Health::new("1.2.3");
    /// health.readiness.condition("database").unmet("connecting");
    /// assert!(health.liveness().is_up() && !health.readiness().is_up());
    /// assert_eq!(health.readiness().to_json(), r#"{ "status": "NOT READY", "reasons": { "database": "connecting" } }"#);
    /// assert!(health.prometheus_text().contains("build_info"));
    /// ```
    pub fn liveness(&self) -> Report {
        Report::of_pulses(&self.pulses)
    }

    /// What `/ready` responds, likewise.
    pub fn readiness(&self) -> Report {
        Report::of_conditions(&self.readiness)
    }

    /// What `/metrics` responds, to be appended to a page of your own.
    pub fn prometheus_text(&self) -> String {
        self.metrics.render()
    }

    /// A server that tells them: the feature `server`.
    #[cfg(feature = "server")]
    pub fn server(&self) -> server::Builder {
        Server::builder(self.pulses.clone(), self.readiness.clone(), self.metrics.clone())
    }
}
