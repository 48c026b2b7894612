//! What every experiment uses: the programs, the options, the scratch directory with the input files, and fresh stages.

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
use crate::handled::{Ear, Form, Task};
use crate::process::Running;
use crate::stage::{Delivery, Endpoint, Stage, pinned};

/// A filler that takes longer than this is stuck.
const FILLED_WITHIN: Duration = Duration::from_secs(600);

/// How much of the bodies one run may hold, in the endpoint's memory and on disk.
pub const BYTES_MOST: u64 = 300_000_000;

/// The laboratory.
#[derive(Debug)]
pub struct Lab {
    /// Where the programs are.
    pub programs: Programs,
    /// Another endpoint than the embedded one.
    pub endpoint: Option<String>,
    /// Client and endpoint on a core each.
    pub pinned: bool,
    /// Input files, logs and FIFOs; taken away with it.
    pub scratch: tempfile::TempDir,
    /// What programs said; kept when something failed.
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
    /// A laboratory under `directory`.
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

    /// A fresh endpoint with a stage on it.
    pub async fn set(&self, delivery: Delivery) -> Result<(Endpoint, Stage)> {
        let program = self.programs.services.join("lifeline");
        let endpoint = Endpoint::start(&program, &self.pin("0"), self.endpoint.as_deref(), &self.log).await?;
        self.named.set(self.named.get() + 1);
        let name = format!("bench-{}-{}", std::process::id(), self.named.get());
        let stage = Stage::set(&endpoint.url, &name, delivery).await.context("setting the stage")?;
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
        let command = contender.command(&self.programs, stage, in_flight, job);
        self.launch(command)
    }

    /// Starts a command where clients run.
    pub fn launch(&self, command: Command) -> Result<Running> {
        Running::start(pinned(&self.pin("1"), command), &self.log)
    }

    /// A file of `count` lines of `body` bytes, as tasks for Celery if asked.
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
        // large ones are cheap to write again and dear to keep
        if inputs.len() > 30 || kind.body as u64 * count > BYTES_MOST / 10 {
            inputs.drain(..).for_each(|(_, old)| drop(fs::remove_file(old)));
        }
        inputs.push((kind, path.clone()));
        Ok(path)
    }

    /// Publishes a file's lines with our producer, whose messages carry a `traceparent`; the same for every contender. Tasks
    /// of Celery go without, for it knows no attributes.
    pub async fn fill(&self, stage: &Stage, input: &Path, count: u64, tasks: bool) -> Result<()> {
        let filler = if tasks { Contender::Bare } else { Contender::Lifeline };
        self.fill_with(filler, stage, input, count).await
    }

    /// Publishes more, with our producer, until the queue holds `count`.
    pub async fn add(&self, stage: &Stage, input: &Path, count: u64) -> Result<()> {
        self.fill_with(Contender::Lifeline, stage, input, count).await
    }

    async fn fill_with(&self, filler: Contender, stage: &Stage, input: &Path, count: u64) -> Result<()> {
        let mut filling = self.start(filler, stage, 64, Job::Publish(input))?;
        let status = filling.end_within(FILLED_WITHIN).await?;
        if !status.success() {
            bail!("filling ended with {status}");
        }
        let left = stage.left().await?;
        // more is no mistake: a call whose answer did not come is made again. With eight million messages in it the embedded
        // endpoint moves them all for longer than a call may take
        if left < count {
            bail!("the queue holds {left} messages of {count}");
        }
        Ok(())
    }

    /// Where handled messages are told, a new place each time.
    pub fn ear(&self) -> Result<Ear> {
        self.named.set(self.named.get() + 1);
        Ear::at(self.scratch.path().join(format!("handled-{}", self.named.get())))
    }

    /// The form of the messages that a contender handles.
    pub async fn form(&self, contender: Contender) -> Result<Form> {
        if !contender.reads_tasks() {
            return Ok(Form::Plain);
        }
        let (plain, made) = (self.scratch.path().join("place"), self.scratch.path().join("pattern"));
        fs::write(&plain, format!("{}\n", Task::PLACE))?;
        self.tasks(&plain, &made).await?;
        Ok(Form::Task(Arc::new(Task::like(&fs::read_to_string(made)?)?)))
    }

    /// Makes tasks for Celery of the lines of a file.
    async fn tasks(&self, plain: &Path, made: &Path) -> Result<()> {
        let mut command = Command::new(&self.programs.python);
        command.arg(self.programs.scripts.join("celery_lines.py")).arg(plain).arg(made);
        let mut making = Running::start(command, &self.log)?;
        let status = making.end_within(FILLED_WITHIN).await?;
        if !status.success() {
            bail!("celery_lines.py ended with {status}");
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

/// An event of exactly `body` bytes in JSON, whose quotes SNS' envelope must escape, as with real ones.
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
    fn a_body_has_the_size_that_was_asked_for() {
        for size in [200, 10_000] {
            let mut line = String::new();
            text(&mut line, 7, size);
            assert_eq!(line.len(), size);
            assert!(serde_json::from_str::<serde_json::Value>(&line).is_ok());
        }
    }
}
