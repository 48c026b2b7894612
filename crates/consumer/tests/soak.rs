//! A soak: random faults from a printed seed while messages flow; at the end nothing is lost, nothing was deleted unhandled,
//! and neither memory nor the number of tasks has grown.
//!
//! `SOAK_SECONDS` is how long it runs (10 s; CI gives it 20 more), `SOAK_SEED` repeats a run's faults. It is a binary of its own,
//! so that the memory of the process is the consumer's and the endpoint's.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod support;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lifeline_consumer::{Context, Failure, Message};
use lifeline_emulator::{Action, Emulator, Fault};
use support::*;

/// Messages per second: enough for thousands of batches, few enough for a machine that does other things.
const RATE: u64 = 200;

/// What a run of any length may hold more at its end than after its first third.
const GROWTH_KIB: u64 = 6 * 1024;

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().map_or(default, |value| value.parse().unwrap())
}

fn resident_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
    line.trim().trim_end_matches(" kB").parse().unwrap()
}

fn tasks() -> usize {
    tokio::runtime::Handle::current().metrics().num_alive_tasks()
}

/// Every fault that the endpoint knows, each now and then.
fn script(aws: &Emulator) {
    for action in [
        Action::ReceiveMessage,
        Action::DeleteMessageBatch,
        Action::ChangeMessageVisibilityBatch,
        Action::GetQueueAttributes,
    ] {
        aws.inject(Fault::on(action).probability(0.004).hang());
        aws.inject(Fault::on(action).probability(0.004).after_effect().hang());
        aws.inject(Fault::on(action).probability(0.01).reset());
        aws.inject(Fault::on(action).probability(0.004).stall());
        aws.inject(Fault::on(action).probability(0.01).truncate());
        aws.inject(Fault::on(action).probability(0.01).status(200, "<html>"));
        aws.inject(Fault::on(action).probability(0.02).error(500, "InternalError"));
        aws.inject(Fault::on(action).probability(0.005).page(404));
        aws.inject(Fault::on(action).probability(0.005).page(200));
        aws.inject(Fault::on(action).probability(0.005).error(403, "InvalidSignatureException"));
        aws.inject(Fault::on(action).probability(0.005).bandwidth(2000));
        aws.inject(Fault::on(action).probability(0.01).throttle());
        aws.inject(Fault::on(action).probability(0.005).error(403, "AccessDeniedException"));
        aws.inject(Fault::on(action).probability(0.05).delay(Duration::from_millis(200)));
    }
    aws.inject(Fault::on(Action::ReceiveMessage).probability(0.02).duplicate());
    aws.inject(Fault::on(Action::ReceiveMessage).probability(0.02).lose_lease(SECOND));
    for action in [Action::DeleteMessageBatch, Action::ChangeMessageVisibilityBatch] {
        aws.inject(
            Fault::on(action)
                .probability(0.05)
                .for_entries(|e| e.body.ends_with('7'))
                .fail_entries("InternalError", false),
        );
        aws.inject(
            Fault::on(action).probability(0.02).for_entries(|e| e.body.ends_with('5')).leave_out_entries(),
        );
        aws.inject(
            Fault::on(action)
                .probability(0.01)
                .for_entries(|e| e.body.ends_with('3'))
                .fail_entries("ReceiptHandleIsInvalid", true),
        );
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_grows_whatever_fails() {
    let seconds = number("SOAK_SECONDS", 10);
    let seed = number("SOAK_SEED", fastrand::u64(..));
    eprintln!("SOAK_SECONDS={seconds} SOAK_SEED={seed}");
    let aws = quiet_emulator().await;
    aws.seed_faults(seed);
    let queue = aws.queue("events").visibility_timeout((2 * SECOND).as_secs());
    script(&aws);
    // what was sent and has not been handled yet: what is deleted while it is in here was deleted unhandled
    let unhandled: Arc<Mutex<HashSet<String>>> = Arc::default();
    let handler = {
        let unhandled = Arc::clone(&unhandled);
        move |message: Message, _: Context| {
            let unhandled = Arc::clone(&unhandled);
            async move {
                match fastrand::u32(0..100) {
                    0 => return Err(Failure::new("now and then")),
                    1 => panic!("now and then"),
                    3 => return Err(Failure::unavailable("now and then")),
                    2 => tokio::time::sleep(3 * SECOND).await,
                    n => tokio::time::sleep(Duration::from_millis(u64::from(n) / 4)).await,
                }
                unhandled.lock().unwrap().remove(&message.body);
                Ok(())
            }
        }
    };
    std::panic::set_hook(Box::new(|panic| {
        if !panic.to_string().contains("now and then") {
            eprintln!("{panic}");
        }
    }));
    let before = tasks();
    let mut clients = clients(&aws).await;
    clients.call_timeout = SECOND; // a hang is over soon, so that there are many
    let pulses = lifeline_health::Pulses::new();
    let consumer = Consumer::start_on(
        clients,
        pulses,
        existing("events"),
        |b| b.wait_time(SECOND).max_in_flight(256),
        handler,
    );

    let begun = Instant::now();
    let (mut sent, mut resident, mut most_tasks) = (0, None, 0);
    while begun.elapsed() < Duration::from_secs(seconds) {
        tokio::time::sleep(Duration::from_millis(50)).await;
        for _ in 0..RATE / 20 {
            let body = sent.to_string();
            unhandled.lock().unwrap().insert(body.clone());
            queue.send(body);
            sent += 1;
        }
        assert!(consumer.pulses.stale().is_empty(), "{:?}", consumer.pulses.ages());
        most_tasks = most_tasks.max(tasks());
        if resident.is_none() && begun.elapsed() > Duration::from_secs(seconds) / 3 {
            resident = Some(resident_kib());
        }
    }
    let grown = resident_kib().saturating_sub(resident.unwrap());
    aws.clear_faults();
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert!(unhandled.lock().unwrap().is_empty(), "deleted unhandled: {:?}", unhandled.lock().unwrap());
    let account = consumer.drain().await.account;
    // a delete that had its effect, and whose answer did not come before the lease ended, counts as a lost lease
    assert!(account.deleted + account.lost_lease >= sent, "{account}, but {sent} were sent");
    // connections that idle out, and handlers of leases that were lost
    let end = Instant::now() + Duration::from_secs(30);
    while tasks() > before + 4 && Instant::now() < end {
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    eprintln!(
        "sent={sent} {account}; grown by {grown} KiB; tasks: {before} before, {most_tasks} at most, {} after",
        tasks()
    );
    assert!(tasks() <= before + 4, "{} tasks are left of {most_tasks}", tasks());
    assert!(most_tasks < 1500, "{most_tasks} tasks at once for 256 messages");
    assert!(grown < GROWTH_KIB, "grown by {grown} KiB");
}
