//! The queue model: what SQS promises about messages, in memory and by tokio's clock.
//!
//! Called by the SQS actions, by SNS deliveries and by tests through [`crate::Queue`]. It keeps a [`History`] of
//! every message it ever held, so that a test asserts effects (deleted, received twice, kept) and not calls. Every
//! method takes the instant at which it happens; nothing here waits.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use serde_json::Value;
use tokio::time::Instant;

use crate::fault::ServiceError;

/// SQS' own: the longest that a message is kept invisible after a receive.
const LONGEST: Duration = Duration::from_secs(12 * 60 * 60);

/// SQS' own: how long a deduplication id is remembered.
const DEDUPLICATION_INTERVAL: Duration = Duration::from_secs(300);

/// What a message went through, kept after it is gone.
#[derive(Debug, Clone)]
pub struct History {
    /// The message's id.
    pub message_id: String,
    /// The body as it was sent.
    pub body: String,
    /// When it was sent.
    pub sent: Instant,
    /// When it was handed out, each time.
    pub received: Vec<Instant>,
    /// Visibility timeouts that a caller set, with the instant; zero is a release.
    pub visibility: Vec<(Instant, Duration)>,
    /// When it was deleted.
    pub deleted: Option<Instant>,
    /// Deletes by a receipt that no longer leased it: they succeeded and deleted nothing.
    pub stale_deletes: u32,
    /// When it was moved to the dead-letter queue.
    pub dead_lettered: Option<Instant>,
}

/// A message to be put into a queue.
#[derive(Debug, Clone, Default)]
pub struct Message {
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) delay: Option<Duration>,
    pub(crate) group: Option<String>,
    pub(crate) deduplication: Option<String>,
    pub(crate) receives: u32,
    pub(crate) trace_header: Option<String>,
}

impl Message {
    /// A message of this body, without attributes, delay or group.
    pub fn new(body: impl Into<String>) -> Self {
        Self { body: body.into(), ..Self::default() }
    }

    /// With a message attribute of type `String`.
    #[must_use]
    pub fn attribute(mut self, name: &str, value: &str) -> Self {
        self.attributes.insert(name.into(), serde_json::json!({"DataType": "String", "StringValue": value}));
        self
    }

    /// Hidden for this long after it is sent.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = Some(delay);
        self
    }

    /// In this FIFO group.
    #[must_use]
    pub fn group(mut self, group: &str) -> Self {
        self.group = Some(group.into());
        self
    }

    /// With this deduplication id.
    #[must_use]
    pub fn deduplication(mut self, id: &str) -> Self {
        self.deduplication = Some(id.into());
        self
    }

    /// As if it had been received this often before.
    #[must_use]
    pub fn received_before(mut self, times: u32) -> Self {
        self.receives = times;
        self
    }
}

/// A message as a receive hands it out.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) message_id: String,
    pub(crate) receipt: String,
    pub(crate) body: String,
    pub(crate) attributes: BTreeMap<String, Value>,
    pub(crate) system: BTreeMap<String, String>,
}

#[derive(Debug)]
struct Stored {
    message: Message,
    message_id: String,
    sent_ms: u128,
    first_received_ms: Option<u128>,
    receives: u32,
    visible_at: Instant,
    /// When it was last handed out: its twelve hours count from here.
    handed_out: Instant,
    /// Set while a lease was given out; `visible_at` says whether it still runs.
    receipts: Vec<String>,
    dead_letter_source: Option<String>,
}

impl Stored {
    fn leased(&self, now: Instant) -> bool {
        !self.receipts.is_empty() && self.visible_at > now
    }
}

/// One queue: its attributes, what it holds, and what became of everything.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) name: String,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) tags: BTreeMap<String, String>,
    messages: BTreeMap<u64, Stored>,
    receipts: HashMap<String, u64>,
    deduplication: HashMap<String, (Instant, String)>,
    pub(crate) histories: BTreeMap<u64, History>,
    next: u64,
    /// Forget what is deleted.
    pub(crate) frugal: bool,
}

impl Model {
    pub(crate) fn new(name: &str, attributes: BTreeMap<String, String>) -> Self {
        Self { name: name.into(), attributes, ..Self::default() }
    }

    pub(crate) fn fifo(&self) -> bool {
        self.name.ends_with(".fifo")
    }

    pub(crate) fn number(&self, attribute: &str, default: u64) -> u64 {
        self.attributes.get(attribute).and_then(|v| v.parse().ok()).unwrap_or(default)
    }

    fn seconds(&self, attribute: &str, default: u64) -> Duration {
        Duration::from_secs(self.number(attribute, default))
    }

    /// Sends a message; returns its id and sequence number. A duplicate on a FIFO queue is accepted and dropped.
    pub(crate) fn send(&mut self, message: Message, now: Instant) -> Result<(String, u64), ServiceError> {
        if message.body.is_empty() {
            return Err(ServiceError::sender(
                "MissingParameter",
                "The request must contain the parameter MessageBody.",
            ));
        }
        let limit = self.number("MaximumMessageSize", 1_048_576);
        if message.body.len() as u64 > limit {
            let text = format!(
                "One or more parameters are invalid. Reason: Message must be shorter than {limit} bytes."
            );
            return Err(ServiceError::sender("InvalidParameterValue", &text));
        }
        if message.attributes.len() > 10 {
            let text = format!(
                "Number of message attributes [{}] exceeds the allowed maximum [10].",
                message.attributes.len()
            );
            return Err(ServiceError::sender("InvalidParameterValue", &text));
        }
        if self.fifo() {
            if message.group.is_none() {
                return Err(ServiceError::sender(
                    "MissingParameter",
                    "The request must contain the parameter MessageGroupId.",
                ));
            }
            let content = self.attributes.get("ContentBasedDeduplication").is_some_and(|v| v == "true");
            let Some(id) = message
                .deduplication
                .clone()
                .or_else(|| content.then(|| format!("content:{}", message.body)))
            else {
                let text = "The queue should either have ContentBasedDeduplication enabled or MessageDeduplicationId provided explicitly";
                return Err(ServiceError::sender("InvalidParameterValue", text));
            };
            self.deduplication.retain(|_, (at, _)| now.duration_since(*at) < DEDUPLICATION_INTERVAL);
            if let Some((_, message_id)) = self.deduplication.get(&id) {
                return Ok((message_id.clone(), self.next));
            }
            let message_id = crate::uuid();
            self.deduplication.insert(id, (now, message_id.clone()));
            return Ok(self.store(message, message_id, None, now));
        }
        Ok(self.store(message, crate::uuid(), None, now))
    }

    fn store(
        &mut self,
        message: Message,
        message_id: String,
        source: Option<String>,
        now: Instant,
    ) -> (String, u64) {
        let delay = message.delay.unwrap_or_else(|| self.seconds("DelaySeconds", 0));
        let sequence = self.next;
        self.next += 1;
        self.histories.insert(
            sequence,
            History {
                message_id: message_id.clone(),
                body: message.body.clone(),
                sent: now,
                received: Vec::new(),
                visibility: Vec::new(),
                deleted: None,
                stale_deletes: 0,
                dead_lettered: None,
            },
        );
        let stored = Stored {
            receives: message.receives,
            message,
            message_id: message_id.clone(),
            sent_ms: epoch_ms(),
            first_received_ms: None,
            visible_at: now + delay,
            handed_out: now,
            receipts: Vec::new(),
            dead_letter_source: source,
        };
        self.messages.insert(sequence, stored);
        (message_id, sequence)
    }

    /// Takes up to `max` visible messages under a lease of `lease` (the queue's own when `None`).
    /// What has been received too often comes back as the second value: messages for the dead-letter queue.
    pub(crate) fn take(
        &mut self,
        max: usize,
        lease: Option<Duration>,
        now: Instant,
    ) -> (Vec<Received>, Vec<Dead>) {
        let lease = lease.unwrap_or_else(|| self.seconds("VisibilityTimeout", 30));
        let redrive = self.redrive();
        let mut held = self.held_groups(now);
        let (mut chosen, mut dead) = (Vec::new(), Vec::new());
        for (sequence, stored) in &self.messages {
            if chosen.len() == max {
                break;
            }
            let group = stored.message.group.as_deref().filter(|_| self.name.ends_with(".fifo"));
            if group.is_some_and(|g| held.contains(g)) {
                continue;
            }
            if stored.visible_at > now {
                held.extend(group.map(String::from));
                continue;
            }
            match &redrive {
                Some((_, limit)) if stored.receives >= *limit => dead.push(*sequence),
                _ => chosen.push(*sequence),
            }
        }
        let received = chosen.into_iter().filter_map(|s| self.lease(s, lease, now)).collect();
        let dead = dead.into_iter().filter_map(|s| self.bury(s, redrive.as_ref()?.0.clone(), now)).collect();
        (received, dead)
    }

    fn held_groups(&self, now: Instant) -> HashSet<String> {
        if !self.fifo() {
            return HashSet::new();
        }
        let leased = self.messages.values().filter(|s| s.leased(now));
        leased.filter_map(|s| s.message.group.clone()).collect()
    }

    fn lease(&mut self, sequence: u64, lease: Duration, now: Instant) -> Option<Received> {
        let receipt = format!("receipt-{}", crate::uuid());
        let stored = self.messages.get_mut(&sequence)?;
        stored.receives += 1;
        stored.first_received_ms.get_or_insert_with(epoch_ms);
        stored.visible_at = now + lease;
        stored.handed_out = now;
        stored.receipts = vec![receipt.clone()];
        self.receipts.insert(receipt.clone(), sequence);
        if let Some(history) = self.histories.get_mut(&sequence) {
            history.received.push(now);
        }
        let mut system = BTreeMap::from([
            ("SenderId".to_string(), "AIDAIENQZJOLO23YVJ4VO".to_string()),
            ("SentTimestamp".to_string(), stored.sent_ms.to_string()),
            ("ApproximateReceiveCount".to_string(), stored.receives.to_string()),
            (
                "ApproximateFirstReceiveTimestamp".to_string(),
                stored.first_received_ms.unwrap_or_default().to_string(),
            ),
        ]);
        let optional = [
            ("MessageGroupId", stored.message.group.clone()),
            ("MessageDeduplicationId", stored.message.deduplication.clone()),
            ("AWSTraceHeader", stored.message.trace_header.clone()),
            ("DeadLetterQueueSourceArn", stored.dead_letter_source.clone()),
            ("SequenceNumber", self.name.ends_with(".fifo").then(|| format!("{:020}", sequence + 1))),
        ];
        system.extend(optional.into_iter().filter_map(|(k, v)| Some((k.to_string(), v?))));
        Some(Received {
            message_id: stored.message_id.clone(),
            receipt,
            body: stored.message.body.clone(),
            attributes: stored.message.attributes.clone(),
            system,
        })
    }

    /// A second receipt for a leased message: what a receive that brings the same message twice hands out.
    pub(crate) fn second_receipt(&mut self, receipt: &str) -> Option<String> {
        let sequence = *self.receipts.get(receipt)?;
        let second = format!("receipt-{}", crate::uuid());
        self.messages.get_mut(&sequence)?.receipts.push(second.clone());
        self.receipts.insert(second.clone(), sequence);
        Some(second)
    }

    fn redrive(&self) -> Option<(String, u32)> {
        let policy: Value = serde_json::from_str(self.attributes.get("RedrivePolicy")?).ok()?;
        let limit = &policy["maxReceiveCount"];
        let limit = limit.as_u64().or_else(|| limit.as_str()?.parse().ok())?;
        Some((policy["deadLetterTargetArn"].as_str()?.to_string(), u32::try_from(limit).ok()?))
    }

    fn bury(&mut self, sequence: u64, target: String, now: Instant) -> Option<Dead> {
        let stored = self.messages.remove(&sequence)?;
        self.histories.get_mut(&sequence)?.dead_lettered = Some(now);
        let mut message = stored.message;
        message.delay = None;
        message.receives = stored.receives;
        Some(Dead { target, message, message_id: stored.message_id, source: self.name.clone() })
    }

    pub(crate) fn accept_dead(&mut self, dead: Dead, source_arn: String, now: Instant) {
        self.store(dead.message, dead.message_id, Some(source_arn), now);
    }

    /// Deletes by receipt. A receipt that no longer leases its message succeeds and deletes nothing, as SQS may;
    /// on a FIFO queue it is refused.
    pub(crate) fn delete(&mut self, receipt: &str, now: Instant) -> Result<(), ServiceError> {
        let Some(&sequence) = self.receipts.get(receipt) else {
            if self.frugal && receipt.starts_with("receipt-") {
                return Ok(());
            }
            let text = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
            return Err(ServiceError::sender("ReceiptHandleIsInvalid", &text));
        };
        let Some(stored) = self.messages.get(&sequence) else { return Ok(()) };
        let current = stored.receipts.iter().any(|r| r == receipt);
        if self.fifo() && !(current && stored.leased(now)) {
            let text = format!(
                "Value {receipt} for parameter ReceiptHandle is invalid. Reason: The receipt handle has expired."
            );
            return Err(ServiceError::sender("InvalidParameterValue", &text));
        }
        let history = self.histories.get_mut(&sequence);
        if current {
            history.into_iter().for_each(|h| h.deleted = Some(now));
            self.messages.remove(&sequence);
            if self.frugal {
                self.histories.remove(&sequence);
                self.receipts.retain(|_, s| *s != sequence);
            }
        } else {
            history.into_iter().for_each(|h| h.stale_deletes += 1);
        }
        Ok(())
    }

    /// Sets the visibility of a leased message. Without a running lease it is an error, as in SQS.
    pub(crate) fn change_visibility(
        &mut self,
        receipt: &str,
        timeout: Duration,
        now: Instant,
    ) -> Result<(), ServiceError> {
        let Some(&sequence) = self.receipts.get(receipt) else {
            let text = format!("The input receipt handle \"{receipt}\" is not a valid receipt handle.");
            return Err(ServiceError::sender("ReceiptHandleIsInvalid", &text));
        };
        let gone = || {
            let text = format!(
                "Value {receipt} for parameter ReceiptHandle is invalid. Reason: Message does not exist or is not available for visibility timeout change."
            );
            ServiceError::sender("InvalidParameterValue", &text)
        };
        let stored = self.messages.get_mut(&sequence).ok_or_else(gone)?;
        if !stored.receipts.iter().any(|r| r == receipt) {
            return Err(gone());
        }
        if !stored.leased(now) {
            let text = format!("The message referred to isn't in flight: {receipt}");
            return Err(ServiceError::sender("MessageNotInflight", &text));
        }
        if now + timeout > stored.handed_out + LONGEST {
            let text = format!(
                "Value {} for parameter VisibilityTimeout is invalid. Reason: Total VisibilityTimeout for the message is beyond the limit [43200 seconds].",
                timeout.as_secs()
            );
            return Err(ServiceError::sender("InvalidParameterValue", &text));
        }
        stored.visible_at = now + timeout;
        if let Some(history) = self.histories.get_mut(&sequence) {
            history.visibility.push((now, timeout));
        }
        Ok(())
    }

    pub(crate) fn body_of(&self, receipt: &str) -> Option<&History> {
        self.histories.get(self.receipts.get(receipt)?)
    }

    /// Ends the lease of every message that fits and gives it to nobody (`None`: visible at once, the old receipts
    /// still its own) or to somebody else for that long (the old receipts are stale). Returns how many.
    pub(crate) fn break_leases(
        &mut self,
        fits: impl Fn(&str) -> bool,
        thief: Option<Duration>,
        now: Instant,
    ) -> usize {
        let mut broken = 0;
        for stored in self.messages.values_mut() {
            if !stored.leased(now) || !fits(&stored.message.body) {
                continue;
            }
            broken += 1;
            match thief {
                Some(lease) => {
                    stored.receipts = vec!["another consumer's".into()];
                    stored.receives += 1;
                    stored.visible_at = now + lease;
                }
                None => stored.visible_at = now,
            }
        }
        broken
    }

    pub(crate) fn purge(&mut self) {
        self.messages.clear();
    }

    /// When something becomes visible next, for a waiting receive.
    pub(crate) fn next_change(&self, now: Instant) -> Option<Instant> {
        self.messages.values().map(|s| s.visible_at).filter(|at| *at > now).min()
    }

    /// Visible, leased and delayed messages, now.
    pub(crate) fn counts(&self, now: Instant) -> Counts {
        let mut counts = Counts::default();
        for stored in self.messages.values() {
            match stored.visible_at > now {
                true if stored.receipts.is_empty() => counts.delayed += 1,
                true => counts.in_flight += 1,
                false => counts.visible += 1,
            }
        }
        counts
    }

    pub(crate) fn bodies(&self) -> Vec<String> {
        self.messages.values().map(|s| s.message.body.clone()).collect()
    }

    pub(crate) fn drain_to(&mut self, now: Instant) -> Vec<Dead> {
        let sequences: Vec<u64> = self.messages.keys().copied().collect();
        let mut moved = Vec::new();
        for sequence in sequences {
            let target = self.messages[&sequence].dead_letter_source.clone();
            moved.extend(target.and_then(|t| self.bury(sequence, t, now)));
        }
        moved
    }
}

/// A message on its way to the dead-letter queue, or back.
#[derive(Debug)]
pub(crate) struct Dead {
    pub(crate) target: String,
    pub(crate) message: Message,
    pub(crate) message_id: String,
    pub(crate) source: String,
}

/// How many messages a queue holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Counts {
    /// A receive would get these.
    pub visible: usize,
    /// Leased: `ApproximateNumberOfMessagesNotVisible`.
    pub in_flight: usize,
    /// Sent with a delay that still runs.
    pub delayed: usize,
}

impl Counts {
    /// All of them.
    #[must_use]
    pub fn total(&self) -> usize {
        self.visible + self.in_flight + self.delayed
    }
}

fn epoch_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis())
}
