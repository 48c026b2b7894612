//! Opens the input and waits for its bytes, so that a read of a pipe, a FIFO or a terminal can be interrupted.
//!
//! Regular files are read directly: that returns by itself. Everything else is read only when there is something to read,
//! which `poll` reports, or when the stop pipe is closed.

use std::fs::{File, OpenOptions};
use std::io::{self, PipeReader, Read};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::OFlags;

use super::Input;

/// The input as a file.
pub(super) struct SourceFile {
    file: File,
    kind: Kind,
    stop: PipeReader,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Reading it again gives the same bytes.
    Regular,
    /// A FIFO with a name: what is left in it, another process can read.
    Fifo,
    /// A pipe or terminal: what is left in it is lost with this process.
    Stream,
}

/// Reading was stopped.
#[derive(Debug, Clone, Copy, thiserror::Error)]
#[error("reading was stopped")]
pub(super) struct Stopped;

impl SourceFile {
    /// `follow` opens a FIFO for writing too, so that it does not end when its last writer closes it.
    pub(super) fn open(input: &Input, follow: bool, stop: PipeReader) -> io::Result<Self> {
        let file = match input {
            Input::File(path) => open(path, follow)?,
            Input::Stdin | Input::Generate => File::from(io::stdin().as_fd().try_clone_to_owned()?),
        };
        let about = file.metadata()?.file_type();
        let kind = match (about.is_file(), about.is_fifo() && matches!(input, Input::File(_))) {
            (true, _) => Kind::Regular,
            (_, true) => Kind::Fifo,
            _ => Kind::Stream,
        };
        Ok(Self { file, kind, stop })
    }

    pub(super) fn kind(&self) -> Kind {
        self.kind
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    /// Continues with another file: the input was rotated.
    pub(super) fn replace(&mut self, file: File) {
        self.file = file;
    }

    /// Waits for so long, or until reading is stopped.
    pub(super) fn pause(&self, time: Timespec) -> io::Result<()> {
        let mut stop = [PollFd::new(&self.stop, PollFlags::IN)];
        if wait(&mut stop, Some(&time))? > 0 { Err(stopped()) } else { Ok(()) }
    }

    /// Whether there are bytes to read now.
    pub(super) fn has_more(&self) -> bool {
        let mut file = [PollFd::new(&self.file, PollFlags::IN)];
        wait(&mut file, Some(&Timespec::default())).is_ok() && file[0].revents().contains(PollFlags::IN)
    }

    /// Waits until there is something to read, or the end of it.
    fn readable(&self) -> io::Result<()> {
        let mut both = [PollFd::new(&self.stop, PollFlags::IN), PollFd::new(&self.file, PollFlags::IN)];
        wait(&mut both, None)?;
        if both[0].revents().is_empty() { Ok(()) } else { Err(stopped()) }
    }
}

impl Read for SourceFile {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.kind == Kind::Regular {
            return self.file.read(buffer);
        }
        loop {
            self.readable()?;
            match self.file.read(buffer) {
                // another reader of the same pipe was faster
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return read,
            }
        }
    }
}

/// A FIFO is opened without waiting for its writer: that wait could not be interrupted.
fn open(path: &Path, follow: bool) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.read(true);
    if path.metadata()?.file_type().is_fifo() {
        let non_blocking = i32::try_from(OFlags::NONBLOCK.bits()).map_err(io::Error::other)?;
        options.write(follow).custom_flags(non_blocking);
    }
    options.open(path)
}

fn wait(fds: &mut [PollFd<'_>], timeout: Option<&Timespec>) -> io::Result<usize> {
    loop {
        match poll(fds, timeout) {
            Err(rustix::io::Errno::INTR) => {}
            ready => return ready.map_err(io::Error::from),
        }
    }
}

fn stopped() -> io::Error {
    io::Error::other(Stopped)
}

pub(super) fn is_stopped(error: &io::Error) -> bool {
    error.get_ref().is_some_and(|inner| inner.is::<Stopped>())
}
