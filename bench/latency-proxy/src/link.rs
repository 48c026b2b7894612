//! Delays one direction of a connection: bytes leave in order, each after the same time.

use std::io;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;

use crate::clock::Clock;

/// Bytes per read.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Chunks that may be delayed at a time, which bounds memory: 16 MiB, more than a client has in flight.
const MAX_DELAYED: usize = 256;

/// The delay of one direction.
pub(crate) struct Direction {
    pub(crate) clock: Clock,
    pub(crate) delay: Duration,
    /// Bytes that arrive earlier count as if they arrived then.
    pub(crate) opens: Instant,
}

impl Direction {
    /// Forwards until the sender closes, and then closes towards the receiver after the same delay. `first` was read before.
    pub(crate) async fn carry(
        self,
        first: Option<(BytesMut, Instant)>,
        mut from: impl AsyncRead + Unpin,
        mut to: impl AsyncWrite + Unpin,
        mut see: impl FnMut(&[u8]),
    ) -> io::Result<()> {
        let (sender, mut chunks) = mpsc::channel::<(Instant, Bytes)>(MAX_DELAYED);
        let due = |at: Instant| at.max(self.opens) + self.delay;
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
                // An empty chunk marks the end.
                let sent = sender.send((due(Instant::now()), buffer.split().freeze())).await;
                if ended || sent.is_err() {
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
