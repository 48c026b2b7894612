//! A poller: takes permits, receives, hands on, and does it again.
//!
//! Permits are taken before the receive, so nothing is received that could not start, and the sum over all pollers is
//! bounded. A receive is bounded by a client-side timeout; whatever it returns, the pulse beats. A receive in flight is
//! never dropped: what SQS has handed out would stay hidden for a whole lease (aws/aws-sdk-go-v2#2068).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Pulse;
use lifeline_messaging::call::backoff::{Backoff, exponential};
use lifeline_messaging::call::{CallError, Fault, bounded_with};
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::{Envelope, Received, SYSTEM_ATTRIBUTES};
use lifeline_messaging::topology::Queue;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::batch::LARGEST;
use crate::breaker::Breaker;
use crate::call_monitor::CallMonitor;
use crate::capacity::Capacity;
use crate::control::WorkerHandle;
use crate::dispatch::Dispatch;
use crate::poller_scale::PollerScale;
use crate::queue_watch::KnownQueue;

/// The first wait after an error is at most this.
const BACKOFF: Duration = Duration::from_secs(1);

/// The pause after a receive that found the queue missing is at least this, and doubles while receives find it missing.
const MISSING_PAUSE: Duration = Duration::from_millis(200);

/// An empty response that came at once (a wait of zero, or an endpoint that does not hold polls) is followed by a pause
/// that grows to a second: each receive of an idle queue is paid for.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
const IDLE_PAUSE_CAP: Duration = Duration::from_secs(1);

/// A timed-out receive of a FIFO queue repeats its attempt id for this long, and gets the same messages again.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-receiverequestattemptid-request-parameter.html>
const ATTEMPT_ID_HOLDS: Duration = Duration::from_secs(5 * 60);

/// What all pollers of a worker need.
#[derive(Clone)]
pub(crate) struct Polling {
    pub(crate) clients: Clients,
    pub(crate) wait_time: Duration,
    pub(crate) envelope: Envelope,
    pub(crate) capacity: Capacity,
    pub(crate) scale: Arc<PollerScale>,
    pub(crate) queue: KnownQueue,
    pub(crate) dispatch: Dispatch,
    pub(crate) monitor: CallMonitor,
    pub(crate) draining: CancellationToken,
    pub(crate) breaker: Breaker,
    pub(crate) control: WorkerHandle,
}

/// Works until it is stopped by the scale or the worker drains.
pub(crate) async fn run(polling: &Polling, number: usize, pulse: &Pulse) {
    let mut poller = Poller { polling, pulse, backoff: Backoff::new(BACKOFF), attempt: None, most: LARGEST };
    let mut idle = 0;
    let mut missing = 0;
    // a receive whose response was lost is repeated first, under its own id: its messages are hidden until then
    while !polling.draining.is_cancelled() && (polling.scale.wants(number) || poller.repeats()) {
        let Some(queue) = poller.unless_draining(polling.queue.known()).await else { return };
        let Some(()) = poller.unless_draining(polling.control.resumed()).await else { return };
        let caution = &polling.dispatch.books.caution;
        let Some(turn) = poller.unless_draining(caution.turn(queue.visibility)).await else { return };
        let Some(mut permits) = poller.unless_draining(polling.capacity.take()).await else { return };
        // after the permits: whoever waited for them may have found out that the handler is unavailable
        let Some(limit) = poller.unless_draining(polling.breaker.receive_limit()).await else { return };
        let one = turn.is_some() || queue.is_fifo() && polling.dispatch.groups.one_at_a_time();
        let most = if one { 1 } else { permits.num_permits().min(poller.most).min(limit) };
        // what is not asked for is somebody else's
        drop(permits.split(permits.num_permits() - most));
        let clock = polling.dispatch.leases.clock();
        let (began, asked) = (Instant::now(), clock.now());
        match poller.receive(&queue, most).await {
            Ok(entries) => {
                match entries.len() {
                    0 => polling.scale.empty(number),
                    n if n >= most.min(LARGEST) && !one => polling.scale.full(number),
                    _ => {}
                }
                poller.backoff.reset();
                missing = 0;
                if !entries.is_empty() {
                    poller.most = (poller.most * 2).min(LARGEST);
                }
                let waited = !entries.is_empty() || began.elapsed() >= IDLE_PAUSE_CAP;
                polling.dispatch.accept(entries, permits, (asked, clock.now()), &queue);
                drop(turn);
                if waited {
                    idle = 0;
                    continue;
                }
                let pause = exponential(IDLE_PAUSE, idle, IDLE_PAUSE_CAP);
                idle += 1;
                poller.unless_draining(tokio::time::sleep(pause)).await;
            }
            Err(error) => {
                drop((permits, turn));
                polling.scale.failed();
                if error.fault == Fault::TimedOut {
                    // a response that was too large for the link: the next one is half of it
                    poller.most = (poller.most / 2).max(1);
                }
                let wait = poller.backoff.next(error.fault.backoff_cap());
                if error.fault == Fault::Missing {
                    // a queue that was found or created again is received from at once; one that is found each time and
                    // missing again is not asked ever faster
                    let early = exponential(MISSING_PAUSE, missing, error.fault.backoff_cap()).min(wait);
                    missing += 1;
                    let seen = polling.queue.seen_again();
                    poller.unless_draining(tokio::time::sleep(early)).await;
                    poller.unless_draining(tokio::time::timeout(wait - early, seen)).await;
                } else {
                    poller.unless_draining(tokio::time::sleep(wait)).await;
                }
            }
        }
    }
}

struct Poller<'a> {
    polling: &'a Polling,
    pulse: &'a Pulse,
    backoff: Backoff,
    /// The id of a FIFO receive whose response did not arrive, and since when it is used.
    attempt: Option<(String, Instant)>,
    /// How many messages a receive asks for at most: fewer after a timeout, more after each success.
    most: usize,
}

impl Poller<'_> {
    /// Awaits something that may take long, with a beating pulse; `None` when the worker drains.
    async fn unless_draining<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            biased;
            done = self.pulse.beat_while(wait) => Some(done),
            () = self.polling.draining.cancelled() => None,
        }
    }

    /// Whether the response to a receive of a FIFO queue was lost and can be had again.
    fn repeats(&self) -> bool {
        self.attempt.as_ref().is_some_and(|(_, since)| since.elapsed() < ATTEMPT_ID_HOLDS)
    }

    async fn receive(&mut self, queue: &Queue, most: usize) -> Result<Vec<Received>, CallError> {
        // while calls fail, a short poll asks whether SQS is back: a long one into a black hole would cost 20 s more
        let wait = if self.backoff.failures() == 0 { self.polling.wait_time } else { Duration::ZERO };
        let wait = Duration::from_secs(wait.as_secs());
        let call = self
            .polling
            .clients
            .polls
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(i32::try_from(most.min(LARGEST)).unwrap_or(1))
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            // named in each call, so that the lease is known even if the queue's default changes meanwhile
            .visibility_timeout(i32::try_from(queue.visibility.as_secs()).unwrap_or(30))
            .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()))
            .message_attribute_names("All")
            .set_receive_request_attempt_id(queue.is_fifo().then(|| self.attempt_id()));
        self.pulse.beat();
        let limit = wait + self.polling.clients.call_timeout;
        let response = bounded_with("ReceiveMessage", limit, || self.pulse.beat(), call.send()).await;
        self.pulse.beat();
        let lost = |fault| matches!(fault, Fault::TimedOut | Fault::Unreachable | Fault::Server);
        if !response.as_ref().is_err_and(|error| lost(error.fault)) {
            self.attempt = None;
        }
        self.polling
            .monitor
            .note(&response, |response| if response.messages().is_empty() { "empty" } else { "messages" });
        let entries = response?.messages.unwrap_or_default().into_iter();
        Ok(entries.filter_map(|entry| Received::open(entry, self.polling.envelope)).collect())
    }

    fn attempt_id(&mut self) -> String {
        match &self.attempt {
            Some((id, since)) if since.elapsed() < ATTEMPT_ID_HOLDS => id.clone(),
            _ => {
                let id = format!("{:032x}", fastrand::u128(..));
                self.attempt = Some((id.clone(), Instant::now()));
                id
            }
        }
    }
}
