//! Where messages come from: lines of a file, a FIFO or standard input, or generated events.
//!
//! The service asks for as many as it has room for, and gets what is there: at least one, without waiting for more.

mod generate;
mod lines;

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
    /// Empty, or only a carriage return: no message.
    Blank,
    /// None that could be a message.
    Unfit(Unfit),
}

/// Why a line is no message.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Unfit {
    #[error("{bytes} bytes; no topic takes more than {LONGEST_LINE}")]
    TooLong { bytes: u64 },
    #[error("not UTF-8: byte {at} is 0x{byte:02x}")]
    NotUtf8 { at: usize, byte: u8 },
}

/// An input that was opened, or is being opened.
pub(crate) enum Source {
    Generate(Generator),
    Lines(lines::LineReader),
}

impl Source {
    /// Begins at line or event `from`, counted from 1. A FIFO that nobody writes to yet is waited for when lines are.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub(crate) fn open(input: Input, from: u64, seed: u64) -> io::Result<Self> {
        Ok(match input {
            Input::Generate => Self::Generate(Generator::new(seed, from)),
            input => Self::Lines(lines::LineReader::start(input, from)?),
        })
    }

    /// The next lines, at most `most` of them; none at the end.
    ///
    /// # Errors
    /// What the system said when opening or reading.
    ///
    /// # Cancel safety
    /// Dropped, what it asked for comes with the next call.
    pub(crate) async fn next(&mut self, most: usize) -> io::Result<Vec<Line>> {
        match self {
            Self::Generate(generator) => {
                let line = |(number, event)| Line { number, content: Content::Text(event) };
                Ok(generator.take(most).map(line).collect())
            }
            Self::Lines(reader) => reader.next(most).await,
        }
    }

    /// What was read for a call of [`next`](Self::next) that was dropped: nobody else can read it again.
    pub(crate) fn left_over(&mut self) -> Vec<Line> {
        match self {
            Self::Generate(_) => Vec::new(),
            Self::Lines(reader) => reader.left_over(),
        }
    }
}
