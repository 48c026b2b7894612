//! `lifeline up`: the whole pipeline in one process, on loopback alone.
//!
//! The order matters. The embedded endpoint comes first; then the consumer, which provisions queue, policy and subscription;
//! and only when it is ready the producer, so that no message is published before anybody hears it. It ends the other
//! way round: the producer publishes what it holds, then the consumer gets to the end of the queue, for which it has a few
//! seconds only if the pipeline was stopped, and drains. What is queued then is lost with the memory it is in, and counted.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, bail};
use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_consumer::Drained;
use lifeline_emulator::Emulator;
use lifeline_health::{Health, ListenError};
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology;
use lifeline_producer::Summary as Published;
use lifeline_service::{Host, Shell, Shutdown, Summary, Threads, failed};
use tokio::task::JoinHandle;

use crate::args::{Address, Up};
use crate::aws::{self, BindError};
use crate::screen::{Progress, Screen};

/// What the embedded queues hold of messages before publishing is held back: a fast producer must not fill the memory.
const BACKLOG_BYTES: usize = 8 << 20;

/// How often the end of the queue is looked for, once the input has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How long the consumer has for what is still queued when the pipeline is stopped.
const REST: Duration = Duration::from_secs(3);

/// Threads of the services and the endpoint.
const THREADS: usize = 4;

/// How the pipeline ended.
#[derive(Debug, Clone, Copy)]
struct Ended {
    produced: Published,
    consumed: Drained,
    /// Messages that ended in the dead-letter queue.
    dead_letters: u64,
    /// Messages that were still queued when the endpoint, which has them in memory, ended.
    lost: u64,
}

impl Summary for Ended {
    fn log(&self) {
        if self.dead_letters > 0 {
            tracing::warn!(target: "lifeline", dead_letters = self.dead_letters, "some messages could not be handled");
        }
        if self.lost > 0 {
            tracing::warn!(target: "lifeline", lost = self.lost, "messages were still queued and are lost with the endpoint in this process; \
                to keep them, run `lifeline aws` and the services on their own");
        }
        self.produced.log();
        self.consumed.log();
    }

    fn exit_code(&self) -> u8 {
        u8::from(
            self.produced.exit_code() != 0
                || self.consumed.exit_code() != 0
                || self.dead_letters + self.lost > 0,
        )
    }
}

/// Runs the pipeline until it is told to stop, or until the input has ended and everything is handled.
pub fn main(settings: Up, warnings: &[String], screen: &Screen) -> ExitCode {
    settings.process.log.clone().install_to(screen.clone());
    let hosted = || {
        let version = env!("CARGO_PKG_VERSION");
        let mut shell =
            Shell::start("lifeline", version, &settings.process, Threads::new(THREADS), warnings)?;
        let mut host = |name, at| host(&mut shell, name, at, screen);
        let producer = host("producer", settings.producer_health)?;
        let consumer = host("consumer", settings.consumer_health)?;
        anyhow::Ok((shell, producer, consumer))
    };
    match hosted() {
        Ok((shell, producer, consumer)) => shell.block_on(run(settings, screen, producer, consumer)),
        Err(error) => failed("lifeline", &error),
    }
}

/// Hosts one of the services. A default port that is taken is replaced by a free one; macOS has its AirPlay on 5000.
fn host(shell: &mut Shell, name: &'static str, at: Address, screen: &Screen) -> anyhow::Result<Host> {
    let Address { address, given } = at;
    let taken = |error: &anyhow::Error| matches!(error.downcast_ref(), Some(ListenError::InUse(_)));
    match shell.host_with(name, address, screen.clone()) {
        Err(error) if taken(&error) && !given => {
            tracing::warn!(target: "lifeline", "port {} is in use; the {name}'s /health takes a free one", address.port());
            shell.host_with(name, (address.ip(), 0).into(), screen.clone())
        }
        Err(error) if taken(&error) => bail!(
            "cannot listen on {address} (--{name}-health-addr): another process has this port; stop it, or use \
             --{name}-health-addr 127.0.0.1:0 for any free port"
        ),
        Err(error) => Err(error.context(format!("--{name}-health-addr"))),
        host => host,
    }
}

/// The same for the endpoint.
async fn listen(at: Address) -> anyhow::Result<Emulator> {
    let builder = aws::builder().memory_limit(BACKLOG_BYTES);
    match aws::listen(builder.clone(), at.address).await {
        Err(BindError::InUse { addr }) if !at.given => {
            tracing::warn!(target: "lifeline", "port {} is in use; SNS and SQS take a free one", addr.port());
            Ok(aws::listen(builder, (addr.ip(), 0).into()).await?)
        }
        listening => Ok(listening?),
    }
}

async fn run(mut settings: Up, screen: &Screen, producer: Host, consumer: Host) -> anyhow::Result<Ended> {
    let emulator = listen(settings.listen).await?;
    let endpoint = emulator.endpoint_url().unwrap_or_default();
    settings.reach(&endpoint);

    let stop = producer.shutdown.clone();
    let no_more_work = Shutdown::manual();
    let (seen, ready_at) = (consumer.health.clone(), [producer.address, consumer.address]);
    let consumer = consumer.with_shutdown(no_more_work.clone());
    let mut consumer =
        guard(tokio::spawn(lifeline_consumer::service::run(settings.consumer.clone(), consumer)));
    tokio::select! {
        () = ready(&seen) => {}
        ended = &mut consumer.0 => return Err(unexpected_exit(ended)),
        () = stop.requested() => bail!("stopped before anything was published"),
    }

    let clients = Clients::connect(&settings.producer.access).await?;
    tell_where(&settings, &endpoint, ready_at);
    let service = lifeline_producer::Service::new(
        settings.producer.clone(),
        clients.clone(),
        producer.health.clone(),
        producer.grace,
    )?;
    let progress = Progress::new(service.progress(), &seen.metrics);
    let showing = guard(tokio::spawn(screen.clone().show(progress)));
    producer.started();
    let produced = service.run(stop.requested()).await?;

    let stopped = async {
        stop.requested().await;
        tokio::time::sleep(REST).await;
    };
    tokio::select! {
        () = everything_handled(&clients, &settings) => {}
        () = stopped => {}
    }
    let dead_letters = dead_letters(&clients, &settings).await;
    no_more_work.request();
    let consumed = (&mut consumer.0).await.context("the consumer ended by a panic")??;
    let queue = settings.consumer.consumer.queue.queue.name();
    let lost = count(&clients, queue, &UNHANDLED).await.unwrap_or(0);
    drop((showing, emulator));
    screen.clear();
    Ok(Ended { produced, consumed, dead_letters, lost })
}

fn tell_where(settings: &Up, endpoint: &str, health: [std::net::SocketAddr; 2]) {
    let Up { producer, consumer, .. } = settings;
    let queue = consumer.consumer.queue.queue.name();
    tracing::info!(target: "lifeline", %endpoint, topic = producer.topic.name(), queue, "SNS and SQS");
    for (name, address) in ["producer", "consumer"].into_iter().zip(health) {
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

fn unexpected_exit(ended: Result<anyhow::Result<Drained>, tokio::task::JoinError>) -> anyhow::Error {
    match ended {
        Ok(Ok(drained)) => anyhow::anyhow!("the consumer exited unexpectedly: {}", drained.account),
        Ok(Err(error)) => error,
        Err(panic) => panic.into(),
    }
}

/// Where a message of a queue is until it is deleted.
const UNHANDLED: [QueueAttributeName; 3] = [
    QueueAttributeName::ApproximateNumberOfMessages,
    QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
    QueueAttributeName::ApproximateNumberOfMessagesDelayed,
];

/// Nothing waits in the queue, is delayed or in flight. Every look is a call over loopback; AWS would call the figures
/// approximate, the embedded endpoint counts.
async fn everything_handled(clients: &Clients, settings: &Up) {
    loop {
        if count(clients, settings.consumer.consumer.queue.queue.name(), &UNHANDLED).await == Some(0) {
            return;
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn dead_letters(clients: &Clients, settings: &Up) -> u64 {
    let queue = topology::dead_letter_name(settings.consumer.consumer.queue.queue.name());
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
