//! `HANDLER=file`: each body as one line of a file.
//!
//! One task writes; what is waiting goes out in one write, and each message succeeds when its line has been taken by
//! the operating system. A message that comes again (SQS delivers at least once) is written again.

use std::io::{self, Write};
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use crate::failure::Failure;

/// Lines written with one call at most: bounds the buffer together with the room of the worker.
const AT_ONCE: usize = 256;

/// A buffer that grew past this for long lines is freed afterwards.
const KEPT: usize = 64 * 1024;

type Line = (String, oneshot::Sender<io::Result<()>>);

/// The file, and the thread that writes it.
#[derive(Debug)]
pub(crate) struct Lines {
    writer: mpsc::UnboundedSender<Line>,
}

impl Lines {
    pub(crate) async fn open(path: &Path) -> io::Result<Self> {
        let named = |error: io::Error| {
            io::Error::new(
                error.kind(),
                format!("HANDLER_FILE={}: cannot be opened to append: {error}", path.display()),
            )
        };
        let file = std::fs::OpenOptions::new().create(true).append(true).open(path).map_err(named)?;
        // unbounded, for the worker bounds what is in it: every line belongs to a message in flight
        let (writer, lines) = mpsc::unbounded_channel();
        std::thread::Builder::new().name("file-handler".to_owned()).spawn(move || write_all(file, lines))?;
        Ok(Self { writer })
    }

    pub(crate) async fn append(&self, body: String) -> Result<(), Failure> {
        let (done, written) = oneshot::channel();
        self.writer.send((body, done)).map_err(|_| Failure::new("the file's writer has ended"))?;
        Ok(written.await.map_err(|_| Failure::new("the file's writer has ended"))??)
    }
}

/// A file that lines are appended to.
trait Output: Write {
    fn length(&self) -> io::Result<u64>;
    fn cut(&self, length: u64) -> io::Result<()>;
}

impl Output for std::fs::File {
    fn length(&self) -> io::Result<u64> {
        self.metadata().map(|metadata| metadata.len())
    }

    fn cut(&self, length: u64) -> io::Result<()> {
        self.set_len(length)
    }
}

fn write_all(mut file: impl Output, mut lines: mpsc::UnboundedReceiver<Line>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let mut buffer = Vec::new();
    // a part of a line that could not be taken back stands at the end of the file
    let mut broken = false;
    while lines.blocking_recv_many(&mut waiting, AT_ONCE) > 0 {
        buffer.clear();
        buffer.shrink_to(KEPT);
        if broken {
            buffer.push(b'\n');
        }
        for (body, _) in &waiting {
            buffer.extend_from_slice(body.as_bytes());
            buffer.push(b'\n');
        }
        let result = append(&mut file, &buffer, &mut broken);
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
    }

    fn open(disk: &Disk) -> Lines {
        let (writer, lines) = mpsc::unbounded_channel();
        let disk = disk.clone();
        std::thread::spawn(move || write_all(disk, lines));
        Lines { writer }
    }

    #[tokio::test]
    async fn a_full_disk_is_unavailable_and_leaves_no_part_of_a_line() {
        let disk = Disk::of(6, true);
        let file = open(&disk);
        file.append("abc".to_owned()).await.unwrap();
        let failure = file.append("defgh".to_owned()).await.unwrap_err();
        assert_eq!(failure.kind(), Some(crate::failure::FailureKind::Unavailable));
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
}
