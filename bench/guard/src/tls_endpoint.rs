//! The fake endpoint behind TLS on loopback, served by the same thread.
//!
//! Lifeline connects to it with its own HTTP client. What is counted includes the endpoint's end of the connection, which
//! encrypts and decrypts the same bytes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use latency_proxy::tls;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use crate::fake_endpoint::FakeEndpoint;

/// Serves the endpoint, and returns its URL. The certificate of its CA becomes the file that `SSL_CERT_FILE` names: `ca.pem` in
/// some directory.
pub async fn serve(endpoint: FakeEndpoint) -> Result<String> {
    let trusted = PathBuf::from(std::env::var_os("SSL_CERT_FILE").context("SSL_CERT_FILE is not set")?);
    let (acceptor, ca) = tls::acceptor(trusted.parent().context("SSL_CERT_FILE has no directory")?)?;
    anyhow::ensure!(ca == trusted, "SSL_CERT_FILE must be {}", ca.display());
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("https://{}", listener.local_addr()?);
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            tokio::spawn(connection(client, acceptor.clone(), endpoint.clone()));
        }
    });
    Ok(url)
}

/// Serves the requests of one connection, until the client closes it.
async fn connection(client: TcpStream, acceptor: TlsAcceptor, endpoint: FakeEndpoint) -> Result<()> {
    client.set_nodelay(true)?;
    let mut stream = BufReader::new(acceptor.accept(client).await?);
    let (mut head, mut body) = (String::new(), Vec::new());
    loop {
        let (mut length, mut target) = (0, None);
        loop {
            head.clear();
            if stream.read_line(&mut head).await? == 0 {
                return Ok(());
            }
            let line = head.trim_end();
            if line.is_empty() {
                break;
            }
            match line.split_once(": ") {
                Some((name, value)) if name.eq_ignore_ascii_case("content-length") => {
                    length = value.parse()?
                }
                Some((name, value)) if name.eq_ignore_ascii_case("x-amz-target") => {
                    target = Some(value.to_owned());
                }
                _ => {}
            }
        }
        body.resize(length, 0);
        stream.read_exact(&mut body).await?;
        let Some(response) = endpoint.respond(target.as_deref(), &body) else {
            return std::future::pending().await;
        };
        let response = format!("HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{response}", response.len());
        stream.write_all(response.as_bytes()).await?;
        stream.flush().await?;
    }
}
