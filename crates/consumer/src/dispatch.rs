//! Dispatch: what a receive brought gets its leases, and starts, or joins its FIFO group.

use std::time::SystemTime;

use lifeline_messaging::envelope::{Received, Unreadable};
use lifeline_messaging::message::Message;
use lifeline_messaging::topology::Queue;
use lifeline_messaging::trace::TRACESTATE;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::attempt::{Attempt, Runner};
use crate::delivery::{Books, Delivery, Identity};
use crate::fifo::{Groups, Waiting};
use crate::lease::handle::Leases;
use crate::metrics::PollerMetrics;

/// Where pollers bring what they received. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Dispatch {
    pub(crate) leases: Leases,
    pub(crate) books: Books,
    pub(crate) runner: Runner,
    pub(crate) groups: Groups,
    pub(crate) draining: CancellationToken,
    pub(crate) metrics: PollerMetrics,
}

impl Dispatch {
    /// Takes the messages of one receive, which was sent at `asked` and read at `now`, by the clock of leases. `permits` has
    /// one for each of them; those left over are released.
    pub(crate) fn accept(
        &self,
        mut entries: Vec<Received>,
        mut permits: OwnedSemaphorePermit,
        (asked, now): (Instant, Instant),
        queue: &Queue,
    ) {
        self.metrics.oldest.set(oldest(&entries));
        if entries.is_empty() {
            return;
        }
        if !queue.is_fifo() {
            take_turns(&mut entries);
        }
        self.books.tally.receive(u64::try_from(entries.len()).unwrap_or(0));
        let mut new = Vec::with_capacity(entries.len());
        let mut start = Vec::with_capacity(entries.len());
        for entry in entries {
            // SQS never responds with more than was asked for; should it, the message has a permit that counts nothing
            let permit = permits.split(1).unwrap_or_else(spare);
            let (identity, trace) = identity(&entry);
            let Received { receipt, group, mut message, .. } = entry;
            let suspect = self.books.caution.received(&identity.id, identity.receive_count, queue.visibility);
            let state =
                message.as_ref().ok().and_then(|message| message.attributes.get(TRACESTATE)?.as_str());
            let (mut delivery, context) = Delivery::new(self.books.clone(), identity, trace, state, permit);
            if let Ok(message) = &mut message {
                message.trace = context;
            }
            let group = queue.is_fifo().then(|| group.unwrap_or_default());
            let turn = group.map(|group| (group, delivery.outcome()));
            let (lease, ticket) = self.leases.prepare(receipt, delivery, asked, now, queue.visibility);
            new.push(lease);
            start.push((Attempt { ticket, suspect, message: message.map(Box::new) }, turn));
        }
        // the owner has a message before anything can be reported about it
        self.leases.hold(new);
        for (attempt, turn) in start {
            // one more receive and it is a dead letter that no handler saw: it is handled within the grace period
            let last = queue
                .redrive
                .as_ref()
                .is_some_and(|redrive| attempt.ticket.identity().receive_count >= redrive.max_receives);
            if self.draining.is_cancelled() && !last {
                attempt.ticket.release(None);
                continue;
            }
            match turn {
                Some((group, outcome)) => self.groups.join(group, Waiting { attempt, outcome }),
                None => self.runner.start(attempt),
            }
        }
    }
}

/// Those that were received before run one at a time: one that kills its process takes those after it along. So each time
/// they are received together, their order is the other way round.
fn take_turns(entries: &mut [Received]) {
    let before = |entry: &Received| entry.receive_count > 1;
    if entries.iter().filter(|entry| before(entry)).count() > 1 {
        let even = entries.iter().any(|entry| before(entry) && entry.receive_count % 2 == 0);
        entries.sort_by(|a, b| {
            let order = a.sqs_message_id.cmp(&b.sqs_message_id);
            if even { order.reverse() } else { order }
        });
    }
}

fn spare() -> OwnedSemaphorePermit {
    let one = std::sync::Arc::new(tokio::sync::Semaphore::new(1));
    one.try_acquire_owned().expect("a new semaphore has its permit")
}

fn identity(entry: &Received) -> (Identity, Option<lifeline_messaging::trace::TraceContext>) {
    let message: Result<&Message, &Unreadable> = entry.message.as_ref();
    let identity = Identity {
        id: message.map_or_else(|_| entry.sqs_message_id.clone(), |message| message.id.clone()),
        trace: None,
        receive_count: entry.receive_count,
        published_at: message.ok().and_then(|message| message.published_at),
    };
    (identity, message.ok().and_then(|message| message.trace))
}

fn oldest(entries: &[Received]) -> Option<SystemTime> {
    entries.iter().filter_map(|entry| entry.message.as_ref().ok()?.published_at).min()
}
