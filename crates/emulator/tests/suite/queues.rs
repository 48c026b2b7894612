//! Standard queues: visibility, delays, receipts, limits, dead letters, retention.

use std::time::Duration;

use aws_sdk_sqs::types::{MessageSystemAttributeName, QueueAttributeName, SendMessageBatchRequestEntry};
use tokio::time::{Instant, advance};

use crate::support::{Clients, bodies, error_code, receipt};

#[tokio::test(start_paused = true)]
async fn a_message_is_invisible_until_its_timeout_ends_and_comes_back_with_its_count() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders").visibility_timeout(30);
    queue.send("one");
    let first = clients.receive(&queue.url()).await;
    assert_eq!(bodies(&first), ["one"]);
    advance(Duration::from_millis(29_999)).await;
    assert!(clients.receive(&queue.url()).await.is_empty());
    advance(Duration::from_millis(1)).await;
    let second = clients.receive(&queue.url()).await;
    let count = &second[0].attributes().unwrap()[&MessageSystemAttributeName::ApproximateReceiveCount];
    assert_eq!(count, "2");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_ends_when_a_message_arrives_when_one_becomes_visible_and_when_its_time_is_over() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let url = queue.url();
    let poll = || clients.sqs.receive_message().queue_url(&url).wait_time_seconds(20).send();
    let start = Instant::now();
    assert!(poll().await.unwrap().messages().is_empty());
    assert_eq!(start.elapsed(), Duration::from_secs(20));

    let (received, ()) = tokio::join!(poll(), async {
        tokio::time::sleep(Duration::from_secs(7)).await;
        queue.send("one");
    });
    assert_eq!(received.unwrap().messages().len(), 1);
    assert_eq!(start.elapsed(), Duration::from_secs(27));

    let received = poll().await.unwrap();
    assert!(received.messages().is_empty(), "in flight for 30 s, polled for 20 s");
    assert_eq!(poll().await.unwrap().messages().len(), 1);
    assert_eq!(start.elapsed(), Duration::from_secs(57), "the timeout of the first receive ended");
}

#[tokio::test(start_paused = true)]
async fn a_receive_that_was_given_up_takes_nothing() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let poll = clients.sqs.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
    assert!(tokio::time::timeout(Duration::from_secs(1), poll).await.is_err());
    queue.send("one");
    assert_eq!(clients.receive(&queue.url()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn an_older_receipt_and_one_whose_timeout_ended_still_delete() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders").visibility_timeout(1);
    queue.send("one");
    let first = clients.receive(&queue.url()).await;
    advance(Duration::from_secs(1)).await;
    let _second = clients.receive(&queue.url()).await;
    clients.delete(&queue.url(), receipt(&first[0])).await.unwrap();
    queue.settled().await;
    assert_eq!(queue.deleted(), ["one"]);
}

#[tokio::test(start_paused = true)]
async fn visibility_is_bounded_by_twelve_hours_from_the_receive() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    let received = clients.receive(&queue.url()).await;
    let change = |seconds| {
        let change = clients.sqs.change_message_visibility().queue_url(queue.url());
        change.receipt_handle(receipt(&received[0])).visibility_timeout(seconds).send()
    };
    for wrong in [-1, 43_201] {
        assert_eq!(error_code(&change(wrong).await.unwrap_err()), "InvalidParameterValue");
    }
    change(43_200).await.unwrap();
    advance(Duration::from_secs(3600)).await;
    assert_eq!(error_code(&change(43_200).await.unwrap_err()), "InvalidParameterValue");
    change(39_600).await.unwrap();
    change(0).await.unwrap();
    assert_eq!(clients.receive(&queue.url()).await.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn dead_letters_keep_their_count_and_say_where_they_came_from() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders").max_receives(2).visibility_timeout(1);
    queue.send("bad");
    for _ in 0..2 {
        assert_eq!(clients.receive(&queue.url()).await.len(), 1);
        advance(Duration::from_secs(1)).await;
    }
    assert!(clients.receive(&queue.url()).await.is_empty());
    queue.settled().await;
    assert_eq!(queue.dead_letters()[0].receive_count, 2);
    let dead = clients.receive(&clients.emulator.queue("orders-dlq").url()).await;
    let attributes = dead[0].attributes().unwrap();
    assert_eq!(attributes[&MessageSystemAttributeName::ApproximateReceiveCount], "3");
    assert_eq!(attributes[&MessageSystemAttributeName::DeadLetterQueueSourceArn], queue.arn());
}

#[tokio::test(start_paused = true)]
async fn what_is_older_than_the_retention_period_is_gone_even_in_flight() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders").attribute("MessageRetentionPeriod", "60");
    queue.send("one");
    advance(Duration::from_secs(59)).await;
    assert_eq!(clients.receive(&queue.url()).await.len(), 1);
    advance(Duration::from_secs(1)).await;
    assert!(queue.is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_batch_over_1_mib_is_refused_whole_and_a_message_of_1_mib_is_taken() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let entry = |id: &str, bytes| {
        SendMessageBatchRequestEntry::builder().id(id).message_body("a".repeat(bytes)).build().unwrap()
    };
    let send = clients.sqs.send_message_batch().queue_url(queue.url());
    let too_long = send.clone().entries(entry("a", 600_000)).entries(entry("b", 600_000)).send().await;
    assert_eq!(error_code(&too_long.unwrap_err()), "AWS.SimpleQueueService.BatchRequestTooLong");
    send.entries(entry("a", 1_048_576)).send().await.unwrap();
    assert_eq!(queue.len(), 1);
}

#[tokio::test(start_paused = true)]
async fn attributes_that_were_set_are_read_back_equal() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    let policy = r#"{"Version":"2012-10-17","Statement":[]}"#;
    for (name, value) in [
        (QueueAttributeName::DelaySeconds, "7"),
        (QueueAttributeName::MaximumMessageSize, "1024"),
        (QueueAttributeName::MessageRetentionPeriod, "1209600"),
        (QueueAttributeName::ReceiveMessageWaitTimeSeconds, "20"),
        (QueueAttributeName::VisibilityTimeout, "43200"),
        (QueueAttributeName::Policy, policy),
        (QueueAttributeName::SqsManagedSseEnabled, "false"),
    ] {
        let set = clients.sqs.set_queue_attributes().queue_url(queue.url()).attributes(name.clone(), value);
        set.send().await.unwrap();
        assert_eq!(clients.attribute(&queue.url(), name).await, value);
    }
}

#[tokio::test(start_paused = true)]
async fn a_deleted_queues_name_is_free_after_a_minute_and_a_purge_is_allowed_once_a_minute() {
    let clients = Clients::new();
    let queue = clients.emulator.queue("orders");
    queue.send("one");
    let purge = || clients.sqs.purge_queue().queue_url(queue.url()).send();
    purge().await.unwrap();
    assert!(queue.is_empty());
    assert_eq!(error_code(&purge().await.unwrap_err()), "AWS.SimpleQueueService.PurgeQueueInProgress");
    clients.sqs.delete_queue().queue_url(queue.url()).send().await.unwrap();
    let create = || clients.sqs.create_queue().queue_name("orders").send();
    assert_eq!(error_code(&create().await.unwrap_err()), "AWS.SimpleQueueService.QueueDeletedRecently");
    advance(Duration::from_secs(60)).await;
    create().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_no_receipt_of_the_queue_is_refused() {
    let clients = Clients::new();
    let (orders, invoices) = (clients.emulator.queue("orders"), clients.emulator.queue("invoices"));
    orders.send("one");
    let received = clients.receive(&orders.url()).await;
    for (url, handle) in [(orders.url(), "nonsense"), (invoices.url(), receipt(&received[0]))] {
        assert_eq!(clients.delete(&url, handle).await, Err("ReceiptHandleIsInvalid".into()));
    }
}

#[tokio::test(start_paused = true)]
async fn an_action_that_is_not_built_says_so() {
    let clients = Clients::new();
    let error = clients.sns.get_sms_attributes().send().await.unwrap_err();
    assert_eq!(error.raw_response().unwrap().status().as_u16(), 501);
    let body = String::from_utf8_lossy(error.raw_response().unwrap().body().bytes().unwrap()).into_owned();
    assert!(body.contains("GetSMSAttributes"), "{body}");
}

#[tokio::test(start_paused = true)]
async fn a_long_poll_brings_what_becomes_visible_while_it_waits() {
    let clients = Clients::new();
    let url = clients.emulator.queue("orders").url();
    clients.sqs.send_message().queue_url(&url).message_body("released").send().await.unwrap();
    let received = clients.receive(&url).await;
    let began = Instant::now();
    let poll = || async {
        let poll =
            clients.sqs.receive_message().queue_url(&url).wait_time_seconds(20).max_number_of_messages(1);
        let bodies = poll.send().await.unwrap().messages.unwrap_or_default().remove(0).body;
        (bodies.unwrap(), began.elapsed().as_secs())
    };
    let shorten = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let handle = received[0].receipt_handle().unwrap();
        let change = clients.sqs.change_message_visibility().queue_url(&url).receipt_handle(handle);
        change.visibility_timeout(2).send().await.unwrap();
        clients
            .sqs
            .send_message()
            .queue_url(&url)
            .message_body("delayed")
            .delay_seconds(4)
            .send()
            .await
            .unwrap();
    };
    let (mut one, mut other, ()) = tokio::join!(poll(), poll(), shorten);
    if one.1 > other.1 {
        std::mem::swap(&mut one, &mut other);
    }
    assert_eq!((one, other), (("released".into(), 3), ("delayed".into(), 5)));
}
