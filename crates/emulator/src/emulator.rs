//! [`Emulator`]: one SNS and SQS, for one test or one process.

use std::{
    future::Future,
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    panic::Location,
    path::PathBuf,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime},
};

use aws_credential_types::{Credentials, provider::SharedCredentialsProvider};
use aws_smithy_async::rt::sleep::{SharedAsyncSleep, TokioSleep};
use aws_smithy_runtime_api::client::{behavior_version::BehaviorVersion, http::SharedHttpClient};
use aws_types::{SdkConfig, region::Region};
use tokio::{
    net::TcpListener,
    task::{AbortHandle, JoinHandle},
    time::Instant,
};

use crate::{
    action::Action,
    client,
    clock::Clock,
    control,
    fault::{Fault, Injected, Script},
    gateway,
    handle::{Queue, Topic},
    model::world::{Rules, World},
    pages::{Pages, Slot},
    record::Call,
    request::REGION,
    service::{Mode, Service},
    store::Store,
};

/// How often a condition is looked at that no call changes.
const TICK: Duration = Duration::from_millis(20);

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
    pages: Slot,
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
    abandoned: bool,
    data: Option<PathBuf>,
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

    /// An emulator on a thread and a runtime of its own: see [`Builder::start_on_own_thread`].
    ///
    /// # Errors
    ///
    /// When there is no port or no thread.
    pub fn start_on_own_thread() -> io::Result<Self> {
        Self::builder().start_on_own_thread()
    }

    /// Settings for an emulator.
    pub fn builder() -> Builder {
        let rules =
            Rules { cooldowns: true, enforce_policies: true, quotas: true, memory: None, journal: true };
        Builder { rules, seed: None, wall: None, faults: Vec::new(), abandoned: false, data: None }
    }

    /// `http://127.0.0.1:PORT`, for other processes and languages of this machine; `None` without a socket.
    #[must_use]
    pub fn endpoint_url(&self) -> Option<String> {
        self.door.as_ref().map(|_| self.url())
    }

    /// Where it listens; `None` without a socket.
    #[must_use]
    pub fn local_addr(&self) -> Option<SocketAddr> {
        self.door.as_ref().map(|door| door.address)
    }

    /// What to give clients: [`Emulator::endpoint_url`], or without a socket a name that only [`Emulator::http_client`]
    /// knows. Queue URLs begin with it.
    #[must_use]
    pub fn url(&self) -> String {
        self.service.url().into()
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
            .endpoint_url(self.url())
            .http_client(self.http_client())
            .sleep_impl(SharedAsyncSleep::new(TokioSleep::new()))
            .build()
    }

    /// The queue of this name, created if it does not exist. A name that ends in `.fifo` is a FIFO queue.
    #[must_use]
    pub fn queue(&self, name: &str) -> Queue {
        Queue::create(&self.service, name)
    }

    /// The queue of this name, without creating it: until somebody does, it looks empty.
    #[must_use]
    pub fn existing_queue(&self, name: &str) -> Queue {
        Queue::named(&self.service, name)
    }

    /// The topic of this name, created if it does not exist. A name that ends in `.fifo` is a FIFO topic.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        Topic::create(&self.service, name)
    }

    /// Time passes here and for nobody else, as it does for AWS while a machine is suspended.
    pub fn skip(&self, time: Duration) {
        self.service.clock.skip(time);
        for queue in self.service.world().queues.values() {
            queue.arrival.notify_waiters();
        }
        self.service.touch();
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

    /// Begins the randomness of faults anew, from this seed.
    pub fn seed_faults(&self, seed: u64) {
        self.service.script().seed(seed);
    }

    /// How many calls of an action there were, or with `None` of all, faults included. The emulator's own handles make
    /// none.
    #[must_use]
    pub fn calls(&self, action: impl Into<Option<Action>>) -> u64 {
        self.service.log().count(action.into())
    }

    /// How many calls of an action, or with `None` of all, are unanswered now.
    #[must_use]
    pub fn open_calls(&self, action: impl Into<Option<Action>>) -> usize {
        self.service.log().open(action.into())
    }

    /// The calls of an action, or with `None` all, in their order. Empty without [`Builder::journal`].
    #[must_use]
    pub fn log(&self, action: impl Into<Option<Action>>) -> Vec<Call> {
        self.service.log().calls(action.into())
    }

    /// Refuses connections and resets those that are open, until [`Emulator::up`].
    pub fn down(&self) {
        self.service.set_mode(Mode::Down);
    }

    /// Reads requests and never answers them, until [`Emulator::up`].
    pub fn black_hole(&self) {
        self.service.set_mode(Mode::BlackHole);
    }

    /// Answers again, at the same address.
    pub fn up(&self) {
        self.service.set_mode(Mode::Up);
    }

    /// Forgets every queue, topic and subscription, as an emulator that was started again. Calls and faults stay.
    pub fn wipe(&self) {
        self.service.world().wipe();
        self.service.touch();
    }

    /// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`: each request gets a new access key.
    #[must_use]
    pub fn credentials_url(&self) -> String {
        format!("{}{}", self.url(), control::CREDENTIALS)
    }

    /// How long credentials from [`Emulator::credentials_url`] are valid; an hour without this.
    pub fn credential_lifetime(&self, lifetime: Duration) {
        self.service.keys.set_lifetime(lifetime);
    }

    /// Answers on a listener of yours until `shutdown` completes.
    pub async fn serve(&self, listener: TcpListener, shutdown: impl Future<Output = ()>) {
        gateway::serve(Arc::clone(&self.service), Slot::default(), listener, shutdown).await;
    }

    /// Serves pages of yours at the emulator's address, before its own. They are made with an emulator that does not keep
    /// the socket open. Nothing happens without a socket, or the second time.
    pub fn serve_pages<P: Pages>(&self, make: impl FnOnce(Self) -> P) {
        if let Some(door) = &self.door {
            let inside = Self { service: Arc::clone(&self.service), door: None };
            door.pages.get_or_init(|| Arc::new(make(inside)));
        }
    }

    /// Completes when `condition` holds; it is asked after every call, and every 20 ms.
    ///
    /// # Panics
    ///
    /// When it does not hold within `timeout`: with the caller's line, the counts of queues and the last calls.
    #[track_caller]
    pub fn wait_for(&self, condition: impl Fn(&Self) -> bool, timeout: Duration) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let deadline = Instant::now() + timeout;
            let mut changes = self.service.changes();
            loop {
                changes.mark_unchanged();
                if condition(self) {
                    return;
                }
                let now = Instant::now();
                assert!(now < deadline, "{caller}: not so within {timeout:?}; {}", self.summary());
                let tick = deadline.min(now + TICK);
                tokio::time::timeout_at(tick, changes.changed()).await.ok();
            }
        }
    }

    /// What each queue holds and the last calls, for the text of a failed assertion.
    #[must_use]
    pub fn summary(&self) -> String {
        let now = self.service.clock.now();
        let mut world = self.service.world();
        let queues = world.queues.values_mut().map(|queue| {
            queue.advance(now);
            format!("{}: {:?}", queue.name, queue.counts())
        });
        let queues: Vec<String> = queues.collect();
        drop(world);
        format!("queues {queues:?}; last calls {:?}", self.service.log().tail(8))
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

    /// Whether calls, and what became of messages, are kept for [`Emulator::log`], [`Queue::deleted`] and others. On
    /// without this; a long-running process turns it off.
    pub fn journal(mut self, on: bool) -> Self {
        self.rules.journal = on;
        self
    }

    /// Whether a call has its effect though its client is gone: a receive then takes messages that nobody gets, as
    /// SQS's may. Off without this.
    pub fn abandoned_calls(mut self, on: bool) -> Self {
        self.abandoned = on;
        self
    }

    /// Keeps queues, topics and messages in this file, which is created if it does not exist; they survive a restart and
    /// a crash. A call is answered once the file has what it changed.
    pub fn data(mut self, file: impl Into<PathBuf>) -> Self {
        self.data = Some(file.into());
        self
    }

    /// A fault that is in force from the start.
    pub fn fault(mut self, fault: Fault) -> Self {
        self.faults.push(fault);
        self
    }

    /// An emulator without a socket.
    ///
    /// # Panics
    ///
    /// When the file of [`Builder::data`] cannot be opened.
    #[must_use]
    pub fn build(self) -> Emulator {
        self.open().expect("only a file can fail, and who gave one wants to hear of it")
    }

    fn open(self) -> io::Result<Emulator> {
        #[allow(clippy::disallowed_methods, reason = "without a start of the test's own: today")]
        let clock = Clock::starting_at(self.wall.unwrap_or_else(SystemTime::now));
        let mut script = Script::new(self.seed);
        for fault in self.faults {
            script.add(fault);
        }
        let mut world = World::new(self.rules, self.seed);
        let open = |path: PathBuf| Store::open(&path, &mut world, clock.now());
        let store = self.data.map(open).transpose()?;
        let service = Service::new(world, clock, script, store, self.abandoned);
        Ok(Emulator { service: Arc::new(service), door: None })
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
        self.listening(address).await.map(|(emulator, _)| emulator)
    }

    /// An emulator on a thread and a runtime of its own, for tests that have no runtime or block it; it listens on a free
    /// port of 127.0.0.1.
    ///
    /// # Errors
    ///
    /// When there is no port or no thread.
    pub fn start_on_own_thread(self) -> io::Result<Emulator> {
        let (ready, started) = std::sync::mpsc::channel();
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return ready.send(Err(error)),
            };
            runtime.block_on(async {
                match self.listening(SocketAddr::from(([127, 0, 0, 1], 0))).await {
                    Err(error) => ready.send(Err(error)),
                    Ok((emulator, task)) => {
                        ready.send(Ok(emulator))?;
                        // It ends with the last clone of the emulator.
                        task.await.ok();
                        Ok(())
                    }
                }
            })
        };
        std::thread::Builder::new().name("emulator".into()).spawn(run)?;
        started.recv().map_err(io::Error::other)?
    }

    async fn listening(self, address: SocketAddr) -> io::Result<(Emulator, JoinHandle<()>)> {
        let listener = bind(address).await?;
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            tracing::warn!(%address, "the emulator listens beyond this machine: everybody who can reach it can read and delete all messages");
        }
        let mut emulator = self.open()?;
        let service = Arc::clone(&emulator.service);
        let unspecified = address.ip().is_unspecified();
        service.set_url(if unspecified {
            format!("http://127.0.0.1:{}", address.port())
        } else {
            format!("http://{address}")
        });
        let pages = Slot::default();
        #[allow(clippy::disallowed_methods, reason = "the door aborts it")]
        let task =
            tokio::spawn(gateway::serve(service, Arc::clone(&pages), listener, std::future::pending()));
        emulator.door = Some(Arc::new(Door { address, pages, task: task.abort_handle() }));
        Ok((emulator, task))
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
