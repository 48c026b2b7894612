//! The statement that Lifeline adds to a queue's policy: one, with a Sid and the list of the topics that may send.
//!
//! One statement for all topics, because SQS limits a policy to 20 statements. Whatever else a policy says is kept.

use serde_json::{Value, json};

use crate::document::{Malformed, Policy};

/// `Sid` of the statement. If a policy has a statement of that name in another form, ours gets a number behind it.
pub const TOPICS_SID: &str = "LifelineTopics";

/// The statement by which a queue allows topics to send to it.
pub fn topics_statement(queue_arn: &str, topic_arns: &[&str]) -> Value {
    statement(TOPICS_SID, queue_arn, topic_arns)
}

fn statement(sid: &str, queue_arn: &str, topic_arns: &[&str]) -> Value {
    json!({
        "Sid": sid,
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arns}},
    })
}

/// The policy with a topic added to the statement; `None` if the statement lists the topic already. The empty text is the
/// policy of a queue that has none.
///
/// # Errors
/// [`Malformed`]: a text that is not a policy is not overwritten.
pub fn with_topic(policy: &str, queue_arn: &str, topic_arn: &str) -> Result<Option<String>, Malformed> {
    let mut document = match policy.trim() {
        "" => json!({"Version": "2012-10-17", "Statement": []}),
        text => serde_json::from_str(text).map_err(|error| Malformed(error.to_string()))?,
    };
    Policy::from_value(&document)?;
    let mut statements = match document["Statement"].take() {
        Value::Array(statements) => statements,
        single => vec![single],
    };
    let ours = statements.iter().position(|statement| listed(statement, queue_arn).is_some());
    match ours {
        Some(at) => {
            let mut topics = listed(&statements[at], queue_arn).unwrap_or_default();
            if topics.iter().any(|topic| topic == topic_arn) {
                return Ok(None);
            }
            topics.push(topic_arn.to_owned());
            statements[at]["Condition"]["ArnEquals"]["aws:SourceArn"] = json!(topics);
        }
        None => {
            let taken = |sid: &str| statements.iter().any(|statement| statement["Sid"] == sid);
            let numbered = (2..).map(|number| format!("{TOPICS_SID}{number}"));
            let mut sids = std::iter::once(TOPICS_SID.to_owned()).chain(numbered);
            let sid = sids.find(|sid| !taken(sid)).unwrap_or_default();
            statements.push(statement(&sid, queue_arn, &[topic_arn]));
        }
    }
    document["Statement"] = Value::Array(statements);
    Ok(Some(document.to_string()))
}

/// The topics in the statement, read back from a policy.
///
/// # Errors
/// [`Malformed`].
pub fn topics(policy: &str, queue_arn: &str) -> Result<Vec<String>, Malformed> {
    if policy.trim().is_empty() {
        return Ok(Vec::new());
    }
    let document: Value = serde_json::from_str(policy).map_err(|error| Malformed(error.to_string()))?;
    Policy::from_value(&document)?;
    let statements = match &document["Statement"] {
        Value::Array(statements) => statements.as_slice(),
        single => std::slice::from_ref(single),
    };
    Ok(statements.iter().find_map(|statement| listed(statement, queue_arn)).unwrap_or_default())
}

/// The topics of a statement that is ours: its Sid, and exactly the form that we write. SQS may return a list of one as a
/// string.
fn listed(value: &Value, queue_arn: &str) -> Option<Vec<String>> {
    let sid = value["Sid"].as_str()?;
    let number = sid.strip_prefix(TOPICS_SID)?;
    if !number.bytes().all(|b| b.is_ascii_digit()) {
        return None;
    }
    let topics: Vec<_> = match &value["Condition"]["ArnEquals"]["aws:SourceArn"] {
        Value::String(topic) => vec![topic.as_str()],
        Value::Array(topics) => topics.iter().map(Value::as_str).collect::<Option<_>>()?,
        _ => return None,
    };
    let same = flattened(value) == flattened(&statement(sid, queue_arn, &topics));
    same.then(|| topics.into_iter().map(str::to_owned).collect())
}

/// A statement with lists of one as their only element, and the action in one case.
fn flattened(value: &Value) -> Value {
    match value {
        Value::Array(items) if items.len() == 1 => flattened(&items[0]),
        Value::Array(items) => items.iter().map(flattened).collect(),
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| {
                let value = flattened(value);
                match (key.as_str(), value.as_str()) {
                    ("Action", Some(action)) => (key.clone(), json!(action.to_ascii_lowercase())),
                    _ => (key.clone(), value),
                }
            })
            .collect(),
        other => other.clone(),
    }
}
