//! One way of a connection: bytes go out in their order, each as late as the wire is long.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::clock::Clock;

/// Read at once at most.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Chunks on their way, so that a sender cannot fill the memory: 16 MiB, more than a client has in the air.
const ON_THE_WAY: usize = 256;

/// How late bytes are.
pub(crate) struct Way {
    pub(crate) clock: Clock,
    pub(crate) late: Duration,
    /// What comes before this counts as if it came then.
    pub(crate) opens: Instant,
}

impl Way {
    /// Carries until the sender ends, and tells the receiver so, late too. `first` was read before.
    pub(crate) async fn carry(
        self,
        first: Option<(BytesMut, Instant)>,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let (sender, mut chunks) = mpsc::channel::<(Instant, Bytes)>(ON_THE_WAY);
        let due = |at: Instant| at.max(self.opens) + self.late;
        let reading = async move {
            if let Some((bytes, at)) = first {
                see(&bytes);
                sender.send((due(at), bytes.freeze())).await.ok();
            }
            let mut buffer = BytesMut::new();
            loop {
                buffer.reserve(CHUNK);
                let ended = from.read_buf(&mut buffer).await? == 0;
                see(&buffer);
                // an empty chunk is the end
                let told = sender.send((due(Instant::now()), buffer.split().freeze())).await;
                if ended || told.is_err() {
                    return Ok(());
                }
            }
        };
        let writing = async {
            while let Some((due, bytes)) = chunks.recv().await {
                self.clock.until(due).await;
                if bytes.is_empty() {
                    return to.shutdown().await;
                }
                to.write_all(&bytes).await?;
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(|((), ())| ())
    }
}
