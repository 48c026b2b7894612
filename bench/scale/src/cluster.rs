//! How our pods are run: read from `kustomize/`, so that the document follows the manifests.

use std::path::Path;

use anyhow::{Context, Result};

/// What the manifests say.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cluster {
    /// `resources.limits` of a pod.
    pub(crate) cores: usize,
    pub(crate) memory_mib: f64,
    /// The base's setting, which is KEDA's `queueLength` too.
    pub(crate) max_in_flight: usize,
    pub(crate) min_replicas: usize,
    pub(crate) max_replicas: usize,
    /// KEDA's, in seconds: how often it looks whether there is anything at all.
    pub(crate) polling_interval: u64,
    /// Seconds before a new pod counts.
    pub(crate) min_ready: u64,
}

impl Cluster {
    pub(crate) fn read() -> Result<Self> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../kustomize");
        let read = |file: &str| std::fs::read_to_string(root.join(file)).with_context(|| file.to_owned());
        let consumer = read("base/consumer.yaml")?;
        let limits = consumer.split("limits:").nth(1).context("no limits")?;
        let scaled = read("components/autoscaling/scaledobject.yaml")?;
        Ok(Self {
            cores: value(limits, "cpu: ")?.trim_matches('"').parse()?,
            memory_mib: value(limits, "memory: ")?.trim_end_matches("Mi").parse()?,
            max_in_flight: value(&read("base/kustomization.yaml")?, "MAX_IN_FLIGHT=")?.parse()?,
            min_replicas: value(&scaled, "minReplicaCount: ")?.parse()?,
            max_replicas: value(&scaled, "maxReplicaCount: ")?.parse()?,
            polling_interval: value(&scaled, "pollingInterval: ")?.parse()?,
            min_ready: value(&consumer, "minReadySeconds: ")?.parse()?,
        })
    }
}

fn value<'a>(text: &'a str, name: &str) -> Result<&'a str> {
    // not one in a comment
    let line = text
        .lines()
        .filter(|line| !line.trim_start().starts_with('#'))
        .find_map(|line| line.split_once(name));
    line.map(|(_, value)| value.trim()).with_context(|| format!("no `{name}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifests_are_understood() {
        let cluster = Cluster::read().unwrap();
        assert!(cluster.cores > 0 && cluster.memory_mib > 0.0 && cluster.max_in_flight > 0);
        assert!(cluster.min_replicas <= cluster.max_replicas);
    }
}
