//! A consumer with ruststream-sqs-sns: a batch handler that gets one receive per call, and as many workers as hold
//! `IN_FLIGHT` messages. One loop receives for all of them.

mod handled;

use std::num::NonZeroUsize;
use std::sync::LazyLock;

use anyhow::{Context, Result};
use handled::Handled;
use ruststream_sqs_sns::prelude::*;

static HANDLED: LazyLock<Handled> =
    LazyLock::new(|| Handled::from_env().expect("HANDLED can be opened to append"));

/// A message as received from SQS, without a codec.
#[derive(Deserialized)]
struct Body<'a>(&'a [u8]);

#[subscriber(SqsQueue)]
async fn handle(bodies: &[Body<'_>]) -> HandlerOutcome {
    for body in bodies {
        if HANDLED.tell(body.0).is_err() {
            return HandlerOutcome::retry();
        }
    }
    HandlerOutcome::ack()
}

#[tokio::main]
async fn main() -> Result<()> {
    LazyLock::force(&HANDLED);
    let in_flight: usize = std::env::var("IN_FLIGHT")?.parse().context("IN_FLIGHT")?;
    let url = std::env::var("QUEUE_URL")?;
    let queue = url.rsplit('/').next().unwrap_or(&url).to_owned();
    let batch = NonZeroUsize::new(in_flight.min(10)).context("IN_FLIGHT=0")?;
    let workers = NonZeroUsize::new(in_flight.div_ceil(10)).context("IN_FLIGHT=0")?;
    let broker = SqsBroker::new().endpoint(std::env::var("AWS_ENDPOINT_URL")?).region("us-east-1");
    let service = RustStream::new(AppInfo::new("bench", "0.1.0")).with_broker(broker, |b| {
        b.include(handle.name(queue).batch(batch).workers(workers));
    });
    service.run().await?;
    Ok(())
}
