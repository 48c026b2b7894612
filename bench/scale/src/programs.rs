//! The programs under measurement: the embedded endpoint, the consumer, the producer, as they are released.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};
use tokio::process::{Child, Command};

use crate::http::Http;

/// Where the binaries are.
#[derive(Debug, Clone)]
pub(crate) struct Programs {
    folder: PathBuf,
}

/// One that runs; it ends with this.
pub(crate) struct Running {
    child: Child,
    /// Where it answers: the endpoint's address, or a service's health server.
    pub(crate) address: SocketAddr,
}

/// What a process has used.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    /// To a hundredth of a second.
    pub(crate) cpu: Duration,
    pub(crate) peak_mib: f64,
}

impl Programs {
    /// Those of `folder`, or freshly built ones.
    pub(crate) async fn find(folder: Option<PathBuf>) -> Result<Self> {
        let folder = match folder {
            Some(folder) => folder,
            None => build().await?,
        };
        for name in ["lifeline", "consumer", "producer"] {
            ensure!(folder.join(name).is_file(), "{} is not there", folder.join(name).display());
        }
        Ok(Self { folder })
    }

    /// The embedded SNS and SQS.
    pub(crate) async fn endpoint(&self) -> Result<Running> {
        let address = free_address()?;
        let child = self.command("lifeline").arg("aws").env("LISTEN", address.to_string()).spawn()?;
        Running { child, address }.answering("/health").await
    }

    /// A service that reaches AWS at `endpoint`.
    pub(crate) async fn service(
        &self,
        name: &str,
        endpoint: SocketAddr,
        settings: &[(&str, String)],
    ) -> Result<Running> {
        let address = free_address()?;
        let child = self
            .command(name)
            .env("AWS_ENDPOINT_URL", format!("http://{endpoint}"))
            .env("AWS_ACCESS_KEY_ID", "test")
            .env("AWS_SECRET_ACCESS_KEY", "test")
            .env("HEALTH_ADDR", address.to_string())
            .env("ACCESS_LOG", "off")
            .envs(settings.iter().map(|(name, value)| (name, value)))
            .spawn()?;
        Running { child, address }.answering("/metrics").await
    }

    fn command(&self, name: &str) -> Command {
        let mut command = Command::new(self.folder.join(name));
        // what the caller's own settings are must not matter
        command
            .env_clear()
            .env("RUST_LOG", "error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .kill_on_drop(true);
        command
    }
}

async fn build() -> Result<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let arguments = ["build", "--release", "-p", "consumer", "-p", "producer", "-p", "lifeline"];
    let built = Command::new(cargo).args(arguments).current_dir(&root).status().await?;
    ensure!(built.success(), "building the programs failed");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("target"), PathBuf::from);
    Ok(target.join("release"))
}

fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Running {
    /// Waits until it answers.
    async fn answering(mut self, path: &str) -> Result<Self> {
        let begun = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended at once: {status}");
            }
            if let Ok(mut http) = Http::connect(self.address).await
                && http.get(path).await.is_ok()
            {
                return Ok(self);
            }
            ensure!(begun.elapsed() < Duration::from_secs(20), "no answer at {}", self.address);
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    /// A counter of a service; 0 before it has one.
    pub(crate) async fn counter(&self, http: &mut Http, name: &str) -> Result<u64> {
        let page = http.get("/metrics").await?;
        let line =
            page.lines().find(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ')));
        let value = line.and_then(|line| line.rsplit(' ').next()).unwrap_or("0");
        Ok(value.parse::<f64>()? as u64)
    }

    /// What it has used so far; `None` when it is gone.
    pub(crate) fn spent(&self) -> Option<Spent> {
        let process = Path::new("/proc").join(self.child.id()?.to_string());
        let status = std::fs::read_to_string(process.join("status")).ok()?;
        let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        let peak: f64 = peak.trim().trim_end_matches(" kB").parse().ok()?;
        Some(Spent { cpu: cpu(&process)?, peak_mib: peak / 1024.0 })
    }

    pub(crate) async fn end(mut self) -> Result<()> {
        Ok(self.child.kill().await?)
    }
}

/// Processor time of this process so far.
pub(crate) fn own_cpu() -> Option<Duration> {
    cpu(Path::new("/proc/self"))
}

fn cpu(process: &Path) -> Option<Duration> {
    let stat = std::fs::read_to_string(process.join("stat")).ok()?;
    // the second field is a name in parentheses; utime and stime are the 14th and 15th, in hundredths of a second
    let mut fields = stat.rsplit(')').next()?.split_whitespace().skip(11).map(str::parse::<u64>);
    let ticks = fields.next()?.ok()? + fields.next()?.ok()?;
    Some(Duration::from_millis(ticks * 10))
}
