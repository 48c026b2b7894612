//! What a client sees through the proxy, with real sockets on both sides.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use latency_proxy::{Latency, Proxy};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const REQUEST: &[u8] =
    b"POST / HTTP/1.1\r\nx-amz-target: AmazonSQS.ReceiveMessage\r\ncontent-length: 2\r\n\r\n{}";
const ROUND_TRIP: Duration = Duration::from_millis(40);

/// Sends every byte back.
async fn echo() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let (mut from, mut to) = stream.split();
                tokio::io::copy(&mut from, &mut to).await.ok();
                to.shutdown().await.ok();
            });
        }
    });
    address
}

async fn proxy(setup_trips: u32) -> Proxy {
    let latency = Latency { round_trip: ROUND_TRIP, setup_trips };
    let free = "127.0.0.1:0".parse().unwrap();
    Proxy::start(free, echo().await.to_string(), latency, None).await.unwrap()
}

async fn request(stream: &mut TcpStream, times: usize) -> Duration {
    let begun = Instant::now();
    stream.write_all(&REQUEST.repeat(times)).await.unwrap();
    let mut back = vec![0; REQUEST.len() * times];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, REQUEST.repeat(times), "bytes arrive in order");
    begun.elapsed()
}

#[tokio::test]
async fn a_connection_costs_a_round_trip_and_each_request_one_more() {
    let proxy = proxy(1).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    let first = request(&mut stream, 1).await;
    let mut quickest = Duration::MAX;
    for _ in 0..10 {
        quickest = quickest.min(request(&mut stream, 1).await);
    }
    assert!(first >= ROUND_TRIP * 2, "{first:?}");
    assert!(quickest >= ROUND_TRIP && quickest < ROUND_TRIP * 2, "{quickest:?}");
    assert_eq!(proxy.counts().of("ReceiveMessage"), 11);
    assert_eq!((proxy.counts().opened, proxy.counts().most_open), (1, 1));
}

#[tokio::test]
async fn concurrent_requests_wait_for_the_latency_once() {
    let proxy = proxy(0).await;
    let mut streams = Vec::new();
    for _ in 0..20 {
        streams.push(TcpStream::connect(proxy.address()).await.unwrap());
    }
    let begun = Instant::now();
    let requests =
        streams.into_iter().map(|mut stream| tokio::spawn(async move { request(&mut stream, 50).await }));
    for request in requests.collect::<Vec<_>>() {
        request.await.unwrap();
    }
    // One after another they would take 40 s.
    assert!(begun.elapsed() >= ROUND_TRIP && begun.elapsed() < ROUND_TRIP * 50, "{:?}", begun.elapsed());
    assert_eq!(proxy.counts().of("ReceiveMessage"), 1000);
}

#[tokio::test]
async fn the_end_of_a_stream_is_forwarded() {
    let proxy = proxy(0).await;
    let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
    stream.write_all(REQUEST).await.unwrap();
    stream.shutdown().await.unwrap();
    let mut back = Vec::new();
    stream.read_to_end(&mut back).await.unwrap();
    assert_eq!(back, REQUEST);
}

#[tokio::test]
async fn the_counts_are_read_and_reset_over_http() {
    let proxy = proxy(0).await;
    request(&mut TcpStream::connect(proxy.address()).await.unwrap(), 3).await;
    for (method, calls) in [("GET", 3), ("DELETE", 3), ("GET", 0)] {
        let mut stream = TcpStream::connect(proxy.address()).await.unwrap();
        stream.write_all(format!("{method} /_counts HTTP/1.1\r\nhost: x\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        stream.read_to_string(&mut response).await.unwrap();
        let (head, body) = response.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 "), "{head}");
        let counts: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!(counts["total"], calls, "{method}: {counts}");
    }
}

#[tokio::test]
async fn clients_that_trust_the_ca_connect_by_tls_and_are_counted() {
    let directory = tempfile::tempdir().unwrap();
    let (acceptor, ca) = latency_proxy::tls::acceptor(directory.path()).unwrap();
    let latency = Latency { round_trip: Duration::ZERO, setup_trips: 0 };
    let free = SocketAddr::from(([127, 0, 0, 1], 0));
    let proxy = Proxy::start(free, echo().await.to_string(), latency, Some(acceptor)).await.unwrap();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(ca).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider);
    let config = config.with_safe_default_protocol_versions().unwrap().with_root_certificates(roots);
    let connector = tokio_rustls::TlsConnector::from(Arc::new(config.with_no_client_auth()));
    let stream = TcpStream::connect(proxy.address()).await.unwrap();
    let name = ServerName::try_from("127.0.0.1").unwrap();
    let mut stream = connector.connect(name, stream).await.unwrap();

    stream.write_all(REQUEST).await.unwrap();
    let mut back = vec![0; REQUEST.len()];
    stream.read_exact(&mut back).await.unwrap();
    assert_eq!(back, REQUEST);
    assert_eq!(proxy.counts().of("ReceiveMessage"), 1);
}
