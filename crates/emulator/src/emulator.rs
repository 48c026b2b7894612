//! [`Emulator`]: one SNS and SQS, for one test or one process.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::{Arc, PoisonError},
    time::SystemTime,
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{behavior_version::BehaviorVersion, http::SharedHttpClient};
use aws_types::{SdkConfig, region::Region};
use tokio::{net::TcpListener, task::AbortHandle};

use crate::{
    action::Action,
    client,
    clock::Clock,
    fault::{Fault, Injected, Script},
    gateway,
    handle::{Queue, Topic},
    model::world::{Rules, World},
    request::REGION,
    service::Service,
};

/// The host of URLs for those who call in process.
const IN_PROCESS: &str = "http://emulator.localhost";

/// SNS and SQS in this process. Clones are the same emulator; it ends with the last of them.
///
/// ```
/// # #[tokio::main(flavor = "current_thread", start_paused = true)]
/// # async fn main() {
/// use lifeline_emulator::Emulator;
/// let emulator = Emulator::new();
/// let queue = emulator.queue("orders").max_receives(5);
/// queue.send("{}");
/// let sqs = aws_sdk_sqs::Client::new(&emulator.sdk_config());
/// let received = sqs.receive_message().queue_url(queue.url()).send().await.unwrap();
/// assert_eq!(received.messages().len(), 1);
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct Emulator {
    pub(crate) service: Arc<Service>,
    door: Option<Arc<Door>>,
}

/// The socket that [`Emulator::start`] listens on; closed with the last clone.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    task: AbortHandle,
}

impl Drop for Door {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// What an emulator is made with.
#[derive(Debug, Clone)]
#[must_use = "call `build`, `start` or `serve`"]
pub struct Builder {
    rules: Rules,
    seed: Option<u64>,
    wall: Option<SystemTime>,
    faults: Vec<Fault>,
}

impl Default for Emulator {
    fn default() -> Self {
        Self::new()
    }
}

impl Emulator {
    /// An emulator without a socket.
    #[must_use]
    pub fn new() -> Self {
        Self::builder().build()
    }

    /// An emulator that listens on a free port of 127.0.0.1, on the current runtime.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start() -> io::Result<Self> {
        Self::builder().start().await
    }

    /// Settings for an emulator.
    pub fn builder() -> Builder {
        let rules =
            Rules { cooldowns: true, enforce_policies: true, quotas: true, memory: None, journal: true };
        Builder { rules, seed: None, wall: None, faults: Vec::new() }
    }

    /// `http://127.0.0.1:PORT`, for other processes and languages of this machine; `None` without a socket.
    #[must_use]
    pub fn endpoint_url(&self) -> Option<String> {
        let address = self.local_addr()?;
        let unspecified = address.ip().is_unspecified();
        Some(if unspecified {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        })
    }

    /// Where it listens; `None` without a socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(|door| door.address)
    }

    /// The URL that the emulator's handles build queue URLs with.
    pub(crate) fn base_url(&self) -> String {
        self.endpoint_url().unwrap_or_else(|| IN_PROCESS.into())
    }

    /// An HTTP client for the AWS SDK that calls the emulator without a socket; works under paused time.
    #[must_use]
    pub fn http_client(&self) -> SharedHttpClient {
        client::client(Arc::clone(&self.service))
    }

    /// A configuration for every AWS SDK client: region, credentials, and the in-process HTTP client.
    #[must_use]
    pub fn sdk_config(&self) -> SdkConfig {
        let credentials = Credentials::for_emulator();
        SdkConfig::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::from_static(REGION))
            .credentials_provider(SharedCredentialsProvider::new(credentials))
            .endpoint_url(self.base_url())
            .http_client(self.http_client())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .build()
    }

    /// The queue of this name, created if it does not exist. A name that ends in `.fifo` is a FIFO queue.
    #[must_use]
    pub fn queue(&self, name: &str) -> Queue {
        Queue::of(self, name)
    }

    /// The topic of this name, created if it does not exist. A name that ends in `.fifo` is a FIFO topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic::of(self, name)
    }

    /// Puts a fault in force, after those that are.
    pub fn inject(&self, fault: Fault) -> Injected {
        let mut script = self.service.script.lock().unwrap_or_else(PoisonError::into_inner);
        let (id, hits) = script.add(fault);
        Injected { id, hits, script: Arc::clone(&self.service.script) }
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.service.script().clear();
    }

    /// How many calls of an action there were, faults included. The emulator's own handles make none.
    #[must_use]
    pub fn calls(&self, action: Action) -> u64 {
        self.service.calls(action)
    }

    /// Answers on a listener of yours until `shutdown` completes.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        gateway::serve(Arc::clone(&self.service), listener, shutdown).await;
    }

    /// Completes when `done` holds; it is asked after every call, and when time changes what a queue holds.
    pub(crate) async fn until(&self, queue: &str, mut done: impl FnMut() -> bool) {
        let mut changes = self.service.changes();
        while !done() {
            let next =
                self.service.world().queues.get(queue).and_then(crate::model::queue::Queue::next_event);
            let timer = async {
                match next {
                    Some(next) => tokio::time::sleep_until(self.service.clock.instant(next)).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                changed = changes.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                () = timer => {}
            }
        }
    }
}

impl Builder {
    /// Makes ids, receipts and probabilities repeatable.
    pub fn seed(mut self, seed: u64) -> Self {
        self.seed = Some(seed);
        self
    }

    /// The wall time at the start; the system's without it.
    pub fn starting_at(mut self, wall: SystemTime) -> Self {
        self.wall = Some(wall);
        self
    }

    /// Whether queue policies decide what a topic may deliver, as at AWS. On without this.
    pub fn enforce_policies(mut self, on: bool) -> Self {
        self.rules.enforce_policies = on;
        self
    }

    /// Whether a minute must pass between two purges, and between deleting a queue and creating it again, as at AWS.
    /// On without this.
    pub fn cooldowns(mut self, on: bool) -> Self {
        self.rules.cooldowns = on;
        self
    }

    /// Whether a FIFO queue takes at most 300 calls per second for each action, as at AWS. On without this.
    pub fn quotas(mut self, on: bool) -> Self {
        self.rules.quotas = on;
        self
    }

    /// Most bytes of messages that are held, dead letters aside; beyond it sends wait, then are throttled.
    pub fn memory_limit(mut self, bytes: usize) -> Self {
        self.rules.memory = Some(bytes);
        self
    }

    /// Whether the bodies of deleted messages are kept for [`Queue::deleted`]. On without this; a long-running
    /// process turns it off.
    pub fn journal(mut self, on: bool) -> Self {
        self.rules.journal = on;
        self
    }

    /// A fault that is in force from the start.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// An emulator without a socket.
    #[must_use]
    pub fn build(self) -> Emulator {
        let clock = Clock::starting_at(self.wall.unwrap_or_else(SystemTime::now));
        let mut script = Script::new(self.seed);
        for fault in self.faults {
            script.add(fault);
        }
        let world = World::new(self.rules, self.seed);
        Emulator { service: Arc::new(Service::new(world, clock, script)), door: None }
    }

    /// An emulator that listens on a free port of 127.0.0.1, on the current runtime.
    ///
    /// # Errors
    ///
    /// When there is no port.
    pub async fn start(self) -> io::Result<Emulator> {
        self.listen(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// An emulator that listens on this address, on the current runtime; port 0 takes a free one. `[::]` is both
    /// address families, and IPv4 alone where there is no IPv6.
    ///
    /// # Errors
    ///
    /// When the port is taken or the address is not this machine's.
    pub async fn listen(self, address: SocketAddr) -> io::Result<Emulator> {
        let listener = bind(address).await?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the emulator listens beyond this machine: everybody who can reach it can read and delete all messages");
        }
        let mut emulator = self.build();
        let service = Arc::clone(&emulator.service);
        let task = tokio::spawn(gateway::serve(service, listener, std::future::pending())).abort_handle();
        emulator.door = Some(Arc::new(Door { address, task }));
        Ok(emulator)
    }
}

async fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    match TcpListener::bind(address).await {
        Err(error) if address.ip() == Ipv6Addr::UNSPECIFIED && error.kind() != io::ErrorKind::AddrInUse => {
            TcpListener::bind((Ipv4Addr::UNSPECIFIED, address.port())).await
        }
        bound => bound,
    }
}

/// Credentials that nobody checks.
trait ForEmulator {
    fn for_emulator() -> Self;
}

impl ForEmulator for Credentials {
    fn for_emulator() -> Self {
        Self::new("test", "test", None, None, "lifeline-emulator")
    }
}
