//! The observer: sees everything, and knows what happened of publications, deliveries and disturbances.
//!
//! It sees the network's both ends, so it knows the effect of a call whose response was lost. What breaks an invariant
//! at once is written down here; the rest is judged at the end, by `invariants`.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::time::Instant;

use crate::journal::Journal;

/// A message of the simulation, over all its publications and deliveries.
pub(crate) type Id = u64;

/// For how long, and for how many messages at most, what was received before is taken one at a time after a start.
const CAUTIOUS_TIME: Duration = Duration::from_secs(55);
const CAUTIOUS_MESSAGES: usize = 95;

/// A task that has died again and again for this long is stuck, and `/health` says so.
const STUCK: Duration = Duration::from_secs(60);

/// A task that has not died for this long is not stuck: a long poll, and the slack of its pulse.
const RECOVERED: Duration = Duration::from_secs(60);

/// What became of what the producer was given.
#[derive(Debug, Clone, Default)]
pub(crate) struct Publication {
    pub(crate) group: Option<String>,
    pub(crate) offered: Duration,
    pub(crate) confirmed: Option<Duration>,
    /// When a handler first succeeded with it.
    pub(crate) handled: Option<Duration>,
    /// How often a handler failed it: for a reason of its own.
    pub(crate) failures: u32,
    /// Somebody outside made SNS or SQS lose it.
    pub(crate) excused: bool,
}

/// A message that SQS handed out.
#[derive(Debug, Clone)]
pub(crate) struct Delivery {
    pub(crate) message: String,
    pub(crate) id: Id,
    pub(crate) receive_count: u32,
    pub(crate) pod: Arc<str>,
    pub(crate) at: Duration,
    /// When SQS hands it out again.
    pub(crate) visible_at: Duration,
    /// Its receive's response arrived undisturbed.
    pub(crate) arrived: bool,
    pub(crate) begun: Option<Duration>,
    pub(crate) end: Option<(Duration, End)>,
    pub(crate) deleted: bool,
    /// A fault of the emulator's took its lease, or doubled it.
    pub(crate) tainted: bool,
}

/// How a handler ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    Handled,
    /// The message's own fault: an error, a panic, a time-out, the end of the process.
    Failed,
    /// The same, permanently: a copy of it goes to the dead-letter queue.
    Rejected,
    Unavailable,
    /// It was cut off.
    Cut,
}

/// A fault that hit somebody.
#[derive(Debug, Clone)]
pub(crate) struct Disturbance {
    pub(crate) at: Duration,
    /// `None`: everybody.
    pub(crate) who: Option<Arc<str>>,
    pub(crate) what: &'static str,
}

/// A fault of the network that lasts for as long as this is held: what it caused may show at its end.
#[derive(Debug)]
pub(crate) struct Disturbed {
    observer: Observer,
    who: Arc<str>,
}

impl Disturbed {
    pub(crate) fn begin(observer: &Observer, who: &Arc<str>) -> Self {
        observer.disturb(Some(who), "network");
        Self { observer: observer.clone(), who: Arc::clone(who) }
    }
}

impl Drop for Disturbed {
    fn drop(&mut self) {
        self.observer.disturb(Some(&self.who), "network");
    }
}

/// What a process called in one minute.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Minute {
    pub(crate) calls: u32,
    pub(crate) messages: u32,
}

/// All that is known.
#[derive(Debug)]
pub(crate) struct Facts {
    start: Instant,
    /// How much AWS's time is ahead of that of the processes, which were suspended.
    pub(crate) suspended: Duration,
    pub(crate) journal: Journal,
    pub(crate) publications: BTreeMap<Id, Publication>,
    pub(crate) deliveries: Vec<Delivery>,
    by_receipt: HashMap<String, usize>,
    pub(crate) disturbances: Vec<Disturbance>,
    pub(crate) minutes: BTreeMap<(Arc<str>, u64), Minute>,
    /// Handlers at work, by pod.
    pub(crate) at_work: BTreeMap<Arc<str>, usize>,
    pub(crate) calls: u64,
    /// Whose poller died at every receive, since when and at last.
    deaths: BTreeMap<Arc<str>, (Duration, Duration)>,
    /// When the run ended.
    pub(crate) ended: Duration,
    pub(crate) violations: Vec<String>,
    /// Interesting states that were reached.
    pub(crate) reached: BTreeSet<&'static str>,
}

/// Shared by all that happens in a run.
#[derive(Debug, Clone)]
pub(crate) struct Observer(Arc<Mutex<Facts>>);

impl Observer {
    pub(crate) fn new() -> Self {
        Self(Arc::new(Mutex::new(Facts {
            start: Instant::now(),
            suspended: Duration::ZERO,
            journal: Journal::new(),
            publications: BTreeMap::new(),
            deliveries: Vec::new(),
            by_receipt: HashMap::new(),
            disturbances: Vec::new(),
            minutes: BTreeMap::new(),
            at_work: BTreeMap::new(),
            calls: 0,
            deaths: BTreeMap::new(),
            ended: Duration::ZERO,
            violations: Vec::new(),
            reached: BTreeSet::new(),
        })))
    }

    /// Handlers that panic as planned do so outside of it.
    pub(crate) fn facts(&self) -> MutexGuard<'_, Facts> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn write(&self, who: &str, what: impl Into<String>) {
        self.facts().write(who, what.into());
    }

    pub(crate) fn disturb(&self, who: Option<&Arc<str>>, what: &'static str) {
        let mut facts = self.facts();
        let at = facts.now();
        facts.disturbances.push(Disturbance { at, who: who.cloned(), what });
    }

    pub(crate) fn violated(&self, what: String) {
        self.facts().violated(what);
    }

    pub(crate) fn reach(&self, state: &'static str) {
        self.facts().reached.insert(state);
    }
}

impl Facts {
    /// AWS's time, since the start.
    pub(crate) fn now(&self) -> Duration {
        self.start.elapsed() + self.suspended
    }

    pub(crate) fn write(&mut self, who: &str, what: String) {
        let now = self.now();
        self.journal.write(now, who, what);
    }

    pub(crate) fn violated(&mut self, what: String) {
        self.write("INVARIANT", what.clone());
        self.violations.push(what);
    }

    /// Whether a fault hit this process, or everybody, between these moments.
    pub(crate) fn disturbed(&self, who: &Arc<str>, from: Duration, to: Duration) -> bool {
        // the last that is before `to`, and backwards
        let end = self.disturbances.partition_point(|disturbance| disturbance.at <= to);
        self.disturbances[..end]
            .iter()
            .rev()
            .take_while(|disturbance| disturbance.at >= from)
            .any(|disturbance| disturbance.who.as_ref().is_none_or(|other| other == who))
    }

    /// A receive killed the task that made it.
    pub(crate) fn died(&mut self, who: &Arc<str>) {
        // by the clock of pulses, which stops while the machine is suspended
        let now = self.start.elapsed();
        let (since, last) = self.deaths.entry(Arc::clone(who)).or_insert((now, now));
        // a restart comes within 15 s
        if now > *last + Duration::from_secs(16) {
            *since = now;
        }
        *last = now;
    }

    /// A receive did not.
    pub(crate) fn lived(&mut self, who: &Arc<str>) {
        let now = self.start.elapsed();
        if let Some((since, _)) = self.deaths.get_mut(who) {
            *since = now;
        }
    }

    /// Whether `/health` of this process is to be DOWN: `None` where it may be either.
    pub(crate) fn is_stuck(&self, who: &Arc<str>) -> Option<bool> {
        let Some((since, last)) = self.deaths.get(who) else { return Some(false) };
        let ago = self.start.elapsed() - *last;
        if ago > RECOVERED {
            Some(false)
        } else {
            (ago < Duration::from_secs(16) && *last > *since + STUCK).then_some(true)
        }
    }

    pub(crate) fn handled_since(&self, pod: &Arc<str>, since: Duration) -> bool {
        let mut ends = self.deliveries.iter().filter(|delivery| &delivery.pod == pod).filter_map(|d| d.end);
        ends.any(|(at, end)| at >= since && end == End::Handled)
    }

    pub(crate) fn called(&mut self, who: &Arc<str>) {
        let minute = self.now().as_secs() / 60;
        self.calls += 1;
        self.minutes.entry((Arc::clone(who), minute)).or_default().calls += 1;
    }

    /// The number that a body carries: raw, or within SNS's envelope.
    pub(crate) fn id_of(body: &str) -> Option<Id> {
        let (_, rest) = body.split_once('#')?;
        rest.split_once('#')?.0.parse().ok()
    }

    /// A receive had its effect. The deliveries that it made.
    pub(crate) fn received(
        &mut self,
        pod: &Arc<str>,
        request: &Value,
        response: &Value,
        tainted: bool,
    ) -> Vec<usize> {
        let now = self.now();
        let visibility = Duration::from_secs(request["VisibilityTimeout"].as_u64().unwrap_or(30));
        let messages = response["Messages"].as_array().map_or(&[][..], Vec::as_slice);
        let mut made = Vec::with_capacity(messages.len());
        let most = request["MaxNumberOfMessages"].as_u64().unwrap_or(1);
        if most > 1 && !messages.is_empty() && self.is_cautious(pod) {
            let what = format!(
                "{pod} asks for {most} messages, although all it has got so far were received before"
            );
            self.violated(what);
        }
        for message in messages {
            let text = |name: &str| message[name].as_str().unwrap_or_default();
            let Some(id) = Self::id_of(text("Body")) else { continue };
            let count = message["Attributes"]["ApproximateReceiveCount"].as_str();
            let receive_count = count.and_then(|count| count.parse().ok()).unwrap_or(0);
            let delivery = Delivery {
                message: text("MessageId").to_owned(),
                id,
                receive_count,
                pod: Arc::clone(pod),
                at: now,
                visible_at: now + visibility,
                arrived: false,
                begun: None,
                end: None,
                deleted: false,
                tainted,
            };
            if let Some(again) = self.by_receipt.get(text("ReceiptHandle")) {
                // a receive that was repeated under its attempt id brings what it brought before
                self.deliveries[*again].visible_at = now + visibility;
                made.push(*again);
                self.reached.insert("a receive was repeated");
                continue;
            }
            if receive_count > 1 {
                self.reached.insert("redelivered");
            }
            made.push(self.deliveries.len());
            self.by_receipt.insert(text("ReceiptHandle").to_owned(), self.deliveries.len());
            self.deliveries.push(delivery);
            let minute = now.as_secs() / 60;
            self.minutes.entry((Arc::clone(pod), minute)).or_default().messages += 1;
        }
        made
    }

    /// Whether a pod should take one message at a time: what ends a process is among those that are received again.
    fn is_cautious(&self, pod: &Arc<str>) -> bool {
        let mut got = self.deliveries.iter().filter(|delivery| delivery.pod == *pod).peekable();
        let first = got.peek().map_or(self.now(), |first| first.at);
        let before = |delivery: &Delivery| delivery.receive_count > 1;
        let mut count = 0;
        got.inspect(|_| count += 1).all(before)
            && count < CAUTIOUS_MESSAGES
            && self.now() < first + CAUTIOUS_TIME
    }

    /// The deliveries that a batch names by their receipts, with the ids of its entries.
    fn entries<'a>(&self, request: &'a Value) -> Vec<(&'a str, &'a Value, usize)> {
        let entries = request["Entries"].as_array().map_or(&[][..], Vec::as_slice);
        let known = entries.iter().filter_map(|entry| {
            let delivery = *self.by_receipt.get(entry["ReceiptHandle"].as_str()?)?;
            Some((entry["Id"].as_str()?, entry, delivery))
        });
        known.collect()
    }

    /// A process sends a batch of deletes: it must have handled them, and their leases must be its own.
    pub(crate) fn deletes(&mut self, pod: &Arc<str>, request: &Value) {
        let now = self.now();
        for (_, _, index) in self.entries(request) {
            let delivery = &self.deliveries[index];
            // of two copies in one response the second may be at work while the first is deleted
            let handled = matches!(delivery.end, Some((_, End::Handled | End::Rejected))) || delivery.tainted;
            if !handled || delivery.pod != *pod {
                let what = format!("{pod} deletes #{} which it has not handled", delivery.id);
                self.violated(what);
                continue;
            }
            let excused = delivery.tainted || self.frozen_within(now, Duration::from_secs(1));
            if now > delivery.visible_at && !excused {
                let late = now - delivery.visible_at;
                let what = format!("{pod} deletes #{} {late:?} after its lease ended", delivery.id);
                self.violated(what);
            }
        }
    }

    fn frozen_within(&self, now: Duration, time: Duration) -> bool {
        let mut recent =
            self.disturbances.iter().rev().take_while(|disturbance| disturbance.at + time >= now);
        recent.any(|disturbance| disturbance.what == "freeze")
    }

    /// A batch of deletes or of visibilities had its effect.
    pub(crate) fn batch_landed(&mut self, request: &Value, response: &Value, delete: bool) {
        let now = self.now();
        let successful = response["Successful"].as_array().map_or(&[][..], Vec::as_slice);
        let done: BTreeSet<&str> = successful.iter().filter_map(|entry| entry["Id"].as_str()).collect();
        for (entry, of, index) in self.entries(request) {
            if !done.contains(entry) {
                continue;
            }
            let delivery = &mut self.deliveries[index];
            if delete {
                delivery.deleted = true;
            } else if let Some(seconds) = of["VisibilityTimeout"].as_u64() {
                delivery.visible_at = now + Duration::from_secs(seconds);
            }
        }
    }

    /// A handler begins with a message.
    pub(crate) fn begun(&mut self, pod: &Arc<str>, message: &str, receive_count: u32) -> Option<usize> {
        let now = self.now();
        let of_it = |delivery: &Delivery| {
            delivery.pod == *pod && delivery.message == message && delivery.receive_count == receive_count
        };
        let fresh = self.deliveries.iter().position(|d| of_it(d) && d.begun.is_none());
        let again = || {
            let unavailable = |d: &Delivery| matches!(d.end, Some((_, End::Unavailable)));
            self.deliveries.iter().rposition(|d| of_it(d) && unavailable(d))
        };
        let index = fresh.or_else(again)?;
        let delivery = &mut self.deliveries[index];
        delivery.begun.get_or_insert(now);
        delivery.end = None;
        // a fault may bring more messages than were asked for
        if !delivery.tainted {
            *self.at_work.entry(Arc::clone(pod)).or_default() += 1;
        }
        Some(index)
    }

    /// How often handlers began with it.
    pub(crate) fn attempts(&self, id: Id) -> u32 {
        let begun = self.deliveries.iter().filter(|delivery| delivery.id == id && delivery.begun.is_some());
        u32::try_from(begun.count()).unwrap_or(u32::MAX)
    }

    /// A handler ended.
    pub(crate) fn ended(&mut self, index: usize, end: End) {
        let now = self.now();
        let delivery = &mut self.deliveries[index];
        delivery.end = Some((now, end));
        if let Some(at_work) = self.at_work.get_mut(&delivery.pod).filter(|_| !delivery.tainted) {
            *at_work -= 1;
        }
        let (id, pod, count) = (delivery.id, Arc::clone(&delivery.pod), delivery.receive_count);
        if let Some(publication) = self.publications.get_mut(&id) {
            match end {
                End::Handled => {
                    publication.handled.get_or_insert(now);
                }
                End::Failed | End::Rejected => publication.failures += 1,
                End::Unavailable | End::Cut => {}
            }
        }
        self.write(&pod, format!("#{id}, receive {count}: {end:?}"));
    }
}
