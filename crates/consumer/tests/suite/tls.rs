//! AWS is reached by TLS as AWS itself is: both versions of the protocol are spoken, certificates are checked, and a peer
//! that falls silent in the handshake costs one bounded call.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use lifeline_emulator::Emulator;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::pki_types::PrivateKeyDer;
use rustls::{ServerConfig, SupportedProtocolVersion, version};
use tokio::io::copy_bidirectional;
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::binary::Process;
use crate::support::*;

/// TLS in front of an endpoint, for `localhost`, with a certificate that nobody but [`Front::trust`] vouches for.
struct Front {
    url: String,
    trust: PathBuf,
}

impl Front {
    async fn of(aws: &Emulator, speaks: &'static SupportedProtocolVersion) -> Self {
        let CertifiedKey { cert, signing_key } =
            generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_protocol_versions(&[speaks])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("https://localhost:{}", listener.local_addr().unwrap().port());
        let behind = aws.url().strip_prefix("http://").unwrap().to_owned();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, behind) = (acceptor.clone(), behind.clone());
                tokio::spawn(async move {
                    let mut inner = acceptor.accept(stream).await?;
                    copy_bidirectional(&mut inner, &mut TcpStream::connect(behind).await?).await
                });
            }
        });
        Self { url, trust: file(&cert.pem()) }
    }
}

/// A file with this in it, among the build's own.
pub(crate) fn file(text: &str) -> PathBuf {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let name = format!("{}-{}.pem", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::write(&path, text).unwrap();
    path
}

fn start(aws: &Emulator, url: &str, trust: &str) -> Process {
    Process::start(aws, &[("AWS_ENDPOINT_URL", url), ("SSL_CERT_FILE", trust), ("CALL_TIMEOUT", "10s")])
}

#[tokio::test(flavor = "multi_thread")]
async fn messages_flow_over_both_versions_of_tls() {
    for speaks in [&version::TLS12, &version::TLS13] {
        let aws = emulator().await;
        let queue = aws.queue("events");
        queue.send_all((0..25).map(|n| format!("message {n}")));
        let front = Front::of(&aws, speaks).await;
        let process = start(&aws, &front.url, front.trust.to_str().unwrap());
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        aws.wait_for(|_| process.ask("/ready").is_some_and(|answer| answer.is_ok()), SOON).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_nobody_vouches_for_is_refused_and_told() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let (front, other) = (Front::of(&aws, &version::TLS13).await, Front::of(&aws, &version::TLS13).await);
    for (trust, says) in [(other.trust.to_str().unwrap(), "certificate"), ("/nowhere", "set SSL_CERT_FILE")] {
        let process = start(&aws, &front.url, trust);
        aws.wait_for(|_| process.has_said(says), SOON).await;
        assert!(process.ask("/health").is_some_and(|answer| answer.is_ok()), "another certificate may come");
        assert!(process.ask("/ready").is_some_and(|answer| !answer.is_ok()));
    }
    assert_eq!(aws.calls(None), 0, "nothing is told to a stranger");
    assert_eq!(queue.counts().visible, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_handshake_that_falls_silent_costs_one_bounded_call() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("https://localhost:{}", silent.local_addr().unwrap().port());
    let trust = Front::of(&aws, &version::TLS13).await.trust;
    let process = start(&aws, &url, trust.to_str().unwrap());
    aws.wait_for(|_| process.has_said("within 3.1s"), SOON).await;
    assert!(process.ask("/health").is_some_and(|answer| answer.is_ok()));
}
