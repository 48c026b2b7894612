//! An HTTP service behind Lifeline's `http` handler: answers with 200 after a fixed time, or is out of order, and records what it
//! handled.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::handled::now;

/// Bytes of a body that are recorded.
const HEAD: usize = 64;

/// What the service does with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum State {
    /// Answers with 200.
    Works,
    /// Answers with 503.
    Refuses,
    /// Closes the connection without an answer.
    Closes,
}

/// A message that was answered with 200.
#[derive(Debug, Clone)]
pub struct Taken {
    /// The system clock when the request had arrived, in nanoseconds.
    pub at: u64,
    /// The first bytes of the message.
    pub head: Vec<u8>,
}

/// A running service; dropping it stops it.
#[derive(Debug)]
pub struct SlowHandler {
    address: SocketAddr,
    accepting: JoinHandle<()>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    takes: Duration,
    state: AtomicU8,
    refused: AtomicU64,
    taken: Mutex<Vec<Taken>>,
}

impl SlowHandler {
    /// Starts it on a free port.
    pub async fn start(takes: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared {
            takes,
            state: AtomicU8::new(State::Works as u8),
            refused: AtomicU64::default(),
            taken: Mutex::default(),
        });
        let serving = Arc::clone(&shared);
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, Arc::clone(&serving)));
            }
        });
        Ok(Self { address, accepting, shared })
    }

    /// For `HANDLER_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }

    /// Changes what it does with the requests that arrive from now on.
    pub fn set(&self, state: State) {
        self.shared.state.store(state as u8, Ordering::Relaxed);
    }

    /// How many messages it has taken.
    pub fn count(&self) -> u64 {
        self.shared.taken().len() as u64
    }

    /// How many requests it refused.
    pub fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }

    /// The messages that it has taken, in order.
    pub fn taken(&self) -> Vec<Taken> {
        self.shared.taken().clone()
    }
}

impl Drop for SlowHandler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl Shared {
    fn taken(&self) -> std::sync::MutexGuard<'_, Vec<Taken>> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn is(&self, state: State) -> bool {
        self.state.load(Ordering::Relaxed) == state as u8
    }
}

/// Serves the requests of one connection, until the client closes it or sends something else.
async fn serve(mut client: TcpStream, shared: Arc<Shared>) -> Option<()> {
    let (from, mut to) = client.split();
    let mut from = BufReader::new(from);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            let line = line.trim_end().to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().ok()?;
            }
            if line.is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.ok()?;
        let at = now();
        if !shared.is(State::Works) {
            shared.refused.fetch_add(1, Ordering::Relaxed);
            if shared.is(State::Closes) {
                return None;
            }
            to.write_all(b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n").await.ok()?;
            continue;
        }
        tokio::time::sleep(shared.takes).await;
        body.truncate(HEAD);
        shared.taken().push(Taken { at, head: body });
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    async fn ask(client: &mut TcpStream) -> std::io::Result<String> {
        client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").await?;
        let mut response = [0; 12];
        client.read_exact(&mut response).await?;
        let mut rest = [0; 64];
        let _ = client.read(&mut rest).await?;
        Ok(String::from_utf8_lossy(&response).into_owned())
    }

    #[tokio::test]
    async fn each_request_takes_the_time_and_the_connection_stays_open() {
        let takes = Duration::from_millis(20);
        let handler = SlowHandler::start(takes).await.unwrap();
        let mut client = TcpStream::connect(handler.address).await.unwrap();
        for taken in 1..3 {
            let began = Instant::now();
            assert_eq!(ask(&mut client).await.unwrap(), "HTTP/1.1 200");
            assert!(began.elapsed() >= takes);
            assert_eq!((handler.count(), handler.taken()[0].head.as_slice()), (taken, b"{}".as_slice()));
        }
    }

    #[tokio::test]
    async fn out_of_order_it_takes_nothing() {
        let handler = SlowHandler::start(Duration::ZERO).await.unwrap();
        let mut client = TcpStream::connect(handler.address).await.unwrap();
        handler.set(State::Refuses);
        assert_eq!(ask(&mut client).await.unwrap(), "HTTP/1.1 503");
        handler.set(State::Closes);
        assert!(ask(&mut client).await.is_err());
        assert_eq!((handler.count(), handler.refused()), (0, 2));
    }
}
