//! A slow link in front of an endpoint: a proxy whose connections share one uplink.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// What one connection sends at a time: connections that send together share the link evenly.
const PACKET: usize = 1460;

/// An uplink of so many bytes per second, shared by all connections.
#[derive(Clone)]
struct Uplink {
    bytes_a_second: Arc<AtomicU64>,
    free_at: Arc<Mutex<Instant>>,
}

impl Uplink {
    async fn pass(&self, bytes: usize) {
        let done = {
            let mut free_at = self.free_at.lock().unwrap();
            let speed = self.bytes_a_second.load(Ordering::Relaxed);
            let time = Duration::from_secs_f64(bytes as f64 / speed as f64);
            *free_at = (*free_at).max(Instant::now()) + time;
            *free_at
        };
        sleep_until(done).await;
    }
}

/// Forwards connections to `upstream` over the link, whose speed may change meanwhile; the way back is fast. The URL of it.
pub(crate) async fn link(upstream: String, bytes_a_second: Arc<AtomicU64>) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let uplink = Uplink { bytes_a_second, free_at: Arc::new(Mutex::new(Instant::now())) };
    let upstream = upstream.trim_start_matches("http://").to_owned();
    tokio::spawn(async move {
        loop {
            let (client, _) = listener.accept().await.unwrap();
            let server = TcpStream::connect(&upstream).await.unwrap();
            // paused time would pass while the kernel waits for an acknowledgement
            client.set_nodelay(true).unwrap();
            server.set_nodelay(true).unwrap();
            let uplink = uplink.clone();
            tokio::spawn(async move {
                let (mut from_client, mut to_client) = client.into_split();
                let (mut from_server, mut to_server) = server.into_split();
                let back =
                    tokio::spawn(async move { tokio::io::copy(&mut from_server, &mut to_client).await });
                let mut packet = [0; PACKET];
                while let Ok(read @ 1..) = from_client.read(&mut packet).await {
                    uplink.pass(read).await;
                    if to_server.write_all(&packet[..read]).await.is_err() {
                        break;
                    }
                }
                back.abort();
            });
        }
    });
    format!("http://{address}")
}
