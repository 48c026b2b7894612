//! What the end of a call means for its messages and for the calls after it.
//!
//! A call that failed because of the environment returns its messages to the line, and the batcher pauses, growing, with
//! full jitter. A call that was refused is halved until the failing message stands alone; that message is rejected only if
//! its content is at fault, or if other calls succeeded again and again while it was refused. A timeout makes calls
//! smaller and fewer.

use std::sync::Arc;
use std::time::Duration;

use lifeline_escape::{Line, unescaped};
use lifeline_messaging::call::backoff::{exponential, full_jitter};
use lifeline_messaging::call::{CallError, Fault};
use tokio::task::{Id, JoinError};
use tokio::time::Instant;

use super::{FIRST_BACKOFF, InFlight, Run};
use crate::entry::{CallFacts, Entry, Refused};
use crate::publish_batch::{Answer, EntryResult, Failure, LARGE, Meaning};
use crate::send_queue::Batch;

/// How often a message is refused alone, without a code about its content and while others pass, before it is rejected.
const REFUSED_ALONE: u32 = 8;

/// The longest wait between two such attempts.
const REFUSED_BACKOFF: Duration = Duration::from_secs(5);

impl Run {
    pub(super) fn landed(&mut self, landed: Result<(Id, Answer), JoinError>) {
        let (id, response) = match landed {
            Ok((id, response)) => (id, response),
            Err(error) => (error.id(), Err(panicked(&error))),
        };
        let Some(call) = self.in_flight.remove(&id) else { return };
        self.bytes_in_flight -= call.bytes;
        self.metrics.call_seconds.observe(call.launched.elapsed().as_secs_f64());
        match response {
            Ok((by, results)) => self.answered(call, &by, results),
            Err(failure) => self.failed(call, &failure),
        }
    }

    fn answered(&mut self, call: InFlight, by: &CallFacts, results: Vec<EntryResult>) {
        let InFlight { batch, limit, launched, .. } = call;
        self.call_outage.succeeded();
        self.aws.met();
        self.backoff.reset();
        let (now, trip) = (Instant::now(), launched.elapsed());
        if results.iter().any(|result| matches!(result, EntryResult::Published { .. })) {
            self.last_success = self.last_success.max(Some(launched));
        }
        let mut worst = None;
        for (entry, result) in batch.into_iter().zip(results) {
            match result {
                EntryResult::Published { message_id, sequence_number } => {
                    self.settled(&entry);
                    self.metrics.published.inc();
                    entry.publish(message_id, sequence_number, by);
                }
                EntryResult::Failed { meaning: Meaning::Content { .. }, code, text } => {
                    self.reject(entry, code, text);
                }
                EntryResult::Failed { meaning: Meaning::Refused, code, text } => {
                    let error = entry_error(Fault::Refused, code, text);
                    self.refused_alone(entry, &error, now);
                    worst = Some(error);
                }
                EntryResult::Failed { meaning: Meaning::Environment(fault), code, text } => {
                    let error = entry_error(fault, code, text);
                    self.retry(entry, &error, now);
                    worst = Some(error);
                }
                EntryResult::Unmentioned => {
                    let text = "the response does not mention it".to_owned();
                    let error = entry_error(Fault::Server, String::new(), text);
                    self.retry(Entry { may_be_published: true, ..entry }, &error, now);
                    worst = Some(error);
                }
            }
        }
        let outcome = if worst.is_some() { "partial" } else { "success" };
        self.metrics.calls.with_label_values(&[outcome]).inc();
        match &worst {
            Some(error) => self.entry_outage.failed(error),
            None => self.entry_outage.succeeded(),
        }
        match worst.map(|error| error.fault) {
            Some(Fault::Throttled) => self.throttled(launched),
            Some(Fault::Missing) => self.find_again(),
            _ => self.window.succeeded(trip, limit, now),
        }
    }

    /// An entry that failed alone is sent again alone: the rest of its batch has its results.
    fn retry(&mut self, mut entry: Entry, error: &CallError, now: Instant) {
        entry.last_failure = Some(unescaped(error).into());
        self.watch_deadline(entry.deadline);
        let wait = full_jitter(exponential(FIRST_BACKOFF, entry.tries - 1, error.fault.backoff_cap()));
        self.queue.delay(entry, now + wait);
    }

    /// The call failed, and every entry with it.
    fn failed(&mut self, call: InFlight, failure: &Failure) {
        let InFlight { mut batch, bytes, launched, .. } = call;
        let error = &failure.error;
        self.metrics.calls.with_label_values(&[error.fault.label()]).inc();
        self.rate.put_back(batch.len());
        let last: Arc<str> = unescaped(error).into();
        for entry in &mut batch {
            entry.last_failure = Some(Arc::clone(&last));
            entry.may_be_published |= failure.may_have_taken_effect;
            self.watch_deadline(entry.deadline);
        }
        let fault = match failure.meaning {
            Meaning::Content { .. } | Meaning::Refused => return self.refused(batch, failure, launched),
            Meaning::Environment(fault) => fault,
        };
        self.environment_failed(error);
        if fault == Fault::TimedOut && bytes >= LARGE {
            self.queue.split(batch, Instant::now());
        } else {
            self.queue.put_back(batch);
        }
        if !self.is_news(launched) {
            return;
        }
        match fault {
            Fault::Throttled => return self.throttled(launched),
            Fault::TimedOut => self.window.timed_out(bytes),
            _ => {}
        }
        self.pause(fault.backoff_cap());
        // an endpoint that was unreachable may come back empty
        let empty = fault == Fault::Unreachable && self.lookup.provision;
        if empty || fault == Fault::Missing {
            self.find_again();
        }
    }

    /// SNS, or something in front of it, refused the call itself.
    fn refused(&mut self, mut batch: Batch, failure: &Failure, launched: Instant) {
        let now = Instant::now();
        let error = &failure.error;
        if error.detail.contains("TooLong") || error.detail.contains("too long") {
            self.look_at_limits();
        }
        let content = matches!(failure.meaning, Meaning::Content { certain: true });
        let others_pass = batch.iter().all(|entry| self.others_passed_since(entry.refused.map(|r| r.last)));
        if !content && !others_pass {
            // nothing shows that it is about these messages
            self.environment_failed(error);
            if self.is_news(launched) {
                self.pause(error.fault.backoff_cap());
            }
        }
        if batch.len() > 1 {
            for entry in &mut batch {
                let first = entry.refused.map_or(now, |refused| refused.first);
                entry.refused = Some(Refused { first, last: now, alone: 0 });
            }
            return self.queue.split(batch, now);
        }
        let Some(entry) = batch.pop() else { return };
        match failure.meaning {
            Meaning::Content { certain } if certain || others_pass => {
                self.reject(entry, code_of(error), error.detail.clone());
            }
            _ => self.refused_alone(entry, error, now),
        }
    }

    /// A message that is refused, without a word about its content: kept, and rejected only when others have passed between
    /// the refusals, so that it cannot be the environment. It goes as a part, so that no other message waits with it.
    fn refused_alone(&mut self, mut entry: Entry, error: &CallError, now: Instant) {
        let before = entry.refused;
        let first = before.map_or(now, |refused| refused.first);
        let last_left = self.closing && self.in_flight.is_empty() && self.queue.has_only_parts();
        let others_pass = self.others_passed_since(before.map(|refused| refused.last))
            || (last_left && self.others_passed_since(before.map(|refused| refused.first)));
        let alone = before.map_or(0, |refused| refused.alone) + u32::from(others_pass);
        if alone >= REFUSED_ALONE {
            return self.reject(entry, code_of(error), error.detail.clone());
        }
        entry.last_failure = Some(unescaped(error).into());
        entry.refused = Some(Refused { first, last: now, alone });
        self.watch_deadline(entry.deadline);
        let wait = full_jitter(exponential(FIRST_BACKOFF, alone, REFUSED_BACKOFF));
        self.queue.split(vec![entry], now + wait);
    }

    /// Whether a call that was launched after this refusal succeeded.
    fn others_passed_since(&self, refused: Option<Instant>) -> bool {
        refused.is_some_and(|refused| self.last_success > Some(refused))
    }

    fn environment_failed(&mut self, error: &CallError) {
        self.call_outage.failed(error);
        self.aws.unmet(error.to_string());
    }

    /// Whether a failure of what was launched then says more than those before it.
    fn is_news(&self, launched: Instant) -> bool {
        self.last_escalation.is_none_or(|last| launched >= last)
    }

    fn throttled(&mut self, launched: Instant) {
        if self.is_news(launched) {
            self.window.throttled();
            self.pause(Fault::Throttled.backoff_cap());
        }
    }

    fn reject(&mut self, entry: Entry, code: String, text: String) {
        self.settled(&entry);
        self.metrics.rejected.inc();
        entry.reject(code, text);
    }
}

/// The code that a rejection carries: AWS's, or the HTTP status of a response without one.
fn code_of(error: &CallError) -> String {
    let status = || error.status.map_or_else(String::new, |status| format!("HTTP {status}"));
    error.code.clone().unwrap_or_else(status)
}

fn entry_error(fault: Fault, code: String, text: String) -> CallError {
    let detail = unescaped(Line::new(&format!("{code}: {text}")).limit(1024));
    CallError { code: Some(code), ..CallError::local("an entry of PublishBatch", fault, detail) }
}

fn panicked(error: &JoinError) -> Failure {
    Failure {
        meaning: Meaning::Environment(Fault::Server),
        may_have_taken_effect: true,
        error: CallError::local("PublishBatch", Fault::Server, format!("its task ended: {error}")),
    }
}
