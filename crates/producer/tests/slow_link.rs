//! Publishing over a slow link: messages arrive about as fast as the link allows, and few of them twice.
//!
//! The link is a proxy whose connections share one uplink. Time is paused, so that a minute passes in a moment.
#![allow(
    clippy::unwrap_used,
    clippy::print_stderr,
    reason = "a panic is a failed test; figures are for the reader"
)]

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lifeline_emulator::Emulator;
use lifeline_messaging::client::{Access, Clients};
use lifeline_producer::{NewMessage, Publisher};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep_until};

/// What one connection sends at a time: connections that send together share the link evenly.
const PACKET: usize = 1460;

/// An uplink of N bytes per second, shared by all connections.
#[derive(Clone)]
struct Uplink {
    bytes_a_second: f64,
    free_at: Arc<Mutex<Instant>>,
}

impl Uplink {
    async fn pass(&self, bytes: usize) {
        let done = {
            let mut free_at = self.free_at.lock().unwrap();
            let time = Duration::from_secs_f64(bytes as f64 / self.bytes_a_second);
            *free_at = (*free_at).max(Instant::now()) + time;
            *free_at
        };
        sleep_until(done).await;
    }
}

/// Forwards connections to `upstream` over the link; the way back is fast.
async fn link(upstream: String, bytes_a_second: f64) -> String {
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

struct Run {
    took: Duration,
    ideal: Duration,
    twice: f64,
}

async fn publish(messages: usize, bytes: usize, bytes_a_second: f64) -> Run {
    let aws = Emulator::start().await.unwrap();
    let topic = aws.topic("t");
    let url = link(aws.url(), bytes_a_second).await;
    let clients = Clients::connect(&Access::local(url)).await.unwrap();
    let publisher = Publisher::to("t").clients(clients).deadline(None).start().await.unwrap();
    let begun = Instant::now();
    let bodies = (0..messages).map(|n| NewMessage::new(format!("{n:06}{}", "x".repeat(bytes - 6))));
    let mut pending = Vec::new();
    for body in bodies {
        pending.push(publisher.enqueue(body).await.unwrap());
    }
    for pending in pending {
        pending.await.unwrap();
    }
    let took = begun.elapsed();
    publisher.close().await;
    let deliveries = topic.messages();
    let distinct: HashSet<&str> = deliveries.iter().map(|body| &body[..6]).collect();
    assert_eq!(distinct.len(), messages, "nothing is lost");
    let twice = (deliveries.len() - messages) as f64 / messages as f64;
    let ideal = Duration::from_secs_f64((messages * bytes) as f64 / bytes_a_second);
    eprintln!(
        "{messages} x {bytes} bytes at {bytes_a_second} B/s: {took:?}, ideal {ideal:?}, twice {twice:.3}"
    );
    Run { took, ideal, twice }
}

#[tokio::test(start_paused = true)]
async fn many_messages_take_little_longer_than_the_link_allows_and_few_arrive_twice() {
    let run = publish(400, 25_000, 300_000.0).await;
    assert!(run.took <= run.ideal.mul_f64(1.5), "{:?} instead of {:?}", run.took, run.ideal);
    assert!(run.twice < 0.03, "{}", run.twice);
}

#[tokio::test(start_paused = true)]
async fn large_messages_take_little_longer_than_the_link_allows_and_few_arrive_twice() {
    let run = publish(40, 200_000, 250_000.0).await;
    assert!(run.took <= run.ideal.mul_f64(1.5), "{:?} instead of {:?}", run.took, run.ideal);
    assert!(run.twice < 0.03, "{}", run.twice);
}

#[tokio::test(start_paused = true)]
async fn a_link_too_slow_for_a_full_batch_gets_smaller_ones() {
    let run = publish(60, 25_000, 20_000.0).await;
    assert!(run.took <= run.ideal * 3, "{:?} instead of {:?}", run.took, run.ideal);
}

#[tokio::test(start_paused = true)]
async fn small_messages_over_a_slow_link_are_not_sent_twice() {
    let run = publish(5_000, 300, 100_000.0).await;
    assert!(run.twice < 0.03, "{}", run.twice);
}
