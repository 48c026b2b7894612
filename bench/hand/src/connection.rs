//! A connection to the endpoint, which signs each request.

use std::sync::Arc;
use std::time::SystemTime;

use anyhow::{Context, Result, bail};
use aws_credential_types::Credentials;
use aws_sigv4::http_request::{SignableBody, SignableRequest, SigningSettings, sign};
use aws_sigv4::sign::v4;
use aws_smithy_runtime_api::client::identity::Identity;
use bytes::Bytes;
use http::{HeaderName, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

use crate::variable;

/// An open connection: one request at a time.
pub struct Connection {
    sender: SendRequest<Full<Bytes>>,
    url: String,
    host: String,
    service: &'static str,
    region: String,
    identity: Identity,
}

impl Connection {
    /// Connects to `AWS_ENDPOINT_URL`; `service` is the name that is signed.
    pub async fn open(service: &'static str) -> Result<Self> {
        let url = variable("AWS_ENDPOINT_URL")?.trim_end_matches('/').to_owned();
        let endpoint: Uri = url.parse()?;
        let host = endpoint.authority().context("AWS_ENDPOINT_URL has no host")?.to_string();
        let stream = TcpStream::connect(&host).await.with_context(|| format!("connecting to {host}"))?;
        stream.set_nodelay(true)?;
        let sender = if endpoint.scheme_str() == Some("https") {
            let name = ServerName::try_from(endpoint.host().unwrap_or_default().to_owned())?;
            let stream = TlsConnector::from(trust()?).connect(name, stream).await?;
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        } else {
            let (sender, connection) = handshake(TokioIo::new(stream)).await?;
            tokio::spawn(connection);
            sender
        };
        let (key, secret) = (variable("AWS_ACCESS_KEY_ID")?, variable("AWS_SECRET_ACCESS_KEY")?);
        let identity = Credentials::new(key, secret, None, None, "hand").into();
        Ok(Self { sender, url, host, service, region: variable("AWS_REGION")?, identity })
    }

    /// Posts a body with these headers, and returns the body of the response, which must be a success.
    pub async fn post(&mut self, headers: &[(&'static str, &'static str)], body: Vec<u8>) -> Result<Bytes> {
        let params = v4::SigningParams::builder()
            .identity(&self.identity)
            .region(&self.region)
            .name(self.service)
            .time(SystemTime::now())
            .settings(SigningSettings::default())
            .build()?
            .into();
        let signed = headers.iter().copied().chain([("host", self.host.as_str())]);
        let signable =
            SignableRequest::new("POST", format!("{}/", self.url), signed, SignableBody::Bytes(&body))?;
        let (signature, _) = sign(signable, &params)?.into_parts();
        let mut request = Request::post("/").header("host", &self.host).body(Full::new(Bytes::from(body)))?;
        for &(name, value) in headers {
            request.headers_mut().insert(HeaderName::from_static(name), value.parse()?);
        }
        signature.apply_to_request_http1x(&mut request);
        self.sender.ready().await?;
        let response = self.sender.send_request(request).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        if !status.is_success() {
            bail!("{status}: {}", String::from_utf8_lossy(&body));
        }
        Ok(body)
    }
}

/// The certificates of the system, or those of `SSL_CERT_FILE`.
fn trust() -> Result<Arc<rustls::ClientConfig>> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth();
    Ok(Arc::new(config))
}
