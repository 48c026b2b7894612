//! `lifeline dlq` as a program: what is printed, what moves, and that nothing is lost when it is killed.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Child, Command, Output};
use std::time::{Duration, Instant, SystemTime};

use lifeline_emulator::{Action, Emulator, Fault, Message, Place, Queue};
use serde_json::Value;

mod support;

use support::{lifeline, text};

fn dlq(endpoint: &str, arguments: &[&str]) -> Command {
    lifeline(endpoint, &[&["dlq"], arguments].concat())
}

fn run(aws: &Emulator, arguments: &[&str]) -> Output {
    dlq(&aws.url(), arguments).output().unwrap()
}

fn out(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", text(output)))
}

/// A queue and its dead-letter queue.
fn queues(aws: &Emulator) -> (Queue, Queue) {
    let queue = aws.queue("events-consumer").max_receives(5);
    (queue, aws.queue("events-consumer-dlq"))
}

/// A message that the consumer put there because a handler rejected it.
fn rejected(body: &str, reason: &str) -> Message {
    Message::new(body).attribute("rejected-reason", reason).attribute("kind", "order")
}

fn bodies(queue: &Queue) -> BTreeSet<String> {
    queue.bodies().into_iter().collect()
}

#[test]
fn a_list_counts_by_reason_and_shows_escaped_bodies_and_what_it_cost() {
    // its clock is two hours behind
    let two_hours_ago = SystemTime::now() - Duration::from_secs(7200);
    let aws = Emulator::builder().starting_at(two_hours_ago).start_on_own_thread().unwrap();
    let (_, letters) = queues(&aws);
    letters.send(Message::new("line one\nline two \u{1b}[31m").received_before(5));
    letters.send(rejected("x", "no such customer"));
    letters.send(rejected("y", "no such customer"));
    let output = run(&aws, &["list"]);
    let list = out(&output);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let first =
        "events-consumer-dlq: 3 messages (0 in flight), kept for 4 d; dead letters of events-consumer\n";
    assert!(list.starts_with(first), "{list}");
    assert!(list.contains("      2  no such customer\n      1  moved by SQS after 5 receives\n"), "{list}");
    assert!(list.contains(r"line one\nline two \u{1b}[31m") && !list.contains('\u{1b}'), "{list}");
    assert!(list.lines().skip(5).all(|line| line.starts_with("2 h ")), "{list}");
    assert!(text(&output).contains("3 messages were received to look at them"), "{}", text(&output));
    let stored = letters.messages();
    assert!(stored.iter().all(|letter| letter.place == Place::Visible), "all are released: {stored:?}");
    assert_eq!(stored.iter().map(|letter| letter.receive_count).collect::<Vec<_>>(), [6, 1, 1]);

    let chosen =
        json(&run(&aws, &["list", "--json", "--reason", "customer", "--older-than", "1h", "--limit", "1"]));
    assert_eq!(chosen["counts"]["visible"], 3, "{chosen}");
    assert_eq!(chosen["messages"].as_array().unwrap().len(), 1);
    assert_eq!(chosen["messages"][0]["attributes"]["kind"]["value"], "order");
    assert!(chosen["messages"][0]["age_seconds"].as_u64().unwrap() >= 7200, "{chosen}");
    let none = json(&run(&aws, &["list", "--json", "--younger-than", "1h"]));
    assert_eq!(none["messages"].as_array().unwrap().len(), 0);
}

#[test]
fn a_message_is_shown_by_the_beginning_of_its_id() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (_, letters) = queues(&aws);
    let id = letters.send(rejected("{\n  \"id\": 7\n}", "no such customer"));
    letters.send("another");
    let output = run(&aws, &["show", &id[..13]]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    for part in ["reason      no such customer\n", "  kind = order\n", "body\n  {\n    \"id\": 7\n  }\n"] {
        assert!(out(&output).contains(part), "{part:?} in {}", out(&output));
    }
    let output = run(&aws, &["show", "--json", &id, "nope"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("no dead letter has an id that begins with nope"), "{}", text(&output));
    assert_eq!(json(&output)["body"], "{\n  \"id\": 7\n}");
    assert_eq!(letters.counts().visible, 2);
}

#[test]
fn all_are_moved_by_sqs_also_those_that_a_consumer_put_there() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all((0..30).map(|n| Message::new(format!("sqs {n}")).received_before(5)));
    letters.send_all((0..30).map(|n| rejected(&format!("copy {n}"), "no")));
    let before = bodies(&letters);
    let output = run(&aws, &["redrive", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    let report = json(&output);
    assert_eq!(
        (&report["mechanism"], &report["result"]["moved"]),
        (&"move-task".into(), &60.into()),
        "{report}"
    );
    assert_eq!((bodies(&queue), queue.len(), letters.len()), (before, 60, 0));
    assert_eq!(aws.calls(Action::SendMessage), 0);
}

#[test]
fn chosen_ones_are_copied_as_they_are_and_the_others_stay_visible() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all(
        (0..25).map(|n| rejected(&format!("timeout {n}"), "timeout of the bank").trace_header("Root=1-2-3")),
    );
    letters.send_all((0..25).map(|n| rejected(&format!("bad {n}"), "not JSON")));
    let dry = run(&aws, &["redrive", "--reason", "timeout", "--dry-run"]);
    assert_eq!(
        out(&dry),
        "25 of 50 messages would move from events-consumer-dlq to events-consumer\n",
        "{}",
        text(&dry)
    );
    assert_eq!((queue.len(), letters.counts().visible), (0, 50));
    let output = run(&aws, &["redrive", "--reason", "timeout", "--limit", "20"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(out(&output), "20 messages moved from events-consumer-dlq to events-consumer; 30 left\n");
    assert_eq!((queue.len(), letters.counts().visible), (20, 30));
    assert!(queue.bodies().iter().all(|body| body.starts_with("timeout ")));
    let sent = format!("{:?}", aws.log(Action::SendMessage)[0]);
    assert!(sent.contains("kind") && sent.contains("rejected-reason"), "{sent}");
}

#[test]
fn a_rate_is_kept() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all((0..12).map(|n| n.to_string()));
    let begun = Instant::now();
    let output = run(&aws, &["redrive", "--rate", "6", "--older-than", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert_eq!(queue.len(), 12);
    assert!(begun.elapsed() >= Duration::from_secs(2), "{:?}", begun.elapsed());
}

/// Runs a redrive and kills it, again and again, until one ends by itself. How often it was killed.
fn redrive_with_kills(aws: &Emulator, letters: &Queue, arguments: &[&str]) -> u32 {
    let mut kills = 0;
    loop {
        let mut child = dlq(&aws.url(), arguments).spawn().unwrap();
        if ended_before(&mut child, letters, letters.len().saturating_sub(37)) {
            let output = child.wait_with_output().unwrap();
            assert_eq!(output.status.code(), Some(0), "{}", text(&output));
            return kills;
        }
        child.kill().unwrap();
        child.wait().unwrap();
        kills += 1;
        // what it had received is visible again
        aws.skip(Duration::from_secs(121));
    }
}

/// Waits until only so many letters are left, or the process ends.
fn ended_before(child: &mut Child, letters: &Queue, left: usize) -> bool {
    loop {
        if child.try_wait().unwrap().is_some() {
            return true;
        }
        if left > 0 && letters.len() <= left {
            return false;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn killed_again_and_again_nothing_is_lost_and_at_most_ten_per_kill_come_twice() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all((0..400).map(|n| format!("letter {n}")));
    let sent = bodies(&letters);
    aws.inject("DeleteMessage: delay=4ms".parse::<Fault>().unwrap());
    let kills = redrive_with_kills(&aws, &letters, &["redrive", "--body", "letter"]);
    assert!(kills >= 5, "{kills}");
    assert_eq!((bodies(&queue), letters.len()), (sent, 0));
    let twice = queue.len() - 400;
    assert!(twice <= usize::try_from(kills).unwrap() * 10, "{twice} twice after {kills} kills");
}

#[test]
fn killed_again_and_again_a_fifo_queue_has_each_message_once_and_in_order() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let queue = aws.queue("events-consumer.fifo").max_receives(5);
    let letters = aws.queue("events-consumer-dlq.fifo");
    for n in 0..120 {
        letters.send_to_group(&format!("g{}", n % 4), &format!("{n:03}"));
    }
    let sent = bodies(&letters);
    aws.inject("DeleteMessage: delay=4ms".parse::<Fault>().unwrap());
    let arguments = ["redrive", "--older-than", "0s", "--queue-name", "events-consumer.fifo"];
    let kills = redrive_with_kills(&aws, &letters, &arguments);
    assert!(kills >= 2, "{kills}");
    assert_eq!((bodies(&queue), queue.len(), letters.len()), (sent, 120, 0));
    let mut last = BTreeMap::new();
    for message in queue.messages() {
        let before = last.insert(message.group.clone(), message.body.clone());
        assert!(before.is_none_or(|before| before < message.body), "{message:?}");
    }
}

#[test]
fn a_move_by_sqs_goes_on_when_its_observer_is_killed_and_the_next_one_follows_it() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all((0..60).map(|n| n.to_string()));
    let mut child = dlq(&aws.url(), &["redrive", "--rate", "20"]).spawn().unwrap();
    assert!(!ended_before(&mut child, &letters, 55));
    child.kill().unwrap();
    child.wait().unwrap();
    let output = run(&aws, &["redrive", "--rate", "20"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("a move is running already"), "{}", text(&output));
    assert_eq!((queue.len(), letters.len(), aws.calls(Action::StartMessageMoveTask)), (60, 0, 1));
}

#[test]
fn an_interruption_cancels_a_move_and_releases_what_is_hidden() {
    for arguments in [&["redrive", "--rate", "10"][..], &["redrive", "--rate", "10", "--older-than", "0s"]] {
        let aws = Emulator::start_on_own_thread().unwrap();
        let (queue, letters) = queues(&aws);
        letters.send_all((0..60).map(|n| n.to_string()));
        let mut child = dlq(&aws.url(), arguments).spawn().unwrap();
        assert!(!ended_before(&mut child, &letters, 50));
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
        let output = child.wait_with_output().unwrap();
        assert_eq!(output.status.code(), Some(75), "{}", text(&output));
        assert_eq!(queue.len() + letters.counts().visible, 60, "{}", text(&output));
        assert!(!letters.is_empty());
        let output = run(&aws, &[arguments[0]]);
        assert_eq!((output.status.code(), queue.len()), (Some(0), 60), "{}", text(&output));
    }
}

#[test]
fn what_cannot_be_sent_stays_and_a_lost_answer_is_reported() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (queue, letters) = queues(&aws);
    letters.send_all((0..5).map(|n| n.to_string()));
    aws.inject(Fault::on(Action::SendMessage).error(403, "AccessDenied"));
    let output = run(&aws, &["redrive", "--older-than", "0s"]);
    assert_eq!(output.status.code(), Some(1), "{}", text(&output));
    assert!(text(&output).contains("AccessDenied"), "{}", text(&output));
    assert_eq!((queue.len(), letters.counts().visible), (0, 5));
    aws.clear_faults();
    aws.inject(Fault::on(Action::SendMessage).nth(1).reset_after_effect());
    let output = run(&aws, &["redrive", "--older-than", "0s"]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output));
    assert!(text(&output).contains("1 messages may be in the queue twice"), "{}", text(&output));
    assert_eq!((bodies(&queue).len(), queue.len(), letters.len()), (5, 6, 0));
}

#[test]
fn a_purge_asks_first_and_deletes_what_is_chosen() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let (_, letters) = queues(&aws);
    letters.send_all((0..15).map(|n| rejected(&n.to_string(), "not JSON")));
    let id = letters.send("keep");
    let output = run(&aws, &["purge"]);
    assert_eq!((output.status.code(), letters.len()), (Some(1), 16), "{}", text(&output));
    assert!(text(&output).contains("add --yes"), "{}", text(&output));
    let dry = run(&aws, &["purge", "--reason", "JSON", "--dry-run"]);
    assert_eq!(out(&dry), "15 messages of events-consumer-dlq would be deleted\n", "{}", text(&dry));
    let output = run(&aws, &["purge", "--reason", "JSON", "--yes"]);
    assert_eq!(out(&output), "15 messages of events-consumer-dlq deleted\n", "{}", text(&output));
    assert_eq!((letters.bodies(), letters.counts().visible), (vec!["keep".to_owned()], 1));
    let output = run(&aws, &["purge", "--yes", "--json"]);
    assert_eq!((json(&output)["deleted"].clone(), letters.len()), (1.into(), 0), "{id}: {}", text(&output));
    assert_eq!(aws.calls(Action::PurgeQueue), 1);
}

#[test]
fn mistakes_are_explained() {
    let aws = Emulator::start_on_own_thread().unwrap();
    let _queues = queues(&aws);
    for (code, part, arguments) in [
        (1, "has no redrive policy", &["list", "--queue-name", "events-consumer-dlq"][..]),
        (1, "queue nope does not exist", &["list", "--queue-name", "nope"]),
        (2, "--older-than=soon: invalid value", &["purge", "--older-than", "soon"]),
        (2, "--rate=0: invalid value; expected a whole number from 1 to 500", &["redrive", "--rate", "0"]),
    ] {
        let output = run(&aws, arguments);
        assert_eq!(output.status.code(), Some(code), "{}", text(&output));
        assert!(text(&output).contains(part), "{part} in {}", text(&output));
    }
}
