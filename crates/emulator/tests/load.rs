//! What the emulator costs, in time and memory. Ignored: for a release build and a quiet machine,
//! `cargo test --release -p lifeline-emulator --test load -- --ignored --nocapture`; `MESSAGES` says how many,
//! `RAW=true` delivers them raw, `FILL=true` lets all of them wait in the queue before the first is received.
#![allow(clippy::unwrap_used, clippy::print_stderr, reason = "tests")]

mod http;

use std::time::Instant;

use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, QueueAttributeName};
use lifeline_emulator::Emulator;

const BACKLOG: usize = 16 * 1024 * 1024;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "a measurement, not a promise that any machine can keep"]
async fn many_messages_pass_in_bounded_memory() {
    let messages: usize = std::env::var("MESSAGES").map_or(700_000, |n| n.parse().unwrap());
    let fill = std::env::var("FILL").is_ok_and(|fill| fill == "true");
    let mut aws = Emulator::builder().enforce_policies(false).journal(false);
    if !fill {
        aws = aws.memory_limit(BACKLOG);
    }
    let aws = aws.start().await.unwrap();
    let (sns, sqs) = clients(&aws);
    let raw = std::env::var("RAW").unwrap_or_else(|_| "false".into());
    let topic = sns.create_topic().name("events").send().await.unwrap().topic_arn.unwrap();
    let queue = sqs.create_queue().queue_name("events").send().await.unwrap().queue_url.unwrap();
    let arn = "arn:aws:sqs:us-east-1:000000000000:events";
    let subscribe = sns.subscribe().topic_arn(&topic).protocol("sqs").endpoint(arn);
    subscribe.attributes("RawMessageDelivery", raw).send().await.unwrap();

    let start = Instant::now();
    let mut publishers = tokio::task::JoinSet::new();
    for publisher in 0..8 {
        let (sns, topic) = (sns.clone(), topic.clone());
        publishers.spawn(async move {
            for _ in (publisher..messages / 10).step_by(8) {
                let entries = (0..10).map(entry).collect();
                let call =
                    sns.publish_batch().topic_arn(&topic).set_publish_batch_request_entries(Some(entries));
                assert!(call.send().await.unwrap().failed().is_empty());
            }
        });
    }
    if fill {
        while publishers.join_next().await.is_some() {}
        eprintln!("all of {messages} wait after {:.1?}; memory {}", start.elapsed(), memory());
    }
    let mut consumers = tokio::task::JoinSet::new();
    for _ in 0..8 {
        let (sqs, queue) = (sqs.clone(), queue.clone());
        consumers.spawn(async move {
            let mut received = 0;
            loop {
                let receive =
                    sqs.receive_message().queue_url(&queue).max_number_of_messages(10).wait_time_seconds(1);
                let Some(batch) = receive.send().await.unwrap().messages else { return received };
                received += batch.len();
                let entries = batch.iter().enumerate().map(|(n, message)| {
                    let entry = DeleteMessageBatchRequestEntry::builder().id(n.to_string());
                    entry.receipt_handle(message.receipt_handle().unwrap()).build().unwrap()
                });
                let entries = Some(entries.collect());
                sqs.delete_message_batch().queue_url(&queue).set_entries(entries).send().await.unwrap();
            }
        });
    }
    publishers.join_all().await;
    eprintln!("published {messages} in {:.1?}; memory {}", start.elapsed(), memory());
    let received: usize = consumers.join_all().await.into_iter().sum();
    eprintln!("received and deleted {received} in {:.1?}; memory {}", start.elapsed(), memory());
    assert_eq!(received, messages / 10 * 10);
    let counts =
        sqs.get_queue_attributes().queue_url(&queue).attribute_names(QueueAttributeName::All).send().await;
    assert_eq!(counts.unwrap().attributes().unwrap()[&QueueAttributeName::ApproximateNumberOfMessages], "0");
}

fn entry(n: usize) -> PublishBatchRequestEntry {
    let trace = MessageAttributeValue::builder().data_type("String");
    let trace =
        trace.string_value("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01").build().unwrap();
    let entry = PublishBatchRequestEntry::builder().id(n.to_string()).message("x".repeat(220));
    entry.message_attributes("traceparent", trace).build().unwrap()
}

/// Now, and the most so far.
fn memory() -> String {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let lines = status.lines().filter(|line| line.starts_with("VmRSS") || line.starts_with("VmHWM"));
    lines.map(|line| line.replace('\t', " ")).collect::<Vec<_>>().join(", ")
}

fn clients(emulator: &Emulator) -> (aws_sdk_sns::Client, aws_sdk_sqs::Client) {
    let config = emulator.sdk_config().into_builder().http_client(http::client()).build();
    (aws_sdk_sns::Client::new(&config), aws_sdk_sqs::Client::new(&config))
}
