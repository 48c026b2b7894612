//! `lifeline up`: the whole pipeline in one process, on loopback alone.
//!
//! The order matters. The embedded endpoint comes first; then the consumer, which provisions queue, policy and subscription;
//! and only when it is ready the producer, so that no message is published before anybody hears it. It ends the other
//! way round: the producer publishes what it holds, then the consumer gets to the end of the queue if the
//! input ended by itself, and drains.

use std::future::Future;
use std::time::Duration;

use anyhow::{Context, bail};
use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_consumer::Drained;
use lifeline_health::Health;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology;
use lifeline_service::log::ACCOUNT;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::args::Up;
use crate::aws::EmbeddedAws;
use crate::screen::{Progress, Screen};

/// What the embedded queues hold of messages before publishing is held back: a fast producer must not fill the memory.
const BACKLOG_BYTES: usize = 8 << 20;

/// How often the end of the queue is looked for, once the input has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How the pipeline ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// The producer's account.
    pub produced: lifeline_producer::Account,
    /// The consumer's.
    pub consumed: Drained,
    /// Messages that ended in the dead-letter queue.
    pub dead_letters: u64,
}

impl Ended {
    /// Prints both accounts, the consumer's last.
    pub fn say(&self) {
        if self.dead_letters > 0 {
            tracing::warn!(target: "lifeline", dead_letters = self.dead_letters, "some messages could not be handled");
        }
        self.produced.say();
        tracing::info!(name: ACCOUNT, target: "consumer", "drained {}", self.consumed.account);
    }

    /// 0: nothing lost.
    pub fn exit_code(&self) -> u8 {
        u8::from(self.produced.exit_code() != 0 || self.consumed.cancelled > 0 || self.dead_letters > 0)
    }
}

/// Runs the pipeline until `stop`, or until the input has ended and everything is handled.
///
/// # Errors
/// A port is in use, the output cannot be opened: nothing was published then.
pub async fn run(mut settings: Up, screen: &Screen, stop: CancellationToken) -> anyhow::Result<Ended> {
    let aws = EmbeddedAws::bind(settings.listen).await?.backlog(BACKLOG_BYTES);
    let endpoint = aws.url();
    settings.reach(&endpoint);
    let aws = guard(tokio::spawn(aws.serve(std::future::pending())));

    let seen = Health::new(env!("CARGO_PKG_VERSION"));
    let no_more_work = CancellationToken::new();
    let consumer = lifeline_consumer::service::run_behind(
        seen.server().access_log_to(screen.clone()),
        settings.consumer.clone(),
        seen.clone(),
        no_more_work.clone().cancelled_owned(),
    );
    let mut consumer = guard(tokio::spawn(consumer));
    tokio::select! {
        () = ready(&seen) => {}
        ended = &mut consumer.0 => return Err(unasked(ended)).context("CONSUMER_HEALTH_ADDR is the consumer's HEALTH_ADDR here"),
        () = stop.cancelled() => bail!("stopped before anything was published"),
    }

    let health = Health::new(env!("CARGO_PKG_VERSION"));
    let _server = health
        .server()
        .access_log(settings.producer.access_log)
        .access_log_to(screen.clone())
        .listen(settings.producer.health)
        .context("PRODUCER_HEALTH_ADDR is the producer's HEALTH_ADDR here")?;
    let clients = Clients::connect(&settings.producer.access).await?;
    tell_where(&settings, &endpoint);
    let producer = lifeline_producer::Service::new(settings.producer.clone(), clients.clone(), health);
    let progress = Progress::new(producer.progress(), &seen.metrics);
    let showing = guard(tokio::spawn(screen.clone().show(progress)));
    let produced = producer.run(stop.clone().cancelled_owned()).await;

    if !stop.is_cancelled() {
        tokio::select! {
            () = everything_handled(&clients, &settings) => {}
            () = stop.cancelled() => {}
        }
    }
    let dead_letters = dead_letters(&clients, &settings).await;
    no_more_work.cancel();
    let consumed = (&mut consumer.0).await.context("the consumer ended by a panic")??;
    drop((showing, aws));
    screen.clear();
    Ok(Ended { produced, consumed, dead_letters })
}

fn tell_where(settings: &Up, endpoint: &str) {
    let Up { producer, consumer, .. } = settings;
    tracing::info!(target: "lifeline", %endpoint, topic = producer.topic.name(), queue = consumer.queue.queue.name(), "SNS and SQS");
    for (name, address) in [("producer", producer.health), ("consumer", consumer.health_addr)] {
        tracing::info!(target: "lifeline", "{name}: http://{address}/health http://{address}/ready http://{address}/metrics");
    }
}

async fn ready(health: &Health) {
    while health.readiness.reasons().iter().any(|(condition, _)| *condition == "topology")
        || health.readiness.states().is_empty()
    {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

fn unasked(ended: Result<anyhow::Result<Drained>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(drained)) => anyhow::anyhow!("the consumer ended unasked: {}", drained.account),
        Ok(Err(error)) => error,
        Err(panic) => panic.into(),
    }
}

/// Nothing waits in the queue, is delayed or in flight. Every look is a call over loopback; AWS would call the figures
/// approximate, the embedded endpoint counts.
async fn everything_handled(clients: &Clients, settings: &Up) {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    loop {
        if count(clients, settings.consumer.queue.queue.name(), &names).await == Some(0) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn dead_letters(clients: &Clients, settings: &Up) -> u64 {
    let queue = topology::dead_letter_name(settings.consumer.queue.queue.name());
    count(clients, &queue, &[QueueAttributeName::ApproximateNumberOfMessages]).await.unwrap_or(0)
}

async fn count(clients: &Clients, queue: &str, names: &[QueueAttributeName]) -> Option<u64> {
    let found = clients.sqs.get_queue_url().queue_name(queue).send().await.ok()?;
    let counts = topology::queue_attributes(clients, found.queue_url()?, names).await.ok()?;
    names.iter().map(|name| counts.get(name)?.parse::<u64>().ok()).sum()
}

/// A task that ends with whoever holds it.
struct Guard<T>(JoinHandle<T>);

fn guard<T>(task: JoinHandle<T>) -> Guard<T> {
    Guard(task)
}

impl<T> Drop for Guard<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// `lifeline aws`: the endpoint alone, until it is told to stop.
///
/// # Errors
/// The port is in use.
pub async fn aws(listen: std::net::SocketAddr, stop: impl Future<Output = ()>) -> anyhow::Result<()> {
    let aws = EmbeddedAws::bind(listen).await?;
    tracing::info!(target: "lifeline", "SNS and SQS at {}; set AWS_ENDPOINT_URL={}", aws.local_addr(), aws.url());
    aws.serve(stop).await;
    Ok(())
}
