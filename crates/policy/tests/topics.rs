//! The statement that Lifeline adds to a queue's policy, and what it leaves alone.

use lifeline_policy::{Policy, Request, TOPICS_SID, topics, topics_statement, with_topic};
use serde_json::{Value, json};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:billing";
const ORDERS: &str = "arn:aws:sns:eu-west-1:111122223333:orders";
const PAYMENTS: &str = "arn:aws:sns:eu-west-1:111122223333:payments";

fn json(text: &str) -> Value {
    serde_json::from_str(text).expect("the merged policy is JSON")
}

#[test]
fn topics_share_one_statement_and_are_read_back() {
    let one = with_topic("", QUEUE, ORDERS).unwrap().unwrap();
    assert_eq!(
        json(&one),
        json!({"Version": "2012-10-17", "Statement": [topics_statement(QUEUE, &[ORDERS])]})
    );
    let two = with_topic(&one, QUEUE, PAYMENTS).unwrap().unwrap();
    assert_eq!(json(&two)["Statement"], json!([topics_statement(QUEUE, &[ORDERS, PAYMENTS])]));
    assert_eq!(topics(&two, QUEUE).unwrap(), [ORDERS, PAYMENTS]);
    assert_eq!(with_topic(&two, QUEUE, ORDERS).unwrap(), None, "nothing is added twice");
    for topic in [ORDERS, PAYMENTS] {
        let decision = Policy::parse(&two).unwrap().evaluate(&Request::sns_delivery(topic, QUEUE));
        assert!(decision.is_allowed(), "{decision}");
    }
}

#[test]
fn statements_of_others_are_kept_as_they_are() {
    let theirs = json!({
        "Version": "2008-10-17",
        "Id": "x",
        "Statement": {"Sid": "a", "Effect": "Deny", "Principal": "*", "Action": ["sqs:*"], "Resource": QUEUE,
                      "Condition": {"Bool": {"aws:SecureTransport": false}}},
    });
    let merged = json(&with_topic(&theirs.to_string(), QUEUE, ORDERS).unwrap().unwrap());
    assert_eq!(merged["Version"], "2008-10-17");
    assert_eq!(merged["Id"], "x");
    assert_eq!(merged["Statement"], json!([theirs["Statement"], topics_statement(QUEUE, &[ORDERS])]));
}

#[test]
fn a_statement_with_our_sid_that_somebody_changed_is_kept_too() {
    let mut changed = topics_statement(QUEUE, &[ORDERS]);
    changed["Condition"]["StringEquals"] = json!({"aws:SourceAccount": "444455556666"});
    let policy = json!({"Version": "2012-10-17", "Statement": [changed]}).to_string();
    assert_eq!(topics(&policy, QUEUE).unwrap(), Vec::<String>::new());
    let merged = json(&with_topic(&policy, QUEUE, ORDERS).unwrap().unwrap());
    assert_eq!(merged["Statement"][0], changed);
    assert_eq!(merged["Statement"][1]["Sid"], format!("{TOPICS_SID}2"));
    assert_eq!(topics(&merged.to_string(), QUEUE).unwrap(), [ORDERS]);
    assert_eq!(with_topic(&merged.to_string(), QUEUE, ORDERS).unwrap(), None);
}

#[test]
fn a_statement_in_the_form_that_sqs_returns_is_recognized() {
    let returned = json!({"Version": "2012-10-17", "Statement": [{
        "Sid": TOPICS_SID, "Effect": "Allow", "Principal": {"Service": ["sns.amazonaws.com"]},
        "Action": "SQS:SendMessage", "Resource": QUEUE, "Condition": {"ArnEquals": {"aws:SourceArn": ORDERS}},
    }]});
    assert_eq!(topics(&returned.to_string(), QUEUE).unwrap(), [ORDERS]);
    let merged = json(&with_topic(&returned.to_string(), QUEUE, PAYMENTS).unwrap().unwrap());
    assert_eq!(merged["Statement"][0]["Condition"]["ArnEquals"]["aws:SourceArn"], json!([ORDERS, PAYMENTS]));
    assert_eq!(merged["Statement"].as_array().unwrap().len(), 1);
}

#[test]
fn the_statement_of_another_queue_is_not_ours() {
    let other = "arn:aws:sqs:eu-west-1:111122223333:invoices";
    let policy =
        json!({"Version": "2012-10-17", "Statement": [topics_statement(other, &[ORDERS])]}).to_string();
    assert_eq!(topics(&policy, QUEUE).unwrap(), Vec::<String>::new());
    let merged = json(&with_topic(&policy, QUEUE, ORDERS).unwrap().unwrap());
    assert_eq!(merged["Statement"].as_array().unwrap().len(), 2);
}

#[test]
fn a_text_that_is_not_a_policy_is_not_overwritten() {
    for text in ["{", "[]", "null", r#"{"Statement":[{"Effect":"Allow"}]}"#] {
        assert!(with_topic(text, QUEUE, ORDERS).is_err(), "{text}");
        assert!(topics(text, QUEUE).is_err(), "{text}");
    }
}
