//! HTTP/1.1 over TCP or TLS, as everything here speaks it: the AWS SDK, the export of spans, the consumer's `http` handler.
//!
//! hyper's pooled client with what none of them may go without: a bound on connecting, idle connections that are dropped
//! before the NATs and balancers on the way forget them (awslabs/aws-sdk-rust#1417), and the system's certificates. No
//! HTTP/2: SNS and SQS do not speak it, and it is a twentieth of a program.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::body::Body;
use hyper::http::uri::Scheme;
use hyper_rustls::{ConfigBuilderExt, HttpsConnector, MaybeHttpsStream};
use hyper_util::client::legacy;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

/// Connections that were not used for so long are closed.
const IDLE: Duration = Duration::from_secs(15);

/// Sends requests with bodies of `B`. Cheap to clone; clones share their connections.
pub type Client<B> = legacy::Client<Connect, B>;

/// A client that connects within `connect`, name look-up and TLS handshake included, and keeps at most `kept` idle
/// connections to one host. Nothing is sent, and no certificate is read, before the first request.
pub fn client<B>(connect: Duration, kept: usize) -> Client<B>
where
    B: Body + Send,
    B::Data: Send,
{
    let mut tcp = HttpConnector::new();
    // `https` is connected by it too, and then wrapped
    tcp.enforce_http(false);
    // a request is written whole: there is nothing to wait for
    tcp.set_nodelay(true);
    legacy::Client::builder(TokioExecutor::new())
        .pool_timer(TokioTimer::new())
        .pool_idle_timeout(IDLE)
        .pool_max_idle_per_host(kept)
        .build(Connect { tcp, limit: connect })
}

/// Reads the certificates that requests to `to` need, so that a start can fail where the first request would.
///
/// # Errors
/// `to` is an `https` address, and the system trusts nobody.
pub fn trust(to: &Uri) -> io::Result<()> {
    if to.scheme() == Some(&Scheme::HTTPS) { trusting().map(drop) } else { Ok(()) }
}

/// Connects by TCP, and by TLS where the address says `https`.
#[derive(Debug, Clone)]
pub struct Connect {
    tcp: HttpConnector,
    limit: Duration,
}

/// A boxed error, as hyper takes them.
type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What connecting comes to.
type Connecting =
    Pin<Box<dyn Future<Output = Result<MaybeHttpsStream<TokioIo<TcpStream>>, BoxError>> + Send>>;

impl Service<Uri> for Connect {
    type Response = MaybeHttpsStream<TokioIo<TcpStream>>;
    type Error = BoxError;
    type Future = Connecting;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.tcp.poll_ready(cx).map_err(Into::into)
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let connecting: Connecting = if to.scheme() == Some(&Scheme::HTTPS) {
            match trusting() {
                Ok(tls) => HttpsConnector::from((self.tcp.clone(), tls)).call(to),
                Err(error) => Box::pin(std::future::ready(Err(error.into()))),
            }
        } else {
            let tcp = self.tcp.call(to);
            Box::pin(async { Ok(MaybeHttpsStream::Http(tcp.await?)) })
        };
        let limit = self.limit;
        Box::pin(async move {
            let late = || io::Error::new(io::ErrorKind::TimedOut, format!("no connection within {limit:?}"));
            tokio::time::timeout(limit, connecting).await.unwrap_or_else(|_| Err(late().into()))
        })
    }
}

/// TLS that trusts who the system trusts. The certificates are read once, for the first `https` address: a machine may
/// have none, and may not need them.
fn trusting() -> io::Result<Arc<ClientConfig>> {
    static TRUSTING: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = TRUSTING.get() {
        return Ok(Arc::clone(config));
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(io::Error::other)?
        .with_native_roots()
        .map_err(|e| io::Error::new(e.kind(), format!("no certificate to trust: {e}; set SSL_CERT_FILE")))?
        .with_no_client_auth();
    Ok(Arc::clone(TRUSTING.get_or_init(|| Arc::new(config))))
}
