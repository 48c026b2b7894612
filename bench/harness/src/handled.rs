//! The FIFO that contenders tell of handled messages, and the clock in the messages.
//!
//! A message begins with the time at which it was handed to the publish call, in nanoseconds of the machine's clock; the
//! time between that and its line is the latency. A thread of its own reads, so that nothing else delays the stamp.

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Result, bail};

const DIGITS: usize = 20;
const STOP: &str = "stop";

/// Messages that were handled.
#[derive(Debug)]
pub struct Ear {
    count: Arc<AtomicU64>,
    reader: Option<JoinHandle<Vec<f64>>>,
    fifo: File,
}

impl Ear {
    /// Listens at a FIFO.
    pub fn at(fifo: &Path) -> Result<Self> {
        // reading and writing: no end of file while contenders come and go
        let file = File::options().read(true).write(true).open(fifo)?;
        let count = Arc::new(AtomicU64::new(0));
        let (counted, lines) = (Arc::clone(&count), BufReader::new(file.try_clone()?));
        let reader = std::thread::spawn(move || hear(lines, &counted));
        Ok(Self { count, reader: Some(reader), fifo: file })
    }

    /// How many were handled.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Waits until so many were handled.
    pub async fn hear(&self, count: u64, within: Duration) -> Result<()> {
        let began = Instant::now();
        while self.count() < count {
            if began.elapsed() > within {
                bail!("{} messages of {count} were handled in {within:?}", self.count());
            }
            tokio::time::sleep(Duration::from_micros(200)).await;
        }
        Ok(())
    }

    /// The latencies in milliseconds, in the order of handling.
    pub fn close(mut self) -> Result<Vec<f64>> {
        writeln!(self.fifo, "{STOP}")?;
        let reader = self.reader.take().map(JoinHandle::join);
        Ok(reader.and_then(Result::ok).unwrap_or_default())
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        // the thread would read for ever
        writeln!(self.fifo, "{STOP}").ok();
    }
}

fn hear(mut lines: impl BufRead, count: &AtomicU64) -> Vec<f64> {
    let mut millis = Vec::new();
    let mut line = String::new();
    while lines.read_line(&mut line).is_ok_and(|read| read > 0) && line.trim_end() != STOP {
        let heard = now();
        if let Some(sent) = line.get(..DIGITS).and_then(|digits| digits.parse::<u64>().ok()) {
            millis.push(heard.saturating_sub(sent) as f64 / 1e6);
        }
        count.fetch_add(1, Ordering::Relaxed);
        line.clear();
    }
    millis
}

/// A message of now, with `body` bytes.
pub fn message(body: usize) -> String {
    let mut text = format!("{:0DIGITS$} ", now());
    text.extend(std::iter::repeat_n('x', body.saturating_sub(text.len())));
    text
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_message_and_its_latency() {
        let input = format!("{}\nno clock\nstop\nnever read\n", message(64));
        let count = AtomicU64::new(0);
        let millis = hear(input.as_bytes(), &count);
        assert_eq!((millis.len(), count.into_inner()), (1, 2));
        assert!((0.0..10_000.0).contains(&millis[0]));
    }
}
