//! One line of progress under the log, on a terminal.
//!
//! The log goes to standard output, and on a terminal the progress line stands below it: every log line takes it away
//! first, and it comes back twice a second. Where standard output is no terminal there is no progress line.

use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use health::{Gauge, IntCounter, IntGauge, Metrics};
use tracing_subscriber::fmt::MakeWriter;

const REDRAW: Duration = Duration::from_millis(500);

/// Back to the first column, and clear the line.
const CLEAR: &str = "\r\x1b[K";

/// Standard output, shared by the log and the progress line. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Screen {
    terminal: bool,
    shown: Arc<Mutex<bool>>,
}

impl Screen {
    /// Standard output as it is.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self { terminal: io::stdout().is_terminal(), shown: Arc::default() }
    }

    /// Shows the progress until it is dropped.
    pub(crate) async fn show(self, mut progress: Progress) {
        if !self.terminal {
            return;
        }
        let mut tick = tokio::time::interval(REDRAW);
        loop {
            tick.tick().await;
            let line = progress.line();
            let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
            let mut out = io::stdout().lock();
            *shown = write!(out, "{CLEAR}{line}").and_then(|()| out.flush()).is_ok();
        }
    }

    /// Takes the progress line away.
    pub(crate) fn clear(&self) {
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        if std::mem::take(&mut *shown) {
            let mut out = io::stdout().lock();
            write!(out, "{CLEAR}").and_then(|()| out.flush()).ok();
        }
    }
}

impl<'a> MakeWriter<'a> for Screen {
    type Writer = io::StdoutLock<'static>;

    fn make_writer(&'a self) -> Self::Writer {
        if self.terminal {
            self.clear();
        }
        io::stdout().lock()
    }
}

/// What the line shows, read from the services' own counters.
#[derive(Debug)]
pub(crate) struct Progress {
    producer: producer::Progress,
    handled: IntCounter,
    in_flight: IntGauge,
    oldest_age: Gauge,
    last: (Instant, u64),
}

impl Progress {
    pub(crate) fn new(producer: producer::Progress, consumer: &Metrics) -> Self {
        // a metric that exists is handed out again: these are the consumer's own
        Self {
            producer,
            handled: consumer.counter("consumer_messages_deleted_total", ""),
            in_flight: consumer.int_gauge("consumer_in_flight_messages", ""),
            oldest_age: consumer.gauge("consumer_queue_oldest_message_age_seconds", ""),
            last: (Instant::now(), 0),
        }
    }

    fn line(&mut self) -> String {
        let (now, handled) = (Instant::now(), self.handled.get());
        let seconds = now.duration_since(self.last.0).as_secs_f64().max(0.001);
        let count = |n: u64| f64::from(u32::try_from(n).unwrap_or(u32::MAX));
        let rate = count(handled - self.last.1) / seconds;
        self.last = (now, handled);
        format!(
            "{rate:.0}/s  published {}  handled {handled}  in flight {}  oldest {:.1} s",
            self.producer.published(),
            self.in_flight.get(),
            self.oldest_age.get(),
        )
    }
}
