//! The input: lines of a file, a FIFO or standard input, or generated events.
//!
//! The feeder requests as many lines as it has capacity for, and gets what is there: at least one, without waiting for more.

mod follow;
mod generate;
mod lines;
mod reader;
mod source_file;

use std::fmt;
use std::io;
use std::path::PathBuf;

use lifeline_escape as escape;

pub use generate::Generator;
pub use lines::LONGEST_LINE;

/// Which input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Input {
    /// Generated events.
    Generate,
    /// Standard input.
    Stdin,
    /// A file or a FIFO.
    File(PathBuf),
}

impl fmt::Display for Input {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Generate => f.write_str("generate"),
            Self::Stdin => f.write_str("-"),
            Self::File(path) => escape::Line::new(&path.to_string_lossy()).fmt(f),
        }
    }
}

/// One line of input, or one generated event.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// From 1.
    pub(crate) number: u64,
    pub(crate) content: Content,
}

#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Content {
    /// A message, as it is.
    Text(String),
    /// Empty, or only a carriage return: skipped.
    Blank,
    /// Nothing that could be a message.
    Invalid(InvalidLine),
}

/// Why a line is not a message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum InvalidLine {
    #[error("{bytes} bytes; no topic takes more than {LONGEST_LINE}")]
    TooLong { bytes: u64 },
    #[error("not UTF-8: byte {at} is 0x{byte:02x}")]
    NotUtf8 { at: usize, byte: u8 },
    #[error("incomplete: shutdown began after {bytes} bytes of it were read")]
    Incomplete { bytes: u64 },
}

/// What was read and not requested when the input was stopped.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Rest {
    /// Complete lines, and an incomplete one, which nobody can read again.
    pub(crate) lines: Vec<Line>,
    /// There is more that can be read, now or by another run.
    pub(crate) more: bool,
}

/// An input that was opened, or is being opened.
pub(crate) enum Source {
    Generate(Generator),
    Lines(reader::LineReader),
}

impl Source {
    /// Begins at line or event `from`, counted from 1. A FIFO that nobody writes to yet is waited for when lines are
    /// requested. `follow` continues at the end of a file or FIFO with what is written later.
    ///
    /// # Errors
    /// When the system has no thread or pipe to give.
    pub(crate) fn open(input: Input, from: u64, seed: u64, follow: bool) -> io::Result<Self> {
        Ok(match input {
            Input::Generate => Self::Generate(Generator::new(seed, from)),
            input => Self::Lines(reader::LineReader::start(input, from, follow)?),
        })
    }

    /// The next lines, at most `most` of them; none at the end.
    ///
    /// # Errors
    /// What the system reported when opening or reading.
    ///
    /// # Cancel safety
    /// Dropped, what was requested comes with the next call.
    pub(crate) async fn next(&mut self, most: usize) -> io::Result<Vec<Line>> {
        match self {
            Self::Generate(generator) => {
                let line = |(number, event)| Line { number, content: Content::Text(event) };
                Ok(generator.take(most).map(line).collect())
            }
            Self::Lines(reader) => reader.next(most).await,
        }
    }

    /// Reads nothing more, and returns what was read and not requested: nobody else can read it again.
    ///
    /// # Errors
    /// As [`next`](Self::next), of a read that was in progress.
    pub(crate) async fn stop(&mut self) -> io::Result<Rest> {
        match self {
            Self::Generate(_) => Ok(Rest { lines: Vec::new(), more: true }),
            Self::Lines(reader) => reader.stop().await,
        }
    }
}
