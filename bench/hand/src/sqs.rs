//! The receive loop, in SQS's JSON protocol.

use std::borrow::Cow;
use std::fs::File;
use std::io::Write;
use std::sync::Arc;

use anyhow::{Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::{all, batches, variable};

const RECEIVE: [(&str, &str); 2] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.ReceiveMessage")];
const DELETE: [(&str, &str); 2] =
    [("content-type", "application/x-amz-json-1.0"), ("x-amz-target", "AmazonSQS.DeleteMessageBatch")];

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Receive<'a> {
    queue_url: &'a str,
    max_number_of_messages: usize,
    wait_time_seconds: u8,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Received<'a> {
    #[serde(borrow, default)]
    messages: Vec<Message<'a>>,
}

/// The fields of a message that a consumer needs.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Message<'a> {
    #[serde(borrow)]
    receipt_handle: Cow<'a, str>,
    #[serde(borrow)]
    body: Cow<'a, str>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Delete<'a> {
    queue_url: &'a str,
    entries: Vec<Entry<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Entry<'a> {
    id: String,
    receipt_handle: &'a str,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Deleted {
    #[serde(default)]
    failed: Vec<serde_json::Value>,
}

/// Receives and deletes until it is killed.
pub async fn drain(in_flight: usize) -> Result<()> {
    let url: Arc<str> = variable("QUEUE_URL")?.into();
    let handled =
        std::env::var_os("HANDLED").map(|path| File::options().append(true).open(path)).transpose()?;
    let handled = Arc::new(handled);
    let mut loops = JoinSet::new();
    for size in batches(in_flight) {
        let (url, handled) = (Arc::clone(&url), Arc::clone(&handled));
        loops.spawn(async move {
            let mut connection = Connection::open("sqs").await?;
            loop {
                receive_and_delete(&mut connection, &url, size, (*handled).as_ref()).await?;
            }
        });
    }
    all(loops).await
}

async fn receive_and_delete(
    connection: &mut Connection,
    queue_url: &str,
    size: usize,
    handled: Option<&File>,
) -> Result<()> {
    let receive = Receive { queue_url, max_number_of_messages: size, wait_time_seconds: 20 };
    let response = connection.post(&RECEIVE, serde_json::to_vec(&receive)?).await?;
    let received: Received<'_> = serde_json::from_slice(&response)?;
    if received.messages.is_empty() {
        return Ok(());
    }
    for message in &received.messages {
        ensure!(!message.body.is_empty(), "a message without a body");
        if let Some(handled) = handled {
            tell(handled, &message.body)?;
        }
    }
    let entries = received.messages.iter().enumerate();
    let entries = entries
        .map(|(n, message)| Entry { id: n.to_string(), receipt_handle: &message.receipt_handle })
        .collect();
    let response = connection.post(&DELETE, serde_json::to_vec(&Delete { queue_url, entries })?).await?;
    let deleted: Deleted = serde_json::from_slice(&response)?;
    ensure!(deleted.failed.is_empty(), "not deleted: {:?}", deleted.failed);
    Ok(())
}

fn tell(mut handled: &File, body: &str) -> Result<()> {
    let envelope: serde_json::Value = serde_json::from_str(body)?;
    let message = envelope["Message"].as_str().unwrap_or_default().as_bytes();
    // One write per line, so that lines of concurrent writers do not mix.
    Ok(handled.write_all(&[&message[..message.len().min(64)], b"\n"].concat())?)
}
