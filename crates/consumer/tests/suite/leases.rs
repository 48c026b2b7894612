//! Leases: extended in time and in batches, for what runs and what waits; lost ones are told.

use std::time::Duration;

use lifeline_consumer::{BoxHandler, Cancelled, Context, Failure, IntoHandler, Message};
use lifeline_emulator::{Action, Fault};
use tokio::time::Instant;

use crate::support::*;

/// Succeeds when it is told to stop, and notes why it was.
fn until_told(why: &Seen<Cancelled>) -> BoxHandler {
    let why = why.clone();
    let handler = move |_: Message, context: Context| {
        let why = why.clone();
        async move {
            why.push(context.cancelled().await);
            Ok::<(), Failure>(())
        }
    };
    handler.boxed()
}

#[tokio::test(start_paused = true)]
async fn a_handler_of_three_timeouts_is_delivered_once_whatever_the_timeout() {
    for visibility in [2, 5, 30].map(Duration::from_secs) {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout(visibility.as_secs());
        queue.send_all((0..25).map(|n| n.to_string()));
        let consumer = Consumer::start(&aws, "events", takes(visibility * 3)).await;
        aws.wait_for(|_| queue.is_empty(), 10 * visibility).await;
        for history in queue.histories() {
            assert_eq!(history.received.len(), 1, "{history:?}");
            let (at, granted) = history.visibility[0];
            let after = (at - history.received[0]).as_secs_f64() / visibility.as_secs_f64();
            assert!((0.6..0.75).contains(&after), "extended after {after:.2} of {visibility:?}");
            assert_eq!(granted, visibility);
        }
        // four rounds of three batches at the most: 25 messages, ten to a batch
        let extensions = aws.log(Action::ChangeMessageVisibilityBatch);
        assert!(extensions.len() <= 5 * 3, "{visibility:?}: {} calls", extensions.len());
        assert_eq!(consumer.drain().await.account, account(25, 25, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_handler_may_run_for_half_an_hour_and_the_worker_is_up() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("long");
    let set = |b: lifeline_consumer::Builder| b.handler_timeout(60 * MINUTE);
    let consumer = Consumer::start_with(&aws, existing("events"), set, takes(30 * MINUTE)).await;
    stays_up(&consumer, 30 * MINUTE + SECOND).await;
    assert_eq!(queue.deleted(), ["long"]);
    assert_eq!(queue.receives("long"), 1);
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_hung_extension_touches_no_handler_and_costs_no_lease() {
    for visibility in [2, 5, 30].map(Duration::from_secs) {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout(visibility.as_secs());
        queue.send("one");
        let hung = aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).nth(1).hang());
        let consumer = Consumer::start(&aws, "events", takes(visibility * 3)).await;
        let begun = Instant::now();
        aws.wait_for(|_| queue.is_empty(), 10 * visibility).await;
        assert_eq!(hung.hits(), 1);
        assert_eq!(queue.receives("one"), 1, "{visibility:?}");
        assert!(begun.elapsed() < visibility * 3 + SECOND, "the handler was not held up");
        assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn an_extension_that_fails_in_passing_is_tried_again_in_time() {
    for visibility in [2, 30].map(Duration::from_secs) {
        let aws = emulator().await;
        let queue = aws.queue("events").visibility_timeout(visibility.as_secs());
        queue.send_all(["a", "b"]);
        aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).nth(1).error(500, "InternalError"));
        aws.inject(
            Fault::on(Action::ChangeMessageVisibilityBatch)
                .nth(2)
                .for_entries(|entry| entry.body == "a")
                .fail_entries("InternalError", false),
        );
        let consumer = Consumer::start(&aws, "events", takes(visibility * 3)).await;
        aws.wait_for(|_| queue.is_empty(), 10 * visibility).await;
        assert_eq!((queue.receives("a"), queue.receives("b")), (1, 1), "{visibility:?}");
        assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
    }
}

#[tokio::test(start_paused = true)]
async fn a_lease_that_cannot_be_extended_is_lost_and_the_handler_told() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout(6);
    queue.send("one");
    let hung = aws.inject(Fault::on(Action::ChangeMessageVisibilityBatch).hang());
    let why = Seen::default();
    let consumer = Consumer::start(&aws, "events", until_told(&why)).await;
    aws.wait_for(|_| why.len() == 1, MINUTE).await;
    let history = queue.history("one");
    assert!(history.received[0].elapsed() <= Duration::from_millis(6100), "told when it ended, not later");
    assert_eq!(why.all(), [Cancelled::LostLease]);
    hung.remove();
    // it comes again, to us or to anybody
    aws.wait_for(|_| queue.receives("one") == 2, SOON).await;
    assert_eq!(aws.calls(Action::DeleteMessageBatch), 0, "the delete of a lost lease is not sent");
    // the second time the handler is told of the shutdown, and that is a success
    aws.wait_for(|_| consumer.received() == 2, SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 0, 0, 1));
    assert_eq!(why.all(), [Cancelled::LostLease, Cancelled::Shutdown]);
}

#[tokio::test(start_paused = true)]
async fn a_lease_taken_by_another_is_told_counted_and_its_delete_not_sent() {
    let aws = emulator().await;
    // a standard queue accepts the receipt still
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true");
    queue.send(lifeline_emulator::Message::new("one").group("a"));
    let why = Seen::default();
    let consumer = Consumer::start(&aws, "events.fifo", until_told(&why)).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    assert_eq!(queue.steal(|_| true, 10 * MINUTE), 1);
    aws.wait_for(|_| why.len() == 1, MINUTE).await;
    assert_eq!(why.all(), [Cancelled::LostLease]);
    aws.wait_for(|_| consumer.metric("consumer_messages_lost_lease_total") == 1.0, SOON).await;
    assert_eq!(consumer.drain().await.account, account(1, 0, 0, 0, 1));
    assert_eq!(aws.calls(Action::DeleteMessageBatch), 0);
    assert_eq!((queue.bodies(), queue.history("one").stale_deletes), (vec!["one".to_owned()], 0));
}

#[tokio::test(start_paused = true)]
async fn on_a_standard_queue_what_another_has_too_is_handled_twice_and_nothing_is_lost() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let (ours, theirs) = (Seen::<String>::default(), Seen::<String>::default());
    let handler = |seen: &Seen<String>| {
        let seen = seen.clone();
        move |message: Message, context: Context| {
            let seen = seen.clone();
            async move {
                tokio::select! {
                    why = context.cancelled() => seen.push(format!("{why:?}")),
                    () = tokio::time::sleep(MINUTE) => seen.push(message.body),
                }
                Ok::<(), lifeline_consumer::Failure>(())
            }
        }
    };
    let one = |b: lifeline_consumer::Builder| b.max_in_flight(1);
    let first = Consumer::start_with(&aws, existing("events"), one, handler(&ours)).await;
    aws.wait_for(|_| first.received() == 1, SOON).await;
    // SQS hands it out a second time, as standard queues may: neither consumer can learn of the other
    tokio::time::sleep(30 * SECOND).await;
    assert_eq!(queue.redeliver(|_| true), 1);
    let second = Consumer::start(&aws, "events", handler(&theirs)).await;
    aws.wait_for(|_| queue.is_empty(), 5 * MINUTE).await;
    // whoever is done first deletes it for both, and the other learns it
    aws.wait_for(|_| ours.len() + theirs.len() == 2, 5 * MINUTE).await;
    let mut ends = [ours.all(), theirs.all()].concat();
    ends.sort();
    assert_eq!(ends, ["LostLease", "one"]);
    assert_eq!(first.drain().await.account.received + second.drain().await.account.received, 2);
}

#[tokio::test(start_paused = true)]
async fn a_handler_that_ignores_the_loss_is_dropped_a_second_later() {
    let aws = emulator().await;
    let queue = aws.queue("events.fifo").attribute("ContentBasedDeduplication", "true");
    queue.send(lifeline_emulator::Message::new("one").group("a"));
    let dropped = Count::default();
    let handler = hangs_until_dropped(&dropped);
    let consumer = Consumer::start(&aws, "events.fifo", handler).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    queue.steal(|_| true, 10 * MINUTE);
    let begun = Instant::now();
    aws.wait_for(|_| dropped.get() == 1, MINUTE).await;
    assert!(begun.elapsed() <= Duration::from_secs(22), "found at the extension, dropped 1 s after");
    assert_eq!(consumer.drain().await.account, account(1, 0, 0, 0, 1));
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_permanently_after_twelve_hours() {
    const HOUR: Duration = Duration::from_secs(3600);
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout(HOUR.as_secs());
    queue.send("endless");
    let why = Seen::default();
    let set = |b: lifeline_consumer::Builder| b.handler_timeout(12 * HOUR);
    let consumer = Consumer::start_with(&aws, existing("events"), set, until_told(&why)).await;
    while why.len() == 0 {
        tokio::time::sleep(30 * SECOND).await;
    }
    let history = queue.history("endless");
    let held = history.received[0].elapsed();
    assert!(held > 12 * HOUR - MINUTE && held <= 12 * HOUR + MINUTE, "{held:?}");
    for (at, granted) in &history.visibility {
        assert!(*at - history.received[0] + *granted <= 12 * HOUR, "SQS would refuse that");
    }
    assert_eq!(why.all(), [Cancelled::LostLease]);
    assert_eq!((queue.deleted().len(), aws.calls(Action::DeleteMessageBatch)), (0, 0));
    assert_eq!(consumer.drain().await.account.lost_lease, 1);
}

#[tokio::test(start_paused = true)]
async fn a_context_tells_how_long_the_lease_still_runs() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let left = Seen::default();
    let handler = {
        let left = left.clone();
        move |_: Message, context: Context| {
            let left = left.clone();
            async move {
                left.push(context.lease_remaining());
                tokio::time::sleep(Duration::from_secs(19)).await;
                left.push(context.lease_remaining());
                tokio::time::sleep(Duration::from_secs(3)).await;
                left.push(context.lease_remaining());
                assert!(!context.lease_lost());
                Ok::<(), Failure>(())
            }
        }
    };
    let consumer = Consumer::start(&aws, "events", handler).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    let seconds: Vec<_> = left.all().iter().map(|left| left.as_secs_f64().round()).collect();
    assert_eq!(seconds, [30.0, 11.0, 28.0]);
    assert_eq!(consumer.drain().await.account, account(1, 1, 0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_queue_whose_timeout_is_shortened_while_we_work_loses_no_lease() {
    let aws = emulator().await;
    let queue = aws.queue("events").visibility_timeout((30 * SECOND).as_secs());
    queue.send("before");
    let spec = lifeline_messaging::topology::QueueSpec { provision: true, ..existing("events") };
    let consumer = Consumer::start_with(&aws, spec, |b| b, takes(3 * MINUTE)).await;
    aws.wait_for(|_| consumer.received() == 1, SOON).await;
    queue.set_attribute("VisibilityTimeout", "2");
    // the queue watcher checks once per minute where it provisions
    tokio::time::sleep(MINUTE + SECOND).await;
    queue.send("after");
    aws.wait_for(|_| queue.is_empty(), 10 * MINUTE).await;
    assert_eq!((queue.receives("before"), queue.receives("after")), (1, 1));
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}

/// Real time, on one thread, which a handler blocks for longer than a lease.
#[tokio::test]
async fn a_handler_that_blocks_its_thread_costs_no_other_message_its_lease() {
    let aws = emulator_on_own_thread();
    let queue = aws.queue("events").visibility_timeout((4 * SECOND).as_secs());
    queue.send_all(["computes", "a", "b", "c"]);
    let handler = |message: Message, _: Context| async move {
        if message.body == "computes" {
            // the others have begun
            tokio::time::sleep(Duration::from_millis(300)).await;
            std::thread::sleep(6 * SECOND);
        } else {
            tokio::time::sleep(7 * SECOND).await;
        }
        Ok::<(), Failure>(())
    };
    let set = |b: lifeline_consumer::Builder| b.wait_time(SECOND).lease_thread(true);
    let pulses = lifeline_health::Pulses::new();
    let consumer = Consumer::start_on(clients(&aws).await, pulses, existing("events"), set, handler);
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(queue.histories().iter().all(|h| h.received.len() == 1), "{:?}", queue.histories());
    assert_eq!(consumer.drain().await.account, account(4, 4, 0, 0, 0));
}
