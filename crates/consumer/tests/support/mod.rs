//! What the suites share: a consumer on the emulator that is started in a line, looked into while it runs, and
//! whose account must balance when it ends.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::missing_panics_doc,
    reason = "tests; each uses a part"
)]

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, Once};
use std::time::Duration;

use lifeline_consumer::{
    Account, BoxHandler, Builder, Context, Drained, Failure, IntoHandler, Message, Worker,
};
use lifeline_emulator::Emulator;
use lifeline_health::Health;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

pub const SECOND: Duration = Duration::from_secs(1);
pub const MINUTE: Duration = Duration::from_secs(60);

/// Long enough for anything that should happen soon, on a machine that does five other things.
pub const SOON: Duration = Duration::from_secs(20);

/// A queue that is there already.
pub fn existing(queue: &str) -> QueueSpec {
    QueueSpec {
        queue: QueueRef::Name(queue.to_owned()),
        topic: TopicRef::Name(if queue.ends_with(".fifo") { "events.fifo" } else { "events" }.to_owned()),
        provision: false,
        max_receives: 5,
        raw_delivery: false,
    }
}

/// A queue that the consumer makes.
pub fn provisioned(queue: &str) -> QueueSpec {
    QueueSpec { provision: true, ..existing(queue) }
}

/// An emulator at its harshest: a receive whose client is gone takes messages anyway.
pub async fn emulator() -> Emulator {
    Emulator::builder().abandoned_calls(true).start().await.unwrap()
}

/// The same for many messages: it keeps nothing of what is deleted.
pub async fn quiet_emulator() -> Emulator {
    Emulator::builder().abandoned_calls(true).journal(false).start().await.unwrap()
}

/// The same as [`emulator`] for tests without a runtime.
pub fn emulator_on_own_thread() -> Emulator {
    Emulator::builder().abandoned_calls(true).start_on_own_thread().unwrap()
}

pub async fn clients(aws: &Emulator) -> Clients {
    listen();
    Clients::connect(&Access::local(aws.url())).await.unwrap()
}

/// Handles everything.
pub async fn succeed(_: Message, _: Context) -> Result<(), Failure> {
    Ok(())
}

/// Handles nothing.
pub async fn fail(_: Message, _: Context) -> Result<(), Failure> {
    Err(Failure::new("as scripted"))
}

/// Takes this long, and succeeds.
pub fn takes(time: Duration) -> BoxHandler {
    let handler = move |_: Message| async move {
        tokio::time::sleep(time).await;
        Ok::<(), Failure>(())
    };
    handler.boxed()
}

/// Never ends.
pub async fn for_ever(_: Message, _: Context) -> Result<(), Failure> {
    std::future::pending().await
}

/// Never ends by itself; counts when it is dropped.
pub fn hangs_until_dropped(dropped: &Count) -> BoxHandler {
    let dropped = dropped.clone();
    let handler = move |_: Message| {
        let guard = Dropped(dropped.clone());
        async move {
            let _guard = guard;
            std::future::pending::<Result<(), Failure>>().await
        }
    };
    handler.boxed()
}

/// A worker at work, and what it shows of itself.
pub struct Consumer {
    stop: CancellationToken,
    run: JoinHandle<Drained>,
    pub pulses: lifeline_health::Pulses,
    pub readiness: lifeline_health::Readiness,
    pub metrics: lifeline_health::Metrics,
}

impl Consumer {
    /// On a queue of that name, with the defaults.
    pub async fn start<Form>(aws: &Emulator, queue: &str, handler: impl IntoHandler<Form>) -> Self {
        Self::start_with(aws, existing(queue), |builder| builder, handler).await
    }

    /// On any queue, with any settings.
    pub async fn start_with<Form>(
        aws: &Emulator,
        queue: QueueSpec,
        set: impl FnOnce(Builder) -> Builder,
        handler: impl IntoHandler<Form>,
    ) -> Self {
        // pulses that live in the time of the test, which may be paused
        let pulses = lifeline_health::Pulses::with_clock(|| tokio::time::Instant::now().into_std());
        Self::start_on(clients(aws).await, pulses, queue, set, handler)
    }

    /// With clients and pulses of the test's own.
    pub fn start_on<Form>(
        clients: Clients,
        pulses: lifeline_health::Pulses,
        queue: QueueSpec,
        set: impl FnOnce(Builder) -> Builder,
        handler: impl IntoHandler<Form>,
    ) -> Self {
        let readiness = lifeline_health::Readiness::new();
        let metrics = lifeline_health::Metrics::new("test", &pulses);
        let builder = Worker::on(queue).clients(clients).health(&Health {
            pulses: pulses.clone(),
            readiness: readiness.clone(),
            metrics: metrics.clone(),
        });
        let worker = set(builder);
        let stop = CancellationToken::new();
        let handler = handler.boxed();
        let shutdown = stop.clone().cancelled_owned();
        let run = tokio::spawn(async move { worker.run(handler, shutdown).await.unwrap() });
        Self { stop, run, pulses, readiness, metrics }
    }

    /// The word to shut down, without waiting.
    pub fn shut_down(&self) {
        self.stop.cancel();
    }

    /// The end of the run: the account balances, whatever happened.
    pub async fn end(self) -> Drained {
        let drained = self.run.await.unwrap();
        assert!(drained.account.balances(), "{}", drained.account);
        drained
    }

    /// Shuts down and waits for the end.
    pub async fn drain(self) -> Drained {
        self.shut_down();
        self.end().await
    }

    /// Stops without a drain, as a crash does.
    pub async fn kill(self) {
        self.run.abort();
        self.run.await.unwrap_err();
    }

    /// How many messages the worker has taken: what the queue handed out may still be on its way.
    pub fn received(&self) -> u64 {
        self.metric("consumer_messages_received_total") as u64
    }

    /// A metric by its whole name, labels included; 0 where it was never touched.
    pub fn metric(&self, series: &str) -> f64 {
        metric(&self.metrics, series)
    }
}

/// A metric by its whole name, labels included; 0 where it was never touched.
pub fn metric(metrics: &lifeline_health::Metrics, series: &str) -> f64 {
    let text = metrics.render();
    let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    value.map_or(0.0, |v| v.parse().unwrap())
}

/// An account by its numbers: received, deleted, retried, released, lost.
pub fn account(received: u64, deleted: u64, retried: u64, released: u64, lost_lease: u64) -> Account {
    Account { received, deleted, retried, released, lost_lease }
}

/// Counts, from inside of handlers.
#[derive(Clone, Default)]
pub struct Count(Arc<AtomicU64>);

impl Count {
    pub fn add(&self) -> u64 {
        self.0.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub fn remove(&self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }

    pub fn get(&self) -> u64 {
        self.0.load(Ordering::SeqCst)
    }
}

/// What handlers saw, in order.
#[derive(Clone)]
pub struct Seen<T>(Arc<Mutex<Vec<T>>>);

impl<T> Default for Seen<T> {
    fn default() -> Self {
        Self(Arc::default())
    }
}

impl<T: Clone> Seen<T> {
    pub fn push(&self, item: T) {
        self.0.lock().unwrap().push(item);
    }

    pub fn all(&self) -> Vec<T> {
        self.0.lock().unwrap().clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

/// Counts when it is dropped: shows that a future really was.
struct Dropped(Count);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.add();
    }
}

/// Looks every second of `time` whether every pulse is fresh.
pub async fn stays_up(consumer: &Consumer, time: Duration) {
    let end = tokio::time::Instant::now() + time;
    while tokio::time::Instant::now() < end {
        tokio::time::sleep(SECOND).await;
        assert!(consumer.pulses.stale().is_empty(), "DOWN: {:?}", consumer.pulses.ages());
    }
}

/// Gives the whole process a subscriber that writes nothing. Without one, an event that one thread logs for the first time
/// at the moment when another begins to capture may be cached as disabled, permanently and for all threads.
fn listen() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| tracing_subscriber::registry().with(LevelFilter::INFO).try_init().unwrap_or_default());
}

/// The log, as text, of the thread that holds the guard.
pub struct Log {
    text: Arc<Mutex<Vec<u8>>>,
    _guard: tracing::subscriber::DefaultGuard,
}

impl Log {
    pub fn capture() -> Self {
        listen();
        #[derive(Clone)]
        struct Into(Arc<Mutex<Vec<u8>>>);
        impl std::io::Write for Into {
            fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
                self.0.lock().unwrap().write(bytes)
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let text: Arc<Mutex<Vec<u8>>> = Arc::default();
        let writer = Into(Arc::clone(&text));
        let subscriber = tracing_subscriber::fmt()
            .with_ansi(false)
            .with_max_level(tracing::Level::INFO)
            .with_writer(move || writer.clone())
            .finish();
        Self { text, _guard: tracing::subscriber::set_default(subscriber) }
    }

    pub fn lines_with(&self, words: &str) -> usize {
        self.text().lines().filter(|line| line.contains(words)).count()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.text.lock().unwrap().clone()).unwrap()
    }
}
