//! Properties: no JSON makes the evaluator panic, a Deny that applies always wins, and merging is lossless.

use lifeline_policy::{Decision, Policy, Request, topics, with_topic};
use proptest::prelude::*;
use serde_json::{Value, json};

const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:billing";
const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:orders";

fn request() -> Request {
    Request::sns_delivery(TOPIC, QUEUE).at(1_795_737_600)
}

/// Any JSON, often with the names that policies use.
fn anything() -> impl Strategy<Value = Value> {
    let word = prop_oneof![
        "[a-z*?${}:]{0,8}",
        prop::sample::select(
            &[
                "Allow",
                "Deny",
                "*",
                "AWS",
                "sns.amazonaws.com",
                "sqs:SendMessage",
                "sqs:*",
                QUEUE,
                TOPIC,
                "arn:aws:sns:*",
                "2012-10-17",
                "aws:SourceArn",
                "aws:SourceOrgID",
                "${aws:username}",
                "true",
                "1",
                "/",
            ][..],
        )
        .prop_map(str::to_owned),
    ];
    let name = prop_oneof![
        "[A-Za-z:]{0,12}",
        prop::sample::select(
            &[
                "Version",
                "Statement",
                "Sid",
                "Effect",
                "Principal",
                "NotPrincipal",
                "Action",
                "NotAction",
                "Resource",
                "NotResource",
                "Condition",
                "AWS",
                "Service",
                "StringLike",
                "ArnEquals",
                "ForAllValues:DateLessThan",
                "NumericEqualsIfExists",
                "IpAddress",
                "Null",
                "Bool",
                "aws:SourceArn",
                "aws:CurrentTime",
                "aws:EpochTime",
                "aws:SourceIp",
            ][..],
        )
        .prop_map(str::to_owned),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        word.prop_map(Value::from),
    ];
    leaf.prop_recursive(6, 64, 5, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
            prop::collection::vec((name.clone(), inner), 0..6)
                .prop_map(|pairs| Value::Object(pairs.into_iter().collect())),
        ]
    })
}

/// A statement that AWS would store.
fn statement() -> impl Strategy<Value = Value> {
    let of = |values: &'static [&'static str]| prop::sample::select(values);
    let principals = prop::sample::select(vec![
        json!("*"),
        json!({"AWS": "*"}),
        json!({"Service": "sns.amazonaws.com"}),
        json!({"Service": ["s3.amazonaws.com", "sns.eu-west-1.amazonaws.com"]}),
        json!({"AWS": "444455556666"}),
    ]);
    let values = prop_oneof![
        Just(json!(TOPIC)),
        anything().prop_map(|v| json!(v.to_string())),
        Just(json!([])),
        Just(json!(true))
    ];
    let conditions = prop::collection::vec(
        (
            of(&[
                "ArnLike",
                "StringNotLike",
                "NullIfExists",
                "Null",
                "Bool",
                "ForAnyValue:StringLike",
                "DateLessThan",
                "IpAddress",
                "Nonsense",
            ]),
            of(&[
                "aws:SourceArn",
                "aws:SourceOrgID",
                "aws:SourceIp",
                "aws:SecureTransport",
                "aws:CurrentTime",
                "aws:SourceVpc",
            ]),
            values,
        ),
        0..3,
    );
    (
        of(&["Allow", "Deny"]),
        of(&["Principal", "NotPrincipal"]),
        principals,
        of(&["Action", "NotAction"]),
        of(&["sqs:*", "SQS:sendmessage", "sqs:Receive*", "*"]),
        of(&["Resource", "NotResource"]),
        of(&[QUEUE, "*", "arn:aws:sqs:*:*:b*", "${aws:username}"]),
        conditions,
    )
        .prop_map(|(effect, p, principals, a, action, r, resource, conditions)| {
            let mut condition = json!({});
            for (operator, key, value) in conditions {
                condition[operator][key] = value;
            }
            json!({"Effect": effect, p: principals, a: action, r: resource, "Condition": condition})
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn no_json_makes_the_evaluator_panic(value in anything()) {
        if let Ok(policy) = Policy::from_value(&value) {
            policy.evaluate(&request());
        }
        let text = value.to_string();
        drop((topics(&text, QUEUE), with_topic(&text, QUEUE, TOPIC)));
    }

    #[test]
    fn no_text_makes_the_evaluator_panic(text in ".{0,200}") {
        drop((Policy::parse(&text), with_topic(&text, QUEUE, TOPIC)));
    }

    #[test]
    fn no_statement_like_object_makes_the_evaluator_panic(condition in anything(), principal in anything(), resource in anything()) {
        let value = json!({"Version": "2012-10-17", "Statement": [
            {"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*", "Condition": condition},
            {"Effect": "Deny", "Principal": principal, "Action": "*", "Resource": resource},
        ]});
        if let Ok(policy) = Policy::from_value(&value) {
            policy.evaluate(&request());
        }
    }

    #[test]
    fn a_deny_that_applies_always_wins(statements in prop::collection::vec(statement(), 0..6), at in any::<prop::sample::Index>()) {
        let mut statements = statements;
        let at = at.index(statements.len() + 1);
        statements.insert(at, json!({"Effect": "Deny", "Principal": "*", "Action": "sqs:*", "Resource": "*"}));
        let policy = Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap();
        prop_assert!(policy.evaluate(&request()).is_denied());
    }

    #[test]
    fn an_answer_does_not_depend_on_the_order_of_statements(statements in prop::collection::vec(statement(), 0..6)) {
        let kind = |statements: &[Value]| {
            let policy = Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap();
            match policy.evaluate(&request()) {
                Decision::Allowed(_) => "allowed",
                Decision::Denied(_) => "denied",
                Decision::CannotTell { .. } => "cannot tell",
            }
        };
        let reversed: Vec<_> = statements.iter().rev().cloned().collect();
        prop_assert_eq!(kind(&statements), kind(&reversed));
    }

    #[test]
    fn what_is_learnt_later_never_contradicts_an_answer(statements in prop::collection::vec(statement(), 0..6), org in "o-[a-z]{1,4}") {
        let policy = Policy::from_value(&json!({"Version": "2012-10-17", "Statement": statements})).unwrap();
        let before = policy.evaluate(&request());
        for more in [request().with("aws:SourceOrgID", org.as_str()), request().without_other_keys()] {
            let after = policy.evaluate(&more);
            prop_assert!(!(before.is_allowed() && after.is_denied()), "{} became {}", before, after);
            prop_assert!(!(before.is_denied() && after.is_allowed()), "{} became {}", before, after);
        }
    }

    #[test]
    fn a_topic_that_is_added_is_read_back_and_nothing_else_changes(statements in prop::collection::vec(statement(), 0..6)) {
        let before = json!({"Version": "2012-10-17", "Statement": statements});
        let merged = with_topic(&before.to_string(), QUEUE, TOPIC).unwrap().unwrap();
        prop_assert_eq!(topics(&merged, QUEUE).unwrap(), [TOPIC]);
        let after: Value = serde_json::from_str(&merged).unwrap();
        prop_assert_eq!(&after["Statement"].as_array().unwrap()[..statements.len()], &statements[..]);
        let was = Policy::from_value(&before).unwrap().evaluate(&request());
        let is = Policy::parse(&merged).unwrap().evaluate(&request());
        prop_assert!(!is.is_denied() || was.is_denied());
    }
}
