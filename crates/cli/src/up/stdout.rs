//! `--output -`: each body as a line of standard output.

use std::io::{self, Write};
use std::sync::mpsc;

use lifeline_consumer::{Context, Failure, Handler, Message};
use lifeline_service::Shutdown;
use tokio::sync::oneshot;

use crate::screen::Screen;

type Line = (String, oneshot::Sender<io::Result<()>>);

/// Writes on a thread of its own: a reader that is slow must not block the runtime. A reader that is gone ends the pipeline.
#[derive(Debug)]
pub(super) struct ToStdout {
    writer: mpsc::Sender<Line>,
    stop: Shutdown,
}

impl ToStdout {
    /// # Errors
    /// The system has no thread to give.
    pub(super) fn start(screen: Screen, stop: Shutdown) -> io::Result<Self> {
        // unbounded, for the worker bounds what is in it: every line belongs to a message in flight
        let (writer, lines) = mpsc::channel::<Line>();
        std::thread::Builder::new().name("stdout".to_owned()).spawn(move || {
            for (body, done) in lines {
                done.send(screen.suspend(|| write(&body))).ok();
            }
        })?;
        Ok(Self { writer, stop })
    }
}

fn write(body: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    writeln!(out, "{body}")?;
    out.flush()
}

impl Handler for ToStdout {
    async fn handle(&self, message: Message, _: Context) -> Result<(), Failure> {
        let (done, written) = oneshot::channel();
        self.writer
            .send((message.body, done))
            .map_err(|_| Failure::new("the writer of standard output has ended"))?;
        match written.await.map_err(|_| Failure::new("the writer of standard output has ended"))? {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                self.stop.request();
                // not unavailable: it would be tried again and again, until the end of the grace period
                Err(Failure::failed("standard output was closed by its reader"))
            }
            result => Ok(result?),
        }
    }
}
