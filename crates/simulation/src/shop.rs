//! The producer: an application that writes each message into an outbox on its disk, publishes it, and crosses it off
//! when it is confirmed. After a restart it goes on with what is not crossed off.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lifeline_health::{Health, Metrics, Readiness};
use lifeline_messaging::client::Clients;
use lifeline_producer::{NewMessage, PublishErrorKind, Publisher};
use tokio::sync::Notify;
use tokio_util::task::AbortOnDropHandle;

use crate::network::Network;
use crate::observer::{Id, Observer, Publication};
use crate::plan::{Burst, Setting, dice};
use crate::pod::{access, pulses};
use crate::process::Process;

/// What survives the process. Cheap to clone.
#[derive(Debug, Clone)]
pub(crate) struct Outbox(Arc<Disk>);

#[derive(Debug)]
struct Disk {
    items: Mutex<Vec<Item>>,
    changed: Notify,
    seed: u64,
    fifo: bool,
}

#[derive(Debug, Clone)]
struct Item {
    id: Id,
    group: Option<String>,
    bytes: usize,
    state: State,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Waiting,
    Sent,
    Confirmed,
    /// Given up: FIFO alone, where what came after it may have gone.
    Failed,
}

impl Outbox {
    pub(crate) fn new(seed: u64, fifo: bool) -> Self {
        Self(Arc::new(Disk { items: Mutex::default(), changed: Notify::new(), seed, fifo }))
    }

    fn items(&self) -> MutexGuard<'_, Vec<Item>> {
        self.0.items.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// New messages.
    pub(crate) fn write(&self, burst: &Burst, observer: &Observer) {
        let mut items = self.items();
        let mut dice = dice(self.0.seed, 1000 + items.len() as u64);
        let mut facts = observer.facts();
        let offered = facts.now();
        facts.write("shop", format!("writes {} messages", burst.messages));
        for _ in 0..burst.messages {
            let id = items.len() as Id;
            let group = self.0.fifo.then(|| format!("g{}", dice.u32(..burst.groups)));
            items.push(Item { id, group: group.clone(), bytes: burst.bytes, state: State::Waiting });
            facts.publications.insert(id, Publication { group, offered, ..Publication::default() });
        }
        drop(facts);
        self.0.changed.notify_one();
    }

    /// Whether everything was crossed off, or given up.
    pub(crate) fn is_done(&self) -> bool {
        self.items().iter().all(|item| matches!(item.state, State::Confirmed | State::Failed))
    }

    fn next(&self) -> Option<Item> {
        let mut items = self.items();
        let next = items.iter_mut().find(|item| item.state == State::Waiting)?;
        next.state = State::Sent;
        Some(next.clone())
    }

    fn set(&self, id: Id, state: State) {
        if let Some(item) = self.items().iter_mut().find(|item| item.id == id) {
            item.state = state;
        }
        self.0.changed.notify_one();
    }

    /// A new process reads what is not crossed off.
    fn reopen(&self) {
        let mut items = self.items();
        items
            .iter_mut()
            .filter(|item| item.state == State::Sent)
            .for_each(|item| item.state = State::Waiting);
    }
}

/// The application in one process.
pub(crate) struct Shop {
    process: Process,
    pub(crate) health: Health,
    publisher: Arc<Mutex<Option<Publisher>>>,
    work: AbortOnDropHandle<()>,
    observer: Observer,
}

impl Shop {
    pub(crate) fn start(
        setting: &Setting,
        outbox: &Outbox,
        network: &Network,
        observer: &Observer,
        topic: String,
        name: String,
    ) -> Self {
        let process = Process::new(name, None);
        let pulses = pulses();
        let metrics = Metrics::new("simulation", &pulses);
        let health = Health { pulses, readiness: Readiness::new(), metrics };
        let publisher = Arc::new(Mutex::new(None));
        observer.write(process.name(), "starts");
        outbox.reopen();
        let work = {
            let (setting, process, health) = (setting.clone(), process.clone(), health.clone());
            let (outbox, network, observer) = (outbox.clone(), network.clone(), observer.clone());
            let started = Arc::clone(&publisher);
            tokio::spawn(async move {
                let http = || network.client(&process);
                let connected = Clients::connect_over(&access(&setting), http).await;
                let clients = connected.unwrap_or_else(|error| unreachable!("a region is given: {error}"));
                let builder = Publisher::to(topic)
                    .clients(clients)
                    .buffer(setting.buffer)
                    .deadline(setting.deadline)
                    .provision(setting.provision)
                    .health(&health);
                let publisher =
                    builder.start().await.unwrap_or_else(|error| unreachable!("clients are given: {error}"));
                *started.lock().unwrap_or_else(PoisonError::into_inner) = Some(publisher.clone());
                loop {
                    let changed = outbox.0.changed.notified();
                    let Some(item) = outbox.next() else {
                        changed.await;
                        continue;
                    };
                    let mut body = format!("#{}#", item.id);
                    body.push_str(&"x".repeat(item.bytes));
                    let mut message = NewMessage::new(body);
                    if let Some(group) = &item.group {
                        message = message.group(group);
                    }
                    let (outbox, observer, process) = (outbox.clone(), observer.clone(), process.clone());
                    let accepted = publisher.enqueue(message).await;
                    tokio::spawn(async move {
                        let outcome = match accepted {
                            Ok(pending) => pending.await,
                            Err(error) => Err(error),
                        };
                        if process.is_alive() {
                            settle(&outbox, &observer, &item, outcome);
                        }
                    });
                }
            })
        };
        Self { process, health, publisher, work: AbortOnDropHandle::new(work), observer: observer.clone() }
    }

    fn publisher(&self) -> Option<Publisher> {
        self.publisher.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    /// As SIGKILL does it.
    pub(crate) fn kill(self) {
        self.process.end();
        self.observer.disturb(Some(self.process.name()), "kill");
        self.observer.write(self.process.name(), "is killed");
        self.work.abort();
        if let Some(publisher) = self.publisher() {
            // its tasks go with the process
            tokio::spawn(async move { publisher.abandon().await });
        }
    }

    /// Closes the publisher: every message has its result then.
    pub(crate) async fn close(self, limit: Duration) {
        let Some(publisher) = self.publisher() else { return };
        if tokio::time::timeout(limit, publisher.close()).await.is_err() {
            self.observer.violated(format!("the publisher did not close within {limit:?}"));
        }
        self.process.end();
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        self.process.name()
    }
}

fn settle(outbox: &Outbox, observer: &Observer, item: &Item, outcome: lifeline_producer::Outcome) {
    let mut facts = observer.facts();
    let now = facts.now();
    match outcome {
        Ok(_) => {
            facts.write("shop", format!("#{} is confirmed", item.id));
            if let Some(publication) = facts.publications.get_mut(&item.id) {
                publication.confirmed = Some(now);
            }
            drop(facts);
            outbox.set(item.id, State::Confirmed);
        }
        Err(error) => {
            facts.write("shop", format!("#{} is not confirmed: {:?}", item.id, error.kind()));
            facts.reached.insert("a publication timed out");
            if error.kind() != PublishErrorKind::TimedOut {
                facts.violated(format!("#{} is a good message, and was refused: {error}", item.id));
            }
            drop(facts);
            // what came after it in its group may be published by now
            let again = item.group.is_none();
            outbox.set(item.id, if again { State::Waiting } else { State::Failed });
        }
    }
}
