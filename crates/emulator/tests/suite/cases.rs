//! Runs the table of cases in `tests/cases`: a request, what AWS answered to it, and where that was recorded.
//!
//! A case is a list of steps on one emulator. `save` keeps parts of an answer under a name, `${name}` puts them into
//! later parameters, `{"repeat": N}` is a text of N letters. `answer` is the part of a JSON answer that must be equal, `absent` what it must not have; `xml`
//! lists what an XML answer must contain; `skip` lets time pass; `error` is the code (in the JSON protocol with the shape's name) and text.

use std::{collections::BTreeMap, time::Duration};

use lifeline_emulator::Emulator;
use serde::Deserialize;
use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    /// The recorded test, or the page of AWS's documentation.
    source: String,
    steps: Vec<Step>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Step {
    /// SQS over JSON.
    json: Option<String>,
    /// SQS or SNS over the query protocol.
    query: Option<String>,
    /// The query protocol's answer is asked for in JSON.
    #[serde(default)]
    as_json: bool,
    /// Instead of a request: seconds that pass.
    skip: Option<u64>,
    #[serde(default)]
    with: BTreeMap<String, Value>,
    #[serde(default = "ok")]
    status: u16,
    answer: Option<Value>,
    #[serde(default)]
    absent: Vec<String>,
    #[serde(default)]
    xml: Vec<String>,
    error: Option<ErrorCase>,
    #[serde(default)]
    save: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ErrorCase {
    code: String,
    shape: Option<String>,
    message: String,
}

fn ok() -> u16 {
    200
}

fn fill(value: &Value, saved: &BTreeMap<String, String>) -> Value {
    match value {
        Value::String(text) => saved
            .iter()
            .fold(text.clone(), |text, (name, value)| text.replace(&format!("${{{name}}}"), value))
            .into(),
        Value::Array(list) => list.iter().map(|value| fill(value, saved)).collect(),
        Value::Object(map) if map.len() == 1 && map.contains_key("repeat") => {
            "a".repeat(map["repeat"].as_u64().and_then(|length| length.try_into().ok()).unwrap()).into()
        }
        Value::Object(map) => map
            .iter()
            .map(|(name, value)| (name.clone(), fill(value, saved)))
            .collect::<serde_json::Map<_, _>>()
            .into(),
        other => other.clone(),
    }
}

/// Whether `whole` has all of `part`: members of objects by name, of lists by place.
fn has(whole: &Value, part: &Value) -> bool {
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            part.iter().all(|(name, part)| whole.get(name).is_some_and(|whole| has(whole, part)))
        }
        (Value::Array(whole), Value::Array(part)) => {
            whole.len() == part.len() && whole.iter().zip(part).all(|(whole, part)| has(whole, part))
        }
        (whole, part) => whole == part,
    }
}

struct Answer {
    status: u16,
    head: String,
    body: String,
}

async fn send(emulator: &Emulator, headers: &str, body: &str) -> Answer {
    let url = emulator.endpoint_url().unwrap();
    let mut stream = TcpStream::connect(url.strip_prefix("http://").unwrap()).await.unwrap();
    let head = format!(
        "POST / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n{headers}Content-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    stream.write_all(body.as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    Answer { status, head: head.to_lowercase(), body: body.into() }
}

async fn step(emulator: &Emulator, step: &Step, saved: &mut BTreeMap<String, String>) -> Result<(), String> {
    if let Some(seconds) = step.skip {
        emulator.skip(Duration::from_secs(seconds));
        return Ok(());
    }
    let with =
        Value::Object(step.with.iter().map(|(name, value)| (name.clone(), fill(value, saved))).collect());
    let answer = match (&step.json, &step.query) {
        (Some(action), None) => {
            send(emulator, &format!("X-Amz-Target: AmazonSQS.{action}\r\n"), &with.to_string()).await
        }
        (None, Some(action)) => {
            let parameters = with.as_object().unwrap().iter();
            let parameters =
                parameters.map(|(name, value)| (name.as_str(), value.as_str().unwrap().to_string()));
            let form: String = form_urlencoded::Serializer::new(String::new())
                .append_pair("Action", action)
                .extend_pairs(parameters)
                .finish();
            let accept = if step.as_json { "Accept: application/json\r\n" } else { "" };
            send(emulator, accept, &form).await
        }
        _ => return Err("a step is either `json`, `query` or `skip`".into()),
    };
    let seen = format!("{} {}", answer.status, answer.body);
    let fail = |what: &str| Err(format!("{what}; answered {seen}"));
    if answer.status != step.status {
        return fail(&format!("expected status {}", step.status));
    }
    let json: Value = serde_json::from_str(&answer.body).unwrap_or_default();
    if let Some(part) = &step.answer
        && !has(&json, &fill(part, saved))
    {
        return fail(&format!("expected {part}"));
    }
    if let Some(name) = step.absent.iter().find(|pointer| json.pointer(pointer).is_some()) {
        return fail(&format!("expected no {name}"));
    }
    for text in &step.xml {
        if !answer.body.contains(text) {
            return fail(&format!("expected {text}"));
        }
    }
    if let Some(error) = &step.error {
        let message = fill(&error.message.as_str().into(), saved);
        let message = message.as_str().unwrap_or_default();
        let known = match &error.shape {
            Some(shape) => {
                json["__type"].as_str().is_some_and(|seen| seen.ends_with(&format!("#{shape}")))
                    && json["message"] == message
                    && answer
                        .head
                        .contains(&format!("x-amzn-query-error: {};sender", error.code.to_lowercase()))
            }
            None => {
                answer.body.contains(&format!("<Code>{}</Code>", error.code))
                    && answer.body.contains(&format!("<Message>{message}</Message>"))
            }
        };
        if !known {
            return fail(&format!("expected {}: {message}", error.code));
        }
    }
    for (name, pointer) in &step.save {
        let value = json.pointer(pointer).and_then(Value::as_str).map(String::from);
        // In XML the name of an element stands for its first text.
        let element = || {
            let (_, rest) = answer.body.split_once(&format!("<{pointer}>"))?;
            rest.split_once('<').map(|(text, _)| text.to_string())
        };
        let Some(value) = value.or_else(element) else { return fail(&format!("has no {pointer}")) };
        saved.insert(name.clone(), value);
    }
    Ok(())
}

async fn run(table: &str) {
    let cases: Vec<Case> = serde_json::from_str(table).unwrap();
    let mut failed = Vec::new();
    for case in &cases {
        let emulator = Emulator::start().await.unwrap();
        let mut saved = BTreeMap::new();
        for (place, one) in case.steps.iter().enumerate() {
            if let Err(what) = step(&emulator, one, &mut saved).await {
                failed.push(format!("{} ({}), step {}: {what}", case.name, case.source, place + 1));
                break;
            }
        }
    }
    assert!(failed.is_empty(), "{} of {} cases:\n{}", failed.len(), cases.len(), failed.join("\n"));
}

#[tokio::test]
async fn sqs_answers_as_recorded() {
    run(include_str!("../cases/sqs.json")).await;
}

#[tokio::test]
async fn sns_answers_as_recorded() {
    run(include_str!("../cases/sns.json")).await;
}
