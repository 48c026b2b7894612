//! The binary whose instructions `bench/guard/run` counts under valgrind.
//!
//! `guard consume N` and `guard publish N` put N messages through Lifeline's worker and publisher. `guard bare-consume N` and
//! `guard bare-publish N` make the same calls with the bare SDK, `guard calls-consume N` with the SDK as Lifeline configures it.
//! `consume-tls` and `publish-tls` connect to that endpoint by TLS on loopback, and name its CA in `SSL_CERT_FILE`.
//! A third argument is the size of a body in bytes (default: 200). With one thread, an in-memory endpoint and a paused clock the
//! same build executes the same instructions. The difference between two runs is the cost of the additional messages.

mod fake_endpoint;
mod tls_endpoint;

use anyhow::{Context, Result, bail};
use aws_config::BehaviorVersion;
use aws_sdk_sns::types::PublishBatchRequestEntry;
use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
use fake_endpoint::{FakeEndpoint, QUEUE_URL, TOPIC_ARN};
use lifeline_consumer::{Failure, Worker};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
use lifeline_producer::Publisher;
use tracing_subscriber::filter::LevelFilter;

/// Text of the bodies; spaces and quotes are escaped on the way, as in real messages.
const PROSE: &str = "the \"quick\" brown fox jumps over the lazy dog, ";

/// Maximum messages per call of SNS and SQS.
const BATCH: usize = 10;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let what = arguments.next().unwrap_or_default();
    let messages: usize = arguments
        .next()
        .unwrap_or_default()
        .parse()
        .context("the second argument must be a number of messages")?;
    let bytes: usize = arguments
        .next()
        .map_or(Ok(200), |bytes| bytes.parse())
        .context("the third argument must be a number of bytes")?;
    // As in a service with RUST_LOG=warn: every line is filtered, and not written.
    let level = if what == "consume-logged" { LevelFilter::INFO } else { LevelFilter::WARN };
    tracing_subscriber::fmt().with_max_level(level).with_ansi(false).with_writer(std::io::sink).init();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build()?;
    let body: String = PROSE.chars().cycle().take(bytes).collect();
    let endpoint = FakeEndpoint::new(messages, &body);
    runtime.block_on(async {
        match &*what {
            "consume" | "consume-logged" => consume(clients(&endpoint).await?, &endpoint, messages).await,
            "consume-tls" => consume(over_tls(&endpoint).await?, &endpoint, messages).await,
            "bare-consume" => bare_consume(&aws_sdk_sqs::Client::new(&bare(&endpoint).await), messages).await,
            "calls-consume" => bare_consume(&clients(&endpoint).await?.polls, messages).await,
            "publish" => publish(clients(&endpoint).await?, messages, &body).await,
            "publish-tls" => publish(over_tls(&endpoint).await?, messages, &body).await,
            "bare-publish" => bare_publish(&endpoint, messages, &body).await,
            _ => bail!("usage: guard consume|consume-logged|consume-tls|calls-consume|bare-consume|publish|publish-tls|bare-publish MESSAGES [BYTES]"),
        }
    })?;
    println!("{} calls", endpoint.calls());
    Ok(())
}

async fn clients(endpoint: &FakeEndpoint) -> Result<Clients> {
    Ok(Clients::connect_over(&Access::local("http://fake"), || endpoint.http()).await?)
}

async fn over_tls(endpoint: &FakeEndpoint) -> Result<Clients> {
    let url = tls_endpoint::serve(endpoint.clone()).await?;
    Ok(Clients::connect(&Access::local(url)).await?)
}

async fn consume(clients: Clients, endpoint: &FakeEndpoint, messages: usize) -> Result<()> {
    let spec = QueueSpec {
        queue: QueueRef::Url(QUEUE_URL.to_owned()),
        topic: TopicRef::Arn(TOPIC_ARN.to_owned()),
        provision: false,
        max_receives: 5,
        raw_delivery: false,
    };
    let handler =
        |_: lifeline_consumer::Message, _: lifeline_consumer::Context| async { Ok::<(), Failure>(()) };
    let drained = Worker::on(spec).clients(clients).run(handler, endpoint.clone().emptied()).await?;
    let deleted = usize::try_from(drained.account.deleted)?;
    anyhow::ensure!(deleted == messages, "{}", drained.account);
    Ok(())
}

async fn bare(endpoint: &FakeEndpoint) -> aws_config::SdkConfig {
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(endpoint.http())
        .endpoint_url("http://fake")
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

async fn publish(clients: Clients, messages: usize, body: &str) -> Result<()> {
    let topic = TopicRef::Arn(TOPIC_ARN.to_owned());
    let publisher = Publisher::to(topic).clients(clients).start().await?;
    let sink = publisher.sink(|_, outcome| {
        outcome.expect("the endpoint accepts every message");
    });
    for at in 0..messages {
        sink.send(at as u64, lifeline_producer::NewMessage::new(body)).await?;
    }
    publisher.close().await;
    Ok(())
}

async fn bare_publish(endpoint: &FakeEndpoint, messages: usize, body: &str) -> Result<()> {
    let sns = aws_sdk_sns::Client::new(&bare(endpoint).await);
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
