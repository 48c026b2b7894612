//! AWS's own emulator, imitated: TLS on loopback by an authority of its own, and signatures that are checked. In front of
//! the emulator stands a server that computes each signature anew, from what came over the wire and the secret:
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-create-signed-request.html>.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_sns::config::Credentials;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use lifeline_emulator::Emulator;
use lifeline_messaging::client::{Access, Clients};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use ring::{digest, hmac};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::binary::Process;
use crate::support::*;
use crate::tls::file;

const KEY: &str = "AKIAEMULATOR";
const SECRET: &str = "a-secret/that+is/checked";

/// Requests whose signatures were right, and those whose were not.
#[derive(Default)]
struct Seen {
    right: AtomicUsize,
    wrong: AtomicUsize,
}

/// Its URL, the file of its authority, and what it has seen.
async fn front(aws: &Emulator) -> (String, String, Arc<Seen>) {
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
    let key = KeyPair::generate().unwrap();
    let leaf = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    let leaf = leaf.signed_by(&key, &authority).unwrap();
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![leaf.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("https://{}", listener.local_addr().unwrap());
    let seen = Arc::<Seen>::default();
    let (behind, counted) = (host(aws), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (acceptor, behind, seen) = (acceptor.clone(), behind.clone(), Arc::clone(&counted));
            tokio::spawn(async move { serve(acceptor.accept(stream).await.ok()?, &behind, &seen).await });
        }
    });
    (url, file(&authority.pem()).to_str().unwrap().to_owned(), seen)
}

/// The same without TLS.
async fn plain_front(aws: &Emulator) -> (String, Arc<Seen>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    let seen = Arc::<Seen>::default();
    let (behind, counted) = (host(aws), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (behind, seen) = (behind.clone(), Arc::clone(&counted));
            tokio::spawn(async move { serve(stream, &behind, &seen).await });
        }
    });
    (url, seen)
}

fn host(aws: &Emulator) -> String {
    aws.url().strip_prefix("http://").unwrap().to_owned()
}

/// Passes on what is signed rightly. `None` when a connection ends.
async fn serve(client: impl AsyncRead + AsyncWrite + Unpin, behind: &str, seen: &Seen) -> Option<()> {
    let mut client = BufReader::new(client);
    while let Some(request) = Request::read(&mut client).await {
        let answer = if request.is_signed() {
            seen.right.fetch_add(1, Ordering::Relaxed);
            let mut behind = TcpStream::connect(behind).await.ok()?;
            behind.write_all(&request.forwarded()).await.ok()?;
            let mut answer = Vec::new();
            behind.read_to_end(&mut answer).await.ok()?;
            answer
        } else {
            seen.wrong.fetch_add(1, Ordering::Relaxed);
            let body = r#"{"__type":"com.amazon.coral.service#InvalidSignatureException","message":"The request signature we calculated does not match"}"#;
            let head = "HTTP/1.1 403 Forbidden\r\ncontent-type: application/x-amz-json-1.0";
            format!("{head}\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}", body.len())
                .into_bytes()
        };
        client.write_all(&answer).await.ok()?;
        client.flush().await.ok()?;
        // what is behind closes after its answer, and so does this
        client.shutdown().await.ok()?;
    }
    None
}

/// A request as it came.
struct Request {
    line: String,
    headers: BTreeMap<String, String>,
    body: Vec<u8>,
}

impl Request {
    async fn read(from: &mut (impl AsyncBufReadExt + Unpin)) -> Option<Self> {
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            if from.read_line(&mut line).await.ok()? == 0 {
                return None;
            }
            match line.trim_end() {
                "" => break,
                line => lines.push(line.to_owned()),
            }
        }
        let header = |line: &String| {
            let (name, value) = line.split_once(':').unwrap();
            (name.to_lowercase(), value.split_whitespace().collect::<Vec<_>>().join(" "))
        };
        let headers: BTreeMap<_, _> = lines[1..].iter().map(header).collect();
        let length = headers.get("content-length").map_or(0, |length| length.parse().unwrap());
        let mut body = vec![0; length];
        from.read_exact(&mut body).await.ok()?;
        Some(Self { line: lines.swap_remove(0), headers, body })
    }

    /// Whether it was signed by the holder of the secret, as it is.
    fn is_signed(&self) -> bool {
        let part = |name: &str| {
            let authorization = self.headers.get("authorization")?.strip_prefix("AWS4-HMAC-SHA256 ")?;
            authorization.split(", ").find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let (Some(credential), Some(signed), Some(signature)) =
            (part("Credential"), part("SignedHeaders"), part("Signature"))
        else {
            return false;
        };
        let Some(scope) = credential.strip_prefix(KEY).and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        // what it must not be silent about
        if !["host", "x-amz-date"].iter().all(|name| signed.split(';').any(|signed| signed == *name)) {
            return false;
        }
        let mut words = self.line.split(' ');
        let (method, target) = (words.next().unwrap(), words.next().unwrap());
        let (path, query) = target.split_once('?').unwrap_or((target, ""));
        let mut canonical = format!("{method}\n{path}\n{query}\n");
        for name in signed.split(';') {
            let value = self.headers.get(name).map_or("", String::as_str);
            writeln!(canonical, "{name}:{value}").unwrap();
        }
        write!(canonical, "\n{signed}\n{}", hex(digest::digest(&digest::SHA256, &self.body).as_ref()))
            .unwrap();
        let date = &self.headers["x-amz-date"];
        let hashed = hex(digest::digest(&digest::SHA256, canonical.as_bytes()).as_ref());
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{hashed}");
        let mac = |key: &[u8], text: &str| {
            hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, key), text.as_bytes()).as_ref().to_vec()
        };
        let key = scope.split('/').fold(format!("AWS4{SECRET}").into_bytes(), |key, part| mac(&key, part));
        hex(&mac(&key, &text)) == signature
    }

    fn forwarded(&self) -> Vec<u8> {
        let mut head = format!("{}\r\n", self.line);
        for (name, value) in self.headers.iter().filter(|(name, _)| *name != "connection") {
            write!(head, "{name}: {value}\r\n").unwrap();
        }
        [head.as_bytes(), b"connection: close\r\n\r\n", &self.body].concat()
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        write!(text, "{byte:02x}").unwrap();
        text
    })
}

#[tokio::test(flavor = "multi_thread")]
async fn with_an_authority_of_its_own_and_checked_signatures_everything_works() {
    let aws = emulator().await;
    let (url, authority, seen) = front(&aws).await;
    let settings = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_CA_BUNDLE", &authority),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", SECRET),
        ("PROVISION", "true"),
    ];
    let process = Process::start(&aws, &settings);
    // topic, queue, policy and subscription: both services, and both of their protocols
    aws.wait_for(|_| process.ask("/ready").is_some_and(|answer| answer.is_ok()), SOON).await;
    let queue = aws.existing_queue("events");
    queue.send_all((0..25).map(|n| format!("message {n}, größer")));
    aws.wait_for(|_| queue.deleted().len() == 25, SOON).await;
    assert_eq!(seen.wrong.load(Ordering::Relaxed), 0);
    assert!(seen.right.load(Ordering::Relaxed) > 10);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_secret_is_refused_and_ready_says_so() {
    let aws = emulator().await;
    let (url, authority, seen) = front(&aws).await;
    let settings = [
        ("AWS_ENDPOINT_URL", url.as_str()),
        ("AWS_CA_BUNDLE", &authority),
        ("AWS_ACCESS_KEY_ID", KEY),
        ("AWS_SECRET_ACCESS_KEY", "another-secret"),
    ];
    let process = Process::start(&aws, &settings);
    let says = |process: &Process| {
        process.ask("/ready").is_some_and(|answer| answer.body.contains("InvalidSignatureException"))
    };
    aws.wait_for(|_| says(&process), SOON).await;
    assert_eq!((seen.right.load(Ordering::Relaxed), aws.calls(None)), (0, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_that_is_written_in_one_pass_is_signed_as_it_is_sent() {
    let aws = emulator().await;
    let (queue, topic) = (aws.queue("events"), aws.topic("events"));
    topic.subscribe(&queue, true);
    let (url, seen) = plain_front(&aws).await;
    let publish = async |secret: &str| {
        let credentials = Credentials::new(KEY, secret, Some("a token/with+signs==".into()), None, "test");
        let access = Access { credentials: Some(credentials), ..Access::local(&url) };
        let clients = Clients::connect(&access).await.unwrap();
        let attribute =
            MessageAttributeValue::builder().data_type("String").string_value("größer & more~ +/");
        let entries = (0..10).map(|n| {
            PublishBatchRequestEntry::builder()
                .id(n.to_string())
                .message(format!("{n} \"größer\" 🦀 %20 a+b=c&d\r\n\t*~"))
                .message_attributes("name", attribute.clone().build().unwrap())
                .build()
                .unwrap()
        });
        let call = clients.sns.publish_batch().topic_arn(topic.arn());
        call.set_publish_batch_request_entries(Some(entries.collect())).send().await
    };
    assert_eq!(publish(SECRET).await.unwrap().successful().len(), 10);
    assert_eq!(queue.bodies().len(), 10);
    assert_eq!((seen.right.load(Ordering::Relaxed), seen.wrong.load(Ordering::Relaxed)), (1, 0));
    publish("another").await.unwrap_err();
    assert_eq!((seen.right.load(Ordering::Relaxed), seen.wrong.load(Ordering::Relaxed)), (1, 1));
}
