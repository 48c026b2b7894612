//! A consumer with omniqueue: `receive_all` with up to ten messages, then `ack` for each concurrently, in `IN_FLIGHT`/10
//! loops. omniqueue has no batch deletes and no SNS.

mod handled;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use futures_util::future::try_join_all;
use handled::Handled;
use omniqueue::backends::SqsBackend;

#[tokio::main]
async fn main() -> Result<()> {
    let in_flight: usize = std::env::var("IN_FLIGHT")?.parse().context("IN_FLIGHT")?;
    let url = std::env::var("QUEUE_URL")?;
    let handled = Arc::new(Handled::from_env()?);
    let mut loops = tokio::task::JoinSet::new();
    let consumer = Arc::new(SqsBackend::builder(url).build_consumer().await?);
    for n in 0..in_flight.div_ceil(10) {
        let size = 10.min(in_flight - n * 10);
        let (consumer, handled) = (Arc::clone(&consumer), Arc::clone(&handled));
        loops.spawn(async move {
            loop {
                let deliveries = consumer.receive_all(size, Duration::from_secs(20)).await?;
                let acks = deliveries.into_iter().map(|delivery| {
                    let handled = &handled;
                    async move {
                        handled.tell(delivery.borrow_payload().unwrap_or_default())?;
                        delivery.ack().await.map_err(|(error, _)| error)?;
                        anyhow::Ok(())
                    }
                });
                try_join_all(acks).await?;
            }
        });
    }
    while let Some(ended) = loops.join_next().await {
        let ended: Result<()> = ended?;
        ended?;
    }
    Ok(())
}
