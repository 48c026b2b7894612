//! A poller: takes room, receives, hands on, and does it again.
//!
//! Room is taken before the receive, so nothing is received that could not start, and the sum over all pollers is
//! bounded. A receive is bounded by our own clock; whatever comes back, the pulse beats. A receive in the air is never
//! dropped: what SQS has handed out would stay hidden for a whole lease (aws/aws-sdk-go-v2#2068).

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Pulse;
use lifeline_messaging::call::backoff::{Backoff, exponential};
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::envelope::{Received, SYSTEM_ATTRIBUTES};
use lifeline_messaging::topology::Queue;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;

use crate::batch::LARGEST;
use crate::dispatch::Intake;
use crate::shared::Shared;

/// The first wait after an error is at most this.
const BACKOFF: Duration = Duration::from_secs(1);

/// An empty answer that came at once (a wait of zero, or an endpoint that does not hold polls) is followed by a pause that
/// grows to a second: each receive of an idle queue is paid for.
const IDLE_PAUSE: Duration = Duration::from_millis(50);
const IDLE_PAUSE_CAP: Duration = Duration::from_secs(1);

/// How long a poller that has room for one waits for more: a receive for one costs as much as one for ten.
const ROOM_LINGER: Duration = Duration::from_millis(5);

/// A timed-out receive of a FIFO queue repeats its attempt id for this long, and gets the same messages again.
/// <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/using-receiverequestattemptid-request-parameter.html>
const ATTEMPT_ID_HOLDS: Duration = Duration::from_secs(5 * 60);

/// Works until it is sent home or the worker drains.
pub(crate) async fn run(shared: &Arc<Shared>, intake: &Intake, number: usize, pulse: &Pulse) {
    let mut poller = Poller { shared, pulse, backoff: Backoff::new(BACKOFF), attempt: None };
    let mut idle = 0;
    while !shared.is_draining() && shared.crew.wants(number) {
        let Some(queue) = poller.unless_draining(shared.known_queue()).await else { return };
        let Some(room) = poller.room().await else { return };
        let asked = if intake.is_troubled() { 1 } else { room.num_permits() };
        let asked_at = Instant::now();
        let under_way = shared.company.receive();
        match poller.receive(&queue, asked).await {
            Ok(entries) => {
                let received_at = Instant::now();
                match entries.len() {
                    0 => shared.crew.empty(number),
                    n if n >= asked.min(LARGEST) => shared.crew.full(number),
                    _ => {}
                }
                poller.backoff.reset();
                let waited = !entries.is_empty() || received_at - asked_at >= IDLE_PAUSE_CAP;
                intake.accept(entries, room, received_at, queue.visibility);
                drop(under_way);
                if waited {
                    idle = 0;
                    continue;
                }
                let pause = exponential(IDLE_PAUSE, idle, IDLE_PAUSE_CAP);
                idle += 1;
                poller.unless_draining(tokio::time::sleep(pause)).await;
            }
            Err(error) => {
                drop((room, under_way));
                shared.crew.failed();
                let wait = poller.backoff.next(error.fault.backoff_cap());
                poller.unless_draining(tokio::time::sleep(wait)).await;
            }
        }
    }
}

struct Poller<'a> {
    shared: &'a Arc<Shared>,
    pulse: &'a Pulse,
    backoff: Backoff,
    /// The id of a FIFO receive whose answer did not arrive, and since when it is used.
    attempt: Option<(String, Instant)>,
}

impl Poller<'_> {
    /// Awaits something that may take long, with a beating pulse; `None` when the worker drains.
    async fn unless_draining<T>(&self, wait: impl Future<Output = T>) -> Option<T> {
        tokio::select! {
            done = self.pulse.beat_while(wait) => Some(done),
            () = self.shared.draining.cancelled() => None,
        }
    }

    /// Room for one to ten messages.
    async fn room(&self) -> Option<OwnedSemaphorePermit> {
        // one at a time: what comes free would be dealt out one by one to all that wait, and each would ask for one message
        let _turn = self.unless_draining(self.shared.crew.gathering.lock()).await?;
        let room = &self.shared.room;
        let mut first = self.unless_draining(Arc::clone(room).acquire_owned()).await?.ok()?;
        let wanted = LARGEST.min(self.shared.options.max_in_flight) - 1;
        if room.available_permits() < wanted {
            // handlers that finish in this moment make the receive a fuller one
            let all = u32::try_from(wanted).unwrap_or(0);
            if let Ok(Ok(rest)) =
                tokio::time::timeout(ROOM_LINGER, Arc::clone(room).acquire_many_owned(all)).await
            {
                first.merge(rest);
                return Some(first);
            }
        }
        let rest = u32::try_from(wanted.min(room.available_permits())).unwrap_or(0);
        if let Ok(rest) = Arc::clone(room).try_acquire_many_owned(rest) {
            first.merge(rest);
        }
        Some(first)
    }

    async fn receive(&mut self, queue: &Queue, room: usize) -> Result<Vec<Received>, CallError> {
        // while calls fail, a short poll asks whether SQS is back: a long one into a black hole would cost 20 s more
        let wait = if self.backoff.failures() == 0 { self.shared.options.wait_time } else { Duration::ZERO };
        let wait = Duration::from_secs(wait.as_secs());
        let call = self
            .shared
            .clients
            .polls
            .receive_message()
            .queue_url(&queue.url)
            .max_number_of_messages(i32::try_from(room.min(LARGEST)).unwrap_or(1))
            .wait_time_seconds(i32::try_from(wait.as_secs()).unwrap_or(0))
            // named in each call, so that the lease is known even if the queue's default changes meanwhile
            .visibility_timeout(i32::try_from(queue.visibility.as_secs()).unwrap_or(30))
            .set_message_system_attribute_names(Some(SYSTEM_ATTRIBUTES.to_vec()))
            .message_attribute_names("All")
            .set_receive_request_attempt_id(queue.is_fifo().then(|| self.attempt_id()));
        self.pulse.beat();
        let answer = bounded("ReceiveMessage", wait + self.shared.clients.call_timeout, call.send()).await;
        self.pulse.beat();
        let answered = !matches!(&answer, Err(e) if matches!(e.fault, Fault::TimedOut | Fault::Unreachable | Fault::Server));
        if answered {
            self.attempt = None;
        }
        self.shared.note(&self.shared.outages.receive, &answer);
        let outcome = match &answer {
            Ok(answer) if answer.messages().is_empty() => "empty",
            Ok(_) => "messages",
            Err(error) => error.fault.label(),
        };
        self.shared.metrics.receive_calls.with_label_values(&[outcome]).inc();
        Ok(answer?.messages.unwrap_or_default().into_iter().filter_map(Received::open).collect())
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
