//! A job: one message goes through its handler, and from there to its outcome.

use std::any::Any;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures_util::FutureExt;
use lifeline_escape::Line;
use lifeline_messaging::call::backoff::exponential;
use lifeline_messaging::envelope::Unreadable;
use lifeline_messaging::message::Message;
use tokio::time::{Instant, timeout};

use crate::delivery::Held;
use crate::handler::{Failure, Handler};
use crate::lease::{Cancelled, Context};
use crate::shared::Shared;
use crate::summary::Outcome;
use crate::visibility::Change;
use crate::worker::Options;

/// Failures come back after 1 s, 2 s, 4 s, … at most 15 minutes, each jittered between half of that and all.
const RETRY_BASE: Duration = Duration::from_secs(1);
const RETRY_CAP: Duration = Duration::from_secs(15 * 60);

/// A [`Handler`] without its type, so that only this file is generic.
pub(crate) trait Work: Send + Sync + 'static {
    fn handle(
        &self,
        message: Message,
        context: Context,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>>;
}

impl<H: Handler> Work for H {
    fn handle(
        &self,
        message: Message,
        context: Context,
    ) -> Pin<Box<dyn Future<Output = Result<(), Failure>> + Send + '_>> {
        Box::pin(Handler::handle(self, message, context))
    }
}

/// A message that may start.
pub(crate) struct Job {
    pub(crate) held: Held,
    pub(crate) message: Result<Message, Unreadable>,
}

enum End {
    Handled,
    Failed(Failure),
    LostLease,
    Shutdown,
}

impl Job {
    /// Runs it in a task of its own.
    pub(crate) fn start(self, work: &Arc<dyn Work>, shared: &Arc<Shared>) {
        let under_way = shared.company.handler();
        let run = self.run(Arc::clone(work), Arc::clone(shared));
        tokio::spawn(async move {
            run.await;
            // after its delete was asked for, so that a batch waits for it until then
            drop(under_way);
        });
    }

    async fn run(self, work: Arc<dyn Work>, shared: Arc<Shared>) {
        let Self { held, message } = self;
        let end = match message {
            // it waited for its group, and was lost meanwhile: another may have begun with it
            _ if held.lease.is_lost() => End::LostLease,
            Ok(mut message) => {
                message.trace = held.span.context().or(message.trace);
                log_received(&message, shared.options.body_limit);
                let begun = Instant::now();
                let end = attempt(&*work, message, &held, &shared.options).await;
                shared.metrics.handle_seconds.observe(begun.elapsed().as_secs_f64());
                end
            }
            Err(unreadable) => End::Failed(Failure::from(unreadable)),
        };
        match end {
            End::Handled => drop(shared.deletes.send(held)),
            End::Failed(failure) => fail(&shared, held, &failure),
            End::LostLease => {
                tracing::warn!(target: "consumer", message_id = %held.id, receive_count = held.receive_count,
                    "the lease was lost before the handler was done; the message will be delivered again");
                held.settle(Outcome::LostLease);
            }
            End::Shutdown => {
                tracing::warn!(target: "consumer", message_id = %held.id, "cancelled at the end of the grace and given back");
                shared.cancelled.fetch_add(1, Ordering::Relaxed);
                drop(shared.changes.send(Change::release(held)));
            }
        }
    }
}

async fn attempt(work: &dyn Work, message: Message, held: &Held, options: &Options) -> End {
    let limit = options.handler_timeout;
    let context = Context::new(Arc::clone(&held.lease));
    // a panic may come before the first await too, where the future is made
    let handling = AssertUnwindSafe(async { work.handle(message, context).await }).catch_unwind();
    let handling = timeout(limit, handling);
    tokio::pin!(handling);
    let (cancelled, result) = tokio::select! {
        biased;
        // one that listens ends together with the word to stop: what it returns then is no failure of its own
        result = &mut handling => (held.lease.is_cancelled(), Some(result)),
        why = held.lease.cancelled() => (Some(why), timeout(options.wind_down(), &mut handling).await.ok()),
    };
    match (result, cancelled) {
        // a success counts even if it comes after the word to stop: the delete looks at the lease again
        (Some(Ok(Ok(Ok(())))), Some(Cancelled::Shutdown) | None) => End::Handled,
        (_, Some(Cancelled::LostLease)) => End::LostLease,
        (_, Some(Cancelled::Shutdown)) => End::Shutdown,
        (Some(Ok(Ok(Err(failure)))), None) => End::Failed(failure),
        (Some(Ok(Err(panic))), None) => {
            End::Failed(Failure::new(format!("the handler panicked: {}", said(&*panic))))
        }
        (Some(Err(_)), None) => End::Failed(Failure::new(format!("the handler took longer than {limit:?}"))),
        (None, None) => End::Failed(Failure::new("the handler did not end")),
    }
}

fn said(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("without a message")
}

fn fail(shared: &Arc<Shared>, mut held: Held, failure: &Failure) {
    held.span.fail(|| failure.to_string());
    let delay = failure.delay().unwrap_or_else(|| retry_delay(held.receive_count));
    tracing::warn!(target: "consumer", message_id = %held.id, receive_count = held.receive_count, retry_in = ?delay,
        reason = %Line::new(&failure.to_string()).limit(1024), "not handled; it will be delivered again");
    shared.changes.send(Change::retry(held, delay)).ok();
}

/// What the delay of a failure is at most, unless the failure sets it.
pub(crate) fn longest_retry_delay(receive_count: u32) -> Duration {
    exponential(RETRY_BASE, receive_count.saturating_sub(1), RETRY_CAP)
}

/// Grows with every receive, and is never zero: a message that fails at once must not come back at once.
fn retry_delay(receive_count: u32) -> Duration {
    let bound = longest_retry_delay(receive_count);
    let millis = u64::try_from(bound.as_millis()).unwrap_or(u64::MAX);
    Duration::from_millis(fastrand::u64(millis / 2..=millis)).max(RETRY_BASE)
}

fn log_received(message: &Message, body_limit: usize) {
    let body = Line::new(&message.body).limit(body_limit);
    match message.trace {
        Some(trace) => {
            tracing::info!(target: "consumer", message_id = %message.id, receive_count = message.receive_count, trace_id = %trace.trace_id(), body = %body, "received")
        }
        None => {
            tracing::info!(target: "consumer", message_id = %message.id, receive_count = message.receive_count, body = %body, "received")
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
