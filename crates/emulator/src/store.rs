//! Keeps an emulator's queues, topics and messages in a file, so that they survive a restart.
//!
//! The model stays in memory; the file is written before a call is answered. Calls that are made at the same moment share
//! a transaction. redb's transactions are whole or not there, also after a kill or a power cut. Not kept: move tasks that
//! run, and the deduplication ids of messages that are gone.

use std::{
    collections::BTreeMap,
    io,
    path::Path,
    sync::mpsc::{self, Receiver, Sender},
};

use redb::{Database, ReadableDatabase, ReadableTable, TableDefinition};
use serde::{Deserialize, Serialize};
use tokio::sync::oneshot;

use crate::{
    clock::Time,
    model::{
        arn::Scope,
        changes::Changes,
        message::{Key, Message},
        queue::Queue,
        settings::Settings,
        subscription::Subscription,
        topic::Topic,
        world::World,
    },
};

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Everything but messages, as one text.
const TOPOLOGY: TableDefinition<'_, &str, &str> = TableDefinition::new("topology");
/// Messages by the number of their queue and their key.
const MESSAGES: TableDefinition<'_, (u64, u64), &str> = TableDefinition::new("messages");
const EVERYTHING: &str = "everything";

#[derive(Debug, Serialize, Deserialize)]
struct Topology {
    queues: Vec<SavedQueue>,
    topics: Vec<SavedTopic>,
    subscriptions: Vec<SavedSubscription>,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedQueue {
    account: String,
    region: String,
    name: String,
    number: u64,
    created: Time,
    modified: Time,
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    deduplicates_by_group: bool,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedTopic {
    account: String,
    region: String,
    name: String,
    attributes: BTreeMap<String, String>,
    tags: BTreeMap<String, String>,
    data_protection: Option<String>,
    subscriptions: Vec<String>,
    unsubscribed: u64,
}

#[derive(Debug, Serialize, Deserialize)]
struct SavedSubscription {
    arn: String,
    topic: String,
    protocol: String,
    endpoint: String,
    account: String,
    region: String,
    pending: bool,
    token: String,
    attributes: BTreeMap<String, String>,
}

impl Topology {
    fn of(world: &World) -> Self {
        let queues = world.queues.values().map(|queue| SavedQueue {
            account: queue.scope.account.to_string(),
            region: queue.scope.region.to_string(),
            name: queue.name.clone(),
            number: queue.number,
            created: queue.created,
            modified: queue.modified,
            attributes: queue.settings.values().clone(),
            tags: queue.tags.clone(),
            deduplicates_by_group: queue.deduplicates_by_group,
        });
        let topics = world.topics.values().map(|topic| SavedTopic {
            account: topic.scope.account.to_string(),
            region: topic.scope.region.to_string(),
            name: topic.arn.rsplit(':').next().unwrap_or_default().into(),
            attributes: topic.attributes.clone(),
            tags: topic.tags.clone(),
            data_protection: topic.data_protection.clone(),
            subscriptions: topic.subscriptions.clone(),
            unsubscribed: topic.unsubscribed,
        });
        let subscriptions = world.subscriptions.values().map(|subscription| SavedSubscription {
            arn: subscription.arn.clone(),
            topic: subscription.topic.clone(),
            protocol: subscription.protocol.clone(),
            endpoint: subscription.endpoint.clone(),
            account: subscription.owner.account.to_string(),
            region: subscription.owner.region.to_string(),
            pending: subscription.pending,
            token: subscription.token.clone(),
            attributes: subscription.attributes.clone(),
        });
        Self { queues: queues.collect(), topics: topics.collect(), subscriptions: subscriptions.collect() }
    }

    fn restore(self, world: &mut World, now: Time) {
        for saved in self.queues {
            let mut settings = Settings::new(saved.name.ends_with(".fifo"));
            for (name, value) in saved.attributes {
                settings.put(&name, Some(value));
            }
            let scope = Scope::new(&saved.account, &saved.region);
            let mut queue = Queue::new(scope, &saved.name, saved.number, settings, saved.created);
            queue.modified = saved.modified;
            queue.tags = saved.tags;
            queue.deduplicates_by_group = saved.deduplicates_by_group;
            queue.begin_keys_at(now);
            world.add_queue(queue);
        }
        for saved in self.topics {
            let fifo = saved.name.ends_with(".fifo");
            let mut topic = Topic::new(Scope::new(&saved.account, &saved.region), &saved.name, fifo);
            topic.attributes = saved.attributes;
            topic.tags = saved.tags;
            topic.data_protection = saved.data_protection;
            topic.subscriptions = saved.subscriptions;
            topic.unsubscribed = saved.unsubscribed;
            world.topics.insert(topic.arn.clone(), topic);
        }
        for saved in self.subscriptions {
            let mut subscription = Subscription {
                arn: saved.arn,
                topic: saved.topic,
                protocol: saved.protocol,
                endpoint: saved.endpoint,
                owner: Scope::new(&saved.account, &saved.region),
                pending: saved.pending,
                token: saved.token,
                attributes: saved.attributes,
                filter: None,
            };
            // It was checked when it was set.
            subscription.read_filter(false).ok();
            world.subscriptions.insert(subscription.arn.clone(), subscription);
        }
    }
}

/// What one call changed, and who waits until it is in the file.
struct Job {
    changes: Changes,
    topology: Option<String>,
    done: oneshot::Sender<Result<(), String>>,
}

/// The file, written by a thread of its own.
#[derive(Debug)]
pub(crate) struct Store {
    jobs: Sender<Job>,
}

impl Store {
    /// Opens or creates the file, and fills the world with what is in it.
    ///
    /// # Errors
    ///
    /// When the file cannot be opened, is used by another process, or is none of the emulator's.
    pub(crate) fn open(path: &Path, world: &mut World, now: Time) -> io::Result<Self> {
        let named = |error: BoxError| io::Error::other(format!("{}: {error}", path.display()));
        let database = Database::create(path).map_err(|error| named(error.into()))?;
        load(&database, world, now).map_err(named)?;
        world.track_changes(now);
        let (jobs, received) = mpsc::channel();
        std::thread::Builder::new().name("store".into()).spawn(move || write(&database, &received))?;
        Ok(Self { jobs })
    }

    /// Takes what changed in the world, in its order; the future completes when that is in the file.
    ///
    /// # Errors
    ///
    /// When it could not be written.
    pub(crate) fn save(&self, world: &mut World) -> impl Future<Output = Result<(), String>> + use<> {
        let changes = world.take_changes();
        let written = (!changes.is_empty()).then(|| {
            let topology =
                changes.topology.then(|| serde_json::to_string(&Topology::of(world)).unwrap_or_default());
            let (done, written) = oneshot::channel();
            self.jobs.send(Job { changes, topology, done }).ok();
            written
        });
        async move {
            match written {
                None => Ok(()),
                Some(written) => written.await.unwrap_or_else(|_| Err("the store has ended".into())),
            }
        }
    }
}

fn load(database: &Database, world: &mut World, now: Time) -> Result<(), BoxError> {
    let transaction = database.begin_write()?;
    {
        let topology = transaction.open_table(TOPOLOGY)?;
        // One that cannot be read is an error, and not an empty one, which would delete all messages below.
        if let Some(text) = topology.get(EVERYTHING)? {
            let saved: Topology = serde_json::from_str(text.value())
                .map_err(|error| format!("what it says of queues and topics cannot be read: {error}"))?;
            saved.restore(world, now);
        }
        // Messages of queues that were deleted.
        let known: Vec<u64> = world.queues.values().map(|queue| queue.number).collect();
        transaction.open_table(MESSAGES)?.retain(|(queue, _), _| known.contains(&queue))?;
    }
    transaction.commit()?;
    let messages = database.begin_read()?.open_table(MESSAGES)?;
    for queue in world.queues.values_mut() {
        for entry in messages.range((queue.number, 0)..=(queue.number, u64::MAX))? {
            let (key, text) = entry?;
            match serde_json::from_str::<Message>(text.value()) {
                Ok(message) => queue.bring_back(key.value().1, message, now),
                // It stays in the file, for a version that can read it.
                Err(error) => {
                    let key = key.value().1;
                    tracing::error!(queue = queue.name, key, %error, "a message in the emulator's data cannot be read: it stays in the file, and is not delivered");
                }
            }
        }
    }
    Ok(())
}

/// Writes jobs until there are no more; those that wait together are one transaction.
fn write(database: &Database, jobs: &Receiver<Job>) {
    while let Ok(first) = jobs.recv() {
        let mut together = vec![first];
        together.extend(jobs.try_iter().take(1000));
        let written = commit(database, &together).map_err(|error| {
            tracing::error!(%error, "the emulator's data could not be written");
            error.to_string()
        });
        for job in together {
            job.done.send(written.clone()).ok();
        }
    }
}

fn commit(database: &Database, jobs: &[Job]) -> Result<(), redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut topology = transaction.open_table(TOPOLOGY)?;
        let mut messages = transaction.open_table(MESSAGES)?;
        for job in jobs {
            if let Some(text) = &job.topology {
                topology.insert(EVERYTHING, text.as_str())?;
            }
            for queue in &job.changes.cleared {
                messages.retain_in((*queue, 0)..=(*queue, Key::MAX), |_, _| false)?;
            }
            for ((queue, key), message) in &job.changes.messages {
                match message {
                    Some(text) => drop(messages.insert((*queue, *key), text.as_str())?),
                    None => drop(messages.remove((*queue, *key))?),
                }
            }
        }
    }
    transaction.commit()?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::world::Rules;

    #[test]
    fn a_file_that_cannot_be_read_is_refused_and_keeps_its_messages() {
        let path = std::env::temp_dir().join(format!("lifeline-store-{}.redb", std::process::id()));
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        transaction
            .open_table(TOPOLOGY)
            .unwrap()
            .insert(EVERYTHING, "{\"of\": \"another version\"}")
            .unwrap();
        transaction.open_table(MESSAGES).unwrap().insert((1, 1), "a message").unwrap();
        transaction.commit().unwrap();
        let rules =
            Rules { cooldowns: false, enforce_policies: true, quotas: false, memory: None, journal: false };
        let mut world = World::new(rules, None);
        let error = load(&database, &mut world, Time::default()).unwrap_err().to_string();
        assert!(error.contains("queues and topics cannot be read"), "{error}");
        let messages = database.begin_read().unwrap().open_table(MESSAGES).unwrap();
        assert_eq!(messages.get((1, 1)).unwrap().unwrap().value(), "a message");
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn a_message_that_cannot_be_read_stays_in_the_file_and_the_others_are_delivered() {
        let path = std::env::temp_dir().join(format!("lifeline-store-message-{}.redb", std::process::id()));
        let rules =
            Rules { cooldowns: false, enforce_policies: true, quotas: false, memory: None, journal: false };
        let mut world = World::new(rules.clone(), None);
        let settings = Settings::new(false);
        world.add_queue(Queue::new(
            Scope::new("000000000000", "us-east-1"),
            "q",
            1,
            settings,
            Time::default(),
        ));
        let database = Database::create(&path).unwrap();
        let transaction = database.begin_write().unwrap();
        let text = serde_json::to_string(&Topology::of(&world)).unwrap();
        transaction.open_table(TOPOLOGY).unwrap().insert(EVERYTHING, text.as_str()).unwrap();
        transaction.open_table(MESSAGES).unwrap().insert((1, 7), "{\"of\": \"another version\"}").unwrap();
        transaction.commit().unwrap();
        let mut world = World::new(rules, None);
        load(&database, &mut world, Time::default()).unwrap();
        let counts = world.queues.values_mut().map(|queue| queue.counts().visible).collect::<Vec<_>>();
        assert_eq!(counts, [0]);
        let messages = database.begin_read().unwrap().open_table(MESSAGES).unwrap();
        assert!(messages.get((1, 7)).unwrap().is_some());
        std::fs::remove_file(&path).unwrap();
    }
}
