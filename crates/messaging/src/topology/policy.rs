//! Queue policies: read, judged, and one statement added. No I/O.

use serde_json::{Value, json};

/// The statement by which a queue lets one topic in.
pub fn admission(queue_arn: &str, topic_arn: &str) -> Value {
    json!({
        "Effect": "Allow",
        "Principal": {"Service": "sns.amazonaws.com"},
        "Action": "sqs:SendMessage",
        "Resource": queue_arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}},
    })
}

/// The policy with the topic let in beside whatever it says already; `None` if it lets the topic in as it is.
pub fn admitting_policy(existing: &str, queue_arn: &str, topic_arn: &str) -> Option<String> {
    let mut policy: Value = serde_json::from_str(existing).unwrap_or(Value::Null);
    if !policy.is_object() {
        policy = json!({"Version": "2012-10-17"});
    }
    let mut statements = match policy["Statement"].take() {
        Value::Array(statements) => statements,
        Value::Null => Vec::new(),
        single => vec![single],
    };
    if statements.iter().any(|s| admits(s, topic_arn)) {
        return None;
    }
    statements.push(admission(queue_arn, topic_arn));
    policy["Statement"] = Value::Array(statements);
    Some(policy.to_string())
}

/// Whether a statement lets SNS send for this topic. Conservative: a form that it does not know is not counted, and
/// then a statement that says the same again is added, which does no harm.
fn admits(statement: &Value, topic_arn: &str) -> bool {
    let names = |value: &Value, wanted: &str| match value {
        Value::String(text) => text == wanted,
        Value::Array(items) => items.iter().any(|i| i.as_str() == Some(wanted)),
        _ => false,
    };
    let action = &statement["Action"];
    let sends =
        ["sqs:SendMessage", "SQS:SendMessage", "sqs:*", "SQS:*", "*"].iter().any(|a| names(action, a));
    let conditions = statement["Condition"].as_object();
    let for_topic = conditions.is_some_and(|c| {
        c.values().any(|c| names(&c["aws:SourceArn"], topic_arn) || names(&c["AWS:SourceArn"], topic_arn))
    });
    statement["Effect"] == "Allow" && sends && for_topic
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:q";
    const TOPIC: &str = "arn:aws:sns:us-east-1:000000000000:t";

    #[test]
    fn a_second_topic_keeps_the_first_ones_statement() {
        let first = admitting_policy("", QUEUE, TOPIC).unwrap();
        let second_topic = "arn:aws:sns:us-east-1:000000000000:t2";
        let second = admitting_policy(&first, QUEUE, second_topic).unwrap();
        let statements: Value = serde_json::from_str(&second).unwrap();
        let statements = statements["Statement"].as_array().unwrap();
        assert_eq!(statements, &[admission(QUEUE, TOPIC), admission(QUEUE, second_topic)]);
        assert_eq!(admitting_policy(&second, QUEUE, TOPIC), None, "nothing is added twice");
    }

    #[test]
    fn a_policy_of_someone_else_survives() {
        let theirs = r#"{"Version":"2012-10-17","Id":"x","Statement":{"Sid":"a","Effect":"Deny","Principal":"*","Action":"sqs:*","Resource":"r"}}"#;
        let policy: Value = serde_json::from_str(&admitting_policy(theirs, QUEUE, TOPIC).unwrap()).unwrap();
        assert_eq!(policy["Id"], "x");
        assert_eq!(policy["Statement"][0]["Sid"], "a");
        assert_eq!(policy["Statement"][1], admission(QUEUE, TOPIC));
    }
}
