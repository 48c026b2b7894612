//! One line of progress under the log, on a terminal.
//!
//! Whatever goes to standard output goes through the [`Screen`]: the log and both access logs. On a terminal the progress
//! line stands below them: every other line takes it away first, and it comes back twice a second. Where standard output is
//! no terminal there is no progress line.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use lifeline_health::{Gauge, IntCounter, IntGauge, Metrics};
use tracing_subscriber::fmt::MakeWriter;

const REDRAW: Duration = Duration::from_millis(500);

/// Back to the first column, and clear the line.
const CLEAR: &str = "\r\x1b[K";

/// Standard output, shared by the logs and the progress line. Cheap to clone.
#[derive(Clone)]
pub struct Screen {
    terminal: bool,
    shared: Arc<Mutex<Shared>>,
}

struct Shared {
    out: Box<dyn Write + Send>,
    /// The progress line stands there.
    shown: bool,
}

/// Standard output, with nothing in the line that is written next; nobody else writes until it is dropped.
pub struct Line<'a>(MutexGuard<'a, Shared>);

impl Screen {
    /// Standard output as it is.
    #[must_use]
    pub fn of_stdout() -> Self {
        Self::on(io::stdout(), io::stdout().is_terminal())
    }

    fn on(out: impl Write + Send + 'static, terminal: bool) -> Self {
        Self { terminal, shared: Arc::new(Mutex::new(Shared { out: Box::new(out), shown: false })) }
    }

    /// Shows the progress until it is dropped.
    pub(crate) async fn show(self, mut progress: Progress) {
        if !self.terminal {
            return;
        }
        let mut tick = tokio::time::interval(REDRAW);
        loop {
            tick.tick().await;
            self.draw(&progress.line());
        }
    }

    fn draw(&self, progress: &str) {
        let mut shared = self.shared();
        shared.shown = write!(shared.out, "{CLEAR}{progress}").and_then(|()| shared.out.flush()).is_ok();
    }

    /// Takes the progress line away.
    pub(crate) fn clear(&self) {
        self.line().0.out.flush().ok();
    }

    fn line(&self) -> Line<'_> {
        let mut shared = self.shared();
        if std::mem::take(&mut shared.shown) {
            shared.out.write_all(CLEAR.as_bytes()).ok();
        }
        Line(shared)
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("terminal", &self.terminal).finish_non_exhaustive()
    }
}

impl fmt::Debug for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Line").finish_non_exhaustive()
    }
}

/// For the log.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = Line<'a>;

    fn make_writer(&'a self) -> Line<'a> {
        self.line()
    }
}

impl Write for Line<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.out.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.out.flush()
    }
}

/// For the access logs, which write whole lines.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.line().write_all(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.shared().out.flush()
    }
}

/// What the line shows, read from the services' own counters.
#[derive(Debug)]
pub(crate) struct Progress {
    producer: lifeline_producer::Progress,
    handled: IntCounter,
    in_flight: IntGauge,
    oldest_age: Gauge,
    last: (Instant, u64),
}

impl Progress {
    pub(crate) fn new(producer: lifeline_producer::Progress, consumer: &Metrics) -> Self {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Default)]
    struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Paper {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    /// A request to a health server whose access log goes to the screen; the server has ended when it returns.
    fn probe(screen: &Screen) {
        let server = lifeline_health::Health::new("test").server().access_log_to(screen.clone());
        let server = server.listen("127.0.0.1:0".parse().unwrap()).unwrap();
        assert!(
            lifeline_health::ask(server.local_addr(), "/health", Duration::from_secs(5)).unwrap().is_ok()
        );
    }

    #[test]
    fn neither_a_line_of_the_log_nor_one_of_the_access_log_shares_a_line_with_the_progress() {
        let paper = Paper::default();
        let screen = Screen::on(paper.clone(), true);
        screen.draw("1/s");
        probe(&screen);
        screen.draw("2/s");
        screen.make_writer().write_all(b"a line of the log\n").unwrap();
        screen.make_writer().write_all(b"another\n").unwrap();
        screen.draw("3/s");
        screen.draw("4/s");
        screen.clear();
        screen.clear();
        let text = paper.text();
        let (before, after) = text.split_once("127.0.0.1 - - [").unwrap();
        assert_eq!(before, format!("{CLEAR}1/s{CLEAR}"));
        let (access, after) = after.split_once('\n').unwrap();
        assert!(access.ends_with("] \"GET /health HTTP/1.0\" 200 -"), "{access}");
        assert_eq!(
            after,
            format!("{CLEAR}2/s{CLEAR}a line of the log\nanother\n{CLEAR}3/s{CLEAR}4/s{CLEAR}")
        );
    }

    #[test]
    fn without_a_terminal_nothing_is_cleared() {
        let paper = Paper::default();
        let screen = Screen::on(paper.clone(), false);
        screen.make_writer().write_all(b"a line of the log\n").unwrap();
        probe(&screen);
        screen.clear();
        assert!(!paper.text().contains('\x1b') && paper.text().lines().count() == 2, "{:?}", paper.text());
    }
}
