//! An attempt: one run of the handler with one message, with its timeout, its panics and its cancellation.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt;
use lifeline_escape::{Line, unescaped};
use lifeline_messaging::call::backoff::exponential;
use lifeline_messaging::envelope::Unreadable;
use lifeline_messaging::message::{Message, PROBE};
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use crate::breaker::{Breaker, Pass};
use crate::caution::{Caution, Place, Suspect};
use crate::context::{Context, Held, WorkerContext};
use crate::delivery::Identity;
use crate::failure::{Failure, FailureKind};
use crate::guarded;
use crate::handler::BoxHandler;
use crate::lease::handle::Ticket;
use crate::lease::view::Cancelled;
use crate::metrics::HandlerMetrics;
use crate::options::Handling;
use crate::rate_limit::RateLimit;
use crate::rejection::DeadLetters;

/// Failures are redelivered after 1 s, 2 s, 4 s, … at most 15 minutes, each jittered between half of that and all.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(15 * 60);

/// A message that may start.
#[derive(Debug)]
pub(crate) struct Attempt {
    pub(crate) ticket: Ticket,
    pub(crate) suspect: Option<Suspect>,
    /// Boxed, since it is moved often on its way into a task.
    pub(crate) message: Result<Box<Message>, Unreadable>,
}

/// Runs attempts, each in a task of its own. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runner(Arc<Parts>);

struct Parts {
    handler: BoxHandler,
    handling: Handling,
    metrics: HandlerMetrics,
    breaker: Breaker,
    caution: Arc<Caution>,
    draining: CancellationToken,
    tasks: TaskTracker,
    dead_letters: DeadLetters,
    worker: Arc<WorkerContext>,
    rate: Option<RateLimit>,
}

/// How often an unavailable message is tried again although others succeed between its tries; then it counts as failed:
/// what is unavailable is not what they share.
const UNAVAILABLE_ALONE: u32 = 2;

/// How often a dependency may be gone after it had this message and no other, and come back, until the message counts as
/// failed: on a quiet queue no other message tells whose fault it is.
const DEATHS: u32 = 3;

/// How a run of the handler ended.
enum Ended {
    Handled,
    Failed(Failure),
    LostLease,
    Shutdown,
    /// It was asked to stop before it began.
    NotBegun,
}

impl Runner {
    #[allow(clippy::too_many_arguments, reason = "each comes from another part of the worker")]
    pub(crate) fn new(
        handler: BoxHandler,
        handling: Handling,
        metrics: HandlerMetrics,
        breaker: Breaker,
        caution: Arc<Caution>,
        draining: CancellationToken,
        tasks: TaskTracker,
        dead_letters: DeadLetters,
        worker: Arc<WorkerContext>,
    ) -> Self {
        let rate = handling.rate.map(RateLimit::new);
        Self(Arc::new(Parts {
            rate,
            handler,
            handling,
            metrics,
            breaker,
            caution,
            draining,
            tasks,
            dead_letters,
            worker,
        }))
    }

    /// Runs the handler with a message.
    pub(crate) fn start(&self, mut attempt: Attempt) {
        attempt.ticket.begin();
        let parts = Arc::clone(&self.0);
        let span = self.0.worker.span();
        if span.is_none() {
            self.0.tasks.spawn(async move { parts.run(attempt).await });
        } else {
            let span = span.clone();
            self.0.tasks.spawn(async move { parts.run(attempt).await }.instrument(span));
        }
    }
}

impl Parts {
    async fn run(&self, attempt: Attempt) {
        let Attempt { ticket, suspect, message } = attempt;
        let identity = Arc::clone(ticket.identity());
        let ended = match &message {
            // it waited for its group or for its extension, and was lost: another may have begun with it
            _ if !ticket.view().confirmed().await => Ended::LostLease,
            Ok(message) if message.attributes.contains_key(PROBE) => {
                ticket.view().begin();
                guarded::log(|| {
                    tracing::info!(target: "consumer", message_id = %message.id, "deleted a probe of lifeline doctor without calling the handler");
                });
                Ended::Handled
            }
            // both boxed, since a spawn moves its future around, and they are large
            Ok(message) => Box::pin(self.try_until_it_ends(message, &ticket, suspect)).await,
            Err(unreadable) => {
                // no handler can have it: that is its own fault
                ticket.view().begin();
                Ended::Failed(Failure::new(unreadable.to_string()))
            }
        };
        match ended {
            Ended::Handled => ticket.handled(),
            Ended::Failed(failure) => match message {
                Ok(message) if failure.kind() == Some(FailureKind::Rejected) => {
                    Box::pin(self.reject(ticket, &message, &failure)).await;
                }
                _ => self.fail(ticket, &failure),
            },
            Ended::LostLease => {
                drop(ticket);
                guarded::log(|| {
                    if self.dead_letters.are_next(identity.receive_count) {
                        tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                            "the lease was lost before the handler was done, on the last receive; the message goes to the dead-letter queue");
                    } else {
                        tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                            "the lease was lost before the handler was done; the message will be redelivered");
                    }
                });
            }
            Ended::NotBegun => ticket.release(None),
            Ended::Shutdown => {
                drop(ticket);
                guarded::log(|| {
                    tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                        "shutdown deadline reached: handler cancelled, message released");
                });
            }
        }
    }

    /// Deletes the message once a copy of it is in the dead-letter queue.
    async fn reject(&self, ticket: Ticket, message: &Message, failure: &Failure) {
        let reason = unescaped(failure);
        match self.dead_letters.copy(message, &reason).await {
            Ok(()) => {
                guarded::log(|| {
                    tracing::warn!(target: "consumer", message_id = %message.id, receive_count = message.receive_count,
                        reason = %Line::new(&reason).limit(1024), "handler rejected the message; a copy is in the dead-letter queue");
                });
                ticket.handled();
            }
            Err(error) => {
                guarded::log(|| {
                    tracing::warn!(target: "consumer", message_id = %message.id, receive_count = message.receive_count,
                        %error, "handler rejected the message, but there is no copy in a dead-letter queue; it counts as failed");
                });
                self.fail(ticket, failure);
            }
        }
    }

    /// Visible again after a delay, or a dead letter then.
    fn fail(&self, ticket: Ticket, failure: &Failure) {
        let identity = Arc::clone(ticket.identity());
        let delay = failure.delay().unwrap_or_else(|| retry_delay(identity.receive_count));
        let reason = unescaped(failure);
        let shown = Line::new(&reason).limit(1024);
        guarded::log(|| {
            if self.dead_letters.are_next(identity.receive_count) {
                tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                    reason = %shown, "handler failed; it was the last receive, and the message goes to the dead-letter queue");
            } else {
                tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count, retry_in = ?delay,
                    reason = %shown, "handler failed; message will be redelivered");
            }
        });
        ticket.failed(delay, reason);
    }

    /// Where the handler runs. During a drain a message on its last receive waits for no other: returned to the queue, it
    /// would be a dead letter whose handler never began.
    async fn place(&self, suspect: Option<Suspect>, receive_count: u32) -> Place<'_> {
        let last_chance = async {
            self.draining.cancelled().await;
            if !self.dead_letters.are_next(receive_count) {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            place = self.caution.enter(suspect) => place,
            () = last_chance => Place::Again,
        }
    }

    /// Runs the handler, again and again in place while it reports that a dependency is unavailable.
    async fn try_until_it_ends(
        &self,
        message: &Message,
        ticket: &Ticket,
        mut received_before: Option<Suspect>,
    ) -> Ended {
        let view = ticket.view();
        let mut logged = false;
        // how many others had succeeded when it was last unavailable, and how often they did so meanwhile
        let (mut successes, mut alone) = (None, 0);
        let mut suspect = None;
        // how often it was gone after this message ran alone, and whether it was gone since the last run
        let (mut deaths, mut gone) = (0, false);
        loop {
            // what waited for its group may have been asked to stop meanwhile
            if let Some(why) = view.cancellation() {
                return not_begun(why);
            }
            let admitted = async {
                if let Some(rate) = &self.rate {
                    rate.turn().await;
                }
                let pass = self.breaker.admit(suspect.as_ref()).await;
                let receive_count = ticket.identity().receive_count;
                let place = if logged {
                    Place::Again
                } else {
                    self.place(received_before.take(), receive_count).await
                };
                (pass, place)
            };
            let (pass, place) = tokio::select! {
                biased;
                admitted = admitted => admitted,
                why = view.cancelled() => return not_begun(why),
            };
            if !std::mem::replace(&mut logged, true) {
                guarded::log(|| log_received(message, self.handling.body_limit));
                view.begin();
            }
            let begun = Instant::now();
            let held = Held {
                lease: ticket.id(),
                view: Arc::clone(view),
                receive_count: ticket.identity().receive_count,
                trace: message.trace,
            };
            let handling = pin!(self.handle(message, held));
            let ended = place.run(handling).await;
            self.metrics.handle_seconds.observe(begun.elapsed().as_secs_f64());
            if view.is_acknowledged() && !matches!(ended, Ended::LostLease) {
                drop(pass);
                return self.ended_after_delete(ended, ticket.identity());
            }
            match ended {
                Ended::Failed(failure) if failure.kind() == Some(FailureKind::Unavailable) => {
                    let now = self.breaker.successes();
                    let others_succeeded = successes.replace(now).is_some_and(|before| now > before);
                    let interrupted = failure.is_interrupted();
                    // beside others it may have been interrupted by one of them; alone it was itself. A proxy that closes every
                    // connection looks the same: only what was seen gone has come back
                    let alone_now = interrupted && pass.is_alone();
                    deaths += u32::from(alone_now && gone);
                    gone = if interrupted { failure.is_gone() } else { true };
                    let own = alone_now && (others_succeeded || deaths >= DEATHS);
                    alone += u32::from(others_succeeded && !interrupted);
                    let reason = unescaped(&failure);
                    if own {
                        // whoever is to blame, it is gone
                        pass.unavailable(failure.delay(), &reason);
                        return Ended::Failed(failure);
                    }
                    if alone >= UNAVAILABLE_ALONE {
                        pass.failed(&message.id);
                        return Ended::Failed(failure);
                    }
                    self.metrics.unavailable.inc();
                    if interrupted && suspect.is_none() {
                        suspect = Some(self.breaker.suspect());
                    }
                    pass.unavailable(failure.delay(), &reason);
                }
                ended => {
                    judge(pass, &ended, &message.id);
                    return ended;
                }
            }
        }
    }

    /// Whatever a handler returns after it had its message deleted, nothing is tried again.
    fn ended_after_delete(&self, ended: Ended, identity: &Identity) -> Ended {
        let reason = match ended {
            Ended::Failed(failure) => failure.to_string(),
            Ended::Shutdown => {
                self.worker.cut_off();
                "cancelled at the shutdown deadline".to_owned()
            }
            ended => return ended,
        };
        self.metrics.acknowledged_then_failed.inc();
        guarded::log(|| {
            tracing::warn!(target: "consumer", message_id = %identity.id, receive_count = identity.receive_count,
                reason = %Line::new(&reason).limit(1024), "handler failed after it had its message deleted; nothing is tried again");
        });
        Ended::Handled
    }

    async fn handle(&self, message: &Message, held: Held) -> Ended {
        let limit = self.handling.timeout;
        let view = Arc::clone(&held.view);
        let context = Context::new(held, Instant::now() + limit, Arc::clone(&self.worker));
        // a panic may come before the first await too, where the future is made
        let handling = AssertUnwindSafe(async {
            let result = self.handler.0.handle(message, context).await;
            result.map_err(|failure| self.worker.classifiers().apply(failure))
        })
        .catch_unwind();
        let handling = timeout(limit, handling);
        tokio::pin!(handling);
        let (cancelled, result) = tokio::select! {
            biased;
            // a handler that reacts to the cancellation may return at the same moment: that is no failure of its own
            result = &mut handling => (view.cancellation(), Some(result)),
            why = self.worker.cancelled(&view) => {
                let wind_down = timeout(self.handling.wind_down, &mut handling);
                // a lease that is lost while the handler winds down counts as lost anyway
                let result = tokio::select! {
                    biased;
                    result = wind_down => result.ok(),
                    () = view.lost(), if why != Cancelled::LostLease => None,
                };
                (Some(view.cancellation().unwrap_or(why)), result)
            }
        };
        match (result, cancelled) {
            (_, Some(Cancelled::LostLease)) => Ended::LostLease,
            // a success counts even if it comes after the request to stop: the delete looks at the lease again
            (Some(Ok(Ok(Ok(())))), Some(_) | None) => Ended::Handled,
            (_, Some(_)) => Ended::Shutdown,
            (Some(Ok(Ok(Err(failure)))), None) => Ended::Failed(failure),
            (Some(Ok(Err(panic))), None) => Ended::Failed(Failure::panicked(&*panic)),
            (Some(Err(_)), None) => {
                Ended::Failed(Failure::new(format!("the handler took longer than {limit:?}")))
            }
            (None, None) => Ended::Failed(Failure::new("the handler did not end")),
        }
    }
}

fn not_begun(why: Cancelled) -> Ended {
    match why {
        Cancelled::LostLease => Ended::LostLease,
        Cancelled::Shutdown => Ended::NotBegun,
    }
}

/// What the end of a run says about the handler.
fn judge(pass: Pass, ended: &Ended, message_id: &str) {
    match ended {
        Ended::Handled => pass.succeeded(),
        Ended::Failed(_) => pass.failed(message_id),
        // that it was stopped says nothing
        Ended::LostLease | Ended::Shutdown | Ended::NotBegun => drop(pass),
    }
}

/// Grows with every receive, and is never zero: a message that fails at once must not be visible at once.
fn retry_delay(receive_count: u32) -> Duration {
    let bound = exponential(RETRY_BASE, receive_count.saturating_sub(1), RETRY_CAP);
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(millis / 2..=millis)).max(RETRY_BASE)
}

fn log_received(message: &Message, body_limit: usize) {
    let body = Line::new(&message.body).limit(body_limit);
    match message.trace {
        Some(trace) => {
            tracing::info!(target: "consumer", message_id = %message.id, receive_count = message.receive_count, trace_id = %trace.trace_id(), body = %body, "received");
        }
        None => {
            tracing::info!(target: "consumer", message_id = %message.id, receive_count = message.receive_count, body = %body, "received");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_retry_waits_longer_each_time_and_never_zero() {
        for (receives, least, most) in
            [(1, 1.0, 1.0), (2, 1.0, 2.0), (3, 2.0, 4.0), (5, 8.0, 16.0), (60, 450.0, 900.0)]
        {
            for _ in 0..200 {
                let delay = retry_delay(receives).as_secs_f64();
                assert!((least..=most).contains(&delay), "receive {receives}: {delay}");
            }
        }
    }
}
