//! One HTTP request, for the pages of the proxy and of the endpoint.

use anyhow::{Context, Result, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Returns the body of the response to a request on a connection of its own.
pub async fn ask(method: &str, url: &str, path: &str, body: &str) -> Result<String> {
    let address = url.trim_start_matches("http://").trim_end_matches('/');
    let mut stream = TcpStream::connect(address).await?;
    let length = body.len();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut response = String::new();
    stream.read_to_string(&mut response).await?;
    let (head, body) = response.split_once("\r\n\r\n").context("a response without a body")?;
    ensure!(head.starts_with("HTTP/1.1 200"), "{method} {path}: {head} {body}");
    Ok(body.to_owned())
}
