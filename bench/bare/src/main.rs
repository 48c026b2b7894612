//! The bare AWS SDK: a receive loop and a publish loop with the SDK's defaults and nothing else.
//!
//! `bare drain` receives up to ten messages and deletes them in one batch, in `IN_FLIGHT`/10 concurrent loops, until it is
//! killed; a call that fails is reported, and the loop goes on. `bare publish` sends the lines of `INPUT` in batches as large as
//! SNS accepts, `IN_FLIGHT`/10 at a time, and exits. No leases, no retries beyond the SDK's, no metrics, no log. With
//! `HANDLER_MS` the messages of a receive are handled together for that long. If `HANDLED` is a FIFO, the first 64 bytes of each
//! message without SNS's envelope are written to it as a line, as by all contenders when latency is measured. If `TRACEPARENT`
//! is set, each published message carries it as an attribute, as Lifeline's do.

use std::fs::File;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, SdkConfig};
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use aws_smithy_http_client::tls;

/// Maximum entries per batch call.
const BATCH: usize = 10;

/// Maximum bytes per `PublishBatch`.
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html>
const BATCH_BYTES: usize = 262_144;

#[tokio::main]
async fn main() -> Result<()> {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let config = aws_config::defaults(BehaviorVersion::latest()).http_client(http).load().await;
    let in_flight = variable("IN_FLIGHT")?.parse().context("IN_FLIGHT")?;
    match std::env::args().nth(1).as_deref() {
        Some("drain") => drain(&config, in_flight).await,
        Some("publish") => publish(&config, in_flight).await,
        _ => bail!("usage: bare drain|publish"),
    }
}

fn variable(name: &str) -> Result<String> {
    std::env::var(name).with_context(|| format!("{name} is not set"))
}

/// The batch sizes of the loops, which together have `in_flight` messages.
fn batches(in_flight: usize) -> impl Iterator<Item = usize> {
    (0..in_flight.div_ceil(BATCH)).map(move |n| BATCH.min(in_flight - n * BATCH))
}

async fn drain(config: &SdkConfig, in_flight: usize) -> Result<()> {
    let sqs = aws_sdk_sqs::Client::new(config);
    let url = variable("QUEUE_URL")?;
    let handled =
        std::env::var_os("HANDLED").map(|path| File::options().append(true).open(path)).transpose()?;
    let handled = Arc::new(handled);
    let takes = std::env::var("HANDLER_MS").ok().map(|ms| ms.parse()).transpose().context("HANDLER_MS")?;
    let takes = takes.map(Duration::from_millis);
    let mut loops = tokio::task::JoinSet::new();
    for size in batches(in_flight) {
        let (sqs, url, handled) = (sqs.clone(), url.clone(), Arc::clone(&handled));
        loops.spawn(async move {
            let size = i32::try_from(size)?;
            loop {
                if let Err(error) = receive_and_delete(&sqs, &url, size, (*handled).as_ref(), takes).await {
                    eprintln!("bare: {error:#}");
                }
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        let ended: Result<()> = ended?;
        ended?;
    }
    Ok(())
}

async fn receive_and_delete(
    sqs: &aws_sdk_sqs::Client,
    url: &str,
    size: i32,
    handled: Option<&File>,
    takes: Option<Duration>,
) -> Result<()> {
    let received = sqs
        .receive_message()
        .queue_url(url)
        .max_number_of_messages(size)
        .wait_time_seconds(20)
        .send()
        .await?;
    let messages = received.messages.unwrap_or_default();
    let mut entries = Vec::with_capacity(messages.len());
    for (position, message) in messages.into_iter().enumerate() {
        if let Some(handled) = handled {
            tell(handled, message.body().unwrap_or_default())?;
        }
        let receipt = message.receipt_handle.unwrap_or_default();
        entries.push(
            DeleteMessageBatchRequestEntry::builder()
                .id(position.to_string())
                .receipt_handle(receipt)
                .build()?,
        );
    }
    if let Some(takes) = takes.filter(|_| !entries.is_empty()) {
        tokio::time::sleep(takes).await;
    }
    if !entries.is_empty() {
        sqs.delete_message_batch().queue_url(url).set_entries(Some(entries)).send().await?;
    }
    Ok(())
}

fn tell(mut handled: &File, body: &str) -> Result<()> {
    let envelope: serde_json::Value = serde_json::from_str(body)?;
    let message = envelope["Message"].as_str().unwrap_or_default().as_bytes();
    // One write per line, so that lines of concurrent writers do not mix.
    Ok(handled.write_all(&[&message[..message.len().min(64)], b"\n"].concat())?)
}

async fn publish(config: &SdkConfig, in_flight: usize) -> Result<()> {
    let sns = aws_sdk_sns::Client::new(config);
    let topic = variable("TOPIC_ARN")?;
    let trace = std::env::var("TRACEPARENT").ok();
    let input = std::fs::read_to_string(variable("INPUT")?)?;
    let lines: Vec<String> = input.lines().map(str::to_owned).collect();
    let (lines, next) = (Arc::new(lines), Arc::new(AtomicUsize::new(0)));
    // The same for all batches: the messages of a file have one size.
    let fitting = lines.first().map_or(BATCH, |line| (BATCH_BYTES / line.len().max(1)).clamp(1, BATCH));
    let mut loops = tokio::task::JoinSet::new();
    for size in batches(in_flight) {
        let (sns, topic, lines, next) = (sns.clone(), topic.clone(), Arc::clone(&lines), Arc::clone(&next));
        let trace = trace.clone();
        let size = size.min(fitting);
        loops.spawn(async move {
            loop {
                let from = next.fetch_add(size, Ordering::Relaxed).min(lines.len());
                let batch = &lines[from..(from + size).min(lines.len())];
                if batch.is_empty() {
                    return anyhow::Ok(());
                }
                let mut entries = Vec::with_capacity(batch.len());
                for (position, line) in batch.iter().enumerate() {
                    let mut entry =
                        PublishBatchRequestEntry::builder().id(position.to_string()).message(line);
                    if let Some(trace) = &trace {
                        let value = MessageAttributeValue::builder().data_type("String").string_value(trace);
                        entry = entry.message_attributes("traceparent", value.build()?);
                    }
                    entries.push(entry.build()?);
                }
                sns.publish_batch()
                    .topic_arn(&topic)
                    .set_publish_batch_request_entries(Some(entries))
                    .send()
                    .await?;
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
