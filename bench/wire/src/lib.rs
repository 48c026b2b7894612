//! A wire of a chosen length in front of an SNS and SQS endpoint on this machine.
//!
//! Every byte arrives half a round trip later on either way, in its order and without waiting for an answer to the one
//! before, as on a real link; setting up a connection costs a round trip more. What passes is counted by AWS action.
//! The harness puts it between a client and the endpoint to see what the client does to them; `scale` checks its
//! simulation with it.
//!
//! | part | file |
//! | --- | --- |
//! | bytes of one way, late by half a round trip | `link` |
//! | a timer that is not rounded to milliseconds | `clock` |
//! | which action a request is | `requests` |
//! | calls, connections and bytes, and `/_counts` | `counts` |

mod clock;
mod counts;
mod link;
mod requests;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use crate::clock::Clock;
use crate::counts::Counted;
pub use crate::counts::Counts;
use crate::requests::Requests;

/// What stands between a client and the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wire {
    /// From a byte sent to the first byte that can answer it.
    pub round_trip: Duration,
    /// Round trips before the first byte of a connection: 1 is TCP, 2 is TCP and TLS 1.3.
    pub setup_trips: u32,
}

/// A proxy at work; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    counted: Arc<Counted>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `listen` (port 0 is a free one) and passes all on to `endpoint`, `host:port`.
    ///
    /// # Errors
    /// The port cannot be had, or the timer's thread cannot be started.
    pub async fn start(listen: SocketAddr, endpoint: impl Into<String>, wire: Wire) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let counted = Arc::new(Counted::default());
        let route =
            Route { endpoint: endpoint.into(), wire, clock: Clock::start()?, counted: Arc::clone(&counted) };
        let accepting = tokio::spawn(accept(listener, Arc::new(route)));
        Ok(Self { address, counted, accepting })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What passed since the start or the last [`take_counts`](Self::take_counts).
    pub fn counts(&self) -> Counts {
        self.counted.read()
    }

    /// What passed, and counts from zero again.
    pub fn take_counts(&self) -> Counts {
        self.counted.take()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

#[derive(Debug)]
struct Route {
    endpoint: String,
    wire: Wire,
    clock: Clock,
    counted: Arc<Counted>,
}

async fn accept(listener: TcpListener, route: Arc<Route>) {
    loop {
        // an error is of one connection, or of too many open files, which passes
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (route, accepted) = (Arc::clone(&route), Instant::now());
        tokio::spawn(async move {
            // a connection that breaks is the client's to notice, as it would be without a proxy
            carry(client, &route, accepted).await.ok();
        });
    }
}

/// Serves one connection: a question for the counts, or a client's way to the endpoint.
async fn carry(mut client: TcpStream, route: &Route, accepted: Instant) -> io::Result<()> {
    client.set_nodelay(true)?;
    let mut first = BytesMut::with_capacity(link::CHUNK);
    if client.read_buf(&mut first).await? == 0 {
        return Ok(());
    }
    let arrived = Instant::now();
    if let Some(answer) = counts::answer(&first, &route.counted) {
        client.write_all(&answer).await?;
        return client.shutdown().await;
    }
    let endpoint = TcpStream::connect(&route.endpoint).await?;
    endpoint.set_nodelay(true)?;
    let _open = route.counted.connection();
    let Wire { round_trip, setup_trips } = route.wire;
    let (from_client, to_client) = client.into_split();
    let (from_endpoint, to_endpoint) = endpoint.into_split();
    let mut requests = Requests::default();
    let there = link::Way {
        clock: route.clock.clone(),
        late: round_trip / 2,
        // on a real link the client could not have sent before
        opens: accepted + round_trip * setup_trips,
    };
    let back = link::Way { clock: route.clock.clone(), late: round_trip - round_trip / 2, opens: accepted };
    let counted = Arc::clone(&route.counted);
    let see = move |bytes: &[u8]| {
        counted.bytes_in(bytes.len());
        requests.see(bytes, |action| counted.call(action));
    };
    let counted = Arc::clone(&route.counted);
    let there = there.carry(Some((first, arrived)), from_client, to_endpoint, see);
    let back = back.carry(None, from_endpoint, to_client, move |bytes| counted.bytes_out(bytes.len()));
    tokio::try_join!(there, back).map(|_| ())
}
