//! The bottom line of a terminal, as indicatif draws on it.

use std::io;

use console::Term;
use indicatif::{ProgressDrawTarget, TermLike};

/// Draws per second at most.
const DRAWS: u8 = 10;

/// A terminal on which what is drawn ends where its text does. indicatif fills the rest of the line with spaces, after which
/// the `^C` that the terminal itself shows, or a window that becomes narrower, would begin another line, and the one before
/// would never be cleared.
#[derive(Debug)]
struct Bottom(Term);

/// Draws at the bottom of this terminal.
pub(super) fn of(terminal: Term) -> ProgressDrawTarget {
    ProgressDrawTarget::term_like_with_hz(Box::new(Bottom(terminal)), DRAWS)
}

impl TermLike for Bottom {
    fn width(&self) -> u16 {
        self.0.size().1
    }

    fn height(&self) -> u16 {
        self.0.size().0
    }

    fn move_cursor_up(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_up(lines)
    }

    fn move_cursor_down(&self, lines: usize) -> io::Result<()> {
        self.0.move_cursor_down(lines)
    }

    fn move_cursor_right(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_right(columns)
    }

    fn move_cursor_left(&self, columns: usize) -> io::Result<()> {
        self.0.move_cursor_left(columns)
    }

    fn write_line(&self, text: &str) -> io::Result<()> {
        self.0.write_line(text)
    }

    fn write_str(&self, text: &str) -> io::Result<()> {
        let is_filler = text.bytes().all(|byte| byte == b' ');
        if is_filler { Ok(()) } else { self.0.write_str(text) }
    }

    fn clear_line(&self) -> io::Result<()> {
        self.0.clear_line()
    }

    fn flush(&self) -> io::Result<()> {
        self.0.flush()
    }
}
