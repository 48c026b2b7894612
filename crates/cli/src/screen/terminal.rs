//! Where lines go, above the status line at the bottom of a terminal.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Mutex, PoisonError};

use console::{Style, Term};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracing_subscriber::fmt::MakeWriter;

use super::bottom;

/// What a terminal without a size is taken for.
const WIDTH: usize = 80;

/// Where lines go, above the status line. Cheap to clone.
#[derive(Clone)]
pub struct Screen {
    out: Arc<Mutex<Box<dyn Write + Send>>>,
    bar: ProgressBar,
    /// Of a terminal, to ask for its width.
    terminal: Option<Term>,
    colours: bool,
}

impl Screen {
    /// On standard output.
    #[must_use]
    pub fn of_stdout() -> Self {
        let terminal = io::stdout().is_terminal().then(Term::buffered_stdout);
        Self::on(io::stdout(), terminal, console::colors_enabled())
    }

    /// On standard error.
    #[must_use]
    pub fn of_stderr() -> Self {
        let terminal = io::stderr().is_terminal().then(Term::buffered_stderr);
        Self::on(io::stderr(), terminal, console::colors_enabled_stderr())
    }

    fn on(out: impl Write + Send + 'static, terminal: Option<Term>, colours: bool) -> Self {
        let target = terminal.clone().map_or_else(ProgressDrawTarget::hidden, bottom::of);
        // `wide_msg` is cut to the terminal's width
        let style =
            ProgressStyle::with_template("{wide_msg}").unwrap_or_else(|_| ProgressStyle::default_bar());
        let bar = ProgressBar::with_draw_target(None, target).with_style(style);
        Self { out: Arc::new(Mutex::new(Box::new(out))), bar, terminal, colours }
    }

    /// Whether somebody looks at it.
    #[must_use]
    pub fn is_terminal(&self) -> bool {
        self.terminal.is_some()
    }

    /// How many columns a line has.
    pub(crate) fn width(&self) -> usize {
        let size = self.terminal.as_ref().and_then(Term::size_checked);
        size.map_or(WIDTH, |(_, columns)| usize::from(columns))
    }

    /// Text in a style, unless `NO_COLOR` is set or the terminal has no colours.
    pub(crate) fn paint(&self, style: &Style, text: impl fmt::Display) -> String {
        style.clone().force_styling(self.colours).apply_to(text).to_string()
    }

    /// A line, or several, above the status line.
    pub(crate) fn print(&self, lines: &str) {
        // nobody may be left to read it
        self.put(format!("{lines}\n").as_bytes()).ok();
    }

    /// Draws the status line, which may show how many of `done` there are per second.
    pub(crate) fn draw(&self, done: u64, line: impl FnOnce(f64) -> String) {
        self.bar.set_position(done);
        self.bar.set_message(line(self.bar.per_sec()));
        self.bar.tick();
    }

    /// Takes the status line away.
    pub(crate) fn clear(&self) {
        self.bar.finish_and_clear();
    }

    /// Does what writes to the same terminal, without the status line in its way.
    pub(crate) fn suspend<T>(&self, write: impl FnOnce() -> T) -> T {
        self.bar.suspend(write)
    }

    fn put(&self, bytes: &[u8]) -> io::Result<()> {
        self.suspend(|| {
            let mut out = self.out.lock().unwrap_or_else(PoisonError::into_inner);
            out.write_all(bytes)?;
            out.flush()
        })
    }
}

impl fmt::Debug for Screen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Screen").field("terminal", &self.is_terminal()).finish_non_exhaustive()
    }
}

/// For the log.
impl<'a> MakeWriter<'a> for Screen {
    type Writer = Self;

    fn make_writer(&'a self) -> Self {
        self.clone()
    }
}

/// For the log and the access logs, which write whole lines.
impl Write for Screen {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.put(bytes).map(|()| bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
