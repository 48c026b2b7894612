//! A process started by the benchmark: measures its CPU time and memory, and kills it when dropped.
//!
//! Each process has its own process group, so that its children are killed with it. Ctrl-C reaches only the benchmark, which
//! then drops its processes.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill, killpg};
use nix::time::{ClockId, clock_getcpuclockid};
use nix::unistd::Pid;

/// How often the exit of a process is checked.
const LOOK: Duration = Duration::from_millis(1);

/// A running process; dropping it kills its process group and its descendants.
#[derive(Debug)]
pub struct Running {
    child: Child,
    name: String,
}

impl Running {
    /// Starts a command, with its output appended to the file `log`.
    pub fn start(command: Command, log: &Path) -> Result<Self> {
        Self::spawn(command, log, |out| Ok(Stdio::from(out.try_clone()?)))
    }

    /// Starts a command whose standard output is read through [`Running::output`].
    pub fn start_piped(command: Command, log: &Path) -> Result<Self> {
        Self::spawn(command, log, |_| Ok(Stdio::piped()))
    }

    fn spawn(mut command: Command, log: &Path, stdout: impl Fn(&fs::File) -> Result<Stdio>) -> Result<Self> {
        let name = command.get_program().to_string_lossy().into_owned();
        let out = fs::File::options().create(true).append(true).open(log)?;
        command.stdin(Stdio::null()).stdout(stdout(&out)?).stderr(out).process_group(0);
        let child = command.spawn().with_context(|| format!("starting {name}"))?;
        Ok(Self { child, name })
    }

    /// Takes its standard output, once.
    pub fn output(&mut self) -> Option<std::process::ChildStdout> {
        self.child.stdout.take()
    }

    fn pid(&self) -> Pid {
        Pid::from_raw(self.child.id().cast_signed())
    }

    /// CPU seconds of it and its living descendants.
    pub fn cpu(&self) -> f64 {
        self.tree().into_iter().filter_map(cpu_of).sum()
    }

    /// The sum of `field` (`VmHWM`, `VmRSS`) over it and its descendants, in kB.
    pub fn memory(&self, field: &str) -> u64 {
        self.tree().into_iter().filter_map(|pid| memory_of(pid, field)).sum()
    }

    fn tree(&self) -> Vec<Pid> {
        let mut tree = vec![self.pid()];
        let mut next = 0;
        while let Some(pid) = tree.get(next).copied() {
            next += 1;
            let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { continue };
            for thread in threads.flatten() {
                let children = fs::read_to_string(thread.path().join("children")).unwrap_or_default();
                tree.extend(
                    children.split_whitespace().filter_map(|pid| pid.parse().ok()).map(Pid::from_raw),
                );
            }
        }
        tree
    }

    /// Fails if it has exited.
    pub fn must_run(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            Some(status) => bail!("{} exited with {status}", self.name),
            None => Ok(()),
        }
    }

    /// Its exit status, if it has exited.
    pub fn ended(&mut self) -> Result<Option<ExitStatus>> {
        Ok(self.child.try_wait()?)
    }

    /// Waits for its exit.
    pub async fn end_within(&mut self, most: Duration) -> Result<ExitStatus> {
        let began = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if began.elapsed() > most {
                bail!("{} did not exit within {most:?}", self.name);
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    /// Sends SIGTERM.
    pub fn terminate(&self) -> Result<()> {
        Ok(kill(self.pid(), Signal::SIGTERM)?)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // Descendants may outlive it, and may have left its group.
        let tree = self.tree();
        killpg(self.pid(), Signal::SIGKILL).ok();
        for child in tree.into_iter().skip(1) {
            kill(child, Signal::SIGKILL).ok();
        }
        self.child.wait().ok();
    }
}

fn cpu_of(pid: Pid) -> Option<f64> {
    // More precise than the ticks in /proc/PID/stat.
    let time = clock_getcpuclockid(pid).and_then(ClockId::now).ok()?;
    Some(Duration::from(time).as_secs_f64())
}

fn memory_of(pid: Pid, field: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn children_are_measured_and_killed_with_it() {
        let log = tempfile::NamedTempFile::new().unwrap();
        let mut command = Command::new("sh");
        command.args(["-c", "while :; do :; done & sleep 100"]);
        let running = Running::start(command, log.path()).unwrap();
        let busy = async {
            while running.cpu() < 0.05 {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), busy).await.unwrap();
        assert!(running.memory("VmRSS") > 0);
        let tree = running.tree();
        assert_eq!(tree.len(), 3);
        drop(running);
        let gone = async {
            while tree.iter().any(|pid| memory_of(*pid, "VmRSS").is_some()) {
                tokio::time::sleep(LOOK).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), gone).await.unwrap();
    }
}
