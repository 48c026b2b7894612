//! The queue between the log and its output: lines wait in it for a thread that writes them, so that an output that nobody
//! reads, a full pipe or a stopped terminal, stops no work.
//!
//! It is bounded. What does not fit is dropped, counted, and reported in a line of its own once the output takes lines again.

use std::fmt;
use std::io::{self, Write as _};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use lifeline_health::IntCounter;
use tracing::Level;
use tracing_subscriber::fmt::MakeWriter;

use super::Format;
use super::line::line;

/// Bytes that wait, at most: what a busy service logs in about half a second. A longer line is taken by an empty queue.
const LIMIT: usize = 4 << 20;

/// How long lines collect after a write: a busy service wakes the writer for many lines instead of for each.
const COLLECT: Duration = Duration::from_millis(2);

/// The queue. Cheap to clone.
#[derive(Clone)]
pub(super) struct Lines(Arc<Shared>);

struct Shared {
    state: Mutex<State>,
    filled: Condvar,
    written: Condvar,
    dropped: IntCounter,
}

#[derive(Default)]
struct State {
    waiting: Vec<u8>,
    /// Dropped since the last report.
    dropped: u64,
    /// Lines taken into the queue, and those of them that were written.
    taken: u64,
    written: u64,
}

impl Lines {
    /// Starts the thread that writes to `out`. It ends with the process.
    pub(super) fn start<M>(format: Format, out: M) -> io::Result<Self>
    where
        M: for<'a> MakeWriter<'a> + Send + Sync + 'static,
    {
        let help = "Log lines dropped because their output did not take them.";
        let dropped = IntCounter::new("log_lines_dropped_total", help).map_err(io::Error::other)?;
        let state = Mutex::new(State::default());
        let shared = Shared { state, filled: Condvar::new(), written: Condvar::new(), dropped };
        let lines = Self(Arc::new(shared));
        let queue = lines.clone();
        thread::Builder::new().name("log".to_owned()).spawn(move || queue.write_chunks(format, &out))?;
        Ok(lines)
    }

    /// Never waits for the output.
    fn push(&self, line: &[u8]) {
        let mut state = self.state();
        let was_empty = state.waiting.is_empty();
        if !was_empty && state.waiting.len() + line.len() > LIMIT {
            state.dropped += 1;
            self.0.dropped.inc();
            return;
        }
        state.waiting.extend_from_slice(line);
        state.taken += 1;
        drop(state);
        if was_empty {
            self.0.filled.notify_one();
        }
    }

    /// Waits until everything pushed before is written, but no longer than `within`.
    pub(super) fn flush(&self, within: Duration) {
        let state = self.state();
        let taken = state.taken;
        let unwritten = |state: &mut State| state.written < taken;
        // whether it was written in time or not, the caller goes on
        drop(self.0.written.wait_timeout_while(state, within, unwritten));
    }

    pub(super) fn dropped(&self) -> IntCounter {
        self.0.dropped.clone()
    }

    fn write_chunks<M: for<'a> MakeWriter<'a>>(&self, format: Format, out: &M) {
        let mut chunk = Vec::new();
        loop {
            let empty = |state: &mut State| state.waiting.is_empty();
            let waited = self.0.filled.wait_while(self.state(), empty);
            let mut state = waited.unwrap_or_else(PoisonError::into_inner);
            std::mem::swap(&mut chunk, &mut state.waiting);
            let (dropped, taken) = (std::mem::take(&mut state.dropped), state.taken);
            drop(state);
            if dropped > 0 {
                chunk.extend_from_slice(report(format, dropped).as_bytes());
            }
            let mut out = out.make_writer();
            // an output that is gone, a closed pipe, is no reason to stop
            out.write_all(&chunk).and_then(|()| out.flush()).ok();
            chunk.clear();
            self.state().written = taken;
            self.0.written.notify_all();
            thread::sleep(COLLECT);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lines").finish_non_exhaustive()
    }
}

/// For the formatting layer, which writes each event in one call.
impl io::Write for &Lines {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.push(line);
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a> MakeWriter<'a> for Lines {
    type Writer = &'a Self;

    fn make_writer(&'a self) -> &'a Self {
        self
    }
}

/// A line about lines that are missing here.
fn report(format: Format, lines: u64) -> String {
    let message = "log lines were dropped: the output did not take them in time";
    line(format, Level::WARN, message, &[("lines", lines)])
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

    use super::*;

    /// An output that takes a write when the test lets it.
    struct Gate(Mutex<Receiver<()>>, SyncSender<String>);

    struct Entry<'a>(&'a Gate);

    impl io::Write for Entry<'_> {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.0.lock().unwrap().recv().ok();
            self.0.1.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Gate {
        type Writer = Entry<'a>;

        fn make_writer(&'a self) -> Entry<'a> {
            Entry(self)
        }
    }

    fn start(format: Format) -> (Lines, SyncSender<()>, Receiver<String>) {
        let ((open, opened), (sent, written)) = (sync_channel(16), sync_channel(16));
        (Lines::start(format, Gate(Mutex::new(opened), sent)).unwrap(), open, written)
    }

    #[test]
    fn what_does_not_fit_is_dropped_counted_and_reported() {
        for format in [Format::Text, Format::Json] {
            let (lines, open, written) = start(format);
            let line = vec![b'x'; LIMIT / 4];
            lines.push(b"first\n");
            // four fit, and as many again if the writer takes those meanwhile
            for _ in 0..12 {
                lines.push(&line);
            }
            let dropped = lines.dropped().get();
            assert!((4..=9).contains(&dropped), "{dropped}");
            for _ in 0..3 {
                open.send(()).unwrap();
            }
            lines.flush(Duration::from_secs(10));
            let text = written.try_iter().collect::<String>();
            let report = text.lines().next_back().unwrap();
            let report = &report[report.find(['2', '{']).unwrap()..];
            match format {
                Format::Text => {
                    assert!(report.ends_with(&format!(" in time lines={dropped}")), "{report}");
                    assert!(report.contains("Z  WARN service: log lines were dropped"), "{report}");
                }
                Format::Json => assert!(report.contains(&format!("\"lines\":{dropped},")), "{report}"),
            }
            assert!(text.starts_with("first\n"));
        }
    }

    #[test]
    fn a_flush_waits_for_the_last_line_within_its_bound() {
        let (lines, open, written) = start(Format::Text);
        lines.push(b"last\n");
        lines.flush(Duration::from_millis(20));
        assert_eq!(written.try_iter().count(), 0);
        open.send(()).unwrap();
        lines.flush(Duration::from_secs(10));
        assert_eq!(written.try_iter().collect::<Vec<_>>(), ["last\n"]);
        lines.flush(Duration::from_secs(10));
    }

    #[test]
    fn a_line_longer_than_the_queue_is_taken_by_an_empty_one() {
        let (lines, open, written) = start(Format::Text);
        open.send(()).unwrap();
        lines.push(&vec![b'x'; 2 * LIMIT]);
        lines.flush(Duration::from_secs(10));
        assert_eq!(written.try_recv().unwrap().len(), 2 * LIMIT);
    }
}
