//! Requests that no SDK sends: each is answered or refused by its own fault, and the emulator goes on.

use lifeline_emulator::Emulator;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

use crate::{
    support::Clients,
    wire::{exchange, post},
};

const URL: &str = "X-Amz-Target: AmazonSQS.GetQueueUrl\r\n";
const SEND: &str = "X-Amz-Target: AmazonSQS.SendMessage\r\n";
const ASK: &str = r#"{"QueueName":"q"}"#;

async fn with_queue() -> Emulator {
    let emulator = Emulator::start().await.unwrap();
    let _queue = emulator.queue("q");
    emulator
}

/// A request with this head and no `Content-Length` of its own.
fn raw(headers: &str, body: &str) -> String {
    format!("POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{URL}{headers}\r\n{body}")
}

#[tokio::test]
async fn what_http_allows_is_answered() {
    let emulator = with_queue().await;
    let chunks = "5\r\n{\"Que\r\nc;ext=1\r\nueName\":\"q\"}\r\n0\r\nTrailer: x\r\n\r\n";
    let twice = raw("Content-Length: 17\r\n", ASK).replace("Connection: close\r\n", "")
        + &raw("Content-Length: 17\r\n", ASK);
    for (request, times) in [
        (raw("Transfer-Encoding: chunked\r\n", chunks), 1),
        (raw("Content-Length: 17\r\nContent-Length: 17\r\n", ASK), 1),
        (raw("Content-Length: 17\r\nContent-Type: text/html\r\n", ASK), 1),
        (format!("POST / HTTP/1.0\r\n{URL}Content-Length: 17\r\n\r\n{ASK}"), 1),
        (twice, 2),
    ] {
        let answer = exchange(&emulator, &request).await.unwrap();
        assert_eq!(answer.matches("/000000000000/q").count(), times, "{request}\n{answer}");
    }
}

#[tokio::test]
async fn a_client_that_expects_100_gets_it_before_it_sends_and_not_for_a_body_that_is_too_large() {
    let emulator = with_queue().await;
    let url = emulator.endpoint_url().unwrap();
    for (length, answer) in [(17, "HTTP/1.1 100 Continue"), (17 << 20, "HTTP/1.1 413 ")] {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        let head = raw(&format!("Expect: 100-continue\r\nContent-Length: {length}\r\n"), "");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut first = [0; 64];
        let read = stream.read(&mut first).await.unwrap();
        assert!(first[..read].starts_with(answer.as_bytes()), "{}", String::from_utf8_lossy(&first));
    }
}

#[tokio::test]
async fn a_body_that_is_broken_off_or_lies_about_its_length_has_no_effect() {
    let emulator = with_queue().await;
    for (headers, body) in [
        ("Transfer-Encoding: chunked\r\n", "zz\r\n{"),
        ("Content-Length: -1\r\n", ""),
        ("Content-Length: 17\r\nContent-Length: 3\r\n", ASK),
    ] {
        let answer = exchange(&emulator, raw(headers, body)).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
    }
    let url = emulator.endpoint_url().unwrap();
    for (headers, body) in
        [("Transfer-Encoding: chunked\r\n", "11\r\n{\"Queue"), ("Content-Length: 100\r\n", "{\"Queue")]
    {
        let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
        stream.write_all(raw(headers, body).as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 400"), "{headers}: {answer}");
    }
    assert_eq!(emulator.calls(None), 0);
}

#[tokio::test]
async fn a_body_that_is_no_object_of_parameters_is_refused() {
    let emulator = with_queue().await;
    let queue = emulator.existing_queue("q");
    let deep = format!(r#"{{"QueueUrl":"q","MessageBody":"m","X":{}"#, "[".repeat(100_000));
    for body in [
        r#"["q", "a body by its place"]"#,
        "null",
        r#"{"QueueUrl":"q","MessageBody":"m"} x"#,
        r#"{"QueueUrl":"q","MessageBody":"a","MessageBody":"b"}"#,
        r#"{"QueueUrl":"q","MessageBody":"\ud800"}"#,
        "\u{feff}{}",
        &deep,
    ] {
        let answer = exchange(&emulator, post("/", SEND, body)).await.unwrap();
        assert!(answer.contains("SerializationException"), "{answer}");
    }
    assert!(queue.is_empty());
}

#[tokio::test]
async fn a_form_that_is_not_utf_8_or_nests_without_end_is_refused_instead_of_changed() {
    let emulator = with_queue().await;
    let deep = format!("Action=ListQueues&{}=1", vec!["a"; 100_000].join("."));
    for form in ["Action=SendMessage&QueueUrl=q&MessageBody=%ff%fe", &deep] {
        let answer = exchange(&emulator, post("/", "", form)).await.unwrap();
        assert!(answer.contains("<Code>MalformedQueryString</Code>"), "{answer}");
    }
    let far = "Action=SendMessageBatch&QueueUrl=q&SendMessageBatchRequestEntry.99999999999999999999999.Id=a";
    let answer = exchange(&emulator, post("/", "", far)).await.unwrap();
    assert!(answer.contains("EmptyBatchRequest"), "{answer}");
    assert!(emulator.existing_queue("q").is_empty());
    Clients::of(emulator).sqs.list_queues().send().await.unwrap();
}

#[tokio::test]
async fn a_second_host_or_origin_is_looked_at_too() {
    let emulator = with_queue().await;
    for headers in [
        "Host: evil.example\r\n",
        "Origin: http://localhost\r\nOrigin: http://evil.example\r\n",
        "Origin:\r\n",
    ] {
        let answer = exchange(&emulator, post("/", headers, "Action=ListQueues")).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403"), "{headers}: {answer}");
    }
    let absolute =
        "GET http://evil.example/?Action=ListQueues HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    assert!(exchange(&emulator, absolute).await.unwrap().starts_with("HTTP/1.1 403"));
    assert_eq!(emulator.calls(None), 0);
}
