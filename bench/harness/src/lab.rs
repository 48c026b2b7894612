//! Shared by all measurements: binaries, options, input files in the scratch directory, and fresh endpoints.

use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::fs;
use std::io::{BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::contender::{Contender, Job, Programs};
use crate::handled::{Form, HandledFifo, Task};
use crate::process::Running;
use crate::proxy::CountingProxy;
use crate::stage::{Delivery, Endpoint, Stage, Transport, pinned};

/// Maximum time to fill a queue.
const FILLED_WITHIN: Duration = Duration::from_secs(600);

/// Maximum bytes of bodies in one run, in the endpoint's memory and on disk.
pub const BYTES_MOST: u64 = 300_000_000;

/// Binaries, options and scratch directory.
#[derive(Debug)]
pub struct Lab {
    /// The binaries.
    pub programs: Programs,
    /// An endpoint other than the embedded one.
    pub endpoint: Option<String>,
    /// One core for the client, another for the endpoint.
    pub pinned: bool,
    /// Input files and FIFOs; removed when dropped.
    pub scratch: tempfile::TempDir,
    /// The output of all processes.
    pub log: PathBuf,
    named: Cell<u32>,
    inputs: RefCell<Vec<(Kind, PathBuf)>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Kind {
    body: usize,
    count: u64,
    tasks: bool,
}

impl Lab {
    /// Creates the scratch directory under `directory`.
    pub fn open(
        programs: Programs,
        endpoint: Option<String>,
        pinned: bool,
        directory: &Path,
    ) -> Result<Self> {
        fs::create_dir_all(directory)?;
        let scratch = tempfile::Builder::new().prefix("run-").tempdir_in(directory)?;
        let log = directory.join("log");
        fs::write(&log, "")?;
        Ok(Self {
            programs,
            endpoint,
            pinned,
            scratch,
            log,
            named: Cell::default(),
            inputs: RefCell::default(),
        })
    }

    fn pin(&self, core: &str) -> Vec<String> {
        if self.pinned { ["taskset", "-c", core].map(str::to_owned).to_vec() } else { Vec::new() }
    }

    /// Starts a fresh endpoint with topic, queue and subscription.
    pub async fn set(&self, delivery: Delivery) -> Result<(Endpoint, Stage)> {
        let (endpoint, name) = self.endpoint().await?;
        let stage = Stage::set(&endpoint.url, &name, delivery)
            .await
            .context("creating topic, queue and subscription")?;
        Ok((endpoint, stage))
    }

    /// Starts a fresh endpoint with a FIFO queue.
    pub async fn set_fifo(&self) -> Result<(Endpoint, Stage)> {
        let (endpoint, name) = self.endpoint().await?;
        let stage = Stage::set_fifo(&endpoint.url, &name).await.context("creating a FIFO queue")?;
        Ok((endpoint, stage))
    }

    /// A fresh endpoint, and a name for what is created there.
    async fn endpoint(&self) -> Result<(Endpoint, String)> {
        let program = self.programs.services.join("lifeline");
        let endpoint = Endpoint::start(&program, &self.pin("0"), self.endpoint.as_deref(), &self.log).await?;
        self.named.set(self.named.get() + 1);
        Ok((endpoint, format!("bench-{}-{}", std::process::id(), self.named.get())))
    }

    /// The same, where contenders connect by `transport`.
    pub async fn set_over(&self, delivery: Delivery, transport: Transport) -> Result<(Endpoint, Stage)> {
        let (mut endpoint, stage) = self.set(delivery).await?;
        if transport == Transport::Plain {
            return Ok((endpoint, stage));
        }
        let program = self.programs.tools.join("latency-proxy");
        let proxy = CountingProxy::start_tls(&program, &endpoint.url, self.scratch.path(), &self.log)?;
        let stage = stage.behind(endpoint.put_in_front(proxy));
        Ok((endpoint, stage))
    }

    /// Starts a contender.
    pub fn start(
        &self,
        contender: Contender,
        stage: &Stage,
        in_flight: usize,
        job: Job<'_>,
    ) -> Result<Running> {
        let mut command = contender.command(&self.programs, stage, in_flight, job);
        if contender == Contender::LifelineFile {
            let file = self.scratch.path().join("file");
            fs::remove_file(&file).ok();
            command.env("HANDLER", "file").env("HANDLER_FILE", file);
        }
        self.launch(command)
    }

    /// Starts a command on the core of the client.
    pub fn launch(&self, command: Command) -> Result<Running> {
        Running::start(pinned(&self.pin("1"), command), &self.log)
    }

    /// An input file of `count` lines of `body` bytes; with `tasks` as Celery tasks.
    pub async fn input(&self, body: usize, count: u64, tasks: bool) -> Result<PathBuf> {
        let kind = Kind { body, count, tasks };
        if let Some((_, path)) = self.inputs.borrow().iter().find(|(of, _)| *of == kind) {
            return Ok(path.clone());
        }
        let path =
            self.scratch.path().join(format!("lines-{body}-{count}{}", if tasks { "-tasks" } else { "" }));
        if tasks {
            let plain = self.scratch.path().join("plain");
            write_lines(&plain, body, count)?;
            self.tasks(&plain, &path).await?;
        } else {
            write_lines(&path, body, count)?;
        }
        let mut inputs = self.inputs.borrow_mut();
        // Large files are cheap to write again.
        if inputs.len() > 30 || kind.body as u64 * count > BYTES_MOST / 10 {
            inputs.drain(..).for_each(|(_, old)| drop(fs::remove_file(old)));
        }
        inputs.push((kind, path.clone()));
        Ok(path)
    }

    /// Publishes the lines of a file with Lifeline's producer, which adds a `traceparent`: the same for every contender, except
    /// that Celery tasks have no attributes.
    pub async fn fill(&self, stage: &Stage, input: &Path, count: u64, tasks: bool) -> Result<()> {
        let filler = if tasks { Contender::Bare } else { Contender::Lifeline };
        self.fill_with(filler, stage, input, count).await
    }

    /// Publishes a file with Lifeline's producer; the queue must then contain `count` messages.
    pub async fn add(&self, stage: &Stage, input: &Path, count: u64) -> Result<()> {
        self.fill_with(Contender::Lifeline, stage, input, count).await
    }

    async fn fill_with(&self, filler: Contender, stage: &Stage, input: &Path, count: u64) -> Result<()> {
        let mut filling = self.start(filler, stage, 64, Job::Publish(input))?;
        let status = filling.end_within(FILLED_WITHIN).await?;
        if !status.success() {
            bail!("filling the queue exited with {status}");
        }
        let left = stage.left().await?;
        // More is possible: a call that timed out is repeated. With eight million messages the embedded endpoint takes longer
        // than a call may.
        if left < count {
            bail!("the queue holds {left} messages of {count}");
        }
        Ok(())
    }

    /// A new FIFO for handled messages.
    pub fn handled(&self) -> Result<HandledFifo> {
        self.named.set(self.named.get() + 1);
        HandledFifo::at(self.scratch.path().join(format!("handled-{}", self.named.get())))
    }

    /// The format of the messages that a contender handles.
    pub async fn form(&self, contender: Contender) -> Result<Form> {
        if !contender.reads_tasks() {
            return Ok(Form::Plain);
        }
        let (plain, made) = (self.scratch.path().join("place"), self.scratch.path().join("pattern"));
        fs::write(&plain, format!("{}\n", Task::PLACE))?;
        self.tasks(&plain, &made).await?;
        Ok(Form::Task(Arc::new(Task::like(&fs::read_to_string(made)?)?)))
    }

    /// Converts the lines of a file into Celery tasks.
    async fn tasks(&self, plain: &Path, made: &Path) -> Result<()> {
        let mut command = Command::new(&self.programs.python);
        command.arg(self.programs.scripts.join("celery_lines.py")).arg(plain).arg(made);
        let mut making = Running::start(command, &self.log)?;
        let status = making.end_within(FILLED_WITHIN).await?;
        if !status.success() {
            bail!("celery_lines.py exited with {status}");
        }
        Ok(())
    }
}

fn write_lines(path: &Path, body: usize, count: u64) -> Result<()> {
    let mut out = BufWriter::new(fs::File::create(path)?);
    let mut line = String::new();
    for number in 0..count {
        line.clear();
        text(&mut line, number, body);
        line.push('\n');
        out.write_all(line.as_bytes())?;
    }
    Ok(out.into_inner()?.sync_data()?)
}

/// A JSON event of exactly `body` bytes, whose quotes are escaped in SNS's envelope.
fn text(line: &mut String, number: u64, body: usize) {
    const WORDS: &str = "the quick brown fox jumps over the lazy dog and asks for more ";
    write!(line, "{{\"order\":\"{number:016}\",\"customer\":\"{:08}\",\"note\":\"", number % 9973).ok();
    let left = body.saturating_sub(line.len() + 2);
    line.extend(WORDS.chars().cycle().take(left));
    line.push_str("\"}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_has_the_requested_size() {
        for size in [200, 10_000] {
            let mut line = String::new();
            text(&mut line, 7, size);
            assert_eq!(line.len(), size);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        }
    }
}
