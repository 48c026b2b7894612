//! `HANDLER=file`: each body as one line of a file.
//!
//! One task writes; what is waiting goes out in one write, and each message succeeds when its line has been taken by
//! the operating system. A message that comes again (SQS delivers at least once) is written again.

use std::io::{self, Write};
use std::path::Path;

use tokio::sync::{mpsc, oneshot};

use crate::handler::Failure;

/// Lines written with one call at most: bounds the buffer together with the room of the worker.
const AT_ONCE: usize = 256;

/// A buffer that grew past this for long lines is given back afterwards.
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

fn write_all(mut file: impl Write, mut lines: mpsc::UnboundedReceiver<Line>) {
    let mut waiting = Vec::with_capacity(AT_ONCE);
    let mut buffer = Vec::new();
    while lines.blocking_recv_many(&mut waiting, AT_ONCE) > 0 {
        buffer.clear();
        buffer.shrink_to(KEPT);
        for (body, _) in &waiting {
            buffer.extend_from_slice(body.as_bytes());
            buffer.push(b'\n');
        }
        let result = file.write_all(&buffer);
        for (_, done) in waiting.drain(..) {
            let told = match &result {
                Ok(()) => Ok(()),
                Err(error) => Err(io::Error::new(error.kind(), error.to_string())),
            };
            done.send(told).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_body_becomes_a_line_and_a_failed_write_fails_its_message() {
        let (writer, lines) = mpsc::unbounded_channel();
        let thread = std::thread::spawn(move || {
            // a device that is full after its first 4 bytes
            let mut disk = [0_u8; 4];
            write_all(&mut disk[..], lines);
            disk
        });
        let file = Lines { writer };
        file.append("abc".to_owned()).await.unwrap();
        assert!(file.append("d".to_owned()).await.is_err());
        drop(file);
        assert_eq!(&thread.join().unwrap(), b"abc\n");
    }
}
