//! The client against servers, proxies and names of the test's own.
#![allow(clippy::unwrap_used, reason = "as in any test")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use http_body_util::{BodyExt, Empty};
use hyper::Request;
use hyper::body::Bytes;
use lifeline_http::{Client, Proxies, Resolve, Resolving, Trust};
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

const LIMIT: Duration = Duration::from_secs(5);

/// Reads the head of one request; `None` at the end of the connection.
async fn head(stream: &mut (impl AsyncRead + Unpin)) -> Option<String> {
    let mut read = Vec::new();
    while !read.ends_with(b"\r\n\r\n") {
        read.push(stream.read_u8().await.ok()?);
    }
    Some(String::from_utf8(read).unwrap())
}

async fn answer(stream: &mut (impl AsyncWrite + Unpin), body: &str) {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
    stream.write_all(text.as_bytes()).await.ok();
}

/// Answers every request with its own name, and keeps connections.
async fn server(address: &str, name: &'static str) -> SocketAddr {
    let listener = TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                while head(&mut stream).await.is_some() {
                    answer(&mut stream, name).await;
                }
            });
        }
    });
    address
}

/// What a proxy was asked, and what it did about it: CONNECT makes a tunnel to `behind`, all else is answered.
async fn proxy(behind: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, heads) = (listener.local_addr().unwrap(), Arc::new(Mutex::new(Vec::new())));
    let seen = Arc::clone(&heads);
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let seen = Arc::clone(&seen);
            tokio::spawn(async move {
                let asked = head(&mut stream).await?;
                let tunnel = asked.starts_with("CONNECT ");
                seen.lock().unwrap().push(asked);
                if tunnel {
                    stream.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").await.ok()?;
                    let mut inner = TcpStream::connect(behind).await.ok()?;
                    copy_bidirectional(&mut stream, &mut inner).await.ok()?;
                } else {
                    answer(&mut stream, "by the proxy").await;
                }
                Some(())
            });
        }
    });
    (address, heads)
}

/// A server that speaks TLS with whatever certificate is in force, for `secure.test`.
struct Secure {
    address: SocketAddr,
    config: Arc<Mutex<Arc<ServerConfig>>>,
}

impl Secure {
    async fn start() -> (Self, String) {
        let (config, pem) = certificate();
        let config = Arc::new(Mutex::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let in_force = Arc::clone(&config);
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let acceptor = TlsAcceptor::from(Arc::clone(&in_force.lock().unwrap()));
                tokio::spawn(async move {
                    let mut stream = acceptor.accept(stream).await.ok()?;
                    head(&mut stream).await?;
                    answer(&mut stream, "by TLS").await;
                    stream.shutdown().await.ok()
                });
            }
        });
        (Self { address, config }, pem)
    }
}

/// A certificate of its own authority, and that as PEM.
fn certificate() -> (Arc<ServerConfig>, String) {
    let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["secure.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ServerConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![cert.der().clone()], key)
        .unwrap();
    (Arc::new(config), cert.pem())
}

fn bundle(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}.pem", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

/// Every name has these addresses.
#[derive(Debug, Clone)]
struct Names(Arc<Mutex<Vec<IpAddr>>>);

impl Names {
    fn of(addresses: impl Into<Vec<IpAddr>>) -> Self {
        Self(Arc::new(Mutex::new(addresses.into())))
    }
}

impl Resolve for Names {
    fn resolve(&self, _: String) -> Resolving {
        let found = self.0.lock().unwrap().clone();
        Box::pin(async move { Ok(found) })
    }
}

fn client(names: &Names, proxies: Proxies) -> lifeline_http::Builder<Empty<Bytes>> {
    Client::builder(LIMIT).resolver(names.clone()).proxies(proxies)
}

async fn get(client: &Client<Empty<Bytes>>, url: &str) -> Result<String, String> {
    let chain = |error: &dyn std::error::Error| {
        std::iter::successors(Some(error), |error| error.source())
            .map(ToString::to_string)
            .collect::<Vec<_>>()
            .join(": ")
    };
    let request = Request::get(url).body(Empty::new()).unwrap();
    let response = client.request(request).await.map_err(|error| chain(&error))?;
    let body = response.into_body().collect().await.map_err(|error| chain(&error))?;
    Ok(String::from_utf8(body.to_bytes().to_vec()).unwrap())
}

const LOOPBACK: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

#[tokio::test]
async fn a_plain_request_goes_to_the_proxy_whole_and_with_its_credentials() {
    let (proxy, heads) = proxy("127.0.0.1:9".parse().unwrap()).await;
    let by = format!("http://user:secret@{proxy}");
    let client = client(&Names::of([LOOPBACK]), Proxies::new(&by, "", "local.test")).build();
    assert_eq!(get(&client, "http://far.test/path?x=1").await.unwrap(), "by the proxy");
    let head = heads.lock().unwrap().pop().unwrap().to_lowercase();
    assert!(head.starts_with("get http://far.test/path?x=1 http/1.1\r\n"), "{head}");
    assert!(head.contains("proxy-authorization: basic dxnlcjpzzwnyzxq=\r\n"), "{head}");

    let here = server("127.0.0.1:0", "direct").await;
    assert_eq!(get(&client, &format!("http://local.test:{}/", here.port())).await.unwrap(), "direct");
    assert!(heads.lock().unwrap().is_empty(), "NO_PROXY names it");
}

#[tokio::test]
async fn tls_goes_through_a_tunnel_and_is_the_hosts_own() {
    let (secure, pem) = Secure::start().await;
    let (proxy, heads) = proxy(secure.address).await;
    let proxies = Proxies::new("", &format!("http://user:secret@{proxy}"), "");
    let client = client(&Names::of([LOOPBACK]), proxies).trust(Trust::file(bundle(&pem))).build();
    assert_eq!(get(&client, "https://secure.test/").await.unwrap(), "by TLS");
    let head = heads.lock().unwrap().pop().unwrap();
    assert!(head.starts_with("CONNECT secure.test:443 HTTP/1.1\r\n"), "{head}");
    assert!(head.contains("Basic dXNlcjpzZWNyZXQ="), "{head}");
}

#[tokio::test]
async fn a_proxy_that_is_gone_is_named() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let proxies = Proxies::new("", &format!("http://{gone}"), "");
    let (_, pem) = certificate();
    let client = client(&Names::of([LOOPBACK]), proxies).trust(Trust::file(bundle(&pem))).build();
    let error = get(&client, "https://secure.test/").await.unwrap_err();
    assert!(error.contains(&format!("the proxy {gone} does not connect to secure.test")), "{error}");
}

/// Takes connections until its backlog is full, and swallows every further SYN.
async fn hole(address: SocketAddr) -> Vec<TcpStream> {
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind(address).unwrap();
    // never accepts, and must live as long as the test
    std::mem::forget(socket.listen(1).unwrap());
    let mut held = Vec::new();
    while let Ok(Ok(stream)) =
        tokio::time::timeout(Duration::from_millis(300), TcpStream::connect(address)).await
    {
        held.push(stream);
    }
    held
}

#[tokio::test]
async fn an_address_that_swallows_packets_costs_a_fraction_of_a_second() {
    let here = server("127.0.0.1:0", "here").await;
    let swallowing = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), here.port());
    let held = hole(swallowing).await;
    assert!(!held.is_empty());
    // the addresses of a family are shuffled: each try may meet the hole first
    for _ in 0..6 {
        let client = client(&Names::of([swallowing.ip(), LOOPBACK]), Proxies::none()).build();
        let begun = Instant::now();
        assert_eq!(get(&client, &format!("http://svc.test:{}/", here.port())).await.unwrap(), "here");
        assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    }
}

#[tokio::test]
async fn a_host_that_no_address_reaches_is_named_within_the_bound() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let client = client(&Names::of([LOOPBACK]), Proxies::none()).build();
    let error = get(&client, &format!("http://svc.test:{}/", gone.port())).await.unwrap_err();
    assert!(error.contains(&format!("cannot connect to svc.test:{}", gone.port())), "{error}");
    assert!(error.contains("refused"), "{error}");
}

#[tokio::test]
async fn a_service_that_moves_is_followed_although_its_old_place_still_answers() {
    let old = server("127.0.0.1:0", "old").await;
    let new = server(&format!("127.0.0.3:{}", old.port()), "new").await;
    let names = Names::of([old.ip()]);
    let client = client(&names, Proxies::none()).max_age(Duration::from_millis(200)).build();
    let url = format!("http://svc.test:{}/", old.port());
    assert_eq!(get(&client, &url).await.unwrap(), "old");
    *names.0.lock().unwrap() = vec![new.ip()];
    let begun = Instant::now();
    while get(&client, &url).await.unwrap() == "old" {
        assert!(begun.elapsed() < LIMIT, "still at the old place");
    }
}

#[tokio::test]
async fn a_rotated_authority_is_trusted_without_a_restart() {
    let (secure, pem) = Secure::start().await;
    let trusted = bundle(&pem);
    let client = client(&Names::of([LOOPBACK]), Proxies::none()).trust(Trust::file(&trusted)).build();
    let url = format!("https://secure.test:{}/", secure.address.port());
    assert_eq!(get(&client, &url).await.unwrap(), "by TLS");

    let (config, new) = certificate();
    *secure.config.lock().unwrap() = config;
    let error = get(&client, &url).await.unwrap_err();
    assert!(error.contains("TLS with secure.test failed"), "{error}");
    assert!(error.contains("set SSL_CERT_FILE or AWS_CA_BUNDLE"), "{error}");

    std::fs::write(&trusted, new).unwrap();
    let begun = Instant::now();
    while get(&client, &url).await.is_err() {
        assert!(begun.elapsed() < LIMIT, "the new authority is not trusted");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn a_bundle_that_is_none_names_the_variable_and_the_file() {
    let path = bundle("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n");
    let client = client(&Names::of([LOOPBACK]), Proxies::none()).trust(Trust::file(&path)).build();
    let error = client.check_trust(&"https://secure.test/".parse().unwrap()).unwrap_err().to_string();
    assert!(error.contains("AWS_CA_BUNDLE=") && error.contains(&*path.to_string_lossy()), "{error}");
    client.check_trust(&"http://plain.test/".parse().unwrap()).unwrap();
}

#[tokio::test]
async fn a_handshake_that_falls_silent_is_bounded() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = silent.local_addr().unwrap();
    let accepted = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&accepted);
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = silent.accept().await {
            seen.store(true, Ordering::Relaxed);
            held.push(stream);
        }
    });
    let (_, pem) = certificate();
    let client = Client::<Empty<Bytes>>::builder(Duration::from_millis(300))
        .resolver(Names::of([LOOPBACK]))
        .proxies(Proxies::none())
        .trust(Trust::file(bundle(&pem)))
        .build();
    let begun = Instant::now();
    let error = get(&client, &format!("https://secure.test:{}/", address.port())).await.unwrap_err();
    assert!(error.contains("no connection to secure.test within 300ms"), "{error}");
    assert!(begun.elapsed() < Duration::from_secs(3) && accepted.load(Ordering::Relaxed));
}
