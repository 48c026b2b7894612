//! What one message costs in instructions: the programs that `bench/guard/run` counts under valgrind.
//!
//! `guard consume N`, `guard publish N` put N messages through our worker and our publisher; `guard bare-consume N` and
//! `guard bare-publish N` do the same calls with the SDK alone, `guard calls-consume N` with the SDK as we set it up. A third
//! argument is the bytes of a body, 200 where there is none. One thread, an endpoint in memory, and a clock that stands
//! still but for jumps to the next timer: the same build counts the same. The difference of two sizes is the cost of
//! the messages between them.

mod canned;

use anyhow::{Context, Result, bail};
use aws_config::BehaviorVersion;
use aws_sdk_sns::types::PublishBatchRequestEntry;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use canned::{Canned, QUEUE_URL, TOPIC_ARN};
use lifeline_consumer::{Failure, Worker};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
use lifeline_producer::Publisher;
use tracing_subscriber::filter::LevelFilter;

/// What bodies are made of: spaces and quotes are escaped on the way, as in what people send.
const PROSE: &str = "the \"quick\" brown fox jumps over the lazy dog, ";

/// What SNS and SQS take in one call.
const BATCH: usize = 10;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let messages: usize = arguments.next().unwrap_or_default().parse().context("how many messages?")?;
    let bytes: usize = arguments.next().map_or(Ok(200), |bytes| bytes.parse()).context("how many bytes?")?;
    // as in a service that is told to log warnings: every line is asked for, and not written
    let level = if what == "consume-logged" { LevelFilter::INFO } else { LevelFilter::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::sink).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let body: String = PROSE.chars().cycle().take(bytes).collect();
    let canned = Canned::new(messages, &body);
    runtime.block_on(async {
        match &*what {
            "consume" | "consume-logged" => consume(&canned, messages).await,
            "bare-consume" => bare_consume(&aws_sdk_sqs::Client::new(&bare(&canned).await), messages).await,
            "calls-consume" => bare_consume(&clients(&canned).await?.polls, messages).await,
            "publish" => publish(&canned, messages, &body).await,
            "bare-publish" => bare_publish(&canned, messages, &body).await,
            _ => bail!("usage: guard consume|consume-logged|calls-consume|bare-consume|publish|bare-publish MESSAGES [BYTES]"),
        }
    })?;
    println!("{} calls", canned.calls());
    Ok(())
}

async fn clients(canned: &Canned) -> Result<Clients> {
    Ok(Clients::connect_over(&Access::local("http://canned"), || canned.http()).await?)
}

async fn consume(canned: &Canned, messages: usize) -> Result<()> {
    let spec = QueueSpec {
        queue: QueueRef::Url(QUEUE_URL.to_owned()),
        topic: TopicRef::Arn(TOPIC_ARN.to_owned()),
        provision: false,
        max_receives: 5,
        raw_delivery: false,
    };
    let handler = |_: lifeline_consumer::Message, _: lifeline_consumer::Context| async { Ok::<(), Failure>(()) };
    let drained = Worker::builder(clients(canned).await?, spec).run(handler, canned.clone().emptied()).await;
    let deleted = usize::try_from(drained.account.deleted)?;
    anyhow::ensure!(deleted == messages, "{}", drained.account);
    Ok(())
}

async fn bare(canned: &Canned) -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(canned.http())
        .endpoint_url("http://canned")
        .region(aws_config::Region::new("us-east-1"))
        .credentials_provider(aws_sdk_sqs::config::Credentials::new("test", "test", None, None, "bench"))
        .load()
        .await
}

async fn bare_consume(sqs: &aws_sdk_sqs::Client, messages: usize) -> Result<()> {
    let mut deleted = 0;
    while deleted < messages {
        let receive =
            sqs.receive_message().queue_url(QUEUE_URL).max_number_of_messages(10).wait_time_seconds(20);
        let received = receive.send().await?.messages.unwrap_or_default();
        let entries = received.into_iter().enumerate().map(|(position, message)| {
            let receipt = message.receipt_handle.unwrap_or_default();
            DeleteMessageBatchRequestEntry::builder().id(position.to_string()).receipt_handle(receipt).build()
        });
        let entries = entries.collect::<Result<Vec<_>, _>>()?;
        deleted += entries.len();
        sqs.delete_message_batch().queue_url(QUEUE_URL).set_entries(Some(entries)).send().await?;
    }
    Ok(())
}

async fn publish(canned: &Canned, messages: usize, body: &str) -> Result<()> {
    let topic = TopicRef::Arn(TOPIC_ARN.to_owned());
    let publisher = Publisher::builder(clients(canned).await?, topic).start();
    let sink = publisher.sink(|_, outcome| {
        outcome.expect("the canned endpoint takes every message");
    });
    for at in 0..messages {
        sink.send(at as u64, lifeline_producer::Message::new(body)).await?;
    }
    publisher.close().await;
    Ok(())
}

async fn bare_publish(canned: &Canned, messages: usize, body: &str) -> Result<()> {
    let sns = aws_sdk_sns::Client::new(&bare(canned).await);
    for from in (0..messages).step_by(BATCH) {
        let batch = (from..messages.min(from + BATCH)).enumerate();
        let entry = |(position, _): (usize, usize)| {
            PublishBatchRequestEntry::builder().id(position.to_string()).message(body).build()
        };
        let entries = batch.map(entry).collect::<Result<Vec<_>, _>>()?;
        sns.publish_batch()
            .topic_arn(TOPIC_ARN)
            .set_publish_batch_request_entries(Some(entries))
            .send()
            .await?;
    }
    Ok(())
}
