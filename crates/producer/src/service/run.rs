//! The producer as a service: publishes an input at its rate, until the input ends or the host shuts down.

use std::future::Future;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::{Health, IntCounter, Pulse};
use lifeline_messaging::client::Clients;
use lifeline_service::Host;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::batcher::PULSE_BOUND;
use crate::entry::Outcome;
use crate::error::PublishError;
use crate::message::Message;
use crate::publisher::{Places, Publisher, Sink};
use crate::service::args::{Config, PublishConfig};
use crate::service::input::{Content, Input, Line, Source};
use crate::service::message_group::Group;
use crate::service::progress::{Account, Progress};
use crate::service::rate_limit::Pace;
use crate::service::rejection_log::Rejections;

/// How often progress is said by time.
const SAID_EVERY: Duration = Duration::from_secs(2);

/// Publishes until the input ends or the host shuts down, and everything read has its outcome.
///
/// # Errors
/// No region is known: nothing has been read then.
pub async fn run(config: Config, host: Host) -> anyhow::Result<Account> {
    let clients = Clients::connect(&config.access).await?;
    // unmet until the publisher reports otherwise
    host.health.readiness.condition("topology");
    host.started();
    let service = Service::new(config, clients, host.health.clone(), host.grace);
    Ok(service.run(host.shutdown.requested()).await)
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
/// let health = Health::new(env!("CARGO_PKG_VERSION")); // a health server tells them
/// let clients = Clients::connect(&config.access).await?;
/// let service = Service::new(config, clients, health, std::time::Duration::from_secs(25));
/// let progress = service.progress();
/// let account = service.run(async { tokio::signal::ctrl_c().await.unwrap_or_default() }).await;
/// account.log();
/// assert_eq!(account.published, progress.published());
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
    /// Nothing happens before [`run`](Self::run). `grace` is the time from a shutdown to the end.
    pub fn new(config: Config, clients: Clients, health: Health, grace: Duration) -> Self {
        let progress = Progress::new(config.publish.from);
        health.readiness.condition("draining").met();
        Self { config, clients, health, grace, progress }
    }

    /// Counts to watch while it runs.
    pub fn progress(&self) -> Progress {
        self.progress.clone()
    }

    /// Publishes until the input ends, `PUBLISH_COUNT` is reached or `shutdown` completes. Then what is held is
    /// published, after a shutdown for at most `SHUTDOWN_GRACE`; what is not confirmed by then counts as rejected.
    ///
    /// # Cancel safety
    /// Dropped, it stops reading; what it holds is published as long as the runtime lasts, and nobody accounts for
    /// it.
    pub async fn run(self, shutdown: impl Future<Output = ()>) -> Account {
        let stop = CancellationToken::new();
        let draining = self.health.readiness.condition("draining");
        let work = self.work(stop.clone());
        tokio::pin!(work, shutdown);
        tokio::select! {
            biased;
            account = &mut work => return account,
            () = &mut shutdown => draining.unmet("shutting down"),
        }
        stop.cancel();
        work.await
    }

    async fn work(self, stop: CancellationToken) -> Account {
        let Self { config, clients, health, grace, progress } = self;
        let settings = config.publish;
        let mut aside = JoinSet::new();
        aside.spawn(say(progress.clone()));
        let publisher = Publisher::builder(clients, config.topic)
            .linger(settings.linger)
            .buffer(settings.buffer)
            .in_air(settings.concurrency)
            .deadline(None)
            .provision(config.provision)
            .health(&health)
            .start();
        let cut = {
            let (stop, publisher) = (stop.clone(), publisher.clone());
            async move {
                stop.cancelled().await;
                tokio::time::sleep(before(grace)).await;
                publisher.abandon().await;
            }
        };
        aside.spawn(cut);
        let rejections = Arc::new(Rejections::new());
        let feeder = Feeder::new(&settings, &publisher, &health, &progress, &rejections);
        let fed = feeder.feed(settings, &stop).await;
        publisher.close().await;
        rejections.say_rest();
        aside.shutdown().await;
        if let Err(error) = &fed {
            tracing::error!(%error, "reading INPUT failed");
        }
        progress.account(fed.is_err())
    }
}

/// What of the grace is for publishing; the rest is for ending.
fn before(grace: Duration) -> Duration {
    grace - (grace / 5).min(Duration::from_millis(500))
}

async fn say(progress: Progress) {
    loop {
        tokio::time::sleep(SAID_EVERY).await;
        progress.say();
    }
}

/// Takes lines from the input to the publisher.
struct Feeder {
    sink: Sink,
    progress: Progress,
    rejections: Arc<Rejections>,
    rejected: IntCounter,
    pulse: Pulse,
    pace: Pace,
    group: Option<Group>,
    left: u64,
}

impl Feeder {
    fn new(
        settings: &PublishConfig,
        publisher: &Publisher,
        health: &Health,
        progress: &Progress,
        rejections: &Arc<Rejections>,
    ) -> Self {
        let (ledger, log) = (progress.clone(), Arc::clone(rejections));
        Self {
            sink: publisher.sink(move |line, outcome| tell(&ledger, &log, line, outcome)),
            progress: progress.clone(),
            rejections: Arc::clone(rejections),
            rejected: crate::metrics::PublisherMetrics::new(&health.metrics).rejected,
            pulse: health.pulses.start("input", PULSE_BOUND),
            pace: Pace::new(if settings.rate.is_finite() { settings.rate } else { 0.0 }),
            group: settings.group.clone(),
            left: settings.count.unwrap_or(u64::MAX),
        }
    }

    /// Until the end of input, of the count, or of the time.
    async fn feed(mut self, settings: PublishConfig, stop: &CancellationToken) -> io::Result<()> {
        let seed = settings.seed.unwrap_or_else(|| fastrand::u64(..));
        let (input, from) = (&settings.input, settings.from);
        match input {
            Input::Generate => tracing::info!(target: "producer", %input, from, seed, "reading"),
            _ => tracing::info!(target: "producer", %input, from, "reading"),
        }
        let mut source = Source::open(settings.input, settings.from, seed)?;
        let pulse = self.pulse.clone();
        let ended = loop {
            let next = async {
                let places = self.sink.reserve(self.most()).await.ok()?;
                let lines = source.next(places.len()).await;
                Some((places, lines))
            };
            let next = pulse.beat_while(next);
            let next = tokio::select! { biased; () = stop.cancelled() => None, next = next => next };
            let Some((places, lines)) = next else { break self.leave(&mut source, stop).await };
            match lines {
                Err(error) => break Err(error),
                Ok(lines) if lines.is_empty() => break Ok(()),
                Ok(lines) => {
                    if self.hand_over(places, lines, stop).await.is_break() {
                        break Ok(());
                    }
                }
            }
        };
        pulse.retire();
        ended
    }

    /// Told to stop: what was read and not yet taken is published too, a pipe's writer has no other copy.
    async fn leave(&mut self, source: &mut Source, stop: &CancellationToken) -> io::Result<()> {
        let lines = source.left_over();
        if !lines.is_empty()
            && let Ok(places) = self.pulse.beat_while(self.sink.reserve(lines.len())).await
        {
            let _ = self.hand_over(places, lines, stop).await;
        }
        Ok(())
    }

    fn most(&self) -> usize {
        self.pace.most().min(usize::try_from(self.left).unwrap_or(usize::MAX))
    }

    async fn hand_over(
        &mut self,
        mut places: Places,
        lines: Vec<Line>,
        stop: &CancellationToken,
    ) -> ControlFlow<()> {
        let pulse = self.pulse.clone();
        for Line { number, content } in lines {
            if let Content::Text(_) = content {
                // the first signal ends all waiting for turns: what was read is published
                let turn = pulse.beat_while(self.pace.turn());
                tokio::select! { biased; () = stop.cancelled() => {} () = turn => {} }
            }
            self.progress.begin(number);
            let body = match content {
                Content::Blank => {
                    self.progress.blank_line(number);
                    continue;
                }
                Content::Unfit(unfit) => {
                    self.reject(number, &unfit);
                    continue;
                }
                Content::Text(body) => body,
            };
            let message = match self.group.as_ref().map(|group| group.of(&body)).transpose() {
                Err(no_group) => {
                    self.reject(number, &no_group);
                    continue;
                }
                Ok(None) => Message::new(body),
                Ok(Some(group)) => Message::new(body).group(group),
            };
            let handed = async {
                if places.is_empty() {
                    self.sink.send(number, message).await
                } else {
                    self.sink.send_into(&mut places, number, message).await
                }
            };
            match pulse.beat_while(handed).await {
                Ok(()) => self.left -= 1,
                // counted by the publisher
                Err(error @ PublishError::Refused(_)) => {
                    tell(&self.progress, &self.rejections, number, Err(error))
                }
                Err(error) => {
                    // it closed while this one waited for room: the time was up
                    tell(&self.progress, &self.rejections, number, Err(error));
                    return ControlFlow::Break(());
                }
            }
        }
        if self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A line that never was a message.
    fn reject(&self, line: u64, reason: &dyn std::fmt::Display) {
        self.rejected.inc();
        self.rejections.say(line, reason);
        self.progress.reject(line, true);
    }
}

/// A line's fate: the log and the ledger.
fn tell(progress: &Progress, rejections: &Rejections, line: u64, outcome: Outcome) {
    match outcome {
        Ok(receipt) => {
            let (message_id, bytes) = (receipt.message_id, receipt.bytes);
            match receipt.trace_id {
                Some(trace_id) => {
                    tracing::info!(target: "producer", %message_id, bytes, %trace_id, "published");
                }
                None => tracing::info!(target: "producer", %message_id, bytes, trace_id = "-", "published"),
            }
            progress.confirm(line);
        }
        Err(error) => {
            rejections.say(line, &error);
            progress.reject(line, error.is_final());
        }
    }
}
