//! `up --demo`: a retry, a dead letter, an outage and a hung consumer in half a minute, each explained as it happens.
//!
//! The services are those of `up`. The demo brings a handler that fails for two orders, a proxy between the services and SNS
//! and SQS that can be cut, and a second consumer, with a queue and a runtime of its own, whose handler blocks forever.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::Context as _;
use console::{Style, measure_text_width};
use lifeline_consumer::service::{ConsumerConfig, run_handler};
use lifeline_consumer::{Context, Failure, Handler, Message};
use lifeline_health::{Health, Server};
use lifeline_messaging::topology::QueueRef;
use lifeline_service::{Host, Shutdown};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

use crate::args::Up;
use crate::screen::Screen;

/// Orders per second.
const RATE: f64 = 3.0;
/// After how many failures an order is a dead letter.
const MAX_RECEIVES: u32 = 3;
/// The order that fails once.
const FAILS_ONCE: u64 = 10;
/// The order that always fails.
const ALWAYS_FAILS: u64 = 25;
/// How many dead letters that makes: these are no reason to exit with 1.
pub(super) const DEAD_LETTERS: u64 = 1;
/// How long the services cannot reach SNS and SQS.
const OUTAGE: Duration = Duration::from_secs(5);
/// The settings of the demo.
pub(super) fn prepare(settings: &mut Up) {
    settings.producer.publish.rate = RATE;
    settings.consumer.consumer.queue.max_receives = MAX_RECEIVES;
}

/// The settings of the second consumer: a queue of its own at the same topic, and SNS and SQS without the proxy.
pub(super) fn second_consumer(settings: &Up, endpoint: &str) -> ConsumerConfig {
    let mut config = settings.consumer.consumer.clone();
    config.queue.queue = QueueRef::Name(format!("{}-hung", config.queue.queue.name()));
    config.access.endpoint = Some(endpoint.to_owned());
    config
}

/// Fails for the two orders.
#[derive(Debug)]
pub(super) struct Orders;

impl Handler for Orders {
    async fn handle(&self, message: Message, _: Context) -> Result<(), Failure> {
        match number(&message.body) {
            Some(FAILS_ONCE) if message.receive_count == 1 => Err(Failure::failed("the database was locked")),
            Some(ALWAYS_FAILS) => Err(Failure::failed("the product does not exist")),
            _ => Ok(()),
        }
    }
}

/// The number in the id of a generated order, `ord-00000016-…`.
fn number(body: &str) -> Option<u64> {
    body.split_once("\"ord-")?.1.get(..8)?.parse().ok()
}

/// A proxy in front of SNS and SQS that can be cut.
#[derive(Debug)]
pub(super) struct Connection {
    address: SocketAddr,
    open: watch::Sender<bool>,
}

impl Connection {
    /// Forwards to `endpoint` as long as it lives.
    ///
    /// # Errors
    /// No port is free.
    pub(super) async fn to(endpoint: SocketAddr) -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await.context("a port for the demo")?;
        let address = listener.local_addr()?;
        let (open, is_open) = watch::channel(true);
        tokio::spawn(forward(listener, endpoint, is_open));
        Ok(Self { address, open })
    }

    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

async fn forward(listener: TcpListener, endpoint: SocketAddr, open: watch::Receiver<bool>) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            biased;
            accepted = listener.accept() => accepted,
            Some(_) = connections.join_next() => continue,
        };
        let (Ok((mut client, _)), mut open) = (accepted, open.clone()) else { return };
        connections.spawn(async move {
            // a connection that is accepted while it is cut is closed at once
            let forward = async {
                let mut server = TcpStream::connect(endpoint).await?;
                tokio::io::copy_bidirectional(&mut client, &mut server).await
            };
            tokio::select! {
                biased;
                _ = open.wait_for(|open| !open) => {}
                _ = forward => {}
            }
        });
    }
}

/// A consumer that hangs with the first message it receives. Its health server runs on a thread of its own, as always.
struct Hung {
    server: Server,
}

/// What a deadlock does: the thread is gone, and it was the only one.
async fn hang(_: Message) -> Result<(), Failure> {
    loop {
        std::thread::park();
    }
}

impl Hung {
    fn start(config: ConsumerConfig) -> anyhow::Result<Self> {
        let health = Health::new(env!("CARGO_PKG_VERSION"));
        let server = health.server().access_log_to(std::io::sink()).listen(([127, 0, 0, 1], 0).into())?;
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?;
        let host = Host::detached(health, config.worker.wait_time * 10);
        runtime.spawn(run_handler(config, hang, host));
        // it never ends; the process does
        std::mem::forget(runtime);
        Ok(Self { server })
    }
}

/// What the demo shows, and to whom.
pub(super) struct Demo {
    pub(super) screen: Screen,
    /// Whether the screen has the compact view; otherwise the log tells the story.
    pub(super) compact: bool,
    pub(super) connection: Connection,
    /// Of the second consumer.
    pub(super) consumer: ConsumerConfig,
    /// Of the first consumer.
    pub(super) health: SocketAddr,
}

impl Demo {
    /// Plays to the end, and then requests `stop`. SNS and SQS can be reached for as long as this is polled.
    pub(super) async fn play(self, stop: Shutdown) {
        let ended = tokio::select! {
            biased;
            ended = self.scenes() => ended,
            () = stop.requested() => Ok(()),
        };
        if let Err(error) = ended {
            tracing::error!(target: "lifeline", "--demo: {error:#}");
        }
        self.connection.open.send_replace(true);
        stop.request();
        std::future::pending().await
    }

    async fn scenes(&self) -> anyhow::Result<()> {
        let hung = Hung::start(self.consumer.clone())?;
        self.tell(
            "Half a minute of failures. Each line is an order that was handled, and deleted from the queue.",
        );
        sleep(Duration::from_millis(2500)).await;
        self.tell(&format!(
            "1. A retry. The handler fails for order {FAILS_ONCE}, once. The message stays in the queue and is delivered again \
             after a delay. The orders behind it do not wait."
        ));
        sleep(Duration::from_millis(4500)).await;
        self.tell(&format!(
            "2. A dead letter. The handler fails for order {ALWAYS_FAILS} each time. The delays grow, and after {MAX_RECEIVES} \
             attempts SQS moves the message to the dead-letter queue, where it can be read, repaired and sent back."
        ));
        sleep(Duration::from_secs(7)).await;
        self.tell(&format!(
            "3. An outage. SNS and SQS cannot be reached for {} seconds. The producer keeps its orders and tries again; nothing \
             is lost. /ready becomes 503. /health stays 200, because a restart would not help.",
            OUTAGE.as_secs()
        ));
        self.connection.open.send_replace(false);
        sleep(OUTAGE / 2).await;
        for path in ["/ready", "/health"] {
            self.show_response("consumer", self.health, path).await;
        }
        sleep(OUTAGE / 2).await;
        self.connection.open.send_replace(true);
        self.tell("SNS and SQS are back. Both services notice by themselves.");
        sleep(Duration::from_secs(6)).await;
        self.tell(
            "4. A hung consumer. A second consumer has been running all along, and its handler blocked the only thread with the \
             first order. Its /health has a thread of its own and names what no longer makes progress. Kubernetes restarts a \
             container whose liveness probe fails.",
        );
        self.show_response("hung consumer", hung.server.local_addr(), "/health").await;
        self.show_response("consumer", self.health, "/health").await;
        sleep(Duration::from_secs(4)).await;
        self.tell("The end. The producer stops, the consumer finishes what is queued, and every message is accounted for.");
        Ok(())
    }

    async fn show_response(&self, name: &str, address: SocketAddr, path: &'static str) {
        let asked =
            tokio::task::spawn_blocking(move || lifeline_health::ask(address, path, Duration::from_secs(1)));
        let text = match asked.await {
            Ok(Ok(answer)) => format!("{} {}", answer.status, answer.body.trim()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        self.tell(&format!("{name}: GET {path} -> {text}"));
    }

    fn tell(&self, text: &str) {
        if !self.compact {
            return tracing::info!(target: "lifeline", "{text}");
        }
        let style = Style::new().cyan().bold();
        let lines = wrap(text, self.screen.width().min(100).saturating_sub(2));
        let lines: Vec<_> = lines.iter().map(|line| self.screen.paint(&style, format!("▌ {line}"))).collect();
        self.screen.print(&lines.join("\n"));
    }
}

/// Lines of at most `width` columns, broken between words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split(' ') {
        let line = lines.len() - 1;
        let fits = measure_text_width(&lines[line]) + 1 + measure_text_width(word) <= width;
        if lines[line].is_empty() {
            lines[line].push_str(word);
        } else if fits {
            lines[line] = format!("{} {word}", lines[line]);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use lifeline_producer::service::Generator;

    use super::*;

    #[test]
    fn generated_orders_have_the_number_that_the_demo_looks_for() {
        let generator = Generator::new(7, 1);
        for order in [1, FAILS_ONCE, ALWAYS_FAILS] {
            assert_eq!(number(&generator.event(order)), Some(order));
        }
        assert_eq!(number("{\"id\": 7}"), None);
    }

    #[test]
    fn lines_are_broken_between_words() {
        assert_eq!(wrap("one two three", 7), ["one two", "three"]);
        assert_eq!(wrap("a-word-that-is-longer than", 7), ["a-word-that-is-longer", "than"]);
    }
}
