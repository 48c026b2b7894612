//! The binary with the feature `otlp`, against the emulator and a collector.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::io::Read;
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use lifeline_collector::{Collector, Mood};
use lifeline_emulator::{Action, Emulator, Fault, Message};

const SOON: Duration = Duration::from_secs(20);

/// The version of OpenTelemetry's semantic conventions that spans follow.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.45.0";

const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PARENT: &str = "b7ad6b7169203331";

/// A consumer that runs, and its output as it comes. Killed when dropped.
struct Consumer {
    child: Child,
    output: Option<JoinHandle<String>>,
}

fn consumer(aws: &Emulator, collector: &Collector, variables: &[(&str, &str)]) -> Consumer {
    let mut child = Command::new(env!("CARGO_BIN_EXE_consumer"))
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("QUEUE_NAME", "q")])
        .envs([("PROVISION", "false"), ("WAIT_TIME", "1s"), ("HEALTH_ADDR", "127.0.0.1:0")])
        .envs([("AWS_ENDPOINT_URL", aws.url().as_str()), ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())])
        .envs(variables.iter().copied())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut output = child.stdout.take().unwrap();
    // read while it runs: it would wait for room in the pipe
    let output = thread::spawn(move || {
        let mut log = String::new();
        output.read_to_string(&mut log).unwrap();
        log
    });
    Consumer { child, output: Some(output) }
}

impl Consumer {
    /// Told to drain: its exit code, its log, and how long that took.
    fn drain(mut self) -> (Option<i32>, String, Duration) {
        let begun = Instant::now();
        let kill = Command::new("kill").args(["-TERM", &self.child.id().to_string()]).status().unwrap();
        assert!(kill.success());
        let code = self.child.wait().unwrap().code();
        (code, self.output.take().unwrap().join().unwrap(), begun.elapsed())
    }
}

impl Drop for Consumer {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

fn traced(body: &str, flags: &str) -> Message {
    Message::new(body).attribute("traceparent", &format!("00-{TRACE}-{PARENT}-{flags}"))
}

#[tokio::test]
async fn a_handled_message_is_a_child_of_its_traceparent() {
    let (aws, collector) = (Emulator::start_on_own_thread().unwrap(), Collector::start(Mood::Takes));
    let queue = aws.queue("q");
    queue.send(traced("one", "01").attribute("tracestate", "vendor=a1,other=b2").received_before(2));
    let consumer = consumer(&aws, &collector, &[]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let (code, log, _) = consumer.drain();
    assert_eq!(code, Some(0), "{log}");
    assert!(log.lines().next_back().unwrap().contains("drained received=1 deleted=1"), "{log}");
    let spans = collector.wait_for(1, SOON);
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!((span.name.as_str(), span.kind.as_str_name()), ("process q", "SPAN_KIND_CONSUMER"));
    assert_eq!((span.trace_id.as_str(), span.parent.as_str()), (TRACE, PARENT));
    assert!(log.contains(&format!("trace_id={TRACE}")));
    assert_eq!((span.schema_url.as_str(), span.trace_state.as_str()), (CONVENTIONS, "vendor=a1,other=b2"));
    for (key, value) in [
        ("messaging.system.name", "aws.sqs"),
        ("messaging.system", "aws_sqs"),
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.name", "q"),
        ("aws.sqs.queue.url", &format!("{}/000000000000/q", aws.url())),
        ("messaging.message.id", &queue.history("one").message_id),
        ("lifeline.receive_count", "3"),
        ("lifeline.outcome", "deleted"),
    ] {
        assert_eq!(span.attributes[key], value, "{key}");
    }
    assert_eq!(span.resource["service.name"], "consumer");
}

#[tokio::test]
async fn calls_have_spans_where_they_are_asked_for() {
    let (aws, collector) = (Emulator::start_on_own_thread().unwrap(), Collector::start(Mood::Takes));
    let queue = aws.queue("q");
    queue.send_all([traced("one", "01"), traced("two", "01")]);
    aws.inject(Fault::on(Action::DeleteMessageBatch).nth(1).error(403, "AccessDenied"));
    let asked = ("OTEL_INSTRUMENTATION_MESSAGING_EXPERIMENTAL_RECEIVE_TELEMETRY_ENABLED", "true");
    let consumer = consumer(&aws, &collector, &[asked]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(consumer.drain().0, Some(0));
    let spans = collector.spans();
    let named = |name: &str| spans.iter().filter(|span| span.name == name).collect::<Vec<_>>();
    assert_eq!(named("process q").len(), 2, "{spans:#?}");
    let (receives, deletes) = (named("receive q"), named("delete q"));
    // what brought nothing has none
    let brought = receives.iter().map(|span| span.attributes["messaging.batch.message_count"].as_str());
    assert_eq!(brought.map(|n| n.parse::<usize>().unwrap()).sum::<usize>(), 2, "{receives:#?}");
    assert_eq!(receives.iter().map(|span| span.links.len()).sum::<usize>(), 2);
    assert_eq!(receives[0].links[0], (TRACE.to_owned(), PARENT.to_owned()));
    for (span, operation, kind) in [(receives[0], "receive", "receive"), (deletes[0], "delete", "settle")] {
        assert_eq!((span.kind.as_str_name(), span.parent.as_str()), ("SPAN_KIND_CLIENT", ""));
        assert_eq!(span.schema_url, CONVENTIONS);
        for (key, value) in [
            ("messaging.system.name", "aws.sqs"),
            ("messaging.operation.name", operation),
            ("messaging.operation.type", kind),
            ("messaging.destination.name", "q"),
            ("aws.sqs.queue.url", &format!("{}/000000000000/q", aws.url())),
        ] {
            assert_eq!(span.attributes[key], value, "{key}");
        }
        assert!(!span.attributes["aws.request_id"].is_empty());
    }
    // the first delete was denied, another worked
    assert_eq!(deletes[0].attributes["error.type"], "AccessDenied", "{deletes:#?}");
    assert!(deletes.len() > 1 && deletes.last().unwrap().error.is_none(), "{deletes:#?}");
}

#[tokio::test]
async fn a_failure_is_a_failed_span_that_says_why() {
    let (aws, collector) = (Emulator::start_on_own_thread().unwrap(), Collector::start(Mood::Takes));
    let queue = aws.queue("q");
    queue.send(traced("one", "01"));
    // a service that is gone would be unavailable: the message is kept, and its span goes on
    let service = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/", service.local_addr().unwrap());
    std::thread::spawn(move || {
        for stream in service.incoming() {
            let mut stream = stream.unwrap();
            std::io::Read::read(&mut stream, &mut [0; 4096]).unwrap();
            let response = b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
            std::io::Write::write_all(&mut stream, response).unwrap();
        }
    });
    let variables = [("HANDLER", "http"), ("HANDLER_URL", url.as_str())];
    let _consumer = consumer(&aws, &collector, &variables);
    let span = collector.wait_for(1, SOON).remove(0);
    assert_eq!(span.attributes["lifeline.outcome"], "retried");
    assert_eq!(span.attributes["error.type"], "handler_failed");
    let error = span.error.unwrap();
    assert!(error.contains("500"), "{error}");
}

#[tokio::test]
async fn what_is_not_sampled_is_not_exported_and_what_has_no_trace_begins_one() {
    let (aws, collector) = (Emulator::start_on_own_thread().unwrap(), Collector::start(Mood::Takes));
    let queue = aws.queue("q");
    queue.send(traced("unsampled", "00"));
    queue.send("without");
    let consumer = consumer(&aws, &collector, &[]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let (code, log, _) = consumer.drain();
    assert_eq!(code, Some(0));
    let spans = collector.wait_for(1, SOON);
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    assert_eq!(span.attributes["messaging.message.id"], queue.history("without").message_id);
    assert_eq!(span.parent, "");
    for line in [" received message_id=", " deleted message_id="] {
        assert!(log.lines().any(|l| l.contains(line) && l.contains(&span.trace_id)), "{line} in\n{log}");
    }
}

#[tokio::test]
async fn a_collector_that_hangs_holds_up_neither_messages_nor_the_drain() {
    let (aws, collector) = (Emulator::start_on_own_thread().unwrap(), Collector::start(Mood::Hangs));
    let queue = aws.queue("q");
    queue.send_all((0..6000).map(|n| traced(&n.to_string(), "01")));
    let consumer =
        consumer(&aws, &collector, &[("RUST_LOG", "warn,consumer=info"), ("SHUTDOWN_GRACE", "5s")]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let (code, log, took) = consumer.drain();
    assert_eq!(code, Some(0));
    assert!(log.lines().next_back().unwrap().contains("drained received=6000 deleted=6000"));
    assert!(!collector.requests().is_empty(), "it was asked");
    // the receive in flight, a second, and two for the last spans
    assert!(took < Duration::from_secs(5), "{took:?}");
}
