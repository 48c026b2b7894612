//! What tests see afterwards: calls as they were asked and how they ended, and what became of messages.

use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault, Message, Outcome};
use tokio::time::{Instant, advance, timeout};

use crate::support::{Clients, receipt};

#[tokio::test(start_paused = true)]
async fn a_call_is_kept_with_what_it_asked_and_how_it_ended() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    let received = clients.receive(&queue.url()).await;
    clients.delete(&queue.url(), receipt(&received[0])).await.unwrap();
    clients.emulator.inject(Fault::on(Action::ReceiveMessage).hang());
    let hung = clients.sqs.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
    assert!(timeout(Duration::from_secs(15), hung).await.is_err());

    let calls = clients.emulator.log(None);
    let actions: Vec<_> = calls.iter().map(|call| (call.action, call.outcome)).collect();
    assert_eq!(
        actions,
        [
            (Action::ReceiveMessage, Outcome::Answered(200)),
            (Action::DeleteMessage, Outcome::Answered(200)),
            (Action::ReceiveMessage, Outcome::Broken),
        ]
    );
    assert_eq!((calls[0].queue(), calls[0].access_key.as_str()), (Some("orders"), "test"));
    assert_eq!(calls[2].request["WaitTimeSeconds"], 20);
    assert_eq!(calls[1].bodies(), ["one"], "by its receipt");
    assert_eq!((clients.emulator.calls(None), clients.emulator.open_calls(None)), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn a_fault_can_ask_what_a_call_says() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let bad = Fault::on(Action::SendMessage).when(|call| call.bodies() == ["bad"]);
    let met = clients.emulator.inject(bad.error(400, "OfTomorrow"));
    let send = |body: &str| clients.sqs.send_message().queue_url(queue.url()).message_body(body).send();
    send("good").await.unwrap();
    send("bad").await.unwrap_err();
    assert_eq!((queue.bodies(), met.hits()), (vec!["good".to_string()], 1));
}

#[tokio::test(start_paused = true)]
async fn a_message_has_a_history() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders").visibility_timeout(30).dead_letters_to("dead", 2);
    let start = Instant::now();
    queue.send_all([Message::new("one"), Message::new("two").received_before(2)]);
    advance(Duration::from_secs(1)).await;
    let received = clients.receive(&queue.url()).await;
    assert_eq!(received.len(), 1);
    let change = clients.sqs.change_message_visibility().queue_url(queue.url()).visibility_timeout(7);
    change.receipt_handle(receipt(&received[0])).send().await.unwrap();
    assert_eq!(queue.counts().in_flight, 1);
    assert_eq!(queue.steal(|body| body == "one", Duration::from_secs(5)), 1);
    advance(Duration::from_secs(5)).await;
    let again = clients.receive(&queue.url()).await;
    assert!(again.is_empty(), "the thief's receive counts");
    clients.delete(&queue.url(), receipt(&received[0])).await.unwrap();

    let one = queue.history("one");
    assert_eq!((one.sent, one.received.as_slice()), (start, &[start + Duration::from_secs(1)][..]));
    assert_eq!(one.visibility[0].1, Duration::from_secs(7));
    assert_eq!((one.stale_deletes, one.deleted), (1, None));
    assert!(one.dead_lettered.is_some() && queue.history("two").dead_lettered.is_some());
    assert_eq!(clients.emulator.existing_queue("dead").len(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_topic_knows_what_was_published() {
    let clients = Clients::new();
    let topic = clients.emulator.topic("events");
    clients.sns.publish().topic_arn(topic.arn()).message("one").subject("s").send().await.unwrap();
    let published = topic.published();
    assert_eq!((published[0].message.as_str(), published[0].subject.as_deref()), ("one", Some("s")));
    topic.delete();
    clients.sns.publish().topic_arn(topic.arn()).message("two").send().await.unwrap_err();
}

#[tokio::test(start_paused = true)]
async fn without_a_journal_calls_are_only_counted() {
    let clients = Clients::of(Emulator::builder().journal(false).build());
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    clients.receive(&queue.url()).await;
    assert_eq!(clients.emulator.calls(Action::ReceiveMessage), 1);
    assert!(clients.emulator.log(None).is_empty() && queue.histories().is_empty());
}
