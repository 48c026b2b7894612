//! The one task that owns every accepted message: it fills batches, keeps some calls in flight, and gives each message its
//! one result. It never waits for a call; its pulse beats while it waits for anything else.

mod landed;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::{BEAT, Condition, Pulse};
use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::call::{Fault, Outage};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::entry::{Entry, FlushGuard};
use crate::error::PublishError;
use crate::invalid_message::InvalidMessage;
use crate::limits::MAX_ENTRIES;
use crate::metrics::PublisherMetrics;
use crate::publish_batch::{self, Answer};
use crate::rate_limit::RateLimit;
use crate::send_queue::{Batch, Bounds, SendQueue};
use crate::submit::Command;
use crate::topic::{Topic, TopicLookup};
use crate::window::Window;

/// How long a task of the producer may make no progress. A call is bounded by its timeout but runs in a task of its own, so
/// that nothing with a pulse waits for one.
pub(crate) const PULSE_BOUND: Duration = Duration::from_secs(45);

/// The first wait after a failure is at most this.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// While closing, waits are at most this: the time for that is short.
const LAST_BACKOFFS: Duration = Duration::from_secs(1);

/// Bytes in flight, as far as more than one batch is: each costs about five times that in copies and encodings.
const MAX_BYTES_IN_FLIGHT: usize = 2 << 20;

/// How soon a topic whose maximum seems to have changed is looked up again.
const LIMITS_AGE: Duration = Duration::from_secs(30);

pub(crate) struct Batcher {
    pub(crate) commands: mpsc::UnboundedReceiver<Command>,
    pub(crate) fifo: bool,
    pub(crate) linger: Duration,
    pub(crate) concurrency: usize,
    pub(crate) rate: RateLimit,
    pub(crate) lookup: TopicLookup,
    pub(crate) pulse: Pulse,
    pub(crate) aws: Condition,
    pub(crate) metrics: PublisherMetrics,
    pub(crate) closing: CancellationToken,
    pub(crate) abandoned: CancellationToken,
}

/// The batcher at work.
struct Run {
    commands: mpsc::UnboundedReceiver<Command>,
    queue: SendQueue,
    window: Window,
    rate: RateLimit,
    pulse: Pulse,
    /// Readiness: the last call succeeded.
    aws: Condition,
    metrics: PublisherMetrics,
    lookup: TopicLookup,
    topic: Option<Arc<Topic>>,
    finding: Option<JoinHandle<Topic>>,
    found_at: Instant,
    calls: JoinSet<Answer>,
    in_flight: HashMap<Id, InFlight>,
    bytes_in_flight: usize,
    backoff: Backoff,
    paused_until: Instant,
    /// When the last pause began. Calls that were in flight together fail together; that counts once.
    last_escalation: Option<Instant>,
    /// When the latest call was launched that SNS accepted a message of.
    last_success: Option<Instant>,
    call_outage: Outage,
    entry_outage: Outage,
    /// No message is past its deadline before this.
    next_expiry: Option<Instant>,
    /// Nothing new comes: what is here goes without lingering.
    closing: bool,
}

/// A batch in flight.
struct InFlight {
    batch: Batch,
    bytes: usize,
    limit: Duration,
    launched: Instant,
}

impl Batcher {
    /// Runs until the publisher is closed and every message has its result, or is abandoned.
    pub(crate) async fn run(self) {
        let now = Instant::now();
        #[allow(clippy::disallowed_methods, reason = "a lookup has a timeout of its own")]
        let finding = Some(tokio::spawn(self.lookup.clone().find()));
        let run = Run {
            commands: self.commands,
            queue: SendQueue::new(self.fifo, self.linger),
            window: Window::new(self.concurrency),
            rate: self.rate,
            pulse: self.pulse,
            aws: self.aws,
            metrics: self.metrics,
            lookup: self.lookup,
            topic: None,
            finding,
            found_at: now,
            calls: JoinSet::new(),
            in_flight: HashMap::new(),
            bytes_in_flight: 0,
            backoff: Backoff::new(FIRST_BACKOFF),
            paused_until: now,
            last_escalation: None,
            last_success: None,
            call_outage: Outage::new("publishing"),
            entry_outage: Outage::new("publishing of single messages"),
            next_expiry: None,
            closing: false,
        };
        run.serve(self.closing, self.abandoned).await;
    }
}

impl Run {
    async fn serve(mut self, closing: CancellationToken, abandoned: CancellationToken) {
        let mut arrived = Vec::with_capacity(256);
        let mut closed = false;
        loop {
            self.pulse.beat();
            let now = Instant::now();
            self.expire(now);
            self.launch(now);
            if self.closing && self.is_empty() {
                break;
            }
            let wake = self.wake(now);
            tokio::select! {
                biased;
                () = abandoned.cancelled() => break self.abandon(),
                Some(landed) = self.calls.join_next_with_id() => {
                    self.landed(landed);
                    while let Some(landed) = self.calls.try_join_next_with_id() {
                        self.landed(landed);
                    }
                }
                found = found(&mut self.finding) => self.found(found),
                () = closing.cancelled(), if !closed => {
                    closed = true;
                    self.commands.close();
                }
                count = self.commands.recv_many(&mut arrived, 256), if !self.closing => {
                    if count == 0 {
                        self.begin_closing();
                    }
                    arrived.drain(..).for_each(|command| self.arrive(command));
                }
                () = sleep_until(wake) => {}
            }
        }
        // awaited too: a task that outlived its publisher would log a failure after the summary
        self.calls.shutdown().await;
        if let Some(finding) = self.finding.take() {
            finding.abort();
            finding.await.ok();
        }
        self.pulse.retire();
    }

    fn is_empty(&self) -> bool {
        self.queue.len() == 0 && self.in_flight.is_empty()
    }

    fn arrive(&mut self, command: Command) {
        match command {
            Command::Publish(entry) => {
                self.metrics.buffered.inc();
                self.watch_deadline(entry.deadline);
                self.queue.push(entry);
            }
            Command::Flush(guard) => self.flush(&guard),
        }
    }

    /// Every message that is here now holds the guard until it has its result.
    fn flush(&mut self, guard: &FlushGuard) {
        self.queue.hurry(Instant::now());
        let in_flight = self.in_flight.values_mut().flat_map(|call| &mut call.batch);
        for entry in self.queue.iter_mut().chain(in_flight) {
            entry.flushes.push(guard.clone());
        }
    }

    fn watch_deadline(&mut self, deadline: Option<Instant>) {
        self.next_expiry = [self.next_expiry, deadline].into_iter().flatten().min();
    }

    /// When there is something to do that no event reports.
    fn wake(&self, now: Instant) -> Instant {
        let mut wake = now + BEAT;
        let mut at = |time: Option<Instant>| wake = time.map_or(wake, |time| wake.min(time));
        at(self.next_expiry);
        at(self.queue.next_due());
        // a call that must land first wakes by landing
        if let Some(topic) = &self.topic
            && self.has_capacity()
            && let Some(next) = self.queue.next_at(self.bounds(topic), now, self.closing)
        {
            at(Some(next.max(self.opens())));
        }
        wake
    }

    /// Nothing is launched before this.
    fn opens(&self) -> Instant {
        let rate = if self.closing { None } else { self.rate.opens() };
        [self.window.opens(), rate].into_iter().flatten().fold(self.paused_until, Instant::max)
    }

    /// While calls fail, one at a time finds out whether they still do.
    fn has_capacity(&self) -> bool {
        let probing = self.backoff.failures() > 0;
        let most = if probing { 1 } else { self.window.calls() };
        self.in_flight.len() < most
            && (self.in_flight.is_empty() || self.bytes_in_flight < MAX_BYTES_IN_FLIGHT)
    }

    fn bounds(&self, topic: &Topic) -> Bounds {
        Bounds { limit: topic.maximum, fill: self.window.fill() }
    }

    fn launch(&mut self, now: Instant) {
        self.queue.wake_delayed(now);
        let Some(topic) = self.topic.clone() else { return };
        let bounds = self.bounds(&topic);
        while now >= self.opens()
            && self.has_capacity()
            && self.queue.next_at(bounds, now, self.closing).is_some_and(|at| at <= now)
        {
            let (batch, too_large) = self.queue.take(bounds, now, self.closing);
            self.too_large(too_large, &topic, now);
            if !batch.is_empty() {
                self.send(batch, &topic, now);
            }
        }
    }

    fn send(&mut self, mut batch: Batch, topic: &Arc<Topic>, now: Instant) {
        debug_assert!(batch.len() <= MAX_ENTRIES);
        batch.iter_mut().for_each(|entry| entry.tries += 1);
        self.rate.take(batch.len(), now);
        let messages: Vec<_> = batch.iter().map(|entry| Arc::clone(&entry.outgoing)).collect();
        let bytes = batch.iter().map(Entry::size).sum();
        let (clients, topic) = (self.lookup.clients.clone(), Arc::clone(topic));
        let limit = publish_batch::limit(clients.call_timeout, bytes);
        let call = self
            .calls
            .spawn(async move { publish_batch::publish(&clients, &topic.arn, &messages, limit).await });
        self.bytes_in_flight += bytes;
        self.in_flight.insert(call.id(), InFlight { batch, bytes, limit, launched: now });
    }

    /// The topic's maximum may have been raised since it was looked up.
    fn too_large(&mut self, too_large: Batch, topic: &Topic, now: Instant) {
        for entry in too_large {
            if self.look_at_limits() {
                self.watch_deadline(entry.deadline);
                self.queue.delay(entry, now + FIRST_BACKOFF);
                continue;
            }
            let invalid = InvalidMessage::TooLarge { bytes: entry.size(), limit: topic.maximum };
            self.settled(&entry);
            self.metrics.rejected.inc();
            let error = PublishError::too_large(invalid, entry.tries, Arc::clone(&entry.outgoing));
            entry.settle(Err(error));
        }
    }

    fn pause(&mut self, cap: Duration) {
        let now = Instant::now();
        let cap = if self.closing { cap.min(LAST_BACKOFFS) } else { cap };
        self.last_escalation = Some(now);
        self.paused_until = now + self.backoff.next(cap);
    }

    /// Nothing new comes: the rest goes without lingering, and without long pauses.
    fn begin_closing(&mut self) {
        self.closing = true;
        self.paused_until = self.paused_until.min(Instant::now() + LAST_BACKOFFS);
    }

    fn find_again(&mut self) {
        self.topic = None;
        self.lookup.topology.unmet("looking up the topic");
        self.look();
    }

    /// Looks the topic's maximum up again if it is not fresh; publishing goes on meanwhile. Whether a lookup runs.
    fn look_at_limits(&mut self) -> bool {
        if self.found_at.elapsed() >= LIMITS_AGE {
            self.look();
        }
        self.finding.is_some()
    }

    fn look(&mut self) {
        if self.finding.is_none() {
            let (lookup, after) = (self.lookup.clone(), self.paused_until);
            #[allow(clippy::disallowed_methods, reason = "as the first lookup")]
            let looking = tokio::spawn(async move {
                sleep_until(after).await;
                lookup.find().await
            });
            self.finding = Some(looking);
        }
    }

    fn found(&mut self, found: Result<Topic, JoinError>) {
        self.finding = None;
        self.found_at = Instant::now();
        match found {
            Ok(topic) => {
                tracing::info!(
                    target: "producer",
                    topic_arn = topic.arn,
                    max_message_bytes = topic.maximum,
                    "publishing to topic"
                );
                // the lookup has waited for the end of the pause already, and AWS has responded since
                if self.topic.is_none() {
                    self.paused_until = Instant::now();
                }
                self.topic = Some(Arc::new(topic));
                // calls that fail say so themselves; until one does, AWS answers
                if self.backoff.failures() == 0 {
                    self.aws.met();
                }
            }
            Err(error) => {
                tracing::error!(%error, "the topic lookup ended; starting it again");
                self.pause(Fault::Server.backoff_cap());
                self.look();
            }
        }
    }

    /// The message leaves: the next one of its group may go.
    fn settled(&mut self, entry: &Entry) {
        self.metrics.buffered.dec();
        self.queue.release(entry.outgoing.group.as_deref());
    }

    fn expire(&mut self, now: Instant) {
        if self.next_expiry.is_none_or(|next| next > now) {
            return;
        }
        let (expired, next) = self.queue.expired(now);
        // those in flight are looked at when they are back in line: their calls are bounded
        self.next_expiry = next;
        for entry in expired {
            self.metrics.buffered.dec();
            self.metrics.rejected.inc();
            entry.expire();
        }
    }

    fn abandon(&mut self) {
        self.commands.close();
        let mut all = self.queue.drain();
        for (_, mut call) in self.in_flight.drain() {
            call.batch.iter_mut().for_each(|entry| entry.may_be_published = true);
            all.extend(call.batch);
        }
        self.metrics.buffered.sub(i64::try_from(all.len()).unwrap_or(i64::MAX));
        while let Ok(command) = self.commands.try_recv() {
            if let Command::Publish(entry) = command {
                all.push(entry);
            }
        }
        for entry in all {
            self.metrics.rejected.inc();
            entry.abandon();
        }
    }
}

/// Pends while there is no lookup.
async fn found(finding: &mut Option<JoinHandle<Topic>>) -> Result<Topic, JoinError> {
    match finding {
        Some(finding) => finding.await,
        None => std::future::pending().await,
    }
}
