//! Rejecting: a message that will never work goes to the dead-letter queue with its reason, at once, and is never lost on the way.

use lifeline_consumer::{Context, Failure, Message, OrFailure};
use lifeline_emulator::{Action, Fault};
use lifeline_messaging::client::Clients;

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
