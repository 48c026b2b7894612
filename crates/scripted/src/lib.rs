//! A scripted SNS and SQS endpoint for tests.
//!
//! A real HTTP server on a loopback port, that the real SDK clients talk to. Behind it is a small honest model of
//! queues and topics, so that tests assert *effects*: what was deleted, what is still there, how often each message
//! was received, which visibility was set when. In front of the model is a script: rules that make chosen calls hang,
//! stall, drip, reset, fail, fail in part, come twice, or lose their lease.
//!
//! ```no_run
//! # use std::time::Duration;
//! # async fn example() {
//! let aws = lifeline_scripted::Endpoint::start().await;
//! let queue = aws.queue("events").visibility(Duration::from_secs(2)).create();
//! queue.put("one");
//! aws.on("ReceiveMessage").nth(1).hang();
//! aws.on("DeleteMessageBatch").for_entries(|entry| entry.body == "one").fail_entry("InternalError", false);
//! // … run a consumer against aws.url() …
//! aws.wait_for(|aws| aws.queue("events").get().deleted() == ["one"], Duration::from_secs(5)).await;
//! assert_eq!(aws.calls("ReceiveMessage").len(), 3);
//! # }
//! ```
//!
//! Time is tokio's, so a test may pause it; the server runs on the runtime that started it. With time paused keep
//! to a current-thread runtime: loopback bytes are there before tokio looks whether it may advance the clock.
//!
//! Honest to the harsher side: a receive whose client went away still takes messages, as SQS may
//! ([`Endpoint::notice_disconnects`] for the kinder world); a delete by a stale receipt succeeds and deletes nothing.
#![allow(
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "for tests only: a panic is a failed test"
)]

mod calls;
mod fault;
mod query;
mod queue;
mod sns;
mod sqs;
mod wire;

use std::{
    collections::{BTreeMap, HashMap},
    future::Future,
    net::SocketAddr,
    panic::Location,
    sync::{
        Arc, Mutex, MutexGuard,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::{Value, json};
use tokio::{
    net::{TcpListener, TcpSocket, TcpStream},
    sync::watch,
    task::JoinSet,
    time::Instant,
};

pub use crate::{
    calls::{Call, Entry, Outcome},
    fault::{EntryTest, Fault, On, RuleHandle, ServiceError},
    queue::{Counts, History, Message},
    sns::Published,
};

/// The account that every queue and topic is in.
pub const ACCOUNT: &str = "000000000000";
/// The region that every ARN names.
pub const REGION: &str = "us-east-1";

/// A running endpoint. It stops and closes every connection when dropped.
pub struct Endpoint {
    shared: Arc<Shared>,
    stop: tokio::task::AbortHandle,
}

pub(crate) struct Shared {
    url: String,
    state: Mutex<State>,
    version: watch::Sender<u64>,
    mode: watch::Sender<Mode>,
    notice_disconnects: AtomicBool,
    credentials: AtomicU64,
}

#[derive(Default)]
pub(crate) struct State {
    url: String,
    queues: BTreeMap<String, queue::Model>,
    topics: BTreeMap<String, sns::Topic>,
    subscriptions: BTreeMap<String, sns::Subscription>,
    script: fault::Script,
    calls: Vec<Call>,
    counts: BTreeMap<String, usize>,
    open: HashMap<String, usize>,
    frugal: bool,
    enforce_policies: bool,
    credential_lifetime: Option<Duration>,
}

#[derive(Clone, Copy, PartialEq)]
enum Mode {
    Up,
    BlackHole,
    Down,
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        // A test that panicked while it looked must not hide its message behind a poisoned lock.
        self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn touch(&self) {
        self.version.send_modify(|version| *version += 1);
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.version.subscribe()
    }

    fn notices_disconnects(&self) -> bool {
        self.notice_disconnects.load(Ordering::Relaxed)
    }

    fn new_credentials(&self) -> (String, String) {
        let lifetime = self.state().credential_lifetime.unwrap_or(Duration::from_secs(3600));
        let n = self.credentials.fetch_add(1, Ordering::Relaxed) + 1;
        (format!("ASIASCRIPTED{n:08}"), iso8601(SystemTime::now() + lifetime))
    }
}

impl Endpoint {
    /// Listens on a free loopback port, on the current runtime.
    pub async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let url = format!("http://{address}");
        let shared = Arc::new(Shared {
            state: Mutex::new(State { url: url.clone(), ..State::default() }),
            url,
            version: watch::Sender::new(0),
            mode: watch::Sender::new(Mode::Up),
            notice_disconnects: AtomicBool::new(false),
            credentials: AtomicU64::new(0),
        });
        let stop = tokio::spawn(accept(Arc::clone(&shared), listener, address)).abort_handle();
        Self { shared, stop }
    }

    /// Starts on a thread and runtime of its own, for tests whose runtime is blocked, or that have none.
    #[must_use]
    pub fn start_on_own_thread() -> Self {
        let (ready, endpoint) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let endpoint = Self::start().await;
                let mut gone = endpoint.shared.mode.subscribe();
                ready.send(endpoint).unwrap();
                // The sender of `mode` lives as long as the endpoint and its connections.
                while gone.changed().await.is_ok() {}
            });
        });
        endpoint.recv().unwrap()
    }

    /// `http://127.0.0.1:PORT`, for `AWS_ENDPOINT_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        self.shared.url.clone()
    }

    /// A URL for `AWS_CONTAINER_CREDENTIALS_FULL_URI`: each request to it gets a new access key.
    #[must_use]
    pub fn credentials_url(&self) -> String {
        format!("{}/credentials", self.shared.url)
    }

    /// How long credentials from [`Endpoint::credentials_url`] and STS are valid; an hour at first.
    pub fn credential_lifetime(&self, lifetime: Duration) {
        self.shared.state().credential_lifetime = Some(lifetime);
    }

    /// Starts a rule for calls of this action; `*` is every action. See [`On`].
    pub fn on(&self, action: &str) -> On<'_> {
        On::new(self, action)
    }

    /// Takes all rules back.
    pub fn clear_rules(&self) {
        self.shared.state().script.clear();
    }

    /// Seeds the generator behind [`On::probability`].
    pub fn seed(&self, seed: u64) {
        self.shared.state().script.seed(seed);
    }

    /// A queue by name: `.create()` makes it, `.get()` is a view of one that exists or will.
    pub fn queue(&self, name: &str) -> QueueBuilder<'_> {
        QueueBuilder { endpoint: self, name: name.into(), attributes: BTreeMap::new() }
    }

    /// Makes a topic with SNS' defaults, or views the one there is.
    #[must_use]
    pub fn topic(&self, name: &str) -> Topic {
        let arn = topic_arn(name);
        let mut state = self.shared.state();
        let topic = state.topics.entry(arn.clone()).or_default();
        if name.ends_with(".fifo") {
            topic.attributes.insert("FifoTopic".into(), "true".into());
        }
        drop(state);
        Topic { shared: Arc::clone(&self.shared), arn }
    }

    /// Deletes a queue with all it holds. Waiting receives get `QueueDoesNotExist`.
    pub fn delete_queue(&self, name: &str) {
        self.shared.state().queues.remove(name);
        self.shared.touch();
    }

    /// Deletes a topic and its subscriptions, as `DeleteTopic` does. SNS takes the subscriptions away a while later; one
    /// that is made again in that while is as harsh here as there: nothing is delivered until somebody subscribes anew.
    pub fn delete_topic(&self, name: &str) {
        sns::delete(&mut self.shared.state(), &topic_arn(name));
        self.shared.touch();
    }

    /// Forgets every queue, topic and subscription, like an endpoint that was started again. Calls and rules stay.
    pub fn wipe(&self) {
        let mut state = self.shared.state();
        state.queues.clear();
        state.topics.clear();
        state.subscriptions.clear();
        drop(state);
        self.shared.touch();
    }

    /// Refuses connections and resets the open ones, until [`Endpoint::up`].
    pub fn down(&self) {
        self.shared.mode.send_replace(Mode::Down);
    }

    /// Reads requests and never answers, on open and new connections, until [`Endpoint::up`].
    pub fn black_hole(&self) {
        self.shared.mode.send_replace(Mode::BlackHole);
    }

    /// Answers again, at the same address.
    pub fn up(&self) {
        self.shared.mode.send_replace(Mode::Up);
    }

    /// From now on a receive whose client went away takes no messages.
    pub fn notice_disconnects(&self) {
        self.shared.notice_disconnects.store(true, Ordering::Relaxed);
    }

    /// From now on a topic delivers only to queues whose policy admits it, as AWS does and LocalStack does not.
    pub fn enforce_policies(&self) {
        self.shared.state().enforce_policies = true;
    }

    /// For soaks: from now on only counts calls, and forgets messages once deleted, so that memory stays flat.
    pub fn keep_only_counts(&self) {
        let mut state = self.shared.state();
        state.frugal = true;
        state.queues.values_mut().for_each(|queue| queue.frugal = true);
    }

    /// The calls of this action so far, in order; `*` is every action.
    #[must_use]
    pub fn calls(&self, action: &str) -> Vec<Call> {
        let state = self.shared.state();
        state.calls.iter().filter(|call| action == "*" || call.action == action).cloned().collect()
    }

    /// How many calls of this action so far; `*` is every action. Cheaper than [`Endpoint::calls`].
    #[must_use]
    pub fn count(&self, action: &str) -> usize {
        let state = self.shared.state();
        if action == "*" {
            state.counts.values().sum()
        } else {
            state.counts.get(action).copied().unwrap_or(0)
        }
    }

    /// How many calls of this action are unanswered now.
    #[must_use]
    pub fn open(&self, action: &str) -> usize {
        self.shared.state().open.get(action).copied().unwrap_or(0)
    }

    /// Waits until `condition` holds, looking after every event and every 20 ms.
    ///
    /// # Panics
    ///
    /// With the caller's line and the last calls, when it does not hold within `timeout`.
    #[track_caller]
    pub fn wait_for(&self, condition: impl Fn(&Self) -> bool, timeout: Duration) -> impl Future<Output = ()> {
        let caller = Location::caller();
        async move {
            let deadline = Instant::now() + timeout;
            let mut changes = self.shared.changes();
            loop {
                changes.mark_unchanged();
                if condition(self) {
                    return;
                }
                let now = Instant::now();
                assert!(now < deadline, "{caller}: not so within {timeout:?}; {}", self.summary());
                let tick = deadline.min(now + Duration::from_millis(20));
                tokio::time::timeout_at(tick, changes.changed()).await.ok();
            }
        }
    }

    /// Calls by action, and what each queue holds: for the message of a failed assertion.
    #[must_use]
    pub fn summary(&self) -> String {
        let state = self.shared.state();
        let now = Instant::now();
        let queues: Vec<_> =
            state.queues.values().map(|q| format!("{}: {:?}", q.name, q.counts(now))).collect();
        let tail = state.calls.iter().rev().take(8).rev();
        let last: Vec<_> = tail.map(|c| format!("{} {:?}", c.action, c.outcome)).collect();
        format!("calls {:?}; queues {queues:?}; last {last:?}", state.counts)
    }
}

impl Drop for Endpoint {
    fn drop(&mut self) {
        self.stop.abort();
    }
}

/// Accepts while up or a black hole; while down there is no listener, so that connecting is refused.
async fn accept(shared: Arc<Shared>, listener: TcpListener, address: SocketAddr) {
    let mut mode = shared.mode.subscribe();
    let mut listener = Some(listener);
    let mut connections = JoinSet::new();
    let mut next = 0;
    loop {
        if *mode.borrow_and_update() == Mode::Down {
            listener = None;
            if mode.changed().await.is_err() {
                return;
            }
            continue;
        }
        let listening = match listener.take() {
            Some(listening) => listening,
            None => again(address).await,
        };
        tokio::select! {
            accepted = listening.accept() => if let Ok((stream, _)) = accepted {
                connections.spawn(connection(Arc::clone(&shared), stream, next));
                next += 1;
            },
            changed = mode.changed() => if changed.is_err() { return },
            Some(_) = connections.join_next() => {}
        }
        listener = Some(listening);
    }
}

/// One connection until it ends, or is cut: `down` resets what is open.
async fn connection(shared: Arc<Shared>, mut stream: TcpStream, number: u64) {
    let mut mode = shared.mode.subscribe();
    tokio::select! {
        _ = wire::serve(&shared, &mut stream, number) => {}
        _ = mode.wait_for(|mode| *mode == Mode::Down) => drop(stream.set_zero_linger()),
    }
}

async fn again(address: SocketAddr) -> TcpListener {
    loop {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        match socket.bind(address).and_then(|()| socket.listen(1024)) {
            Ok(listener) => return listener,
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

/// A queue to be made or viewed.
#[must_use = "`create` makes the queue, `get` views it"]
pub struct QueueBuilder<'a> {
    endpoint: &'a Endpoint,
    name: String,
    attributes: BTreeMap<String, String>,
}

impl QueueBuilder<'_> {
    /// The queue's own visibility timeout, in whole seconds; 30 s otherwise.
    pub fn visibility(self, timeout: Duration) -> Self {
        let seconds = timeout.as_secs().to_string();
        self.attribute("VisibilityTimeout", &seconds)
    }

    /// A redrive policy to the queue of that name, which must be made too.
    pub fn dead_letters(self, to: &str, max_receives: u32) -> Self {
        let policy = json!({"deadLetterTargetArn": queue_arn(to), "maxReceiveCount": max_receives});
        self.attribute("RedrivePolicy", &policy.to_string())
    }

    /// Any attribute.
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.into(), value.into());
        self
    }

    /// Makes the queue, empty, in place of one of that name. `.fifo` makes it a FIFO queue.
    #[must_use]
    pub fn create(mut self) -> Queue {
        if self.name.ends_with(".fifo") {
            self.attributes.insert("FifoQueue".into(), "true".into());
        }
        let mut state = self.endpoint.shared.state();
        let mut model = queue::Model::new(&self.name, self.attributes);
        model.frugal = state.frugal;
        state.queues.insert(self.name.clone(), model);
        drop(state);
        self.endpoint.shared.touch();
        Queue { shared: Arc::clone(&self.endpoint.shared), name: self.name }
    }

    /// The queue as it is; one that does not exist looks empty.
    #[must_use]
    pub fn get(self) -> Queue {
        Queue { shared: Arc::clone(&self.endpoint.shared), name: self.name }
    }
}

/// A queue of the endpoint: putting messages in, and looking at what became of them.
#[derive(Clone)]
pub struct Queue {
    shared: Arc<Shared>,
    name: String,
}

impl Queue {
    /// For `QUEUE_NAME`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// For `QUEUE_URL`.
    #[must_use]
    pub fn url(&self) -> String {
        format!("{}/{ACCOUNT}/{}", self.shared.url, self.name)
    }

    /// The ARN.
    #[must_use]
    pub fn arn(&self) -> String {
        queue_arn(&self.name)
    }

    /// Sends a message; returns its id.
    ///
    /// # Panics
    ///
    /// When the queue does not exist or does not take it.
    #[track_caller]
    pub fn put(&self, message: impl Into<Message>) -> String {
        let mut state = self.shared.state();
        let queue = state.queues.get_mut(&self.name).unwrap();
        let (id, _) = queue.send(message.into(), Instant::now()).unwrap();
        drop(state);
        self.shared.touch();
        id
    }

    /// Sends many.
    #[track_caller]
    pub fn put_all<M: Into<Message>>(&self, messages: impl IntoIterator<Item = M>) {
        messages.into_iter().for_each(|message| drop(self.put(message)));
    }

    /// What it holds, by state.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.read(|queue| queue.counts(Instant::now()))
    }

    /// Whether it holds nothing at all.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.counts().total() == 0
    }

    /// Bodies it still holds, in the order they were sent.
    #[must_use]
    pub fn bodies(&self) -> Vec<String> {
        self.read(queue::Model::bodies)
    }

    /// Bodies that were deleted, in the order of their deletion.
    #[must_use]
    pub fn deleted(&self) -> Vec<String> {
        let mut deleted: Vec<_> =
            self.histories().into_iter().filter_map(|h| Some((h.deleted?, h.body))).collect();
        deleted.sort_by_key(|(at, _)| *at);
        deleted.into_iter().map(|(_, body)| body).collect()
    }

    /// The histories of all messages it ever held, in the order they were sent.
    #[must_use]
    pub fn histories(&self) -> Vec<History> {
        self.read(|queue| queue.histories.values().cloned().collect())
    }

    /// The history of the last message with this body.
    ///
    /// # Panics
    ///
    /// When there never was one.
    #[must_use]
    #[track_caller]
    pub fn history(&self, body: &str) -> History {
        let found = self.histories().into_iter().rev().find(|h| h.body == body);
        found.unwrap_or_else(|| panic!("{} never held {body:?}", self.name))
    }

    /// How often the message with this body was received.
    #[must_use]
    #[track_caller]
    pub fn receives(&self, body: &str) -> usize {
        self.history(body).received.len()
    }

    /// An attribute as it was set, such as `Policy` or `RedrivePolicy`.
    #[must_use]
    pub fn attribute(&self, name: &str) -> Option<String> {
        self.read(|queue| queue.attributes.get(name).cloned())
    }

    /// Sets an attribute.
    pub fn set_attribute(&self, name: &str, value: &str) {
        self.change(|queue| drop(queue.attributes.insert(name.into(), value.into())));
    }

    /// Another consumer takes every leased message that fits, for `lease`: the old receipts are stale.
    /// Returns how many.
    pub fn steal(&self, fits: impl Fn(&str) -> bool, lease: Duration) -> usize {
        self.change(|queue| queue.break_leases(fits, Some(lease), Instant::now()))
    }

    /// Makes every leased message that fits visible at once, as SQS may: a duplicate delivery. Returns how many.
    pub fn redeliver(&self, fits: impl Fn(&str) -> bool) -> usize {
        self.change(|queue| queue.break_leases(fits, None, Instant::now()))
    }

    fn read<T: Default>(&self, look: impl FnOnce(&queue::Model) -> T) -> T {
        self.shared.state().queues.get(&self.name).map(look).unwrap_or_default()
    }

    fn change<T: Default>(&self, change: impl FnOnce(&mut queue::Model) -> T) -> T {
        let changed = self.shared.state().queues.get_mut(&self.name).map(change).unwrap_or_default();
        self.shared.touch();
        changed
    }
}

impl<S: Into<String>> From<S> for Message {
    fn from(body: S) -> Self {
        Self::new(body)
    }
}

/// A topic of the endpoint.
#[derive(Clone)]
pub struct Topic {
    shared: Arc<Shared>,
    arn: String,
}

impl Topic {
    /// For `TOPIC_ARN`.
    #[must_use]
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// Sets an attribute, such as `MaximumMessageSize`.
    pub fn set_attribute(&self, name: &str, value: &str) {
        if let Some(topic) = self.shared.state().topics.get_mut(&self.arn) {
            topic.attributes.insert(name.into(), value.into());
        }
    }

    /// Everything that was accepted, in order.
    #[must_use]
    pub fn published(&self) -> Vec<Published> {
        self.shared.state().topics.get(&self.arn).map(|topic| topic.published.clone()).unwrap_or_default()
    }

    /// The messages that were accepted, in order.
    #[must_use]
    pub fn messages(&self) -> Vec<String> {
        self.published().into_iter().map(|published| published.message).collect()
    }

    /// Subscribes a queue of this endpoint, raw or wrapped.
    pub fn deliver_to(&self, queue: &Queue, raw: bool) {
        sns::subscribe_queue(&mut self.shared.state(), &self.arn, &queue.arn(), raw);
    }
}

fn queue_arn(name: &str) -> String {
    format!("arn:aws:sqs:{REGION}:{ACCOUNT}:{name}")
}

fn topic_arn(name: &str) -> String {
    format!("arn:aws:sns:{REGION}:{ACCOUNT}:{name}")
}

fn name_of(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or_default()
}

fn text_of(value: &Value, key: &str) -> String {
    value[key].as_str().unwrap_or_default().to_string()
}

fn uuid() -> String {
    let bits = fastrand::u128(..);
    let hex = format!("{bits:032x}");
    format!("{}-{}-4{}-8{}-{}", &hex[..8], &hex[8..12], &hex[13..16], &hex[17..20], &hex[20..])
}

fn iso8601(at: SystemTime) -> String {
    let since = at.duration_since(UNIX_EPOCH).unwrap_or_default();
    let (days, second) = (since.as_secs() / 86_400, since.as_secs() % 86_400);
    // Civil date from days, after Howard Hinnant's `civil_from_days`; all dates here are after 1970.
    let z = days + 719_468;
    let (era, day_of_era) = (z / 146_097, z % 146_097);
    let year_of_era = (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 { shifted + 3 } else { shifted - 9 };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{:03}Z", since.subsec_millis())
}
