//! Whether the emulator can be reached: down, a black hole, back at the same address; clients that go away; who they are.

use std::time::Duration;

use aws_sdk_sqs::config::retry::RetryConfig;
use lifeline_emulator::{Action, Emulator, Outcome};
use tokio::time::timeout;

use crate::support::Clients;

const SOON: Duration = Duration::from_secs(20);

fn once(emulator: &Emulator) -> aws_sdk_sqs::Client {
    let config = emulator.sdk_config().into_builder().http_client(crate::http::client());
    aws_sdk_sqs::Client::new(&config.retry_config(RetryConfig::disabled()).build())
}

#[tokio::test]
async fn down_refuses_and_resets_and_up_answers_at_the_same_address() {
    let emulator = Emulator::start().await.unwrap();
    let (sqs, queue) = (once(&emulator), emulator.queue("orders"));
    let poll = sqs.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
    let poll = tokio::spawn(poll);
    emulator.wait_for(|emulator| emulator.open_calls(Action::ReceiveMessage) == 1, SOON).await;
    emulator.down();
    timeout(SOON, poll).await.unwrap().unwrap().unwrap_err();
    assert_eq!(emulator.log(None)[0].outcome, Outcome::Broken);
    while sqs.list_queues().send().await.is_ok() {}
    emulator.up();
    let back = async { while sqs.list_queues().send().await.is_err() {} };
    timeout(SOON, back).await.unwrap();
    emulator.wipe();
    assert!(sqs.list_queues().send().await.unwrap().queue_urls().is_empty());
}

#[tokio::test]
async fn a_black_hole_takes_requests_and_answers_none() {
    let emulator = Emulator::start().await.unwrap();
    let sqs = once(&emulator);
    emulator.black_hole();
    assert!(timeout(Duration::from_millis(300), sqs.list_queues().send()).await.is_err());
    emulator.up();
    sqs.list_queues().send().await.unwrap();
}

#[tokio::test]
async fn a_client_that_goes_away_takes_no_message_unless_that_is_asked_for() {
    for abandoned in [false, true] {
        let emulator = Emulator::builder().abandoned_calls(abandoned).start().await.unwrap();
        let (sqs, queue) = (once(&emulator), emulator.queue("orders"));
        let poll = sqs.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
        let poll = tokio::spawn(poll);
        emulator.wait_for(|emulator| emulator.open_calls(Action::ReceiveMessage) == 1, SOON).await;
        poll.abort();
        emulator.wait_for(|emulator| emulator.open_calls(Action::ReceiveMessage) == 0, SOON).await;
        queue.send("one");
        if abandoned {
            timeout(SOON, queue.wait_for(|queue| queue.counts().in_flight == 1)).await.unwrap();
        } else {
            assert_eq!(queue.counts().visible, 1);
        }
    }
}

#[test]
fn a_test_without_a_runtime_has_an_emulator_too() {
    let emulator = Emulator::start_on_own_thread().unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(once(&emulator).list_queues().send()).unwrap();
    assert_eq!(emulator.calls(Action::ListQueues), 1);
}

#[tokio::test]
async fn sts_says_who_calls_and_credentials_are_renewed() {
    let clients = Clients::listening().await;
    let client = crate::http::hyper();
    let sts = http::Request::post(clients.emulator.url())
        .body("Action=GetCallerIdentity&Version=2011-06-15".into())
        .unwrap();
    let answer = crate::http::text(&client, sts).await;
    assert!(answer.contains("<Account>000000000000</Account>"), "{answer}");
    clients.emulator.credential_lifetime(Duration::from_secs(5));
    let ask = || http::Request::get(clients.emulator.credentials_url()).body("".into()).unwrap();
    let (first, second) = (crate::http::text(&client, ask()).await, crate::http::text(&client, ask()).await);
    assert!(first.contains("ASIAEMULATED00000001") && second.contains("ASIAEMULATED00000002"), "{second}");
}
