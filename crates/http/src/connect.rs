//! Makes a connection within a bound: by TCP, through a proxy where one is set, and by TLS where the address says `https`.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::Uri;
use hyper::http::uri::Scheme;
use hyper_util::client::legacy::connect::proxy::{SocksV5, Tunnel};
use hyper_util::client::proxy::matcher::Intercept;
use rustls::pki_types::ServerName;
use tokio_rustls::TlsConnector;
use tower_service::Service;

use crate::dial::dial;
use crate::proxy::Proxies;
use crate::resolve::Resolve;
use crate::stream::Stream;
use crate::trust::Trust;

/// Connects for hyper's client.
#[derive(Debug, Clone)]
pub struct Connect {
    pub(crate) limit: Duration,
    pub(crate) resolver: Arc<dyn Resolve>,
    pub(crate) proxies: Arc<Proxies>,
    pub(crate) trust: Trust,
}

/// The work of connecting.
type Connecting = Pin<Box<dyn Future<Output = io::Result<Stream>> + Send>>;

impl Service<Uri> for Connect {
    type Response = Stream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, to: Uri) -> Connecting {
        let connect = self.clone();
        Box::pin(async move {
            let late = |_| {
                let (host, limit) = (to.host().unwrap_or_default(), connect.limit);
                io::Error::new(io::ErrorKind::TimedOut, format!("no connection to {host} within {limit:?}"))
            };
            tokio::time::timeout(connect.limit, connect.connect(&to)).await.map_err(late)?
        })
    }
}

impl Connect {
    async fn connect(&self, to: &Uri) -> io::Result<Stream> {
        let proxy = self.proxies.of(to);
        if to.scheme() == Some(&Scheme::HTTPS) {
            self.secured(to, proxy.as_ref()).await
        } else {
            match &proxy {
                Some(proxy) if !is_socks(proxy.uri()) => Ok(self.to_proxy(proxy.uri()).await?.forwarded()),
                proxy => self.reach(to, proxy.as_ref()).await,
            }
        }
    }

    /// TLS to the host itself. A certificate that is not trusted is judged once more by certificates that were read anew.
    async fn secured(&self, to: &Uri, proxy: Option<&Intercept>) -> io::Result<Stream> {
        let config = self.trust.config()?;
        let host = host_of(to)?;
        match self.handshake(host, &config, self.reach(to, proxy).await?).await {
            Err(error) if is_distrust(&error) => match self.trust.renewed(&config) {
                Some(config) => self.handshake(host, &config, self.reach(to, proxy).await?).await,
                None => Err(error),
            },
            done => done,
        }
    }

    async fn handshake(
        &self,
        host: &str,
        config: &Arc<rustls::ClientConfig>,
        tcp: Stream,
    ) -> io::Result<Stream> {
        let name = ServerName::try_from(host.trim_matches(['[', ']']).trim_end_matches('.').to_owned());
        let name =
            name.map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, format!("{host}: {error}")))?;
        let tls = TlsConnector::from(Arc::clone(config));
        tcp.secured(tls, name).await.map_err(|error| {
            // the inner error says what is wrong, the remedy is ours to name
            let remedy = if is_distrust(&error) {
                "; set SSL_CERT_FILE or AWS_CA_BUNDLE to its authority"
            } else {
                ""
            };
            let kind = error.kind();
            let text = format!("TLS with {host} failed: {error}{remedy}");
            io::Error::new(kind, Handshake { text, source: error })
        })
    }

    /// A connection on which bytes reach the host of `to`.
    async fn reach(&self, to: &Uri, proxy: Option<&Intercept>) -> io::Result<Stream> {
        let Some(proxy) = proxy else { return self.tcp(to).await };
        let by = proxy.uri();
        let named = |error: &dyn std::fmt::Display| {
            let place = format!("{}:{}", by.host().unwrap_or_default(), port_of(by));
            io::Error::other(format!(
                "the proxy {place} does not connect to {}: {error}",
                to.host().unwrap_or_default()
            ))
        };
        if is_socks(by) {
            let mut socks = SocksV5::new(by.clone(), ToProxy(self.clone()));
            if let Some((user, password)) = proxy.raw_auth() {
                socks = socks.with_auth(user.to_owned(), password.to_owned());
            }
            return socks.call(to.clone()).await.map_err(|error| named(&error));
        }
        let mut tunnel = Tunnel::new(by.clone(), ToProxy(self.clone()));
        if let Some(auth) = proxy.basic_auth() {
            tunnel = tunnel.with_auth(auth.clone());
        }
        tunnel.call(to.clone()).await.map_err(|error| named(&error))
    }

    async fn to_proxy(&self, proxy: &Uri) -> io::Result<Stream> {
        let tcp = self.tcp(proxy).await?;
        if proxy.scheme() == Some(&Scheme::HTTPS) {
            self.handshake(host_of(proxy)?, &self.trust.config()?, tcp).await
        } else {
            Ok(tcp)
        }
    }

    async fn tcp(&self, to: &Uri) -> io::Result<Stream> {
        Ok(Stream::tcp(dial(&self.resolver, host_of(to)?, port_of(to)).await?))
    }
}

/// Connects to a proxy, for what speaks to it.
#[derive(Debug, Clone)]
struct ToProxy(Connect);

impl Service<Uri> for ToProxy {
    type Response = Stream;
    type Error = io::Error;
    type Future = Connecting;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, proxy: Uri) -> Connecting {
        let connect = self.0.clone();
        Box::pin(async move { connect.to_proxy(&proxy).await })
    }
}

/// A failed handshake: the whole sentence, with rustls' error as its source.
#[derive(Debug)]
struct Handshake {
    text: String,
    source: io::Error,
}

impl std::fmt::Display for Handshake {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for Handshake {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Whether a handshake failed because the peer's certificate is not trusted.
fn is_distrust(error: &io::Error) -> bool {
    let Some(inner) = error.get_ref() else { return false };
    if let Some(Handshake { source, .. }) = inner.downcast_ref() {
        return is_distrust(source);
    }
    matches!(inner.downcast_ref(), Some(rustls::Error::InvalidCertificate(_)))
}

fn host_of(uri: &Uri) -> io::Result<&str> {
    uri.host().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, format!("{uri} names no host")))
}

fn port_of(uri: &Uri) -> u16 {
    let standard = match uri.scheme_str() {
        Some("https") => 443,
        Some(scheme) if scheme.starts_with("socks") => 1080,
        _ => 80,
    };
    uri.port_u16().unwrap_or(standard)
}

fn is_socks(proxy: &Uri) -> bool {
    proxy.scheme_str().is_some_and(|scheme| scheme.starts_with("socks5"))
}
