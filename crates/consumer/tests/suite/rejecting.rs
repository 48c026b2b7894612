//! Rejecting: a message that will never work goes to the dead-letter queue with its reason, at once, and is never lost on the way.

use lifeline_consumer::{Builder, Context, Failure, Message, OrFailure};
use lifeline_emulator::{Action, Fault};
use lifeline_messaging::client::Clients;
use lifeline_messaging::envelope::Envelope;

use crate::support::*;

async fn parse(message: Message, _: Context) -> Result<(), Failure> {
    let _number: u64 = message.body.parse().or_rejected()?;
    Ok(())
}

/// What a queue holds, with an attribute of it.
async fn look(clients: &Clients, url: &str, attribute: &str) -> Vec<(String, Option<String>)> {
    let call = clients.sqs.receive_message().queue_url(url).message_attribute_names("All");
    let messages = call.max_number_of_messages(10).send().await.unwrap().messages.unwrap_or_default();
    let value = |message: &aws_sdk_sqs::types::Message| {
        let attribute = message.message_attributes.as_ref()?.get(attribute)?;
        attribute.string_value.clone()
    };
    messages
        .into_iter()
        .map(|message| (value(&message), message))
        .map(|(v, m)| (m.body.unwrap_or_default(), v))
        .collect()
}

async fn url(clients: &Clients, queue: &str) -> String {
    clients.sqs.get_queue_url().queue_name(queue).send().await.unwrap().queue_url.unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_rejected_message_goes_to_the_dead_letter_queue_at_once_and_says_why() {
    for (attribute, expected) in [
        ("rejected-reason", "invalid digit found in string"),
        ("rejected-source", "arn:aws:sqs:us-east-1:000000000000:events"),
        ("rejected-receive-count", "1"),
    ] {
        let aws = emulator().await;
        let _dead = aws.queue("dead");
        let queue = aws.queue("events").dead_letters_to("dead", 3);
        queue.send_all(["7", "seven"]);
        let consumer = Consumer::start(&aws, "events", parse).await;
        aws.wait_for(|_| queue.is_empty(), SOON).await;
        assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
        let clients = clients(&aws).await;
        let dead = look(&clients, &url(&clients, "dead").await, attribute).await;
        assert_eq!(dead, [("seven".to_owned(), Some(expected.to_owned()))], "{attribute}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_not_confirmed_deletes_nothing() {
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 5);
    queue.send("seven");
    // the copy is there, and nobody was told
    let reset = aws.inject(Fault::on(Action::SendMessage).nth(1).reset_after_effect());
    let consumer = Consumer::start(&aws, "events", parse).await;
    aws.wait_for(|_| queue.is_empty(), MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(2, 1, 1, 0, 0), "failed once, then rejected");
    assert_eq!((reset.hits(), dead.bodies()), (1, vec!["seven".to_owned(); 2]), "twice rather than never");
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_moved_back_is_read_as_the_original_was_whatever_the_envelope() {
    for (envelope, raw) in [
        (Envelope::Notification, false),
        (Envelope::Detect, false),
        (Envelope::Detect, true),
        (Envelope::Raw, true),
    ] {
        let aws = emulator().await;
        let dead = aws.queue("dead");
        let queue = aws.queue("events").dead_letters_to("dead", 3);
        let topic = aws.topic("events");
        topic.subscribe(&queue, raw);
        let clients = clients(&aws).await;
        let kind =
            aws_sdk_sns::types::MessageAttributeValue::builder().data_type("String").string_value("order");
        let publish = clients.sns.publish().topic_arn(topic.arn()).message("{\"order\": \"seven\"}");
        publish.message_attributes("kind", kind.build().unwrap()).send().await.unwrap();
        let seen = Seen::default();
        let handle = {
            let seen = seen.clone();
            move |message: Message| {
                let kind = message.attribute("kind").map(str::to_owned);
                seen.push((message.body, kind));
                let first = seen.len() == 1;
                async move { if first { Err(Failure::rejected("not yet")) } else { Ok(()) } }
            }
        };
        let with = |builder: Builder| builder.envelope(envelope);
        let consumer = Consumer::start_with(&aws, existing("events"), with, handle).await;
        aws.wait_for(|_| dead.len() == 1 && queue.is_empty(), SOON).await;
        let call = clients.sqs.start_message_move_task().source_arn(dead.arn()).destination_arn(queue.arn());
        call.send().await.unwrap();
        aws.wait_for(|_| seen.len() == 2 && queue.is_empty(), MINUTE).await;
        assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0), "{envelope:?}");
        let once = ("{\"order\": \"seven\"}".to_owned(), Some("order".to_owned()));
        assert_eq!(seen.all(), [once.clone(), once], "{envelope:?}, raw {raw}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_its_reason_makes_too_large_is_a_failure_and_the_message_a_dead_letter_in_the_end() {
    let log = Log::capture();
    let aws = emulator().await;
    let dead = aws.queue("dead");
    let queue = aws.queue("events").dead_letters_to("dead", 2);
    let largest = "x".repeat(1 << 20);
    queue.send(largest.clone());
    let consumer = Consumer::start(&aws, "events", parse).await;
    aws.wait_for(|_| dead.len() == 1, MINUTE).await;
    assert_eq!(consumer.drain().await.account, account(2, 0, 2, 0, 0));
    assert_eq!(dead.bodies(), [largest], "moved by SQS, without a reason");
    assert_eq!(aws.log(Action::SendMessage).len(), 2);
    assert_eq!(
        log.lines_with("but there is no copy in a dead-letter queue; it counts as failed"),
        2,
        "{}",
        log.text()
    );
}

#[tokio::test(start_paused = true)]
async fn without_a_dead_letter_queue_it_has_failed() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("seven");
    let consumer = Consumer::start(&aws, "events", parse).await;
    aws.wait_for(|_| queue.receives("seven") == 3, MINUTE).await;
    assert_eq!(consumer.drain().await.account.deleted, 0);
    assert_eq!(queue.bodies(), ["seven"]);
}

#[tokio::test(start_paused = true)]
async fn a_probe_is_deleted_and_no_handler_is_called_with_it() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    // as raw delivery brings it; the handler would fail
    queue.send(lifeline_emulator::Message::new("probe").attribute("lifeline-probe", "7"));
    queue.send("7");
    let consumer = Consumer::start(&aws, "events", parse).await;
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().await.account, account(2, 2, 0, 0, 0));
}
