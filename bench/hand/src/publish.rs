//! The publish loop, in SNS's form protocol.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use form_urlencoded::Serializer;
use tokio::task::JoinSet;

use crate::connection::Connection;
use crate::{BATCH, all, batches, variable};

/// Maximum bytes per `PublishBatch`.
/// <https://docs.aws.amazon.com/sns/latest/api/API_PublishBatch.html>
const BATCH_BYTES: usize = 262_144;

const FORM: [(&str, &str); 1] = [("content-type", "application/x-www-form-urlencoded")];

/// Publishes the lines of `INPUT`.
pub async fn publish(in_flight: usize) -> Result<()> {
    let topic: Arc<str> = variable("TOPIC_ARN")?.into();
    let trace: Option<Arc<str>> = std::env::var("TRACEPARENT").ok().map(Into::into);
    let input = std::fs::read_to_string(variable("INPUT")?)?;
    let lines: Vec<String> = input.lines().map(str::to_owned).collect();
    // The same for all batches: the messages of a file have one size.
    let fitting = lines.first().map_or(BATCH, |line| (BATCH_BYTES / line.len().max(1)).clamp(1, BATCH));
    let (lines, next) = (Arc::new(lines), Arc::new(AtomicUsize::new(0)));
    let mut loops = JoinSet::new();
    for size in batches(in_flight) {
        let (topic, lines, next) = (Arc::clone(&topic), Arc::clone(&lines), Arc::clone(&next));
        let (trace, size) = (trace.clone(), size.min(fitting));
        loops.spawn(async move {
            let mut connection = Connection::open("sns").await?;
            loop {
                let from = next.fetch_add(size, Ordering::Relaxed).min(lines.len());
                let batch = &lines[from..(from + size).min(lines.len())];
                if batch.is_empty() {
                    return Ok(());
                }
                let response = connection.post(&FORM, form(&topic, trace.as_deref(), batch)).await?;
                let response = std::str::from_utf8(&response)?;
                ensure!(!response.contains("<Failed><member>"), "not published: {response}");
            }
        });
    }
    all(loops).await
}

fn form(topic: &str, trace: Option<&str>, batch: &[String]) -> Vec<u8> {
    let size = batch.iter().map(|line| line.len() * 3 / 2 + 300).sum();
    let mut form = Serializer::new(String::with_capacity(size));
    form.append_pair("Action", "PublishBatch").append_pair("Version", "2010-03-31");
    form.append_pair("TopicArn", topic);
    for (n, line) in batch.iter().enumerate() {
        let entry = format!("PublishBatchRequestEntries.member.{}", n + 1);
        form.append_pair(&format!("{entry}.Id"), &n.to_string());
        form.append_pair(&format!("{entry}.Message"), line);
        if let Some(trace) = trace {
            let attribute = format!("{entry}.MessageAttributes.entry.1");
            form.append_pair(&format!("{attribute}.Name"), "traceparent");
            form.append_pair(&format!("{attribute}.Value.DataType"), "String");
            form.append_pair(&format!("{attribute}.Value.StringValue"), trace);
        }
    }
    form.finish().into_bytes()
}
