//! An HTTP service behind Lifeline's `http` handler that responds with 200 after a fixed time.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Result;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// A running service; dropping it stops it.
#[derive(Debug)]
pub struct SlowHandler {
    address: SocketAddr,
    accepting: JoinHandle<()>,
}

impl SlowHandler {
    /// Starts it on a free port.
    pub async fn start(takes: Duration) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                tokio::spawn(serve(client, takes));
            }
        });
        Ok(Self { address, accepting })
    }

    /// For `HANDLER_URL`.
    pub fn url(&self) -> String {
        format!("http://{}/", self.address)
    }
}

impl Drop for SlowHandler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// Serves the requests of one connection, until the client closes it or sends something else.
async fn serve(mut client: TcpStream, takes: Duration) -> Option<()> {
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
        tokio::time::sleep(takes).await;
        to.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await.ok()?;
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[tokio::test]
    async fn each_request_takes_the_time_and_the_connection_stays_open() {
        let takes = Duration::from_millis(20);
        let handler = SlowHandler::start(takes).await.unwrap();
        let mut client = TcpStream::connect(handler.address).await.unwrap();
        for _ in 0..2 {
            let began = Instant::now();
            client.write_all(b"POST / HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}").await.unwrap();
            let mut response = [0; 38];
            client.read_exact(&mut response).await.unwrap();
            assert!(response.starts_with(b"HTTP/1.1 200 "));
            assert!(began.elapsed() >= takes);
        }
    }
}
