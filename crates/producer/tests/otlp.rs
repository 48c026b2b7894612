//! The binary with the feature `otlp`, against the emulator and a collector.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use std::process::{Command, Output};
use std::time::{Duration, Instant};

use lifeline_collector::{Collector, Mood};
use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::trace::TraceContext;
use lifeline_producer::{NewMessage, Publisher};
use opentelemetry_sdk::trace::{InMemorySpanExporter, SdkTracerProvider};

const SOON: Duration = Duration::from_secs(20);

/// The version of OpenTelemetry's semantic conventions that spans follow.
const CONVENTIONS: &str = "https://opentelemetry.io/schemas/1.45.0";

fn endpoint() -> (Emulator, lifeline_emulator::Topic) {
    let aws = Emulator::start_on_own_thread().unwrap();
    let topic = aws.topic("events");
    (aws, topic)
}

fn producer(aws: &Emulator, variables: &[(&str, &str)]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_producer"));
    command
        .env_clear()
        .envs([("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test"), ("PUBLISH_RATE", "0")])
        // the topic has no subscription, for which a provisioning producer would wait
        .env("PROVISION", "false")
        .envs([("HEALTH_ADDR", "127.0.0.1:0"), ("AWS_ENDPOINT_URL", &aws.url())])
        .envs(variables.iter().copied());
    command
}

fn log(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

/// It ended with this many published, and the account is the last line.
#[track_caller]
fn published(output: &Output, count: usize) -> String {
    let log = log(output);
    assert_eq!(output.status.code(), Some(0), "{log}");
    let last = log.lines().next_back().unwrap();
    assert!(last.contains(&format!("drained read={count} published={count} rejected=0")), "{log}");
    log
}

#[test]
fn the_span_of_a_message_has_the_id_that_its_traceparent_carries() {
    let (aws, topic) = endpoint();
    let collector = Collector::start(Mood::Takes);
    let output =
        producer(&aws, &[("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("PUBLISH_COUNT", "700")])
            .env("OTEL_EXPORTER_OTLP_HEADERS", "x-key=a%20secret")
            .env("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test,service.name=not-this")
            .env("OTEL_SERVICE_NAME", "orders")
            .output()
            .unwrap();
    let log = published(&output, 700);
    let spans = collector.wait_for(700, SOON);
    assert_eq!(spans.len(), 700, "each once");
    for message in topic.published() {
        let span = spans.iter().find(|span| span.attributes["messaging.message.id"] == message.message_id);
        let span = span.unwrap_or_else(|| panic!("no span of {message:?}"));
        let carried = message.attribute("traceparent").unwrap();
        assert_eq!(carried, format!("00-{}-{}-01", span.trace_id, span.span_id));
        assert!(log.contains(&format!("trace_id={}", span.trace_id)));
    }
    let span = &spans[0];
    assert_eq!((span.name.as_str(), span.kind.as_str_name()), ("publish events", "SPAN_KIND_PRODUCER"));
    assert_eq!((span.parent.as_str(), &span.error), ("", &None));
    assert_eq!(span.schema_url, CONVENTIONS);
    assert!(!span.attributes["aws.request_id"].is_empty());
    let sizes: usize = spans.iter().filter(|span| span.attributes["lifeline.batch_size"] == "10").count();
    assert!(sizes > 0, "the input is read faster than it is published");
    for (key, value) in [
        ("messaging.system.name", "aws.sns"),
        ("messaging.system", "aws.sns"),
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.destination.name", "events"),
        ("lifeline.outcome", "published"),
    ] {
        assert_eq!(span.attributes[key], value);
    }
    assert_eq!(span.resource["service.name"], "orders");
    assert_eq!(span.resource["deployment.environment.name"], "test");
    let head = collector.requests().remove(0);
    assert!(
        head.starts_with("post /v1/traces http/1.1\r\n") && head.contains("x-key: a secret\r\n"),
        "{head}"
    );
    assert!(!log.contains("a secret"));
}

/// In this process: the binary's messages have no trace of their own.
#[tokio::test(flavor = "multi_thread")]
async fn a_callers_trace_is_carried_on_by_a_child_of_its_span() {
    let (aws, topic) = endpoint();
    // as a user of the library does: a provider of one's own, installed before the first message
    let spans = InMemorySpanExporter::default();
    let provider = SdkTracerProvider::builder().with_simple_exporter(spans.clone()).build();
    opentelemetry::global::set_tracer_provider(provider);
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    let publisher = Publisher::to("events").clients(clients).start().await.unwrap();
    let (trace, parent) = ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7");
    for flags in ["01", "00"] {
        let callers: TraceContext = format!("00-{trace}-{parent}-{flags}").parse().unwrap();
        let message = NewMessage::new(flags).continue_trace(callers).attribute("tracestate", "vendor=a1");
        publisher.publish(message).await.unwrap();
    }
    publisher.close().await;
    let spans = spans.get_finished_spans().unwrap();
    let [span] = &spans[..] else { panic!("{spans:#?}") };
    let context = &span.span_context;
    assert_eq!(
        (context.trace_id().to_string(), span.parent_span_id.to_string()),
        (trace.to_owned(), parent.to_owned())
    );
    assert_eq!(context.trace_state().header(), "vendor=a1");
    for message in topic.published() {
        assert_eq!(message.attribute("tracestate"), Some("vendor=a1"));
    }
    let carried = |body: &str| {
        let message = topic.published().into_iter().find(|message| message.message == body).unwrap();
        message.attribute("traceparent").unwrap().to_owned()
    };
    assert_eq!(carried("01"), format!("00-{trace}-{}-01", context.span_id()));
    assert_eq!(carried("00"), format!("00-{trace}-{parent}-00"), "what nobody keeps is handed on as it is");
}

#[test]
fn what_is_rejected_is_a_failed_span() {
    let (aws, _topic) = endpoint();
    aws.inject(Fault::on(Action::PublishBatch).for_entries(|_| true).fail_entries("InvalidParameter", true));
    let collector = Collector::start(Mood::Takes);
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("PUBLISH_COUNT", "1")];
    let output = producer(&aws, &variables).output().unwrap();
    assert_eq!(output.status.code(), Some(1), "{}", log(&output));
    let span = collector.wait_for(1, SOON).remove(0);
    assert_eq!(span.attributes["lifeline.outcome"], "rejected");
    assert_eq!(span.attributes["error.type"], "InvalidParameter");
    assert!(span.error.unwrap().contains("InvalidParameter"));
}

#[test]
fn a_trace_that_is_not_sampled_is_not_exported_and_says_so_downstream() {
    let (aws, topic) = endpoint();
    let collector = Collector::start(Mood::Takes);
    let sampler = ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio");
    let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url()), ("PUBLISH_COUNT", "1000"), sampler];
    published(&producer(&aws, &variables).env("OTEL_TRACES_SAMPLER_ARG", "0.5").output().unwrap(), 1000);
    let carried: Vec<_> =
        topic.published().iter().map(|m| m.attribute("traceparent").unwrap().to_owned()).collect();
    let sampled = carried.iter().filter(|carried| carried.ends_with("-01")).count();
    assert_eq!(collector.wait_for(sampled, SOON).len(), sampled);
    // 0.5 of 1000, give or take 6 standard deviations
    assert!(
        (400..600).contains(&sampled) && carried.iter().all(|c| c.ends_with("-01") || c.ends_with("-00"))
    );
}

#[test]
fn nothing_is_exported_where_no_endpoint_is_set() {
    let (aws, topic) = endpoint();
    let log = published(&producer(&aws, &[("PUBLISH_COUNT", "1")]).output().unwrap(), 1);
    assert!(!log.contains("span"), "{log}");
    assert!(topic.published()[0].attribute("traceparent").unwrap().ends_with("-01"));
}

#[test]
fn a_collector_that_is_away_hangs_or_refuses_holds_up_nothing_and_is_told_of_once() {
    let (hangs, refuses) = (Collector::start(Mood::Hangs), Collector::start(Mood::Refuses(403)));
    let busy = Collector::start(Mood::Refuses(503));
    // a port on which nothing listens, outside the ephemeral range
    let away = "http://127.0.0.1:9";
    // twice what the queue of spans holds
    let count = 9000;
    for collector in [away, hangs.url(), refuses.url(), busy.url()] {
        let (aws, _topic) = endpoint();
        let begun = Instant::now();
        let said = count.to_string();
        let variables = [("OTEL_EXPORTER_OTLP_ENDPOINT", collector), ("PUBLISH_COUNT", &*said)];
        let log = published(&producer(&aws, &variables).env("BUFFER", "10000").output().unwrap(), count);
        let (last, told) = (begun.elapsed(), log.matches("exporting spans failed").count());
        assert!(told <= 1, "{collector}: {told}");
        assert!(log.contains("spans were not exported"), "{collector}: {}", tail(&log));
        // the timeout of an export, 10 s, is not waited for
        assert!(last < Duration::from_secs(10), "{collector}: {last:?}");
    }
}

fn tail(log: &str) -> String {
    let lines: Vec<_> = log.lines().filter(|line| !line.contains(" published message_id")).collect();
    lines.join("\n")
}

#[test]
fn variables_that_a_platform_injects_never_prevent_the_start() {
    let (aws, _topic) = endpoint();
    let collector = Collector::start(Mood::Takes);
    let good = ("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url());
    // what is not supported is named once and ignored
    for (bad, exported) in [
        (("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), true),
        (("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"), true),
        (("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "collector:4317"), true),
        (("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"), false),
        (("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"), true),
        (("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"), true),
        (("OTEL_EXPORTER_OTLP_HEADERS", "secret"), true),
        (("OTEL_TRACES_EXPORTER", "none"), false),
        (("OTEL_SDK_DISABLED", "true"), false),
    ] {
        let before = collector.spans().len();
        let log = published(&producer(&aws, &[good, ("PUBLISH_COUNT", "1"), bad]).output().unwrap(), 1);
        let quiet = ["OTEL_EXPORTER_OTLP_COMPRESSION", "OTEL_TRACES_EXPORTER", "OTEL_SDK_DISABLED"];
        let named = log.matches(&format!("WARN service: {}=", bad.0)).count();
        assert_eq!(named, usize::from(!quiet.contains(&bad.0)), "{bad:?}: {log}");
        assert!(!log.contains("secret"), "{log}");
        if exported {
            collector.wait_for(before + 1, SOON);
        } else {
            assert_eq!(collector.spans().len(), before, "{bad:?}");
        }
    }
}
