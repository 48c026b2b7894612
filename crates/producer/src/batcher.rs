//! The one task that owns every message of a publisher: it fills batches, keeps some of them in the air, and tells
//! each message's fate. It never waits for a call; it beats while it waits for anything else.
//!
//! What a failed call means for the others: messages go back in line, and the batcher pauses, growing, with full
//! jitter. While calls fail, one batch at a time asks whether they still do. Batches that were in the air together
//! fail together; that counts once.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::{BEAT, Condition, Pulse};
use lifeline_messaging::call::Outage;
use lifeline_messaging::call::backoff::{Backoff, exponential, full_jitter};
use lifeline_messaging::call::{CallError, Fault};
use tokio::sync::mpsc;
use tokio::task::{Id, JoinError, JoinHandle, JoinSet};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use crate::entry::Held;
use crate::error::{PublishError, Refusal};
use crate::limits::MAX_ENTRIES;
use crate::metrics::PublisherMetrics;
use crate::publish_batch::{self, Fate};
use crate::send_queue::{Batch, Queue};
use crate::topic::{Finder, Topic};
use crate::window::Window;

/// How long a task of the producer may make no progress. A call is bounded by `CALL_TIMEOUT` (60 s at most) but runs in
/// a task of its own, so that nothing with a pulse waits for one.
pub(crate) const PULSE_BOUND: Duration = Duration::from_secs(45);

/// The first wait after a failure is at most this.
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// While it ends, waits are at most this: the time for that is short.
const LAST_BACKOFFS: Duration = Duration::from_secs(1);

/// Bytes in the air, as far as more than one batch is: each costs about five times that in copies and encodings.
const MAX_AIR_BYTES: usize = 2 << 20;

/// How soon a topic whose limits seem to have changed is looked at again.
const LIMITS_AGE: Duration = Duration::from_secs(30);

pub(crate) struct Batcher {
    pub(crate) intake: mpsc::UnboundedReceiver<Held>,
    pub(crate) finder: Finder,
    pub(crate) queue: Queue,
    pub(crate) window: Window,
    pub(crate) pulse: Pulse,
    /// Readiness: the last call succeeded.
    pub(crate) aws: Condition,
    pub(crate) metrics: PublisherMetrics,
    pub(crate) closing: CancellationToken,
    pub(crate) abandoned: CancellationToken,
}

/// The batcher at work.
struct Run {
    from: Batcher,
    topic: Option<Arc<Topic>>,
    finding: Option<JoinHandle<Topic>>,
    found_at: Instant,
    air: JoinSet<Result<Vec<Fate>, CallError>>,
    flights: HashMap<Id, Flight>,
    air_bytes: usize,
    backoff: Backoff,
    paused_until: Instant,
    last_escalation: Option<Instant>,
    calls: Outage,
    entries: Outage,
    /// No message is past its deadline before this.
    next_expiry: Option<Instant>,
    /// Nothing new comes: what is here goes without lingering.
    flush: bool,
}

/// A batch in the air.
struct Flight {
    batch: Batch,
    bytes: usize,
    launched: Instant,
}

impl Batcher {
    /// Runs until the publisher is closed and everything is settled, or abandoned.
    pub(crate) async fn run(self) {
        let now = Instant::now();
        let finding = Some(tokio::spawn(self.finder.clone().find()));
        let run = Run {
            from: self,
            topic: None,
            finding,
            found_at: now,
            air: JoinSet::new(),
            flights: HashMap::new(),
            air_bytes: 0,
            backoff: Backoff::new(FIRST_BACKOFF),
            paused_until: now,
            last_escalation: None,
            calls: Outage::new("publishing"),
            entries: Outage::new("publishing of single messages"),
            next_expiry: None,
            flush: false,
        };
        run.serve().await;
    }
}

impl Run {
    async fn serve(mut self) {
        let mut arrived = Vec::with_capacity(256);
        let (closing, abandoned) = (self.from.closing.clone(), self.from.abandoned.clone());
        let mut closed = false;
        loop {
            self.from.pulse.beat();
            let now = Instant::now();
            self.expire(now);
            self.launch(now);
            if self.flush && self.is_empty() {
                break;
            }
            let wake = self.wake(now);
            tokio::select! {
                biased;
                () = abandoned.cancelled() => break self.abandon(),
                Some(landed) = self.air.join_next_with_id() => {
                    self.landed(landed);
                    while let Some(landed) = self.air.try_join_next_with_id() {
                        self.landed(landed);
                    }
                }
                found = found(&mut self.finding) => self.found(found),
                () = closing.cancelled(), if !closed => {
                    closed = true;
                    self.from.intake.close();
                }
                count = self.from.intake.recv_many(&mut arrived, 256), if !self.flush => {
                    if count == 0 {
                        self.begin_flush();
                    }
                    arrived.drain(..).for_each(|held| self.arrive(held));
                }
                () = sleep_until(wake) => {}
            }
        }
        // awaited too: what outlives its publisher tells of a failure when the runtime ends under it, after the account
        self.air.shutdown().await;
        if let Some(finding) = self.finding.take() {
            finding.abort();
            finding.await.ok();
        }
        self.from.pulse.retire();
    }

    fn is_empty(&self) -> bool {
        self.from.queue.len() == 0 && self.flights.is_empty()
    }

    fn arrive(&mut self, held: Held) {
        self.from.metrics.buffered.inc();
        self.watch_deadline(held.deadline);
        self.from.queue.push(held);
    }

    fn watch_deadline(&mut self, deadline: Option<Instant>) {
        self.next_expiry = [self.next_expiry, deadline].into_iter().flatten().min();
    }

    /// When there is something to do that no event tells.
    fn wake(&self, now: Instant) -> Instant {
        let mut wake = now + BEAT;
        let mut at = |time: Option<Instant>| wake = time.map_or(wake, |time| wake.min(time));
        at(self.next_expiry);
        at(self.from.queue.next_due());
        // what the air must land for is told by its landing
        if let Some(topic) = &self.topic
            && self.has_room()
            && let Some(next) = self.from.queue.next_at(topic.maximum, now, self.flush)
        {
            at(Some(next.max(self.gate())));
        }
        wake
    }

    /// Nothing is launched before this.
    fn gate(&self) -> Instant {
        self.from.window.opens().map_or(self.paused_until, |opens| opens.max(self.paused_until))
    }

    fn has_room(&self) -> bool {
        let probing = self.backoff.failures() > 0;
        let most = if probing { 1 } else { self.from.window.batches() };
        self.flights.len() < most && (self.flights.is_empty() || self.air_bytes < MAX_AIR_BYTES)
    }

    fn launch(&mut self, now: Instant) {
        self.from.queue.wake_delayed(now);
        let Some(topic) = self.topic.clone() else { return };
        while now >= self.gate()
            && self.has_room()
            && self.from.queue.next_at(topic.maximum, now, self.flush).is_some_and(|at| at <= now)
        {
            let (mut batch, too_large) = self.from.queue.take(topic.maximum);
            for held in too_large {
                let refusal = Refusal::TooLarge { bytes: held.size(), limit: topic.maximum };
                self.reject(held, refusal.into());
            }
            if batch.is_empty() {
                continue;
            }
            debug_assert!(batch.len() <= MAX_ENTRIES);
            batch.iter_mut().for_each(|held| held.tries += 1);
            let messages: Vec<_> = batch.iter().map(|held| Arc::clone(&held.outgoing)).collect();
            let bytes = batch.iter().map(Held::size).sum();
            let (clients, topic) = (self.from.finder.clients.clone(), Arc::clone(&topic));
            let flight =
                self.air.spawn(async move { publish_batch::publish(&clients, &topic.arn, &messages).await });
            self.air_bytes += bytes;
            self.flights.insert(flight.id(), Flight { batch, bytes, launched: now });
        }
    }

    fn landed(&mut self, landed: Result<(Id, Result<Vec<Fate>, CallError>), JoinError>) {
        let (id, answer) = match landed {
            Ok((id, answer)) => (id, answer),
            Err(error) => (error.id(), Err(panicked(&error))),
        };
        let Some(Flight { batch, bytes, launched }) = self.flights.remove(&id) else { return };
        self.air_bytes -= bytes;
        let trip = launched.elapsed();
        self.from.metrics.call_seconds.observe(trip.as_secs_f64());
        match answer {
            Ok(fates) => self.answered(batch, fates, trip, launched),
            Err(error) => self.failed(batch, &error, launched),
        }
    }

    fn answered(&mut self, batch: Batch, fates: Vec<Fate>, trip: Duration, launched: Instant) {
        self.calls.succeeded();
        self.from.aws.met();
        self.backoff.reset();
        let now = Instant::now();
        let mut worst = None;
        for (held, fate) in batch.into_iter().zip(fates) {
            match fate {
                Fate::Published { message_id, sequence_number } => {
                    self.settled(&held);
                    self.from.metrics.published.inc();
                    held.publish(message_id, sequence_number);
                }
                Fate::Failed { fault: Fault::Refused, code, text } => {
                    self.reject(held, PublishError::Rejected { code, text });
                }
                Fate::Failed { fault, code, text } => {
                    worst = Some(entry_error(fault, code, text));
                    self.retry(held, worst.as_ref(), now);
                }
                Fate::Unmentioned => {
                    let text = "the answer does not mention it".to_owned();
                    worst = Some(entry_error(Fault::Server, String::new(), text));
                    self.retry(held, worst.as_ref(), now);
                }
            }
        }
        let outcome = if worst.is_some() { "partial" } else { "success" };
        self.from.metrics.calls.with_label_values(&[outcome]).inc();
        match &worst {
            Some(error) => self.entries.failed(error),
            None => self.entries.succeeded(),
        }
        match worst.map(|error| error.fault) {
            Some(Fault::Throttled) => self.throttled(launched),
            Some(Fault::Missing) => self.find_again(),
            _ => self.from.window.succeeded(trip, now),
        }
    }

    /// An entry that failed alone is sent again alone: the rest of its batch is settled.
    fn retry(&mut self, mut held: Held, error: Option<&CallError>, now: Instant) {
        let cap = error.map_or(Fault::Server, |e| e.fault).backoff_cap();
        held.last_failure = error.map(ToString::to_string);
        self.watch_deadline(held.deadline);
        let wait = full_jitter(exponential(FIRST_BACKOFF, held.tries - 1, cap));
        self.from.queue.delay(held, now + wait);
    }

    /// The call failed as a whole.
    fn failed(&mut self, mut batch: Batch, error: &CallError, launched: Instant) {
        self.from.metrics.calls.with_label_values(&[error.fault.label()]).inc();
        if let (Fault::Refused, Some(code)) = (error.fault, &error.code) {
            return self.refused(batch, code, error);
        }
        self.calls.failed(error);
        self.from.aws.unmet(error.to_string());
        for held in &mut batch {
            held.last_failure = Some(error.to_string());
            self.watch_deadline(held.deadline);
        }
        self.from.queue.put_back(batch);
        if !self.is_news(launched) {
            return;
        }
        if error.fault == Fault::Throttled {
            return self.throttled(launched);
        }
        self.pause(error.fault.backoff_cap());
        // an endpoint that was away may come back empty
        let empty = error.fault == Fault::Unreachable && self.from.finder.provision;
        if empty || error.fault == Fault::Missing {
            self.find_again();
        }
    }

    /// SNS refuses the request itself: something in it is wrong. Halves find out what, and only that fails.
    fn refused(&mut self, mut batch: Batch, code: &str, error: &CallError) {
        if code.contains("TooLong") || error.detail.contains("too long") {
            self.look_at_limits();
        }
        if batch.len() > 1 {
            return self.from.queue.split(batch);
        }
        if let Some(held) = batch.pop() {
            let rejected = PublishError::Rejected { code: code.to_owned(), text: error.detail.clone() };
            self.reject(held, rejected);
        }
    }

    /// Whether a failure of what was launched then says more than those before it.
    fn is_news(&self, launched: Instant) -> bool {
        self.last_escalation.is_none_or(|last| launched >= last)
    }

    fn throttled(&mut self, launched: Instant) {
        if self.is_news(launched) {
            self.from.window.throttled();
            self.pause(Fault::Throttled.backoff_cap());
        }
    }

    fn pause(&mut self, cap: Duration) {
        let now = Instant::now();
        let cap = if self.flush { cap.min(LAST_BACKOFFS) } else { cap };
        self.last_escalation = Some(now);
        self.paused_until = now + self.backoff.next(cap);
    }

    /// Nothing new comes: the rest goes without lingering, and without long pauses.
    fn begin_flush(&mut self) {
        self.flush = true;
        self.paused_until = self.paused_until.min(Instant::now() + LAST_BACKOFFS);
    }

    fn find_again(&mut self) {
        self.topic = None;
        self.from.finder.again = true;
        self.from.finder.topology.unmet("looking for the topic");
        self.look();
    }

    /// The topic's maximum may have changed; publishing goes on meanwhile.
    fn look_at_limits(&mut self) {
        if self.found_at.elapsed() >= LIMITS_AGE {
            self.look();
        }
    }

    fn look(&mut self) {
        if self.finding.is_none() {
            let (finder, after) = (self.from.finder.clone(), self.paused_until);
            self.finding = Some(tokio::spawn(async move {
                sleep_until(after).await;
                finder.find().await
            }));
        }
    }

    fn found(&mut self, found: Result<Topic, JoinError>) {
        self.finding = None;
        self.found_at = Instant::now();
        match found {
            Ok(topic) => {
                tracing::info!(topic_arn = topic.arn, maximum_bytes = topic.maximum, "publishing");
                self.topic = Some(Arc::new(topic));
            }
            Err(error) => {
                tracing::error!(%error, "looking for the topic ended; beginning again");
                self.pause(Fault::Server.backoff_cap());
                self.look();
            }
        }
    }

    fn reject(&mut self, held: Held, error: PublishError) {
        self.settled(&held);
        self.from.metrics.rejected.inc();
        held.settle(Err(error));
    }

    /// The message leaves: the next one of its group may go.
    fn settled(&mut self, held: &Held) {
        self.from.metrics.buffered.dec();
        self.from.queue.release(held.outgoing.group.as_deref());
    }

    fn expire(&mut self, now: Instant) {
        if self.next_expiry.is_none_or(|next| next > now) {
            return;
        }
        let (expired, next) = self.from.queue.expired(now);
        // those in the air are looked at when they are back in line: their calls are bounded
        self.next_expiry = next;
        for held in expired {
            self.from.metrics.buffered.dec();
            self.from.metrics.rejected.inc();
            held.expire();
        }
    }

    fn abandon(&mut self) {
        self.from.intake.close();
        let mut all = self.from.queue.drain();
        all.extend(self.flights.drain().flat_map(|(_, flight)| flight.batch));
        let known = all.len();
        while let Ok(held) = self.from.intake.try_recv() {
            all.push(held);
        }
        self.from.metrics.buffered.sub(i64::try_from(known).unwrap_or(i64::MAX));
        for held in all {
            self.from.metrics.rejected.inc();
            held.abandon();
        }
    }
}

/// Pends while nothing is looked for.
async fn found(finding: &mut Option<JoinHandle<Topic>>) -> Result<Topic, JoinError> {
    match finding {
        Some(finding) => finding.await,
        None => std::future::pending().await,
    }
}

fn entry_error(fault: Fault, code: String, text: String) -> CallError {
    let detail = lifeline_escape::Line::new(&format!("{code}: {text}")).limit(1024).to_string();
    CallError { code: Some(code), ..CallError::local("an entry of PublishBatch", fault, detail) }
}

fn panicked(error: &JoinError) -> CallError {
    CallError::local("PublishBatch", Fault::Server, format!("its task ended: {error}"))
}
