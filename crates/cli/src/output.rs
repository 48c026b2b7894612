//! An output of `up`: a file or standard output, which messages are written to as lines.
//!
//! Reading a file and writing it at once would never end, so each output is compared with the input, by inode: a link is
//! found too. Nothing is created or replaced before all settings are valid.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};

use lifeline_producer::service::Input;
use lifeline_service::settings::Accept;

/// Where lines go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Output {
    /// `-`
    Stdout,
    /// A file or FIFO.
    File(PathBuf),
}

/// Which file something is. Only files and FIFOs have an identity: what is written to a device is not read from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    device: u64,
    inode: u64,
}

impl Identity {
    fn of(about: &Metadata) -> Option<Self> {
        let kind = about.file_type();
        (kind.is_file() || kind.is_fifo()).then(|| Self { device: about.dev(), inode: about.ino() })
    }

    fn of_open(file: impl AsFd) -> Option<Self> {
        let file = File::from(file.as_fd().try_clone_to_owned().ok()?);
        Self::of(&file.metadata().ok()?)
    }

    /// That of what is read.
    pub fn of_input(input: &Input) -> Option<Self> {
        match input {
            Input::Generate => None,
            Input::Stdin => Self::of_open(io::stdin()),
            Input::File(path) => Self::of(&path.metadata().ok()?),
        }
    }
}

impl Output {
    /// What a flag accepts.
    pub fn accept() -> Accept<Self> {
        Accept::explained("a file that can be written, or - for standard output", |text| {
            if text == "-" {
                return Ok(Self::Stdout);
            }
            let path = Path::new(text);
            match path.metadata() {
                Ok(about) if about.is_dir() => return Err("is a directory".to_owned()),
                // a FIFO is not opened yet: that waits for a reader
                Ok(about) if about.file_type().is_fifo() => {}
                Ok(_) => drop(append(path)?),
                // its folder says whether it can be created, at least on most days
                Err(error) if error.kind() == io::ErrorKind::NotFound && folder(path).is_dir() => {}
                Err(error) => return Err(format!("cannot be written: {error}")),
            }
            Ok(Self::File(path.to_owned()))
        })
    }

    /// Which file it is, if it exists.
    pub fn identity(&self) -> Option<Identity> {
        match self {
            Self::Stdout => Identity::of_open(io::stdout()),
            Self::File(path) => Identity::of(&path.metadata().ok()?),
        }
    }

    /// Whether it is the same as another, which may not exist yet either.
    pub fn is(&self, other: &Self) -> bool {
        let absolute = |output: &Self| match output {
            Self::Stdout => None,
            Self::File(path) => std::path::absolute(path).ok(),
        };
        self == other
            || absolute(self).is_some_and(|path| absolute(other) == Some(path))
            || self.identity().is_some_and(|file| other.identity() == Some(file))
    }

    /// Opens it to write at its end. A file is created if it is missing, and emptied unless `keep`.
    ///
    /// # Errors
    /// The file cannot be opened or emptied.
    pub fn open(&self, keep: bool) -> io::Result<Box<dyn Write + Send>> {
        Ok(match self {
            Self::Stdout => Box::new(io::stdout()),
            Self::File(path) => {
                let file = OpenOptions::new().create(true).append(true).open(path)?;
                if !keep && file.metadata()?.is_file() {
                    file.set_len(0)?;
                }
                Box::new(file)
            }
        })
    }
}

fn append(path: &Path) -> Result<File, String> {
    OpenOptions::new().append(true).open(path).map_err(|error| format!("cannot be written: {error}"))
}

fn folder(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if folder != Path::new("") => folder,
        _ => Path::new("."),
    }
}
