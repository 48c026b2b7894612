//! `Builder::data`: what an emulator on the same file finds again.

use std::path::PathBuf;

use lifeline_emulator::{Action, Emulator};

use crate::support::{Clients, bodies, error_code, receipt};

/// A file that is gone with the test.
struct File(PathBuf);

impl File {
    fn new(name: &str) -> Self {
        Self(PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-{name}.redb", std::process::id())))
    }

    /// Clients of an emulator on it. One that was there before ends first, and with it its hold on the file.
    async fn open(&self) -> Clients {
        loop {
            if let Ok(emulator) = Emulator::builder().cooldowns(false).data(&self.0).start().await {
                return Clients::of(emulator);
            }
            tokio::task::yield_now().await;
        }
    }
}

impl Drop for File {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

#[tokio::test]
async fn topics_subscriptions_queues_and_their_settings_are_there_again() {
    let file = File::new("topology");
    let clients = file.open().await;
    let queue = clients.emulator.queue("orders").visibility_timeout(7);
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let list = clients.sns.list_subscriptions_by_topic().topic_arn(topic.arn()).send().await.unwrap();
    let subscription = list.subscriptions()[0].subscription_arn().unwrap().to_owned();
    let set = clients.sns.set_subscription_attributes().subscription_arn(subscription);
    set.attribute_name("FilterPolicy").attribute_value(r#"{"kind":["order"]}"#).send().await.unwrap();
    drop((clients, queue, topic));

    let clients = file.open().await;
    let queue = clients.emulator.existing_queue("orders");
    assert_eq!(queue.get_attribute("VisibilityTimeout").as_deref(), Some("7"));
    let kind = aws_sdk_sns::types::MessageAttributeValue::builder().data_type("String");
    let topic = clients.emulator.topic("events");
    let publish = |body: &str| clients.sns.publish().topic_arn(topic.arn()).message(body);
    publish("filtered").send().await.unwrap();
    let order = kind.string_value("order").build().unwrap();
    publish("delivered").message_attributes("kind", order).send().await.unwrap();
    assert_eq!(queue.bodies(), ["delivered"]);
}

#[tokio::test]
async fn receipts_stay_good_a_group_stays_held_and_what_was_purged_or_deleted_stays_away() {
    let file = File::new("messages");
    let clients = file.open().await;
    let urls = ["orders.fifo", "purged", "deleted"].map(|name| clients.emulator.queue(name).url());
    for (url, body) in [(&urls[0], "one"), (&urls[0], "two"), (&urls[1], "x"), (&urls[2], "x")] {
        let mut send = clients.sqs.send_message().queue_url(url).message_body(body);
        if url.ends_with(".fifo") {
            send = send.message_group_id("g").message_deduplication_id(body);
        }
        send.send().await.unwrap();
    }
    let first = clients.sqs.receive_message().queue_url(&urls[0]).send().await.unwrap();
    clients.sqs.purge_queue().queue_url(&urls[1]).send().await.unwrap();
    clients.sqs.delete_queue().queue_url(&urls[2]).send().await.unwrap();
    drop(clients);

    let clients = file.open().await;
    let urls = ["orders.fifo", "purged"].map(|name| clients.emulator.existing_queue(name).url());
    assert!(clients.receive(&urls[0]).await.is_empty(), "the group waits for its first message");
    clients.delete(&urls[0], receipt(&first.messages()[0])).await.unwrap();
    assert_eq!(bodies(&clients.receive(&urls[0]).await), ["two"]);
    assert!(clients.receive(&urls[1]).await.is_empty());
    let gone = clients.emulator.existing_queue("deleted").url();
    let missing = clients.sqs.receive_message().queue_url(gone).send().await.unwrap_err();
    assert_eq!(error_code(&missing), "AWS.SimpleQueueService.NonExistentQueue");
    assert_eq!(clients.emulator.calls(Action::DeleteMessage), 1);
}
