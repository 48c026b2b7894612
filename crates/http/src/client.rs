//! The pooled client.

use std::fmt;
use std::marker::PhantomData;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use hyper::body::Body;
use hyper::header::PROXY_AUTHORIZATION;
use hyper::http::uri::Scheme;
use hyper::{Request, Uri};
use hyper_util::client::legacy;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use tokio::time::Instant;

use crate::connect::Connect;
use crate::proxy::Proxies;
use crate::resolve::{Resolve, System};
use crate::trust::Trust;

/// Connections that were not used for so long are closed: NATs and load balancers on the way forget them
/// (awslabs/aws-sdk-rust#1417).
const IDLE: Duration = Duration::from_secs(15);

/// The age at which connections take no further request, so that a service that was moved or scaled is followed. Each
/// set of connections has a jitter of a third.
const MAX_AGE: Duration = Duration::from_secs(90);

/// The failure of a request.
pub type ClientError = legacy::Error;

/// Sends requests with bodies of `B`. Cheap to clone; clones share their connections.
pub struct Client<B>(Arc<Pool<B>>);

struct Pool<B> {
    connect: Connect,
    max_idle: usize,
    max_age: Duration,
    current: Mutex<Generation<B>>,
}

/// Connections that were made within one span of time.
struct Generation<B> {
    client: legacy::Client<Connect, B>,
    until: Instant,
}

/// How a client connects. See [`Client::builder`].
#[derive(Debug)]
#[must_use]
pub struct Builder<B> {
    connect: Connect,
    max_idle: usize,
    max_age: Duration,
    body: PhantomData<fn() -> B>,
}

impl<B> Client<B>
where
    B: Body + Send + 'static,
    B::Data: Send,
{
    /// A client that connects within `connect`, name look-up, proxy and TLS handshake included. Nothing is sent, and no
    /// certificate is read, before the first request.
    pub fn builder(connect: Duration) -> Builder<B> {
        let connect = Connect {
            limit: connect,
            resolver: Arc::new(System::default()),
            proxies: Arc::new(Proxies::from_env()),
            trust: Trust::system(),
        };
        Builder { connect, max_idle: usize::MAX, max_age: MAX_AGE, body: PhantomData }
    }

    /// Sends a request and awaits the head of its response.
    ///
    /// # Errors
    /// No connection, or one that ended. A bound on the response is the caller's.
    ///
    /// # Cancel safety
    /// Dropped, the request may or may not have been sent.
    pub fn request(&self, mut request: Request<B>) -> legacy::ResponseFuture
    where
        B: Unpin,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        // through a tunnel the header belongs to the tunnel
        if request.uri().scheme() != Some(&Scheme::HTTPS)
            && let Some(proxy) = self.0.connect.proxies.of(request.uri())
            && let Some(auth) = proxy.basic_auth()
        {
            request.headers_mut().insert(PROXY_AUTHORIZATION, auth.clone());
        }
        self.0.current().request(request)
    }

    /// Reads the certificates that requests to `to` need, so that a start can fail where the first request would.
    ///
    /// # Errors
    /// `to` is an `https` address, and the certificates cannot be read.
    pub fn check_trust(&self, to: &Uri) -> std::io::Result<()> {
        if to.scheme() == Some(&Scheme::HTTPS) { self.0.connect.trust.config().map(drop) } else { Ok(()) }
    }
}

impl<B> Pool<B>
where
    B: Body + Send,
    B::Data: Send,
{
    fn current(&self) -> legacy::Client<Connect, B> {
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if current.until <= Instant::now() {
            // what is in flight on the old connections ends there
            *current = Generation::new(&self.connect, self.max_idle, self.max_age);
        }
        current.client.clone()
    }
}

impl<B> Generation<B>
where
    B: Body + Send,
    B::Data: Send,
{
    fn new(connect: &Connect, max_idle: usize, max_age: Duration) -> Self {
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(max_idle)
            .build(connect.clone());
        Self { client, until: Instant::now() + max_age.mul_f64(1.0 - fastrand::f64() / 3.0) }
    }
}

impl<B> Builder<B>
where
    B: Body + Send,
    B::Data: Send,
{
    /// The most idle connections that are kept to one host; unlimited.
    pub fn max_idle(mut self, connections: usize) -> Self {
        self.max_idle = connections;
        self
    }

    /// The age at which a connection takes no further request; 90 s, less up to a third of jitter.
    pub fn max_age(mut self, age: Duration) -> Self {
        self.max_age = age;
        self
    }

    /// Looks up names; the system's resolver.
    pub fn resolver(mut self, resolver: impl Resolve + 'static) -> Self {
        self.connect.resolver = Arc::new(resolver);
        self
    }

    /// The proxies; those of the environment.
    pub fn proxies(mut self, proxies: Proxies) -> Self {
        self.connect.proxies = Arc::new(proxies);
        self
    }

    /// The trusted certificates; the system's and those of `AWS_CA_BUNDLE`.
    pub fn trust(mut self, trust: Trust) -> Self {
        self.connect.trust = trust;
        self
    }

    /// The client.
    pub fn build(self) -> Client<B> {
        let Self { connect, max_idle, max_age, .. } = self;
        let current = Mutex::new(Generation::new(&connect, max_idle, max_age));
        Client(Arc::new(Pool { connect, max_idle, max_age, current }))
    }
}

impl<B> Clone for Client<B> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<B> fmt::Debug for Client<B> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("connect", &self.0.connect).finish_non_exhaustive()
    }
}
