//! `HANDLER=file`: each body as one line of a file.
//!
//! One task writes; what is waiting goes out in one write, and each message succeeds when its line has been taken by
//! the operating system. A message that comes again (SQS delivers at least once) is written again.
//!
//! A body is one line: line ends within it are escaped, or it is rejected. A write that fails leaves no part of a line. A
//! file that was renamed or removed, as log rotation does, is opened anew.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, oneshot};

use crate::failure::{Failure, is_environment};
use crate::service::args::Newlines;

/// Lines written with one call at most: bounds the buffer together with the room of the worker.
const AT_ONCE: usize = 256;

/// A buffer that grew past this for long lines is freed afterwards.
const KEPT: usize = 64 * 1024;

/// How often it is looked for whether the path still leads to the open file.
const LOOK: Duration = Duration::from_secs(1);

type Line = (String, oneshot::Sender<io::Result<()>>);

/// The file, and the thread that writes it.
#[derive(Debug)]
pub(crate) struct Lines {
    path: PathBuf,
    writer: mpsc::UnboundedSender<Line>,
    newlines: Newlines,
}

impl Lines {
    pub(crate) async fn open(path: &Path, newlines: Newlines) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("HANDLER_FILE={}: cannot be opened to append: {error}", path.display()),
            )
        };
        let file = Named::open(path).map_err(named)?;
        // unbounded, for the worker bounds what is in it: every line belongs to a message in flight
        let (writer, lines) = mpsc::unbounded_channel();
        std::thread::Builder::new().name("file-handler".to_owned()).spawn(move || write_all(file, lines))?;
        Ok(Self { path: path.to_owned(), writer, newlines })
    }

    pub(crate) async fn append(&self, body: String) -> Result<(), Failure> {
        let body = match self.newlines {
            // a CR before the line end is part of that, and of the line that was published
            _ if !body.strip_suffix('\r').unwrap_or(&body).contains(['\n', '\r']) => body,
            Newlines::Escape => one_line(&body),
            Newlines::Reject => {
                return Err(Failure::rejected(
                    "its body has more than one line, and HANDLER_FILE_NEWLINES=reject",
                ));
            }
        };
        let (done, written) = oneshot::channel();
        self.writer.send((body, done)).map_err(|_| Failure::new("the file's writer has ended"))?;
        let written = written.await.map_err(|_| Failure::new("the file's writer has ended"))?;
        written.map_err(|error| {
            let named =
                io::Error::other(format!("HANDLER_FILE={}: cannot be written: {error}", self.path.display()));
            if is_environment(&error) { Failure::unavailable(named) } else { Failure::failed(named) }
        })
    }
}

/// A body as one line, without its line ends. In JSON they stand between values only, where a space means the same.
fn one_line(body: &str) -> String {
    let body = body.trim_end_matches(['\n', '\r']);
    if serde_json::from_str::<serde::de::IgnoredAny>(body).is_ok() {
        body.replace(['\n', '\r'], " ")
    } else {
        body.replace('\n', "\\n").replace('\r', "\\r")
    }
}

/// A file that lines are appended to.
trait Output: Write {
    fn length(&self) -> io::Result<u64>;
    fn cut(&self, length: u64) -> io::Result<()>;
    /// Opens it anew if it is no longer the one that it was; whether it did.
    fn renew(&mut self) -> io::Result<bool>;
}

/// An open file, and the path that shall lead to it.
struct Named {
    path: PathBuf,
    file: File,
    looked: Instant,
}

#[allow(clippy::disallowed_methods, reason = "a thread, which no runtime pauses")]
impl Named {
    fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).open(path)?;
        Ok(Self { path: path.to_owned(), file, looked: Instant::now() })
    }
}

impl Write for Named {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Output for Named {
    fn length(&self) -> io::Result<u64> {
        self.file.metadata().map(|metadata| metadata.len())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    #[allow(clippy::disallowed_methods, reason = "a thread, which no runtime pauses")]
    fn renew(&mut self) -> io::Result<bool> {
        let ours = self.file.metadata()?;
        // what is written to a removed file is lost, so that one is not waited for; a renamed one keeps its lines
        if !ours.is_file() || (ours.nlink() > 0 && self.looked.elapsed() < LOOK) {
            return Ok(false);
        }
        let theirs = std::fs::metadata(&self.path);
        if theirs.is_ok_and(|theirs| (theirs.dev(), theirs.ino()) == (ours.dev(), ours.ino())) {
            self.looked = Instant::now();
            return Ok(false);
        }
        *self = Self::open(&self.path)?;
        Ok(true)
    }
}

fn write_all(mut file: impl Output, mut lines: mpsc::UnboundedReceiver<Line>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let mut buffer = Vec::new();
    // a part of a line that could not be taken back stands at the end of the file
    let mut broken = false;
    while lines.blocking_recv_many(&mut waiting, AT_ONCE) > 0 {
        let result = file.renew().and_then(|renewed| {
            broken &= !renewed;
            buffer.clear();
            buffer.shrink_to(KEPT);
            if broken {
                buffer.push(b'\n');
            }
            for (body, _) in &waiting {
                buffer.extend_from_slice(body.as_bytes());
                buffer.push(b'\n');
            }
            append(&mut file, &buffer, &mut broken)
        });
        for (_, done) in waiting.drain(..) {
            let result = result.as_ref().copied().map_err(copy);
            done.send(result).ok();
        }
    }
}

/// Writes all of `bytes`, or takes back what was written of them.
fn append(file: &mut impl Output, bytes: &[u8], broken: &mut bool) -> io::Result<()> {
    let before = file.length().ok();
    let mut written = 0;
    let error = loop {
        match file.write(&bytes[written..]) {
            Ok(0) => break io::ErrorKind::WriteZero.into(),
            Ok(some) => written += some,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => break error,
        }
        if written == bytes.len() {
            *broken = false;
            return Ok(());
        }
    };
    // nobody else has written meanwhile: what stands there is ours
    let after = before.map(|before| before + u64::try_from(written).unwrap_or(u64::MAX));
    let taken_back = match before {
        Some(before) if file.length().ok() == after => file.cut(before).is_ok(),
        _ => false,
    };
    *broken |= written > 0 && !taken_back;
    Err(error)
}

fn copy(error: &io::Error) -> io::Error {
    match error.raw_os_error() {
        Some(code) => io::Error::from_raw_os_error(code),
        None => io::Error::new(error.kind(), error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// A disk that is full after so many bytes, and whose files can be cut, or not.
    #[derive(Clone)]
    struct Disk {
        bytes: Arc<Mutex<Vec<u8>>>,
        size: Arc<Mutex<usize>>,
        cuts: bool,
    }

    impl Disk {
        fn of(size: usize, cuts: bool) -> Self {
            Self { bytes: Arc::default(), size: Arc::new(Mutex::new(size)), cuts }
        }

        fn text(&self) -> String {
            String::from_utf8(self.bytes.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Disk {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            let mut written = self.bytes.lock().unwrap();
            let room = self.size.lock().unwrap().saturating_sub(written.len());
            if room == 0 {
                return Err(io::ErrorKind::StorageFull.into());
            }
            let some = bytes.len().min(room);
            written.extend_from_slice(&bytes[..some]);
            Ok(some)
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Output for Disk {
        fn length(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().unwrap().len() as u64)
        }

        fn cut(&self, length: u64) -> io::Result<()> {
            if !self.cuts {
                return Err(io::ErrorKind::Unsupported.into());
            }
            self.bytes.lock().unwrap().truncate(length as usize);
            Ok(())
        }

        fn renew(&mut self) -> io::Result<bool> {
            Ok(false)
        }
    }

    fn open(disk: &Disk) -> Lines {
        let (writer, lines) = mpsc::unbounded_channel();
        let disk = disk.clone();
        std::thread::spawn(move || write_all(disk, lines));
        Lines { path: "disk".into(), writer, newlines: Newlines::Escape }
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_leaves_no_part_of_a_line() {
        let disk = Disk::of(6, true);
        let file = open(&disk);
        file.append("abc".to_owned()).await.unwrap();
        let failure = file.append("defgh".to_owned()).await.unwrap_err();
        assert_eq!(failure.kind(), Some(crate::failure::FailureKind::Unavailable));
        assert!(failure.to_string().starts_with("HANDLER_FILE=disk: cannot be written: "), "{failure}");
        assert_eq!(disk.text(), "abc\n");
        *disk.size.lock().unwrap() = 100;
        file.append("defgh".to_owned()).await.unwrap();
        assert_eq!(disk.text(), "abc\ndefgh\n");
    }

    #[tokio::test]
    async fn a_part_that_cannot_be_taken_back_is_ended_before_the_next_line() {
        let disk = Disk::of(6, false);
        let file = open(&disk);
        file.append("abc".to_owned()).await.unwrap();
        file.append("defgh".to_owned()).await.unwrap_err();
        *disk.size.lock().unwrap() = 100;
        file.append("next".to_owned()).await.unwrap();
        assert_eq!(disk.text(), "abc\nde\nnext\n", "the next message has a line of its own");
    }

    #[tokio::test]
    async fn a_body_is_one_line_or_rejected() {
        for (body, line) in [
            ("{\n  \"id\": 1\r\n}\n", "{   \"id\": 1  }"),
            ("first\nsecond\r\n", "first\\nsecond"),
            ("a\rb", "a\\rb"),
            ("C:\\new", "C:\\new"),
        ] {
            let disk = Disk::of(100, true);
            open(&disk).append(body.to_owned()).await.unwrap();
            assert_eq!(disk.text(), format!("{line}\n"), "{body:?}");
        }
        let disk = Disk::of(100, true);
        let lines = Lines { newlines: Newlines::Reject, ..open(&disk) };
        let failure = lines.append("a\nb".to_owned()).await.unwrap_err();
        assert_eq!((failure.kind(), disk.text().as_str()), (Some(crate::failure::FailureKind::Rejected), ""));
        lines.append("a".to_owned()).await.unwrap();
        assert_eq!(disk.text(), "a\n");
    }

    /// A directory of its own, gone with the test.
    struct Scratch(PathBuf);

    impl Scratch {
        fn new(name: &str) -> Self {
            let path = std::env::temp_dir().join(format!("lifeline-{}-{name}", std::process::id()));
            std::fs::create_dir_all(&path).unwrap();
            Self(path)
        }
    }

    impl Drop for Scratch {
        fn drop(&mut self) {
            std::fs::remove_dir_all(&self.0).ok();
        }
    }

    #[tokio::test]
    async fn a_removed_file_takes_no_line_and_a_missing_directory_is_a_failure() {
        let directory = Scratch::new("removed");
        let path = directory.0.join("lines");
        let lines = Lines::open(&path, Newlines::Escape).await.unwrap();
        lines.append("first".to_owned()).await.unwrap();
        std::fs::remove_file(&path).unwrap();
        lines.append("second".to_owned()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "second\n");
        std::fs::remove_dir_all(&directory.0).unwrap();
        lines.append("third".to_owned()).await.unwrap_err();
        std::fs::create_dir(&directory.0).unwrap();
        lines.append("third".to_owned()).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "third\n");
    }

    #[tokio::test]
    async fn a_renamed_file_is_followed_by_a_new_one_within_a_second_and_no_line_is_lost() {
        let directory = Scratch::new("renamed");
        let (path, old) = (directory.0.join("lines"), directory.0.join("lines.1"));
        let lines = Lines::open(&path, Newlines::Escape).await.unwrap();
        lines.append("0".to_owned()).await.unwrap();
        std::fs::rename(&path, &old).unwrap();
        let mut expected = "0\n".to_owned();
        let renamed = Instant::now();
        for line in 1.. {
            lines.append(line.to_string()).await.unwrap();
            expected += &format!("{line}\n");
            if path.exists() {
                break;
            }
            assert!(renamed.elapsed() < 10 * LOOK, "it was not opened anew");
        }
        let read = |path| std::fs::read_to_string(path).unwrap();
        assert_eq!(read(&old) + &read(&path), expected);
    }
}
