//! With the feature `otlp`: a message's way through both services is one trace.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use lifeline_collector::{Collector, Mood};

#[test]
fn both_sides_of_a_message_are_one_trace() {
    let collector = Collector::start(Mood::Takes);
    let input = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(format!("{}-otlp.in", std::process::id()));
    std::fs::write(&input, "one\ntwo\nthree\n").unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_lifeline"))
        .args(["up", "--listen", "127.0.0.1:0", "--producer-health-addr", "127.0.0.1:0"])
        .args(["--consumer-health-addr", "127.0.0.1:0", "--publish-rate", "0", "--input"])
        .arg(&input)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .output()
        .unwrap();
    std::fs::remove_file(input).unwrap();
    let log = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(0), "{log}");
    let spans = collector.wait_for(6, Duration::from_secs(20));
    let (published, processed): (Vec<_>, Vec<_>) =
        spans.into_iter().partition(|span| span.kind.as_str_name() == "SPAN_KIND_PRODUCER");
    assert_eq!((published.len(), processed.len()), (3, 3));
    for publish in published {
        let process = processed.iter().find(|span| span.trace_id == publish.trace_id).unwrap();
        assert_eq!(process.kind.as_str_name(), "SPAN_KIND_CONSUMER");
        assert_eq!(process.parent, publish.span_id);
        assert_eq!(process.attributes["messaging.message.id"], publish.attributes["messaging.message.id"]);
        assert_eq!(process.attributes["messaging.destination.name"], "events-consumer");
        assert_eq!(publish.resource["service.name"], "lifeline");
        for said in [" published message_id=", " received message_id=", " deleted message_id="] {
            let here = |line: &&str| line.contains(said) && line.contains(&publish.trace_id);
            assert_eq!(log.lines().filter(here).count(), 1, "{said} {}", publish.trace_id);
        }
    }
}
