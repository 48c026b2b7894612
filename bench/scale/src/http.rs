//! As much HTTP as a question on this machine needs: one kept connection, one question after another.

use std::net::SocketAddr;

use anyhow::{Context, Result, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub(crate) struct Http {
    stream: TcpStream,
}

impl Http {
    pub(crate) async fn connect(address: SocketAddr) -> Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream })
    }

    /// Asks SQS for `action`.
    pub(crate) async fn sqs(&mut self, action: &str, input: &serde_json::Value) -> Result<serde_json::Value> {
        let body = input.to_string();
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-amz-json-1.0\r\n\
             x-amz-target: AmazonSQS.{action}\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        let answer = self.ask(&[head, body].concat()).await.with_context(|| action.to_owned())?;
        Ok(if answer.is_empty() { serde_json::Value::Null } else { serde_json::from_str(&answer)? })
    }

    /// Asks SNS with a form.
    pub(crate) async fn sns(&mut self, form: &str) -> Result<String> {
        let head = format!(
            "POST / HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-www-form-urlencoded\r\n\
             content-length: {}\r\n\r\n",
            form.len()
        );
        self.ask(&[&head, form].concat()).await
    }

    pub(crate) async fn get(&mut self, path: &str) -> Result<String> {
        self.ask(&format!("GET {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 0\r\n\r\n")).await
    }

    async fn ask(&mut self, question: &str) -> Result<String> {
        self.stream.write_all(question.as_bytes()).await?;
        let mut answer = Vec::new();
        loop {
            ensure!(self.stream.read_buf(&mut answer).await? > 0, "the connection ended");
            let Some(end) = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n") else { continue };
            let head = std::str::from_utf8(&answer[..end])?.to_ascii_lowercase();
            let length = head.lines().find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length.context("no content-length")?.trim().parse()?;
            if answer.len() < end + 4 + length {
                continue;
            }
            let body = String::from_utf8(answer.split_off(end + 4))?;
            if !head.starts_with("http/1.1 200") {
                bail!("{}: {body}", head.lines().next().unwrap_or_default());
            }
            return Ok(body);
        }
    }
}
