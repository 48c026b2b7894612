//! `lifeline up`: the whole pipeline in one process, on loopback alone.
//!
//! The order matters. The embedded endpoint comes first; then the consumer, which provisions queue, policy and subscription;
//! and only when it is ready the producer, so that no message is published before anybody hears it. It ends the other
//! way round: the producer publishes what it holds, then the consumer gets to the end of the queue, for which it has a few
//! seconds only if the pipeline was stopped, and drains. What is queued then is counted, and lost with the memory it is in; unless
//! `--data` keeps it in a file.

mod demo;
mod ended;
mod events;
mod left;
mod picture;
mod probe;
mod queues;
mod replaced;
mod report;
mod stdout;
mod watched;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use lifeline_consumer::Drained;
use lifeline_consumer::service::{open_handler, run_handler};
use lifeline_emulator::Emulator;
use lifeline_health::{Health, ListenError};
use lifeline_messaging::client::Clients;
use lifeline_service::{Host, Shell, Shutdown, Threads, failed};
use tokio_util::task::AbortOnDropHandle;

use crate::args::{Address, Up};
use crate::aws::{self, BindError};
use crate::output::Output;
use crate::page::{self, Pipeline};
use crate::screen::Screen;
use crate::screen::messages::Messages;
use crate::screen::status::Status;
use demo::Demo;
use ended::Ended;
use left::Left;
use picture::{Counted, Picture};
use probe::Watch;
use queues::Queues;
use replaced::Replaced;
use stdout::ToStdout;
use watched::{Broken, Watched};

/// What the embedded queues hold of messages before publishing is held back: a fast producer must not fill the memory.
const BACKLOG_BYTES: usize = 8 << 20;

/// How often the end of the queue is looked for, once the input has ended.
const LOOK: Duration = Duration::from_millis(50);

/// How long the consumer has for what is still queued when the pipeline is stopped, and the queue with it.
const REST: Duration = Duration::from_secs(3);

/// How much of a body is read for its line in the compact view, in bytes.
const BODY: usize = 512;

/// Threads of the services and the endpoint.
const THREADS: usize = 4;

/// Runs the pipeline until it is stopped, or until the input has ended and everything is handled.
pub fn main(mut settings: Up, warnings: &[String], screen: &Screen) -> ExitCode {
    if settings.demo {
        demo::prepare(&mut settings);
    }
    let log = settings.process.log.clone();
    let mut view = None;
    if screen.is_terminal() && !settings.log_lines {
        settings.consumer.consumer.worker.log_body = Some(BODY);
        // without a thread for it there is the log
        view = Messages::start(screen.clone()).ok();
    }
    let last = view.clone();
    match view.clone() {
        Some(view) => log.install_layer(view),
        None => log.install_to(screen.clone()),
    }
    let hosted = || {
        let version = env!("CARGO_PKG_VERSION");
        let mut shell =
            Shell::start("lifeline", version, &settings.process, Threads::new(THREADS), warnings)?;
        let mut host = |name, at| host(&mut shell, name, at, screen);
        let producer = host("producer", settings.producer_health)?;
        let consumer = host("consumer", settings.consumer_health)?;
        anyhow::Ok((shell, producer, consumer))
    };
    let code = match hosted() {
        Ok((shell, producer, consumer)) => shell.block_on(run(settings, screen, view, producer, consumer)),
        Err(error) => failed("lifeline", &error),
    };
    screen.clear();
    if let Some(view) = last {
        view.finish();
    }
    code
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
        Err(error) => match error.downcast_ref() {
            Some(ListenError::Bind { addr, source }) => bail!(
                "cannot listen on {addr} (--{name}-health-addr): {source}; use an address of this machine and a port from \
                 1024 up, as in --{name}-health-addr 127.0.0.1:0"
            ),
            _ => Err(error.context(format!("--{name}-health-addr"))),
        },
        host => host,
    }
}

/// The same for the endpoint.
async fn listen(at: Address, data: Option<&Path>) -> anyhow::Result<Emulator> {
    let builder = aws::builder().memory_limit(BACKLOG_BYTES);
    let builder = match data {
        Some(file) => builder.data(file),
        None => builder,
    };
    match aws::listen(builder.clone(), at.address).await {
        Err(BindError::InUse { addr }) if !at.given => {
            tracing::warn!(target: "lifeline", "port {} is in use; SNS and SQS take a free one", addr.port());
            Ok(aws::listen(builder, (addr.ip(), 0).into()).await?)
        }
        listening => Ok(listening?),
    }
}

async fn run(
    mut settings: Up,
    screen: &Screen,
    view: Option<Messages>,
    producer: Host,
    consumer: Host,
) -> anyhow::Result<Ended> {
    let emulator = listen(settings.listen, settings.data.as_deref()).await?;
    let endpoint = emulator.endpoint_url().unwrap_or_default();
    let connection = match emulator.local_addr().filter(|_| settings.demo) {
        Some(address) => Some(demo::Connection::to(address).await?),
        None => None,
    };
    settings.reach(&connection.as_ref().map_or(endpoint.clone(), demo::Connection::url));

    let stop = producer.shutdown.clone();
    let no_more_work = Shutdown::manual();
    let (seen, ready_at) = (consumer.health.clone(), [producer.address, consumer.address]);
    let consumer = consumer.with_shutdown(no_more_work.clone());
    open(settings.output.as_ref(), "--output", settings.append)?;
    let dead_letters = open(settings.dead_letters.as_ref(), "--dead-letters", settings.append)?;
    let (replaced, broken) = (Arc::<Replaced>::default(), Arc::<Broken>::default());
    let start = {
        let (settings, screen, stop) = (settings.clone(), screen.clone(), stop.clone());
        let (host, broken) = (consumer, Arc::clone(&broken));
        move || consume(settings.clone(), host.clone(), screen.clone(), stop.clone(), Arc::clone(&broken))
    };
    let mut consumer = AbortOnDropHandle::new(tokio::spawn({
        let (replaced, health) = (Arc::clone(&replaced), seen.clone());
        async move { replaced.run(&health, start).await }
    }));
    tokio::select! {
        biased;
        () = ready(&seen) => {}
        ended = &mut consumer => return Err(unexpected_exit(ended)),
        () = stop.requested() => bail!("stopped before anything was published"),
    }

    let clients = Clients::connect(&settings.producer.access).await?;
    let queues = Queues::new(clients.clone(), settings.consumer.consumer.queue.queue.name());
    let kept = settings.data.is_some();
    let (config, health) = (settings.producer.clone(), producer.health.clone());
    let service = lifeline_producer::Service::new(config, clients, health, producer.grace)?;
    let events = broken.events.clone();
    let page = page::serve(&emulator, |emulator| {
        let picture = Picture {
            emulator: emulator.clone(),
            progress: service.progress(),
            producer: (producer.health.clone(), ready_at[0]),
            consumer: (seen.clone(), ready_at[1]),
            counted: Counted::of(&seen),
            names: report::names(&settings),
            replaced: Arc::clone(&replaced),
            broken: Arc::clone(&broken),
            events: events.clone(),
        };
        Some(Arc::new(picture) as Arc<dyn Pipeline>)
    })?;
    if view.is_some() {
        report::banner(screen, &settings, &endpoint, page.as_deref(), ready_at);
    } else {
        log_addresses(&settings, &endpoint, page.as_deref(), ready_at);
    }
    let watch = Watch {
        services: [("producer", producer.health.clone()), ("consumer", seen.clone())],
        consumer: ready_at[1],
        replaced: Arc::clone(&replaced),
        events,
    };
    let watching = AbortOnDropHandle::new(tokio::spawn(watch.run()));
    let mending =
        AbortOnDropHandle::new(tokio::spawn(mend(stop.clone(), emulator.clone(), replaced, broken)));
    let status = Status::new(service.progress(), &producer.health, &seen);
    let showing = status.show(screen.clone())?;
    producer.started();
    let playing = connection.map(|connection| {
        let consumer = demo::second_consumer(&settings, &endpoint);
        let demo = Demo {
            screen: screen.clone(),
            compact: view.is_some(),
            connection,
            consumer,
            health: ready_at[1],
        };
        AbortOnDropHandle::new(tokio::spawn(demo.play(stop.clone())))
    });
    let produced = tokio::select! {
        biased;
        produced = service.run(stop.requested()) => produced?,
        ended = &mut consumer => {
            Left::count(&queues, kept).await.log_queued();
            return Err(unexpected_exit(ended));
        }
    };

    // what is kept can wait for the next run
    everything_handled(&queues, &stop, if kept { Duration::ZERO } else { REST }).await;
    no_more_work.request();
    let consumed = (&mut consumer).await.context("the consumer ended by a panic")?;
    let left = Left::count(&queues, kept).await;
    if consumed.is_err() {
        left.log_queued();
    }
    let consumed = consumed?;
    drop(showing);
    screen.clear();
    if let Some(lines) = dead_letters
        && let Err(error) = queues.write_dead_letters(lines).await
    {
        tracing::error!(target: "lifeline", "--dead-letters: cannot be written: {error:#}");
    }
    drop((playing, watching, mending, emulator));
    let planned = if settings.demo { demo::DEAD_LETTERS } else { 0 };
    let view = view.map(|view| (view, screen.clone()));
    Ok(Ended { produced, consumed, left, planned, view })
}

/// Creates or empties an output. A directory or a read-only file was found when the settings were checked.
fn open(
    output: Option<&Output>,
    flag: &str,
    append: bool,
) -> anyhow::Result<Option<Box<dyn std::io::Write + Send>>> {
    output.map(|output| output.open(append)).transpose().with_context(|| format!("{flag}: cannot be written"))
}

/// The consumer, with the handler that was configured.
async fn consume(
    settings: Up,
    host: Host,
    screen: Screen,
    stop: Shutdown,
    broken: Arc<Broken>,
) -> anyhow::Result<Drained> {
    let mut config = settings.consumer;
    match settings.output {
        _ if settings.demo => {
            run_handler(config.consumer, Watched { handler: demo::Orders, broken }, host).await
        }
        Some(Output::Stdout) => {
            let handler = ToStdout::start(screen, stop)?;
            run_handler(config.consumer, Watched { handler, broken }, host).await
        }
        _ => {
            let handler = open_handler(&mut config).await?;
            run_handler(config.consumer, Watched { handler, broken }, host).await
        }
    }
}

/// Mends what was broken at the page when the pipeline is stopped: the services drain as they would without it.
async fn mend(stop: Shutdown, emulator: Emulator, replaced: Arc<Replaced>, broken: Arc<Broken>) {
    stop.requested().await;
    emulator.clear_faults();
    broken.mend();
    replaced.hang(false);
}

fn log_addresses(settings: &Up, endpoint: &str, page: Option<&str>, health: [std::net::SocketAddr; 2]) {
    let Up { producer, consumer, .. } = settings;
    let queue = consumer.consumer.queue.queue.name();
    tracing::info!(target: "lifeline", %endpoint, topic = producer.topic.name(), queue, "SNS and SQS");
    if let Some(page) = page {
        tracing::info!(target: "lifeline", "page: {page}");
    }
    for (name, address) in ["producer", "consumer"].into_iter().zip(health) {
        tracing::info!(target: "lifeline", "{name}: http://{address}/health http://{address}/ready http://{address}/metrics");
    }
}

async fn ready(health: &Health) {
    let done = |health: &Health| {
        let states = health.readiness.states();
        states.contains(&("topology".into(), true)) && !states.contains(&("provisioning".into(), false))
    };
    while !done(health) {
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

/// Waits for the end of the queue, only for `rest` once the pipeline is stopped. Every look is a call over loopback,
/// which may fail as any call may.
async fn everything_handled(queues: &Queues, stop: &Shutdown, rest: Duration) {
    let handled = async {
        while !matches!(queues.unhandled().await, Ok(0)) {
            tokio::time::sleep(LOOK).await;
        }
    };
    let stopped = async {
        stop.requested().await;
        tokio::time::sleep(rest).await;
    };
    tokio::select! {
        biased;
        () = handled => {}
        () = stopped => {}
    }
}
