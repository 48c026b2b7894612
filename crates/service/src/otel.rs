//! Trace export. Not built yet.

use std::io;
use std::time::Duration;

/// A running export.
#[derive(Debug)]
pub(crate) struct Export;

impl Export {
    pub(crate) fn install(_service: &str) -> io::Result<Self> {
        Ok(Self)
    }

    pub(crate) fn finish(self, _within: Duration) {}
}
