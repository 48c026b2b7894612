//! A consumer and a publisher with shove.
//!
//! `shove-loop drain` is a consumer group of `IN_FLIGHT`/10 consumers, each with ten concurrent handlers. `shove-loop publish`
//! sends the lines of `INPUT` with `publish_batch`, ten at a time, `IN_FLIGHT`/10 at a time. shove declares its topology
//! itself, with raw delivery and a topic named like the queue; both exist already.

mod handled;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use anyhow::{Context, Result, bail};
use handled::Handled;
use shove::sns::{SnsClient, SnsConfig, SqsConsumerGroupConfig, SqsConsumerGroupRegistry};
use shove::{
    Broker, MessageHandler, MessageMetadata, Outcome, RawBytesCodec, Sqs, TopologyBuilder, define_topic,
};
use tokio::signal::unix::{SignalKind, signal};

/// Maximum bytes per `PublishBatch`, which shove leaves to the caller.
const BATCH_BYTES: usize = 262_144;

define_topic!(Bodies, Vec<u8>, TopologyBuilder::new(queue()).build(), codec = RawBytesCodec);

fn queue() -> String {
    let url = std::env::var("QUEUE_URL").unwrap_or_default();
    url.rsplit('/').next().unwrap_or_default().to_owned()
}

#[derive(Clone)]
struct Handle(Arc<Handled>);

impl MessageHandler<Bodies> for Handle {
    type Context = ();

    async fn handle(&self, body: Vec<u8>, _: MessageMetadata, (): &()) -> Outcome {
        if self.0.tell_raw(&body).is_ok() { Outcome::Ack } else { Outcome::Retry }
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    let in_flight: usize = std::env::var("IN_FLIGHT")?.parse().context("IN_FLIGHT")?;
    let config = SnsConfig {
        region: Some("us-east-1".into()),
        endpoint_url: Some(std::env::var("AWS_ENDPOINT_URL")?),
    };
    let client = SnsClient::new(&config).await?;
    match std::env::args().nth(1).as_deref() {
        Some("drain") => drain(client, in_flight).await,
        Some("publish") => publish(Broker::from_client(client), in_flight).await,
        _ => bail!("usage: shove-loop drain|publish"),
    }
}

async fn drain(client: SnsClient, in_flight: usize) -> Result<()> {
    let handled = Arc::new(Handled::from_env()?);
    let (consumers, each) = (u16::try_from(in_flight.div_ceil(10))?, u16::try_from(in_flight.min(10))?);
    let config = SqsConsumerGroupConfig::new(consumers..=consumers)
        .with_prefetch_count(each)
        .with_concurrent_processing(true);
    let mut registry = SqsConsumerGroupRegistry::new(client.clone());
    registry.register::<Bodies, _>(config, move || Handle(Arc::clone(&handled)), ()).await?;
    registry.start_all();
    signal(SignalKind::terminate())?.recv().await;
    registry.shutdown_all().await;
    client.shutdown().await;
    Ok(())
}

async fn publish(broker: Broker<Sqs>, in_flight: usize) -> Result<()> {
    broker.topology().declare::<Bodies>().await?;
    let publisher = broker.publisher().await?;
    let input = std::fs::read_to_string(std::env::var("INPUT")?)?;
    let lines: Vec<Vec<u8>> = input.lines().map(|line| line.as_bytes().to_vec()).collect();
    let fitting = lines.first().map_or(10, |line| (BATCH_BYTES / line.len().max(1)).clamp(1, 10));
    let (lines, next) = (Arc::new(lines), Arc::new(AtomicUsize::new(0)));
    let mut loops = tokio::task::JoinSet::new();
    for n in 0..in_flight.div_ceil(10) {
        let size = fitting.min(in_flight - n * 10);
        let (publisher, lines, next) = (publisher.clone(), Arc::clone(&lines), Arc::clone(&next));
        loops.spawn(async move {
            loop {
                let from = next.fetch_add(size, Ordering::Relaxed).min(lines.len());
                let batch = &lines[from..(from + size).min(lines.len())];
                if batch.is_empty() {
                    return anyhow::Ok(());
                }
                publisher.publish_batch::<Bodies>(batch).await?;
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        ended??;
    }
    Ok(())
}
