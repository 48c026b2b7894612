//! The producer as a service: publishes an input at its rate, until the input ends or the host shuts down.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use lifeline_health::Health;
use lifeline_messaging::client::Clients;
use lifeline_service::Host;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::publisher::{ConfigError, Publisher};
use crate::service::args::Config;
use crate::service::feeder::Feeder;
use crate::service::progress::{Ended, Progress, Summary};
use crate::service::rejection_log::RejectionLog;

/// How often progress is logged by time.
const LOGGED_EVERY: Duration = Duration::from_secs(2);

/// Publishes until the input ends or the host shuts down, and everything read has its result.
///
/// # Errors
/// No region is known, or `STATE_FILE` cannot be read: nothing has been read then.
pub async fn run(config: Config, host: Host) -> anyhow::Result<Summary> {
    let clients = Clients::connect(&config.access).await?;
    tracing::info!(target: "producer", account = clients.account, region = clients.region, endpoint = clients.endpoint,
        topic = config.topic.name(), provision = config.provision, reason = config.provision_reason, "starting");
    // unmet until the publisher reports otherwise
    host.health.readiness.condition("topology");
    host.started();
    let service = Service::new(config, clients, host.health.clone(), host.grace)?;
    Ok(service.run(host.shutdown.requested()).await?)
}

/// A producer that is about to run.
///
/// ```no_run
/// # use lifeline_messaging::client::{Access, Clients};
/// # use lifeline_health::Health;
/// # use lifeline_producer::Service;
/// # use lifeline_producer::service::Config;
/// # use lifeline_service::Summary;
/// # async fn example(config: Config) -> Result<(), Box<dyn std::error::Error>> {
/// let health = Health::new(env!("CARGO_PKG_VERSION")); // a health server shows it
/// let clients = Clients::connect(&config.access).await?;
/// let service = Service::new(config, clients, health, std::time::Duration::from_secs(25))?;
/// let progress = service.progress();
/// let summary = service.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await?;
/// summary.log();
/// assert_eq!(summary.published, progress.published());
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Service {
    config: Config,
    clients: Clients,
    health: Health,
    grace: Duration,
    progress: Progress,
}

impl Service {
    /// Nothing is published before [`run`](Self::run). `grace` is the time from a shutdown to the end.
    ///
    /// # Errors
    /// `STATE_FILE` cannot be read.
    pub fn new(config: Config, clients: Clients, health: Health, grace: Duration) -> anyhow::Result<Self> {
        let state = config.publish.state_file.clone();
        let from = match &state {
            Some(state) => state.read().context("reading STATE_FILE")?,
            None => config.publish.from,
        };
        health.readiness.condition("draining").met();
        Ok(Self { config, clients, health, grace, progress: Progress::new(from, state) })
    }

    /// Counts to watch while it runs.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Publishes until the input ends, `PUBLISH_COUNT` is reached or `shutdown` completes. Then what is buffered is
    /// published, after a shutdown for at most `SHUTDOWN_GRACE`; what is not confirmed by then counts as rejected.
    ///
    /// # Cancel safety
    /// Dropped, it stops reading; what is buffered is published as long as the runtime lasts, and nobody counts it.
    ///
    /// # Errors
    /// The publisher does not start; nothing has been read then.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Result<Summary, ConfigError> {
        let stop = CancellationToken::new();
        let draining = self.health.readiness.condition("draining");
        let work = self.work(stop.clone());
        tokio::pin!(work, shutdown);
        tokio::select! {
            biased;
            summary = &mut work => return summary,
            () = &mut shutdown => draining.unmet("shutting down"),
        }
        stop.cancel();
        work.await
    }

    async fn work(self, stop: CancellationToken) -> Result<Summary, ConfigError> {
        let Self { config, clients, health, grace, progress } = self;
        let publish = config.publish;
        let mut aside = JoinSet::new();
        aside.spawn(report(progress.clone()));
        let publisher = Publisher::to(config.topic)
            .clients(clients)
            .linger(publish.linger)
            .buffer(publish.buffer)
            .concurrency(publish.concurrency)
            .rate(publish.limit())
            .deadline(None)
            .provision(config.provision)
            .wait_for_subscription(publish.wait_for_subscription)
            .health(&health)
            .start()
            .await?;
        let deadline = {
            let (stop, publisher) = (stop.clone(), publisher.clone());
            async move {
                stop.cancelled().await;
                sleep(publish_deadline(grace)).await;
                publisher.abandon().await;
            }
        };
        aside.spawn(deadline);
        let rejections = Arc::new(RejectionLog::new());
        let feeder = Feeder::new(&publish, &publisher, &health, &progress, &rejections);
        let fed = feeder.feed(publish, &stop).await;
        publisher.close().await;
        rejections.log_rest();
        aside.shutdown().await;
        let ended = fed.unwrap_or_else(|error| {
            tracing::error!(target: "producer", %error, "reading INPUT failed");
            Ended::Failed
        });
        Ok(progress.summary(ended))
    }
}

/// What of the grace period is for publishing; the rest is for ending.
fn publish_deadline(grace: Duration) -> Duration {
    grace - (grace / 5).min(Duration::from_millis(500))
}

async fn report(progress: Progress) {
    loop {
        sleep(LOGGED_EVERY).await;
        progress.report();
    }
}
