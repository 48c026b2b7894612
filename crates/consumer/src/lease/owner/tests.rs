//! The owner alone: fake batch calls and paused time, no endpoint, no handler.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::time::SystemTime;

use lifeline_messaging::call::CallError;
use tokio_util::task::AbortOnDropHandle;

use super::*;
use crate::batch::Verdict;
use crate::capacity::Capacity;
use crate::clock::LeaseClock;
use crate::delivery::{Books, Identity, SpanQueue};
use crate::lease::handle::Ticket;
use crate::lease::view::Cancelled;
use crate::metrics::WorkerMetrics;
use crate::summary::Account;

const VISIBILITY: Duration = Duration::from_secs(30);

/// What a fake call answers: a verdict for every entry, or nothing, forever.
#[derive(Debug, Clone, Copy)]
enum Answer {
    All(Verdict),
    Never,
}

/// One kind of call: answers from a list, then with success; records when it was asked for how many.
#[derive(Debug, Clone, Default)]
struct Fake {
    asked: Arc<Mutex<Vec<(Instant, usize)>>>,
    answers: Arc<Mutex<VecDeque<Answer>>>,
}

impl Fake {
    fn answering(answers: impl IntoIterator<Item = Answer>) -> Self {
        Self { answers: Arc::new(Mutex::new(answers.into_iter().collect())), ..Self::default() }
    }

    fn asked(&self) -> Vec<usize> {
        self.asked.lock().unwrap().iter().map(|(_, entries)| *entries).collect()
    }

    async fn answer(&self, entries: usize) -> Result<Vec<Verdict>, CallError> {
        self.asked.lock().unwrap().push((Instant::now(), entries));
        let answer = self.answers.lock().unwrap().pop_front();
        match answer.unwrap_or(Answer::All(Verdict::Done)) {
            Answer::All(verdict) => Ok(vec![verdict; entries]),
            Answer::Never => std::future::pending().await,
        }
    }
}

#[derive(Debug)]
struct Deletes(Fake);
#[derive(Debug)]
struct Returns(Fake);
#[derive(Debug)]
struct Extends(Fake);

impl BatchCall for Deletes {
    type Ask = ();
    async fn call(&self, entries: &[(Arc<str>, ())]) -> Result<Vec<Verdict>, CallError> {
        self.0.answer(entries.len()).await
    }
}

impl BatchCall for Returns {
    type Ask = Duration;
    async fn call(&self, entries: &[(Arc<str>, Duration)]) -> Result<Vec<Verdict>, CallError> {
        self.0.answer(entries.len()).await
    }
}

impl BatchCall for Extends {
    type Ask = Extension;
    async fn call(&self, entries: &[(Arc<str>, Extension)]) -> Result<Vec<Verdict>, CallError> {
        self.0.answer(entries.len()).await
    }
}

struct Bench {
    leases: Leases,
    books: Books,
    capacity: Capacity,
    deletes: Fake,
    returns: Fake,
    extends: Fake,
    _owner: AbortOnDropHandle<()>,
}

impl Bench {
    fn start(deletes: Fake, returns: Fake, extends: Fake) -> Self {
        let pulses = lifeline_health::Pulses::new();
        let metrics = WorkerMetrics::new(&lifeline_health::Metrics::new("test", &pulses));
        let tally = Tally::new(metrics.outcomes.clone());
        let (leases, commands) = Leases::new(LeaseClock::new(lifeline_health::Clock::tokio()));
        let calls = (Deletes(deletes.clone()), Returns(returns.clone()), Extends(extends.clone()));
        let queue = KnownQueue::unknown();
        let mut owner =
            Owner::new(leases.clone(), commands, queue, Duration::from_secs(5), tally.clone(), calls);
        let pulse = pulses.start("leases", VISIBILITY);
        let running = tokio::spawn(async move { owner.run(&pulse).await });
        let books = Books {
            tally,
            metrics: metrics.deliveries.clone(),
            caution: crate::caution::Caution::new(),
            queue: Arc::new(SpanQueue { name: "events".to_owned(), known: KnownQueue::unknown() }),
        };
        Self {
            leases,
            books,
            capacity: Capacity::new(1000),
            deletes,
            returns,
            extends,
            _owner: AbortOnDropHandle::new(running),
        }
    }

    fn working() -> Self {
        Self::start(Fake::default(), Fake::default(), Fake::default())
    }

    /// Messages that were received just now.
    async fn receive(&self, messages: usize) -> Vec<Ticket> {
        let now = Instant::now();
        let (mut new, mut tickets) = (Vec::new(), Vec::new());
        for n in 0..messages {
            let mut permits = self.capacity.take().await;
            let permit = permits.split(1).expect("there is capacity");
            let identity = Identity {
                id: n.to_string(),
                trace: None,
                receive_count: 1,
                published_at: Some(SystemTime::now()),
            };
            let (delivery, _) = Delivery::new(self.books.clone(), identity, None, None, permit);
            let (lease, ticket) = self.leases.prepare(n.to_string(), delivery, now, now, VISIBILITY);
            new.push(lease);
            tickets.push(ticket);
        }
        self.books.tally.receive(messages as u64);
        self.leases.hold(new);
        tickets
    }

    fn account(&self) -> Account {
        self.books.tally.account()
    }
}

async fn seconds(seconds: u64) {
    tokio::time::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn handled_messages_are_deleted_in_batches_and_their_permits_come_back() {
    let bench = Bench::working();
    bench.receive(25).await.into_iter().for_each(Ticket::handled);
    seconds(1).await;
    assert_eq!(bench.account().deleted, 25);
    assert_eq!(bench.deletes.asked(), [10, 10, 5]);
    bench.capacity.all_free().await;
    assert_eq!(bench.account().in_flight(), 0);
}

#[tokio::test(start_paused = true)]
async fn what_is_in_flight_is_extended_in_batches_until_it_ends() {
    let bench = Bench::working();
    let tickets = bench.receive(25).await;
    seconds(90).await;
    assert_eq!(bench.extends.asked().len(), 4 * 3, "every 20 s three batches");
    assert!(tickets.iter().all(|ticket| !ticket.view().is_lost()));
    tickets.into_iter().for_each(|ticket| ticket.release(None));
    seconds(60).await;
    assert_eq!((bench.account().released, bench.extends.asked().len()), (25, 4 * 3));
    assert_eq!(bench.returns.asked(), [10, 10, 5]);
}

#[tokio::test(start_paused = true)]
async fn a_refused_extension_tells_the_handlers_and_no_delete_is_sent() {
    let extends = Fake::answering([Answer::All(Verdict::ReceiptInvalid)]);
    let bench = Bench::start(Fake::default(), Fake::default(), extends);
    let tickets = bench.receive(2).await;
    assert_eq!(tickets[0].view().cancelled().await, Cancelled::LostLease);
    tickets.into_iter().for_each(Ticket::handled);
    seconds(1).await;
    assert_eq!((bench.account().lost_lease, bench.deletes.asked().len()), (2, 0));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_never_ends_loses_its_leases_and_no_others() {
    let never = || Fake::answering([Answer::Never]);
    let bench = Bench::start(never(), Fake::default(), Fake::default());
    bench.receive(1).await.into_iter().for_each(Ticket::handled);
    seconds(1).await;
    bench.receive(10).await.into_iter().for_each(Ticket::handled);
    seconds(1).await;
    assert_eq!(bench.account().deleted, 10, "the hung call holds up no other");
    bench.leases.finish().await;
    assert_eq!((bench.account().lost_lease, bench.account().in_flight()), (1, 0));
}

#[tokio::test(start_paused = true)]
async fn deletes_that_prove_nothing_are_sent_again_while_the_lease_is_extended() {
    let deletes = Fake::answering((0..20).map(|_| Answer::All(Verdict::Unproven)));
    let bench = Bench::start(deletes, Fake::default(), Fake::default());
    bench.receive(10).await.into_iter().for_each(Ticket::handled);
    seconds(300).await;
    assert_eq!((bench.account().deleted, bench.account().lost_lease), (10, 0));
    let calls = bench.deletes.asked();
    assert!(calls.iter().all(|entries| *entries == 10), "batches: {calls:?}");
    assert!(!bench.extends.asked().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_ticket_that_is_dropped_releases_its_message() {
    let bench = Bench::working();
    drop(bench.receive(3).await);
    seconds(1).await;
    assert_eq!(bench.account().released, 3);
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_tells_every_handler_and_what_ends_after_it_is_cancelled() {
    let bench = Bench::working();
    let tickets = bench.receive(2).await;
    bench.leases.shut_down();
    assert_eq!(tickets[1].view().cancelled().await, Cancelled::Shutdown);
    drop(tickets);
    seconds(1).await;
    assert_eq!((bench.account().released, bench.books.tally.cancelled()), (2, 2));
}

#[tokio::test(start_paused = true)]
async fn an_owner_that_is_dropped_tells_every_handler() {
    let bench = Bench::working();
    let tickets = bench.receive(2).await;
    seconds(1).await;
    drop(bench);
    assert_eq!(tickets[0].view().cancelled().await, Cancelled::LostLease);
}
