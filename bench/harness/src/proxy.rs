//! A proxy in front of the endpoint, which counts calls, adds a latency, or terminates TLS.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};
use serde::Deserialize;

use crate::ask::ask;
use crate::process::Running;

/// A proxy that counts the calls of one contender.
#[derive(Debug)]
pub struct CountingProxy {
    /// Its address.
    pub url: String,
    ca: Option<PathBuf>,
    running: Running,
}

impl CountingProxy {
    /// Starts a proxy in front of `endpoint`.
    pub fn start(program: &Path, endpoint: &str, log: &Path) -> Result<Self> {
        Self::run(Command::new(program), endpoint, None, log)
    }

    /// Starts a proxy that terminates TLS, with a CA of its own in `directory`.
    pub fn start_tls(program: &Path, endpoint: &str, directory: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--tls").arg(directory);
        Self::run(command, endpoint, Some(directory.join("ca.pem")), log)
    }

    /// Starts a proxy that adds a latency.
    pub fn start_distant(program: &Path, endpoint: &str, round_trip_ms: u64, log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["--round-trip", &format!("{round_trip_ms}ms")]);
        Self::run(command, endpoint, None, log)
    }

    fn run(mut command: Command, endpoint: &str, ca: Option<PathBuf>, log: &Path) -> Result<Self> {
        command.args(["--to", endpoint]);
        let mut running = Running::start_piped(command, log)?;
        let mut line = String::new();
        let output = running.output().context("reading the address of the proxy")?;
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the proxy did not start; see {}", log.display());
        Ok(Self { url: line.trim().to_owned(), ca, running })
    }

    /// The counts since the last request.
    pub async fn take(&self) -> Result<Counts> {
        let counts = ask("DELETE", &self.url, "/_counts", "").await?;
        serde_json::from_str(&counts).with_context(|| format!("the counts of the proxy: {counts}"))
    }

    /// The certificate of its CA, if it terminates TLS.
    pub fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// CPU seconds.
    pub fn cpu(&self) -> f64 {
        self.running.cpu()
    }
}

/// The part of the proxy's counts that is used.
#[derive(Debug, Deserialize)]
pub struct Counts {
    /// AWS calls by action.
    pub calls: BTreeMap<String, u64>,
    /// Connections to the proxy.
    pub connections: Connections,
}

/// Connections to a proxy.
#[derive(Debug, Deserialize)]
pub struct Connections {
    /// Number of connections that were opened.
    pub opened: u64,
}
