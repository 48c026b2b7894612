//! A proxy that adds latency between AWS clients and an endpoint on this machine, and counts the calls by action.
//!
//! Every byte arrives half a round trip later in each direction, in order and without waiting for a response, as on a real
//! link. A new connection costs further round trips.
//!
//! | part | file |
//! | --- | --- |
//! | one direction of a connection, delayed by half a round trip | `link` |
//! | a timer that is not rounded to milliseconds | `clock` |
//! | the AWS action of a request | `requests` |
//! | counts of calls, connections and bytes, and `/_counts` | `counts` |
//! | TLS between client and proxy | `tls` |

mod clock;
mod counts;
mod link;
mod requests;
pub mod tls;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_rustls::TlsAcceptor;

use crate::clock::Clock;
use crate::counts::Counted;
pub use crate::counts::Counts;
use crate::requests::Requests;

/// The latency between a client and the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latency {
    /// From a byte of a request to the first byte of its response.
    pub round_trip: Duration,
    /// Round trips before the first byte of a connection: 1 for TCP, 2 for TCP with TLS 1.3.
    pub setup_trips: u32,
}

/// A running proxy; dropping it stops it.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    counted: Arc<Counted>,
    accepting: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `listen` (port 0 is any free port) and forwards to `endpoint`, as `host:port`; with `tls`, clients must
    /// connect by TLS.
    ///
    /// # Errors
    /// If the port is taken, or the timer's thread cannot be started.
    pub async fn start(
        listen: SocketAddr,
        endpoint: impl Into<String>,
        latency: Latency,
        tls: Option<TlsAcceptor>,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let counted = Arc::new(Counted::default());
        let route = Route {
            endpoint: endpoint.into(),
            latency,
            tls,
            clock: Clock::start()?,
            counted: Arc::clone(&counted),
        };
        let accepting = tokio::spawn(accept(listener, Arc::new(route)));
        Ok(Self { address, counted, accepting })
    }

    /// The address it listens on.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The counts since the start or the last [`take_counts`](Self::take_counts).
    pub fn counts(&self) -> Counts {
        self.counted.read()
    }

    /// Returns the counts and resets them.
    pub fn take_counts(&self) -> Counts {
        self.counted.take()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

struct Route {
    endpoint: String,
    latency: Latency,
    tls: Option<TlsAcceptor>,
    clock: Clock,
    counted: Arc<Counted>,
}

async fn accept(listener: TcpListener, route: Arc<Route>) {
    loop {
        // The error belongs to one connection, or there are too many open files, which is temporary.
        let Ok((client, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(10)).await;
            continue;
        };
        let (route, accepted) = (Arc::clone(&route), Instant::now());
        tokio::spawn(async move {
            // The client notices a broken connection, as it would without a proxy.
            connect(client, &route, accepted).await.ok();
        });
    }
}

async fn connect(client: TcpStream, route: &Route, accepted: Instant) -> io::Result<()> {
    client.set_nodelay(true)?;
    match &route.tls {
        Some(tls) => carry(tls.accept(client).await?, route, accepted).await,
        None => carry(client, route, accepted).await,
    }
}

/// Serves one connection: a request for the counts, or a client's traffic to the endpoint.
async fn carry(
    mut client: impl AsyncRead + AsyncWrite + Unpin,
    route: &Route,
    accepted: Instant,
) -> io::Result<()> {
    let mut first = BytesMut::with_capacity(link::CHUNK);
    if client.read_buf(&mut first).await? == 0 {
        return Ok(());
    }
    let arrived = Instant::now();
    if let Some(response) = counts::respond(&first, &route.counted) {
        client.write_all(&response).await?;
        return client.shutdown().await;
    }
    let endpoint = TcpStream::connect(&route.endpoint).await?;
    endpoint.set_nodelay(true)?;
    let _open = route.counted.connection();
    let Latency { round_trip, setup_trips } = route.latency;
    let (from_client, to_client) = tokio::io::split(client);
    let (from_endpoint, to_endpoint) = endpoint.into_split();
    let mut requests = Requests::default();
    let there = link::Direction {
        clock: route.clock.clone(),
        delay: round_trip / 2,
        // On a real link the client could not have sent earlier.
        opens: accepted + round_trip * setup_trips,
    };
    let back =
        link::Direction { clock: route.clock.clone(), delay: round_trip - round_trip / 2, opens: accepted };
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
