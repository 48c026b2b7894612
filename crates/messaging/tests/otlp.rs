//! With the feature `otlp`: OpenTelemetry's variables, with the meaning that its specification gives them.
#![allow(clippy::unwrap_used, reason = "a panic is a failed test")]

use lifeline_messaging::span::{Export, SETTINGS};
use lifeline_service::settings::{Problems, Program, Reader};

const PROGRAM: Program = Program {
    name: "p",
    about: "a test",
    subcommands: &[],
    settings: &[SETTINGS],
    embeds: &[],
    decides: &[],
};

fn read(environment: &[(&str, &str)]) -> Result<Export, Problems> {
    let find = |name: &str| environment.iter().find(|(n, _)| *n == name).map(|(_, v)| (*v).to_owned());
    let asked = PROGRAM.parse(["p"], find).unwrap();
    let mut reader = Reader::new(&asked.values);
    let export = Export::read(&mut reader);
    reader.finish().map(|()| export)
}

#[test]
fn an_endpoint_gets_the_path_and_that_of_spans_alone_does_not() {
    let endpoint = |environment: &[(&str, &str)]| read(environment).unwrap().endpoint();
    assert_eq!(endpoint(&[]), None, "nothing is exported unless it is asked for");
    let base = |base| ("OTEL_EXPORTER_OTLP_ENDPOINT", base);
    assert_eq!(endpoint(&[base("http://c:4318")]).unwrap(), "http://c:4318/v1/traces");
    assert_eq!(endpoint(&[base("https://c/otlp/")]).unwrap(), "https://c/otlp/v1/traces");
    let whole = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");
    assert_eq!(endpoint(&[base("http://c:4318"), whole]).unwrap(), "http://t/x");
    assert_eq!(endpoint(&[base("http://c:4318"), ("OTEL_SDK_DISABLED", "true")]), None);
}

#[test]
fn what_is_not_understood_is_refused_by_name() {
    for (name, value) in [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "c:4318"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_TRACES_SAMPLER", "often"),
        ("OTEL_TRACES_SAMPLER_ARG", "2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a"),
        ("OTEL_RESOURCE_ATTRIBUTES", "=b"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%2"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%ff"),
    ] {
        let said = read(&[(name, value)]).unwrap_err().to_string();
        assert!(said.starts_with(&format!("{name}={value}: not accepted")), "{said}");
    }
    assert!(read(&[("OTEL_RESOURCE_ATTRIBUTES", " a = b%20c ,, d=e=f ")]).is_ok());
}
