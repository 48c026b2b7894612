//! Everything that one emulator holds: queues, topics, subscriptions and move tasks of all accounts and regions.

use std::collections::{BTreeMap, HashMap};

use super::{
    history::Journal,
    message::{Key, Message},
    move_task::MoveTask,
    queue::Queue,
    receive::{Receive, Taken},
    subscription::Subscription,
    topic::Topic,
};
use crate::{
    clock::Time,
    error::{Result, sqs},
    random::Random,
};

/// How strict the model is where AWS is stricter than a laptop needs.
#[derive(Debug, Clone)]
pub(crate) struct Rules {
    /// Sixty seconds between two purges, and between the deletion of a queue and its creation.
    pub(crate) cooldowns: bool,
    /// Queue policies decide whether a topic may deliver.
    pub(crate) enforce_policies: bool,
    /// 300 calls per second for each action on a FIFO queue.
    pub(crate) quotas: bool,
    /// Most bytes of messages held; beyond it sends are throttled.
    pub(crate) memory: Option<usize>,
    /// Keeps what became of each message and each call, for tests.
    pub(crate) journal: bool,
}

/// All that an emulator holds.
#[derive(Debug)]
pub(crate) struct World {
    /// By ARN.
    pub(crate) queues: BTreeMap<String, Queue>,
    /// By ARN.
    pub(crate) topics: BTreeMap<String, Topic>,
    /// By ARN.
    pub(crate) subscriptions: BTreeMap<String, Subscription>,
    /// In the order in which they were started.
    pub(crate) tasks: Vec<MoveTask>,
    /// When queues were deleted, by ARN, for a minute.
    pub(crate) deleted: HashMap<String, Time>,
    pub(crate) random: Random,
    pub(crate) rules: Rules,
    /// Whether a store asks what has changed.
    pub(crate) tracks_changes: bool,
    /// Something other than messages has changed since a store asked.
    pub(crate) topology_changed: bool,
    sequence: u64,
}

impl World {
    pub(crate) fn new(rules: Rules, seed: Option<u64>) -> Self {
        Self {
            queues: BTreeMap::new(),
            topics: BTreeMap::new(),
            subscriptions: BTreeMap::new(),
            tasks: Vec::new(),
            deleted: HashMap::new(),
            random: Random::new(seed),
            rules,
            tracks_changes: false,
            topology_changed: false,
            sequence: 0,
        }
    }

    /// Lets sequence numbers begin beyond those of an earlier run.
    pub(crate) fn begin_sequence_at(&mut self, now: Time) {
        self.sequence = now.0.saturating_mul(1000);
    }

    /// The next sequence number: 20 digits that grow, as AWS's.
    pub(crate) fn next_sequence(&mut self) -> String {
        const START: u128 = 18_850_000_000_000_000_000;
        self.sequence += 1;
        (START + u128::from(self.sequence) * 256).to_string()
    }

    /// Forgets everything but the rules.
    pub(crate) fn wipe(&mut self) {
        for queue in self.queues.values() {
            queue.arrival.notify_waiters();
        }
        self.queues.clear();
        self.topics.clear();
        self.subscriptions.clear();
        self.tasks.clear();
        self.deleted.clear();
    }

    /// Adds a new queue.
    pub(crate) fn add_queue(&mut self, mut queue: Queue) {
        queue.journal = Journal::new(self.rules.journal);
        if self.tracks_changes {
            queue.track_changes();
        }
        self.topology_changed = true;
        self.queues.insert(queue.arn.clone(), queue);
    }

    pub(crate) fn queue(&mut self, arn: &str) -> Result<&mut Queue> {
        self.queues.get_mut(arn).ok_or_else(sqs::no_such_queue)
    }

    /// Receives from a queue; what was received too often goes to the dead-letter queue.
    pub(crate) fn receive(&mut self, arn: &str, mut request: Receive, now: Time) -> Result<Taken> {
        self.run_move_tasks(now);
        let queue = self.queues.get(arn).ok_or_else(sqs::no_such_queue)?;
        let target = queue.settings.redrive.as_ref().map(|policy| policy.target.clone());
        request.dead_letters = target.as_ref().is_some_and(|target| self.queues.contains_key(target));
        let Some(queue) = self.queues.get_mut(arn) else { return Err(sqs::no_such_queue()) };
        let mut taken = queue.receive(&request, now, &mut self.random)?;
        if let Some(target) = target {
            for message in taken.dead.drain(..) {
                self.bury(arn, &target, message, now);
            }
        }
        Ok(taken)
    }

    /// Puts a dead letter into its queue. Its receive count goes on; in a FIFO queue its retention begins anew.
    fn bury(&mut self, source: &str, target: &str, mut message: Message, now: Time) {
        message.dead_letter_source = Some(source.into());
        let sequence = message.sequence.is_some().then(|| self.next_sequence());
        let Some(queue) = self.queues.get_mut(target) else { return };
        if queue.settings.fifo {
            message.enqueued = now;
            message.sequence = sequence;
        }
        queue.put(message, 0, now);
    }

    /// The message of a key, if the queue and it are still there.
    pub(crate) fn message(&self, arn: &str, key: Key) -> Option<&Message> {
        self.queues.get(arn)?.messages.get(&key).map(|message| &**message)
    }

    /// When something will happen by itself next that a receive from this queue could see.
    pub(crate) fn next_event(&self, arn: &str) -> Option<Time> {
        let queue = self.queues.get(arn).and_then(Queue::next_event);
        let tasks = self.tasks.iter().filter_map(MoveTask::next_event).min();
        queue.into_iter().chain(tasks).min()
    }

    /// An estimate of the memory that all messages take, in bytes, without the dead letters.
    pub(crate) fn bytes(&self) -> usize {
        let dead: Vec<&str> = self
            .queues
            .values()
            .filter_map(|queue| queue.settings.redrive.as_ref().map(|policy| policy.target.as_str()))
            .collect();
        let held = self.queues.values().filter(|queue| !dead.contains(&queue.arn.as_str()));
        held.map(Queue::bytes).sum()
    }
}
