//! The state machine of leases and outcomes, by random sequences of events against the real worker: handlers that end in
//! every way, calls and entries that fail in every way, leases that are taken, and a shutdown at any moment.
//!
//! Time is paused, so a case of a virtual minute takes milliseconds. proptest shrinks what fails and keeps its seed.

use std::collections::HashMap;
use std::time::Duration;

use lifeline_consumer::{BoxHandler, Failure, IntoHandler, Message};
use lifeline_emulator::{Action, Emulator, Fault};
use proptest::prelude::*;

use crate::support::*;

/// How a handler ends, by the receive it is.
#[derive(Debug, Clone, Copy)]
enum End {
    Ok,
    Err,
    Unavailable,
    Panic,
    Never,
}

#[derive(Debug, Clone)]
struct Handling {
    /// In tenths of the lease.
    takes: u32,
    end: End,
}

#[derive(Debug, Clone)]
enum Event {
    /// A call of this kind fails in this way; it had its effect, or not.
    Call { action: Action, way: u8, after_effect: bool },
    /// An entry of a batch fails, permanently or temporarily.
    Entry { action: Action, permanent: bool },
    /// The answer to a batch does not mention some entries; they had their effect, or not.
    LeftOut { action: Action, after_effect: bool },
    /// Another consumer takes a message that is held.
    Steal { message: usize },
    /// SQS hands a held message out again.
    Redeliver { message: usize },
    /// Time passes, in tenths of the lease.
    Time { tenths: u32 },
}

#[derive(Debug, Clone)]
struct Plan {
    seed: u64,
    visibility: u64,
    messages: Vec<Vec<Handling>>,
    events: Vec<Event>,
    grace: u64,
    room: usize,
}

fn handling() -> impl Strategy<Value = Handling> {
    let end = prop_oneof![4 => Just(End::Ok), 2 => Just(End::Err), 1 => Just(End::Unavailable), 1 => Just(End::Panic), 1 => Just(End::Never)];
    (0_u32..30, end).prop_map(|(takes, end)| Handling { takes, end })
}

fn event() -> impl Strategy<Value = Event> {
    let batch = || prop_oneof![Just(Action::DeleteMessageBatch), Just(Action::ChangeMessageVisibilityBatch)];
    let action = prop_oneof![3 => batch(), 1 => Just(Action::ReceiveMessage)];
    prop_oneof![
        3 => (action, 0_u8..11, any::<bool>()).prop_map(|(action, way, after_effect)| Event::Call { action, way, after_effect }),
        2 => (batch(), any::<bool>()).prop_map(|(action, permanent)| Event::Entry { action, permanent }),
        1 => (batch(), any::<bool>()).prop_map(|(action, after_effect)| Event::LeftOut { action, after_effect }),
        1 => (0_usize..20).prop_map(|message| Event::Steal { message }),
        1 => (0_usize..20).prop_map(|message| Event::Redeliver { message }),
        4 => (1_u32..12).prop_map(|tenths| Event::Time { tenths }),
    ]
}

fn plan() -> impl Strategy<Value = Plan> {
    let messages = prop::collection::vec(prop::collection::vec(handling(), 1..4), 1..20);
    let events = prop::collection::vec(event(), 0..25);
    (any::<u64>(), prop_oneof![Just(2_u64), Just(5), Just(30)], messages, events, 1_u64..25, 1_usize..30)
        .prop_map(|(seed, visibility, messages, events, grace, room)| Plan {
            seed,
            visibility,
            messages,
            events,
            grace,
            room,
        })
}

/// What the handlers did, by message: how often they succeeded.
type Done = Seen<usize>;

fn handler(plan: &Plan, done: &Done) -> BoxHandler {
    let (messages, done, tenth) =
        (plan.messages.clone(), done.clone(), Duration::from_millis(plan.visibility * 100));
    let handler = move |message: Message| {
        let number: usize = message.body.parse().unwrap();
        let ways = &messages[number];
        let way = ways[(message.receive_count as usize - 1).min(ways.len() - 1)].clone();
        let done = done.clone();
        async move {
            tokio::time::sleep(tenth * way.takes).await;
            match way.end {
                End::Ok => {
                    done.push(number);
                    Ok(())
                }
                End::Err => Err(Failure::new("as scripted")),
                End::Unavailable if fastrand::bool() => Err(Failure::unavailable("as scripted")),
                End::Unavailable => Err(Failure::new("as scripted")),
                End::Panic => panic!("as scripted"),
                End::Never => std::future::pending().await,
            }
        }
    };
    handler.boxed()
}

async fn happen(aws: &Emulator, queue: &lifeline_emulator::Queue, event: &Event, visibility: u64) {
    match event {
        Event::Call { action, way, after_effect } => {
            let rule = Fault::on(*action).nth(1);
            let rule = if *after_effect { rule.after_effect() } else { rule };
            aws.inject(match way {
                0 => rule.hang(),
                1 => rule.reset(),
                2 => rule.error(500, "InternalError"),
                3 => rule.throttle(),
                4 => rule.stall(),
                5 => rule.page(200),
                6 => rule.page(404),
                7 => rule.page(413),
                8 => rule.error(403, "InvalidSignatureException"),
                9 => rule.bandwidth(500),
                _ => rule.delay(Duration::from_millis(visibility * 500)),
            });
        }
        Event::Entry { action, permanent } => {
            let code = if *permanent { "ReceiptHandleIsInvalid" } else { "InternalError" };
            aws.inject(
                Fault::on(*action)
                    .nth(1)
                    .for_entries(|entry| entry.body.len() == 1)
                    .fail_entries(code, *permanent),
            );
        }
        Event::LeftOut { action, after_effect } => {
            let rule = Fault::on(*action).nth(1).for_entries(|entry| entry.body.len() == 1);
            let rule = if *after_effect { rule.after_effect() } else { rule };
            aws.inject(rule.leave_out_entries());
        }
        Event::Steal { message } => {
            let body = message.to_string();
            queue.steal(|b| b == body, Duration::from_secs(visibility));
        }
        Event::Redeliver { message } => {
            let body = message.to_string();
            queue.redeliver(|b| b == body);
        }
        Event::Time { tenths } => {
            tokio::time::sleep(Duration::from_millis(visibility * 100) * *tenths).await;
        }
    }
}

async fn run(plan: Plan) -> Result<(), TestCaseError> {
    fastrand::seed(plan.seed);
    let aws = emulator().await;
    aws.seed_faults(plan.seed);
    let queue = aws.queue("events").visibility_timeout(plan.visibility);
    queue.send_all((0..plan.messages.len()).map(|n| n.to_string()));
    let done = Done::default();
    let set = |b: lifeline_consumer::Builder| {
        b.shutdown_grace(Duration::from_secs(plan.grace)).max_in_flight(plan.room).handler_timeout(MINUTE)
    };
    let consumer = Consumer::start_with(&aws, existing("events"), set, handler(&plan, &done)).await;
    for event in &plan.events {
        happen(&aws, &queue, event, plan.visibility).await;
        prop_assert!(consumer.pulses.stale().is_empty(), "{:?}", consumer.pulses.ages());
        prop_assert!(consumer.metric("consumer_in_flight_messages") <= plan.room as f64);
    }
    let begun = tokio::time::Instant::now();
    let drained = consumer.drain().await; // the account balances, or this panics
    let grace = Duration::from_secs(plan.grace);
    prop_assert!(begun.elapsed() <= grace + 2 * SECOND, "{:?} of {grace:?}", begun.elapsed());

    let mut handled: HashMap<usize, u64> = HashMap::new();
    done.all().into_iter().for_each(|number| *handled.entry(number).or_default() += 1);
    let (mut gone, mut stale) = (0, 0);
    for history in queue.histories() {
        let number: usize = history.body.parse().unwrap();
        let successes = handled.get(&number).copied().unwrap_or(0);
        gone += u64::from(history.deleted.is_some());
        stale += u64::from(history.stale_deletes);
        prop_assert!(history.deleted.is_none() || successes > 0, "deleted unhandled: {history:?}");
        // a retry is of an attempt that failed; what was deleted is not set back afterwards
        let after =
            history.visibility.iter().filter(|(at, _)| history.deleted.is_some_and(|deleted| *at > deleted));
        prop_assert_eq!(after.count(), 0, "deleted and retried: {:?}", history);
    }
    let successes: u64 = handled.values().sum();
    let account = drained.account;
    prop_assert!(account.deleted <= successes, "{account}: more deleted than handled ({successes})");
    // a delete whose answer was lost, or whose entry was then refused, was done and is accounted as a lost lease
    prop_assert!(gone <= account.deleted + account.lost_lease, "{account}: {gone} are gone");
    // SQS confirms a delete by a receipt that another consumer's receive has made stale, and deletes nothing
    prop_assert!(account.deleted <= gone + stale, "{account}: {gone} are gone, {stale} deletes were stale");
    prop_assert_eq!(queue.histories().len() as u64 - gone, queue.len() as u64, "nothing is lost");
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_account_balances_and_nothing_is_deleted_unhandled(plan in plan()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
        runtime.block_on(run(plan))?;
    }
}
