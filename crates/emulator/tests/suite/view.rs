//! What a person sees of an emulator, and does to it: without a receive, and without its faults.

use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault, Message, Place};
use serde_json::json;

#[tokio::test(start_paused = true)]
async fn messages_are_read_page_by_page_without_receiving_them() {
    let emulator = Emulator::new();
    let queue = emulator.queue("orders").max_receives(2);
    for n in 0..5 {
        queue.send(Message::new(format!("{n}")).attribute("kind", "order"));
    }
    let first = emulator.messages(queue.arn(), None, 3).unwrap();
    let rest = emulator.messages(queue.arn(), Some(first[2].cursor), 3).unwrap();
    let bodies: Vec<_> = first.iter().chain(&rest).map(|message| message.body.to_string()).collect();
    assert_eq!(bodies, ["0", "1", "2", "3", "4"]);
    assert_eq!(first[0].attributes, [("kind".into(), "String".into(), "order".into())]);
    assert!(queue.messages().iter().all(|message| message.receive_count == 0), "nothing was received");
    assert_eq!((queue.counts().visible, emulator.calls(None)), (5, 0));
    assert!(emulator.messages("arn:aws:sqs:us-east-1:000000000000:none", None, 1).is_none());
}

#[tokio::test(start_paused = true)]
async fn queues_and_topics_are_shown_with_what_connects_them() {
    let emulator = Emulator::new();
    let queue = emulator.queue("orders").max_receives(2);
    let topic = emulator.topic("events").subscribed_raw_by(&queue);
    topic.publish("a");
    emulator.skip(Duration::from_secs(7));
    let [orders, dead] = &emulator.queues()[..] else { panic!("{:?}", emulator.queues()) };
    assert_eq!((&*orders.name, &orders.dead_letters), ("orders", &Some(("orders-dlq".into(), 2))));
    assert_eq!((&*dead.name, &dead.dead_letters_of[..]), ("orders-dlq", &["orders".to_owned()][..]));
    assert_eq!((orders.sent, orders.counts.visible, orders.oldest), (1, 1, Some(Duration::from_secs(7))));
    let [topic] = &emulator.topics()[..] else { panic!("{:?}", emulator.topics()) };
    assert_eq!((&*topic.name, topic.subscriptions.len()), ("events", 1));
    assert!(topic.subscriptions[0].raw && topic.subscriptions[0].endpoint == queue.arn());
}

#[tokio::test(start_paused = true)]
async fn a_person_acts_during_an_outage_and_is_refused_as_at_aws() {
    let emulator = Emulator::new();
    let queue = emulator.queue("orders");
    emulator.inject(Fault::on_every_action().reset());
    let send = json!({"QueueUrl": queue.url(), "MessageBody": "x", "DelaySeconds": 5});
    let sent = emulator.call(Action::SendMessage, send).await.unwrap();
    assert!(sent["MessageId"].is_string(), "{sent}");
    let messages = emulator.messages(queue.arn(), None, 9).unwrap();
    assert_eq!((messages[0].place, messages[0].visible_in), (Place::Delayed, Some(Duration::from_secs(5))));
    assert_eq!(emulator.calls(None), 0, "it is no call of a client");
    let refused = emulator.call(Action::SendMessage, json!({"QueueUrl": queue.url()})).await.unwrap_err();
    assert!(refused.to_string().starts_with("MissingParameter: "), "{refused}");

    let [fault] = &emulator.faults()[..] else { panic!("{:?}", emulator.faults()) };
    assert_eq!((&*fault.text, fault.hits), ("*: reset", 0));
    assert!(emulator.take_back(fault.id) && !emulator.take_back(fault.id));
}
