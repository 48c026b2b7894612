//! The limits of a pod and of its autoscaling, read from the manifests in `kustomize/`.

use std::path::Path;

use anyhow::{Context, Result};

/// Limits of a pod, and how many there may be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cluster {
    /// `resources.limits` of a consumer pod.
    pub(crate) cores: usize,
    pub(crate) memory_mib: f64,
    /// `MAX_IN_FLIGHT` of the base, and KEDA's `queueLength`.
    pub(crate) max_in_flight: usize,
    pub(crate) min_replicas: usize,
    pub(crate) max_replicas: usize,
    /// KEDA's polling interval in seconds, which matters between zero and one pod only.
    pub(crate) polling_interval: u64,
    /// Seconds before a new pod counts as available.
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
    // Comments may name a setting too.
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
    fn the_manifests_have_every_value() {
        let cluster = Cluster::read().unwrap();
        assert!(cluster.cores > 0 && cluster.memory_mib > 0.0 && cluster.max_in_flight > 0);
        assert!(cluster.min_replicas <= cluster.max_replicas);
    }
}
