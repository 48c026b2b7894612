//! The FIFO to which contenders write handled messages, and the timestamp in the messages.
//!
//! A message starts with the time of its publish call, in nanoseconds of the system clock. The time between that and its line
//! in the FIFO is the latency. A separate thread reads the FIFO, so that nothing delays the second timestamp. For Celery a
//! message is a task, and its argument starts with the timestamp.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use nix::sys::stat::Mode;
use nix::unistd::mkfifo;

use crate::process::Running;

/// Digits of the timestamp at the start of a message.
pub const DIGITS: usize = 20;
const STOP: &str = "stop";

/// Receives the lines of handled messages.
#[derive(Debug)]
pub struct HandledFifo {
    count: Arc<AtomicU64>,
    reader: Option<JoinHandle<Vec<f64>>>,
    fifo: File,
    path: PathBuf,
}

impl HandledFifo {
    /// Creates the FIFO and starts to read it.
    pub fn at(path: PathBuf) -> Result<Self> {
        mkfifo(&path, Mode::S_IRUSR | Mode::S_IWUSR)?;
        // Opened for writing too, so that there is no end of file when a contender exits.
        let fifo = File::options().read(true).write(true).open(&path)?;
        let count = Arc::new(AtomicU64::new(0));
        let (counted, lines) = (Arc::clone(&count), BufReader::new(fifo.try_clone()?));
        let reader = std::thread::spawn(move || read_lines(lines, &counted));
        Ok(Self { count, reader: Some(reader), fifo, path })
    }

    /// The path of the FIFO.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Number of handled messages.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until `count` messages were handled.
    pub async fn wait_for(&self, from: &mut Running, count: u64, within: Duration) -> Result<()> {
        let began = Instant::now();
        while self.count() < count {
            from.must_run()?;
            if began.elapsed() > within {
                bail!("{} messages of {count} were handled in {within:?}", self.count());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(())
    }

    /// Stops, and returns the latencies in milliseconds, in the order of handling.
    pub fn close(mut self) -> Result<Vec<f64>> {
        let reader = self.stop()?;
        Ok(reader.and_then(|reader| reader.join().ok()).unwrap_or_default())
    }

    fn stop(&mut self) -> Result<Option<JoinHandle<Vec<f64>>>> {
        let reader = self.reader.take();
        if reader.is_some() {
            // A contender that was killed may have left an incomplete line.
            write!(self.fifo, "\n{STOP}\n")?;
        }
        Ok(reader)
    }
}

impl Drop for HandledFifo {
    fn drop(&mut self) {
        // The thread would read forever.
        self.stop().ok();
        std::fs::remove_file(&self.path).ok();
    }
}

fn read_lines(mut lines: impl BufRead, count: &AtomicU64) -> Vec<f64> {
    let mut millis = Vec::new();
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.trim_end() != STOP {
        let handled = now();
        if line.trim_end().is_empty() {
            line.clear();
            continue;
        }
        if let Some(sent) = line.get(..DIGITS).and_then(|digits| digits.parse::<u64>().ok()) {
            millis.push(handled.saturating_sub(sent) as f64 / 1e6);
        }
        count.fetch_add(1, Ordering::Relaxed);
        line.clear();
    }
    millis
}

/// The format of the messages.
#[derive(Debug, Clone)]
pub enum Form {
    /// Plain text.
    Plain,
    /// A Celery task.
    Task(Arc<Task>),
}

/// A template of a Celery task: base64 of JSON, in which the body is base64 of JSON again.
#[derive(Debug)]
pub struct Task {
    envelope: serde_json::Value,
    body: String,
}

impl Task {
    /// Placeholder for the argument.
    pub const PLACE: &str = "PLACE";

    /// Parses a task that Celery made with the argument [`Task::PLACE`].
    pub fn like(pattern: &str) -> Result<Self> {
        let mut envelope: serde_json::Value = serde_json::from_slice(&BASE64.decode(pattern.trim())?)?;
        let body = envelope["body"].take();
        let body = BASE64.decode(body.as_str().unwrap_or_default())?;
        Ok(Self { envelope, body: String::from_utf8(body)? })
    }

    fn with(&self, argument: &str) -> String {
        let mut envelope = self.envelope.clone();
        envelope["body"] = BASE64.encode(self.body.replace(Self::PLACE, argument)).into();
        BASE64.encode(envelope.to_string())
    }
}

impl Form {
    /// A message of `body` bytes with the current time.
    pub fn message(&self, body: usize) -> String {
        let mut text = format!("{:0DIGITS$} ", now());
        text.extend(std::iter::repeat_n('x', body.saturating_sub(text.len())));
        match self {
            Self::Plain => text,
            Self::Task(task) => task.with(&text),
        }
    }
}

/// The system clock, in nanoseconds.
pub fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_with_a_timestamp_is_a_message_and_a_latency() {
        let input = format!("{}\n\nno clock\nstop\nnever read\n", Form::Plain.message(64));
        let count = AtomicU64::new(0);
        let millis = read_lines(input.as_bytes(), &count);
        assert_eq!((millis.len(), count.into_inner()), (1, 2));
        assert!((0.0..10_000.0).contains(&millis[0]));
    }

    #[test]
    fn a_task_carries_the_message_as_celery_wrote_it() {
        let body = BASE64.encode(r#"[["PLACE"], {}, {}]"#);
        let pattern = BASE64.encode(format!(r#"{{"body":"{body}","headers":{{"task":"handle"}}}}"#));
        let task = Task::like(&pattern).unwrap().with("now");
        let envelope: serde_json::Value = serde_json::from_slice(&BASE64.decode(task).unwrap()).unwrap();
        assert_eq!(envelope["headers"]["task"], "handle");
        let body = BASE64.decode(envelope["body"].as_str().unwrap()).unwrap();
        assert_eq!(body, br#"[["now"], {}, {}]"#);
    }
}
