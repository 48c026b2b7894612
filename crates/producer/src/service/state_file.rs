//! Keeps the line to resume from in a file: `STATE_FILE` instead of `FROM`.
//!
//! The file is replaced, never changed in place, so that a crash leaves the old number or the new one.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// A file with one number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StateFile(PathBuf);

impl StateFile {
    /// Of that path, which need not exist yet.
    pub fn new(path: impl Into<PathBuf>) -> Self {
        Self(path.into())
    }

    /// The line to begin with: 1 if there is no file.
    ///
    /// # Errors
    /// The file cannot be read, or is not a state file.
    pub fn read(&self) -> io::Result<u64> {
        match fs::read_to_string(&self.0) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(1),
            Err(error) => Err(error),
            Ok(text) => text.trim().parse().ok().filter(|from| *from > 0).ok_or_else(|| {
                io::Error::new(io::ErrorKind::InvalidData, "not a line number; delete it to begin at line 1")
            }),
        }
    }

    /// Writes the line to begin with.
    ///
    /// # Errors
    /// The file or its folder cannot be written.
    pub fn write(&self, from: u64) -> io::Result<()> {
        let mut name = self.0.clone().into_os_string();
        name.push(".new");
        let mut file = File::create(Path::new(&name))?;
        file.write_all(format!("{from}\n").as_bytes())?;
        file.sync_all()?;
        fs::rename(Path::new(&name), &self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_state_file_begins_at_1_and_is_read_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("producer-state-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let state = StateFile::new(folder.join("state"));
        assert_eq!(state.read().unwrap(), 1);
        state.write(1234).unwrap();
        assert_eq!(state.read().unwrap(), 1234);
        for bad in ["", "0", "x", "-1", "1 2"] {
            fs::write(folder.join("state"), bad).unwrap();
            assert!(state.read().is_err(), "{bad:?}");
        }
        fs::remove_dir_all(&folder).unwrap();
        assert!(state.write(1).is_err());
    }
}
