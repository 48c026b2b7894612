//! The socket: real bytes, faults of the connection, web pages, the control pages.

use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault};
use tokio::net::TcpStream;

use crate::{
    support::{Clients, receipt},
    wire::{exchange, post},
};

#[tokio::test]
async fn the_sdk_sends_receives_and_deletes_over_a_socket() {
    let clients = Clients::listening().await;
    let queue = clients.emulator.queue("orders");
    clients.sqs.send_message().queue_url(queue.url()).message_body("one <&> \u{1F600}").send().await.unwrap();
    let received = clients.receive(&queue.url()).await;
    assert_eq!(received[0].body(), Some("one <&> \u{1F600}"));
    clients.delete(&queue.url(), receipt(&received[0])).await.unwrap();
    assert!(queue.is_empty());
    assert!(clients.sns.list_topics().send().await.unwrap().topics().is_empty());
}

#[tokio::test]
async fn a_long_poll_over_a_socket_wakes_when_a_message_is_published() {
    let clients = Clients::listening().await;
    let queue = clients.emulator.queue("orders");
    let topic = clients.emulator.topic("events").subscribed_raw_by(&queue);
    let poll = clients.sqs.receive_message().queue_url(queue.url()).wait_time_seconds(20).send();
    let poll = tokio::spawn(poll);
    while clients.emulator.calls(Action::ReceiveMessage) == 0 {
        tokio::task::yield_now().await;
    }
    clients.sns.publish().topic_arn(topic.arn()).message("one").send().await.unwrap();
    let received = tokio::time::timeout(Duration::from_secs(5), poll).await.unwrap().unwrap().unwrap();
    assert_eq!(received.messages().len(), 1);
}

#[tokio::test]
async fn the_query_protocol_is_answered_in_xml() {
    let emulator = Emulator::start().await.unwrap();
    let form = "Action=CreateQueue&Version=2012-11-05&QueueName=old";
    let answer = exchange(&emulator, &post("/", "", form)).await.unwrap();
    assert!(answer.contains("<CreateQueueResult><QueueUrl>http://127.0.0.1/000000000000/old"), "{answer}");
    let send = "Action=SendMessage&MessageBody=hello";
    let answer = exchange(&emulator, &post("/000000000000/old", "", send)).await.unwrap();
    assert!(answer.contains("<MD5OfMessageBody>5d41402abc4b2a76b9719d911017c592"), "{answer}");
    let missing = "Action=ReceiveMessage";
    let answer = exchange(&emulator, &post("/000000000000/none", "", missing)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 400"), "{answer}");
    assert!(answer.contains("<Code>AWS.SimpleQueueService.NonExistentQueue</Code>"), "{answer}");
}

#[tokio::test]
async fn a_reset_is_a_reset_on_the_wire() {
    let emulator = Emulator::start().await.unwrap();
    emulator.inject(Fault::on(Action::ListQueues).nth(1).reset());
    let form = "Action=ListQueues&Version=2012-11-05";
    let error = exchange(&emulator, &post("/", "", form)).await.unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ConnectionReset);
}

#[tokio::test]
async fn a_web_page_cannot_post() {
    let emulator = Emulator::start().await.unwrap();
    let form = "Action=CreateQueue&Version=2012-11-05&QueueName=x";
    let answer = exchange(&emulator, &post("/", "Origin: https://evil.example\r\n", form)).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 403"), "{answer}");
    let rebound = post("/", "", form).replace("127.0.0.1", "evil.example");
    assert!(exchange(&emulator, &rebound).await.unwrap().starts_with("HTTP/1.1 403"));
    assert_eq!(emulator.calls(Action::CreateQueue), 0);
}

#[tokio::test]
async fn faults_are_changed_and_calls_read_while_it_runs() {
    let emulator = Emulator::start().await.unwrap();
    let added = exchange(&emulator, &post("/_lifeline/faults", "", "ListQueues: nth=1 status=418")).await;
    assert!(added.unwrap().contains(r#""hits":0"#));
    let form = "Action=ListQueues&Version=2012-11-05";
    assert!(exchange(&emulator, &post("/", "", form)).await.unwrap().starts_with("HTTP/1.1 418"));
    let get = "GET /_lifeline/faults HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(exchange(&emulator, get).await.unwrap().contains(r#""hits":1"#));
    let calls = exchange(&emulator, &get.replace("faults", "calls")).await.unwrap();
    assert!(calls.contains(r#"{"ListQueues":1}"#), "{calls}");
    let wrong = exchange(&emulator, &post("/_lifeline/faults", "", "ListQueues: explode")).await.unwrap();
    assert!(wrong.starts_with("HTTP/1.1 400") && wrong.contains("explode"), "{wrong}");
    let clear = get.replace("GET", "DELETE");
    assert!(exchange(&emulator, &clear).await.unwrap().ends_with("[]"));
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_emulator_goes_on() {
    let emulator = Emulator::start().await.unwrap();
    assert!(exchange(&emulator, "rubbish\r\n\r\n").await.unwrap().starts_with("HTTP/1.1 400"));
    let target = "X-Amz-Target: AmazonSQS.SendMessage\r\n";
    let answer = exchange(&emulator, &post("/", target, "{\"QueueUrl\":")).await.unwrap();
    assert!(answer.contains("SerializationException"), "{answer}");
    let answer = exchange(&emulator, &post("/", "X-Amz-Target: AmazonSQS.Nothing\r\n", "{}")).await.unwrap();
    assert!(answer.contains("UnknownOperationException"), "{answer}");
    let other = "X-Amz-Target: DynamoDB_20120810.ListTables\r\n";
    assert!(exchange(&emulator, &post("/", other, "{}")).await.unwrap().starts_with("HTTP/1.1 501"));
    Clients::of(emulator).sqs.list_queues().send().await.unwrap();
}

#[tokio::test]
async fn health_is_told_as_localstack_tells_it() {
    let emulator = Emulator::start().await.unwrap();
    let ask = |line: &str| format!("{line} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    let answer = exchange(&emulator, &ask("GET /_localstack/health")).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    let body: serde_json::Value = serde_json::from_str(body).unwrap();
    assert_eq!((&body["services"]["sns"], &body["services"]["sqs"]), (&"running".into(), &"running".into()));
    let answer = exchange(&emulator, &ask("HEAD /_localstack/health")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("\r\n\r\n"), "{answer}");
    let answer = exchange(&emulator, &ask("DELETE /")).await.unwrap();
    assert!(answer.starts_with("HTTP/1.1 405"), "{answer}");
}

#[tokio::test]
async fn a_queue_is_named_by_the_host_that_the_client_called() {
    let emulator = Emulator::start().await.unwrap();
    let _queue = emulator.queue("orders");
    let target = "X-Amz-Target: AmazonSQS.GetQueueUrl\r\n";
    let ask = post("/", target, r#"{"QueueName":"orders"}"#).replace("127.0.0.1", "sqs.localhost:99");
    let answer = exchange(&emulator, &ask).await.unwrap();
    assert!(answer.contains("http://sqs.localhost:99/000000000000/orders"), "{answer}");
}

#[tokio::test]
async fn an_unspecified_address_is_reached_over_loopback_and_its_port_is_free_once_it_is_dropped() {
    let emulator = Emulator::builder().listen("[::]:0".parse().unwrap()).await.unwrap();
    let port = emulator.local_addr().unwrap().port();
    assert_eq!(emulator.endpoint_url().unwrap(), format!("http://127.0.0.1:{port}"));
    assert!(
        exchange(&emulator, &post("/", "", "Action=ListQueues")).await.unwrap().contains("ListQueuesResult")
    );
    drop(emulator);
    let closed = async {
        while TcpStream::connect(("127.0.0.1", port)).await.is_ok() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), closed).await.unwrap();
}
