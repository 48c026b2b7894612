//! The screen: what `up` shows, on standard output or, where that belongs to messages, on standard error.
//!
//! On a terminal a status line stands at the bottom, and whatever else is written goes above it: log lines, access logs, or,
//! in the compact view, a line per message (`messages`). Where there is no terminal, there are only lines of the log.

mod bottom;
pub(crate) mod messages;
pub(crate) mod status;
mod terminal;

pub use terminal::Screen;
