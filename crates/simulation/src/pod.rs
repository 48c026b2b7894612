//! A pod: a consumer in a process that can be killed or told to shut down.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, SystemTime};

use lifeline_consumer::{Drained, Worker};
use lifeline_health::{Clock, Health, Metrics, Pulses, Readiness, TimeSource};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::handler::Desk;
use crate::network::Network;
use crate::observer::Observer;
use crate::plan::Setting;
use crate::process::Process;

/// What every pod is made of.
#[derive(Debug, Clone)]
pub(crate) struct Image {
    pub(crate) seed: u64,
    pub(crate) setting: Setting,
    pub(crate) observer: Observer,
    pub(crate) network: Network,
    pub(crate) queue: String,
    pub(crate) topic: String,
    pub(crate) down: Arc<AtomicBool>,
    pub(crate) crashes: UnboundedSender<usize>,
}

/// A consumer at work.
#[derive(Debug)]
pub(crate) struct Pod {
    pub(crate) process: Process,
    pub(crate) pulses: Pulses,
    pub(crate) readiness: Readiness,
    stop: CancellationToken,
    work: JoinHandle<Drained>,
    observer: Observer,
    grace: Duration,
}

/// How processes reach the emulator.
pub(crate) fn access(setting: &Setting) -> Access {
    Access { call_timeout: setting.call_timeout, ..Access::local("http://emulator.localhost") }
}

/// Simulated time, on machines that are suspended with AWS's time going on.
struct Simulated(Observer);

impl TimeSource for Simulated {
    fn monotonic(&self) -> std::time::Instant {
        Instant::now().into_std()
    }

    fn suspended(&self) -> Duration {
        self.0.facts().suspended
    }

    fn calendar(&self) -> SystemTime {
        beginning() + self.0.facts().now()
    }
}

/// When every simulation begins.
pub(crate) fn beginning() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000)
}

fn clock(observer: &Observer) -> Clock {
    Clock::new(Simulated(observer.clone()))
}

/// Pulses on simulated time.
pub(crate) fn pulses() -> Pulses {
    Pulses::with_clock(|| Instant::now().into_std())
}

impl Pod {
    pub(crate) fn start(image: &Image, slot: usize, name: String) -> Self {
        let process = Process::new(name, Some(slot));
        let (pulses, readiness) = (pulses(), Readiness::new());
        let metrics = Metrics::new("simulation", &pulses);
        let stop = CancellationToken::new();
        image.observer.write(process.name(), "starts");
        let work = {
            let (image, process, stop) = (image.clone(), process.clone(), stop.clone());
            let (pulses, readiness) = (pulses.clone(), readiness.clone());
            tokio::spawn(async move {
                let setting = &image.setting;
                let http = || image.network.client(&process);
                let connected = Clients::connect_over(&access(setting), http).await;
                let clients = connected.unwrap_or_else(|error| unreachable!("a region is given: {error}"));
                let spec = QueueSpec {
                    queue: QueueRef::Name(image.queue.clone()),
                    topic: TopicRef::Name(image.topic.clone()),
                    provision: setting.provision,
                    max_receives: setting.max_receives,
                    raw_delivery: setting.raw,
                };
                let desk = Desk {
                    observer: image.observer.clone(),
                    process: process.clone(),
                    seed: image.seed,
                    temper: setting.temper.clone(),
                    planned: setting.bursts.iter().map(|burst| u64::from(burst.messages)).sum(),
                    visibility: setting.visibility,
                    handler_timeout: setting.handler_timeout,
                    in_flight: setting.in_flight,
                    down: Arc::clone(&image.down),
                    crashes: image.crashes.clone(),
                };
                let worker = Worker::on(spec)
                    .clients(clients)
                    .pollers(setting.pollers)
                    .max_in_flight(setting.in_flight)
                    .wait_time(setting.wait_time)
                    .handler_timeout(setting.handler_timeout)
                    .shutdown_grace(setting.grace)
                    .health(&Health { pulses, readiness, metrics })
                    .clock(clock(&image.observer));
                worker.run(desk, stop.cancelled_owned()).await.expect("its settings are valid")
            })
        };
        Self {
            process,
            pulses,
            readiness,
            stop,
            work,
            observer: image.observer.clone(),
            grace: image.setting.grace,
        }
    }

    /// As SIGKILL does it: nothing more is sent, and nobody drains.
    pub(crate) fn kill(self) {
        self.process.end();
        self.work.abort();
        self.observer.write(self.process.name(), "is killed");
    }

    /// Shuts down as SIGTERM asks for, and checks how it went.
    pub(crate) async fn drain(self) {
        let Self { process, stop, work, observer, grace, .. } = self;
        let (name, begun) = (process.name(), Instant::now());
        observer.disturb(Some(name), "drain");
        observer.write(name, "drains");
        stop.cancel();
        let ended = work.await;
        let took = begun.elapsed();
        if !process.is_alive() {
            // a message ended it meanwhile
            return;
        }
        process.end();
        observer.disturb(Some(name), "drain");
        match ended {
            Ok(drained) => {
                let mut facts = observer.facts();
                facts.write(name, format!("has drained within {took:?}: {}", drained.account));
                facts.drained(name, drained, took, grace);
            }
            Err(error) => observer.violated(format!("{name} did not drain: {error}")),
        }
    }
}
