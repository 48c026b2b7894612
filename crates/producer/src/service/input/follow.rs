//! Follows a file beyond its end: waits for what is appended, and continues with the new file when it was rotated.
//!
//! Rotation is seen by another file at the path, or by a file that became shorter. The old file is read to its end first. If
//! its last line has no line feed, it ends there: it does not continue in the new file.

use std::fs::{File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;

use rustix::event::Timespec;

use super::source_file::{Kind, SourceFile};

/// How often a file that is at its end is looked at again.
const LOOK: Timespec = Timespec { tv_sec: 0, tv_nsec: 250_000_000 };

/// An input that ends, or, with a path to follow, does not.
pub(super) struct Followed {
    source: SourceFile,
    path: Option<PathBuf>,
    last: u8,
    /// The file at the path is another one: this one has had its last look.
    rotated: bool,
}

impl Followed {
    pub(super) fn new(source: SourceFile, path: Option<PathBuf>) -> Self {
        let path = path.filter(|_| source.kind() == Kind::Regular);
        Self { source, path, last: b'\n', rotated: false }
    }

    pub(super) fn source(&self) -> &SourceFile {
        &self.source
    }

    /// The file was read to its end. Whether there is more to read now.
    fn at_end(&mut self) -> io::Result<bool> {
        let Some(path) = &self.path else { return Ok(false) };
        let here = self.source.file().metadata()?;
        let position = self.source.file().stream_position()?;
        if here.len() < position {
            tracing::info!(target: "producer", input = %path.display(), "INPUT was truncated; reading it from its beginning");
            self.source.file().seek(SeekFrom::Start(0))?;
            return Ok(true);
        }
        // between two rotations there may be no file
        match File::open(path) {
            Ok(there) if is_other(&here, &there.metadata()?) => {
                if std::mem::replace(&mut self.rotated, true) {
                    tracing::info!(target: "producer", input = %path.display(), "INPUT was rotated; reading the new file");
                    self.rotated = false;
                    self.source.replace(there);
                }
                return Ok(true);
            }
            Ok(_) => self.rotated = false,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        self.source.pause(LOOK)?;
        Ok(true)
    }
}

fn is_other(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) != (other.dev(), other.ino())
}

impl Read for Followed {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let read = self.source.read(buffer)?;
            if let Some(last) = buffer[..read].last() {
                self.last = *last;
                return Ok(read);
            }
            let before = self.source.file().metadata().ok().map(|file| file.ino());
            if !self.at_end()? {
                return Ok(0);
            }
            let changed = self.source.file().metadata().ok().map(|file| file.ino()) != before;
            if changed && self.last != b'\n' && !buffer.is_empty() {
                self.last = b'\n';
                buffer[0] = b'\n';
                return Ok(1);
            }
        }
    }
}
