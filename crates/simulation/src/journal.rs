//! The journal: what happened when and to whom, a line each, and a hash over all lines.

use std::fmt;
use std::time::Duration;

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    /// Since the start of the run.
    pub at: Duration,
    /// A process, `aws`, or `operator`.
    pub who: String,
    /// What it did, or what happened to it.
    pub what: String,
}

/// The story of a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Journal {
    lines: Vec<Line>,
    hash: u64,
}

impl Journal {
    pub(crate) fn new() -> Self {
        Self { lines: Vec::new(), hash: 0xcbf2_9ce4_8422_2325 }
    }

    pub(crate) fn write(&mut self, at: Duration, who: &str, what: String) {
        let stamp = at.as_micros().to_be_bytes();
        for byte in stamp.iter().chain(who.as_bytes()).chain(what.as_bytes()) {
            // FNV-1a
            self.hash = (self.hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
        self.lines.push(Line { at, who: who.to_owned(), what });
    }

    /// The lines, in the order in which they happened.
    pub fn lines(&self) -> &[Line] {
        &self.lines
    }

    /// Of all lines: two runs with the same hash told the same story.
    pub fn hash(&self) -> u64 {
        self.hash
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = self.at.as_secs();
        let (hours, minutes, seconds) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
        let millis = self.at.subsec_millis();
        write!(f, "{hours}:{minutes:02}:{seconds:02}.{millis:03} {:<10} {}", self.who, self.what)
    }
}
