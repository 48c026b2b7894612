//! Every check against snapshots made by hand: what it says when all is well, and what each fault looks like.

use std::time::{Duration, SystemTime};

use lifeline_messaging::topology::{QueueRef, TopicRef};
use lifeline_policy::with_topic;
use serde_json::json;

use crate::doctor::{Attributes, Outcome, Read, Report, Snapshot, Status, Style, Subscription, Target};

const TOPIC: &str = "arn:aws:sns:eu-west-1:111122223333:orders";
const QUEUE: &str = "arn:aws:sqs:eu-west-1:111122223333:billing";
const DEAD_LETTERS: &str = "arn:aws:sqs:eu-west-1:111122223333:billing-dlq";

fn attributes(pairs: &[(&str, &str)]) -> Attributes {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

/// A topology without a fault.
fn healthy() -> Snapshot {
    let policy = with_topic("", QUEUE, TOPIC).unwrap().unwrap();
    let redrive = json!({"deadLetterTargetArn": DEAD_LETTERS, "maxReceiveCount": "5"}).to_string();
    Snapshot {
        target: Target {
            topic: TopicRef::Name("orders".to_owned()),
            queue: QueueRef::Name("billing".to_owned()),
            handler_timeout: Duration::from_secs(300),
        },
        region: "eu-west-1".to_owned(),
        endpoint: None,
        identity: Read::Found("arn:aws:iam::111122223333:user/ada".to_owned()),
        account: Some("111122223333".to_owned()),
        now: SystemTime::now(),
        topic_arn: Some(TOPIC.to_owned()),
        topic: Read::Found(attributes(&[("TopicArn", TOPIC)])),
        queue_url: Some("https://sqs.eu-west-1.amazonaws.com/111122223333/billing".to_owned()),
        queue: Read::Found(attributes(&[
            ("QueueArn", QUEUE),
            ("Policy", &policy),
            ("RedrivePolicy", &redrive),
            ("VisibilityTimeout", "30"),
            ("MessageRetentionPeriod", "345600"),
            ("MaximumMessageSize", "1048576"),
            ("DelaySeconds", "0"),
            ("ApproximateNumberOfMessages", "3"),
            ("ApproximateNumberOfMessagesNotVisible", "1"),
            ("ApproximateNumberOfMessagesDelayed", "0"),
        ])),
        subscription: Read::Found(Subscription {
            arn: format!("{TOPIC}:5f0a"),
            owner: "111122223333".to_owned(),
            attributes: Read::Found(attributes(&[
                ("RawMessageDelivery", "false"),
                ("PendingConfirmation", "false"),
            ])),
        }),
        dead_letters: Read::Found(attributes(&[
            ("QueueArn", DEAD_LETTERS),
            ("MessageRetentionPeriod", "1209600"),
            ("ApproximateNumberOfMessages", "0"),
        ])),
        dead_letter_url: Some("https://sqs.eu-west-1.amazonaws.com/111122223333/billing-dlq".to_owned()),
    }
}

fn outcome(snapshot: &Snapshot, code: &str) -> Option<Outcome> {
    Report::of(snapshot).checks.into_iter().find(|line| line.code == code).map(|line| line.outcome)
}

/// A healthy topology with this change has this one check, and no other, at this status.
#[track_caller]
fn only(code: &str, status: Status, change: impl FnOnce(&mut Snapshot)) -> Outcome {
    let mut snapshot = healthy();
    change(&mut snapshot);
    let report = Report::of(&snapshot);
    let found: Vec<_> = report
        .checks
        .iter()
        .filter(|line| line.outcome.status > Status::Ok)
        .map(|line| (line.code, line.outcome.status))
        .collect();
    assert_eq!(found, [(code, status)], "{}", report.text(Style { fix: true, colour: false }));
    outcome(&snapshot, code).unwrap()
}

fn queue(name: &'static str, value: impl Into<String>) -> impl FnOnce(&mut Snapshot) {
    let value = value.into();
    move |snapshot| set(&mut snapshot.queue, name, value)
}

fn dead_letters(name: &'static str, value: &'static str) -> impl FnOnce(&mut Snapshot) {
    move |snapshot| set(&mut snapshot.dead_letters, name, value.to_owned())
}

fn subscription(name: &'static str, value: &'static str) -> impl FnOnce(&mut Snapshot) {
    move |snapshot| {
        let Read::Found(subscription) = &mut snapshot.subscription else { panic!("no subscription") };
        set(&mut subscription.attributes, name, value.to_owned());
    }
}

fn set(attributes: &mut Read<Attributes>, name: &str, value: String) {
    let Read::Found(attributes) = attributes else { panic!("nothing found") };
    attributes.insert(name.to_owned(), value);
}

fn statement(statement: &serde_json::Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

#[test]
fn a_healthy_topology_passes_every_check() {
    let report = Report::of(&healthy());
    assert_eq!(report.status, Status::Ok, "{}", report.text(Style::default()));
    assert!(report.is_ok());
    assert!(report.text(Style::default()).ends_with("\nall checks passed\n"));
}

#[test]
fn codes_are_unique_and_in_kebab_case() {
    let mut codes: Vec<_> = super::all().map(|check| check.code).collect();
    assert!(codes.iter().all(|code| code.bytes().all(|b| b.is_ascii_lowercase() || b == b'-')), "{codes:?}");
    let count = codes.len();
    codes.sort_unstable();
    codes.dedup();
    assert_eq!(codes.len(), count);
}

#[test]
fn a_policy_that_does_not_allow_the_topic_fails_with_the_call_that_adds_the_statement() {
    let theirs = statement(
        &json!({"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "sqs:*", "Resource": QUEUE}),
    );
    for policy in [String::new(), theirs] {
        let outcome = only("queue-policy", Status::Fail, queue("Policy", policy.clone()));
        let fix = outcome.fix.unwrap();
        assert!(
            fix.starts_with("aws --region eu-west-1 sqs set-queue-attributes --queue-url https://"),
            "{fix}"
        );
        // what the shell and then the CLI make of it is the policy with both statements
        let word = fix.split_once("--attributes '").unwrap().1.strip_suffix('\'').unwrap();
        let attributes: serde_json::Value = serde_json::from_str(&word.replace(r"'\''", "'")).unwrap();
        let mut fixed = healthy();
        queue("Policy", attributes["Policy"].as_str().unwrap())(&mut fixed);
        assert!(Report::of(&fixed).is_ok());
    }
}

#[test]
fn policies_that_used_to_be_misread_are_judged_as_aws_does() {
    for allowed in [
        json!({"Effect": "Allow", "Principal": "*", "Action": "SQS:*", "Resource": QUEUE}),
        json!({"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:Send*", "Resource": QUEUE,
               "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:orders"}}}),
        json!({"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:sendmessage", "Resource": QUEUE,
               "Condition": {"StringEquals": {"aws:sourceaccount": "111122223333"}}}),
    ] {
        let mut snapshot = healthy();
        queue("Policy", statement(&allowed))(&mut snapshot);
        assert!(Report::of(&snapshot).is_ok(), "{allowed}");
    }
    let outcome = only(
        "queue-policy",
        Status::Fail,
        queue(
            "Policy",
            statement(
                &json!({"Sid": "Frozen", "Effect": "Deny", "Principal": "*", "Action": "*", "Resource": "*"}),
            ),
        ),
    );
    assert!(outcome.message.contains("statement 1 (Frozen)") && outcome.fix.is_none(), "{outcome:?}");
    let outcome = only(
        "queue-policy",
        Status::Warn,
        queue(
            "Policy",
            statement(&json!({"Effect": "Allow", "Principal": "*", "Action": "*", "Resource": "*",
                              "Condition": {"StringEquals": {"aws:SourceOrgID": "o-1"}}})),
        ),
    );
    assert!(outcome.message.contains("aws:SourceOrgID"), "{outcome:?}");
}

#[test]
fn keys() {
    for key in ["alias/aws/sqs", "arn:aws:kms:eu-west-1:111122223333:alias/aws/sqs"] {
        let outcome = only("queue-key", Status::Fail, queue("KmsMasterKeyId", key));
        assert!(outcome.fix.unwrap().contains("SqsManagedSseEnabled"));
    }
    let outcome = only("queue-key", Status::Warn, queue("KmsMasterKeyId", "alias/orders"));
    assert!(outcome.hint.unwrap().contains("get-key-policy --key-id 'alias/orders'"));
    assert!(outcome.fix.unwrap().contains(TOPIC));
}

#[test]
fn limits_of_the_queue() {
    only("queue-size", Status::Warn, queue("MaximumMessageSize", "1024"));
    only("queue-delay", Status::Warn, queue("DelaySeconds", "900"));
    only("queue-retention", Status::Warn, queue("MessageRetentionPeriod", "60"));
    only("visibility-timeout", Status::Warn, queue("VisibilityTimeout", "0"));
    only("visibility-timeout", Status::Warn, queue("VisibilityTimeout", "43200"));
    let outcome = only("in-flight", Status::Warn, queue("ApproximateNumberOfMessagesNotVisible", "100000"));
    assert!(outcome.message.contains("100000 in flight"), "{outcome:?}");
}

#[test]
fn subscriptions() {
    let outcome = only("subscription-exists", Status::Fail, |snapshot| snapshot.subscription = Read::Missing);
    assert_eq!(
        outcome.fix.unwrap(),
        format!(
            "aws --region eu-west-1 sns subscribe --topic-arn {TOPIC} --protocol sqs --notification-endpoint {QUEUE}"
        )
    );
    for arn in ["PendingConfirmation", "Deleted"] {
        only("subscription-exists", Status::Fail, |snapshot| {
            let attributes = Read::Skipped;
            snapshot.subscription = Read::Found(Subscription {
                arn: arn.to_owned(),
                owner: "111122223333".to_owned(),
                attributes,
            });
        });
    }
    only("subscription-exists", Status::Fail, subscription("PendingConfirmation", "true"));
    only("subscription-owner", Status::Warn, |snapshot| {
        let Read::Found(subscription) = &mut snapshot.subscription else { panic!("no subscription") };
        subscription.owner = "444455556666".to_owned();
    });
    let outcome = only("filter-policy", Status::Warn, subscription("FilterPolicy", r#"{"kind":["order"]}"#));
    assert!(
        outcome.message.contains("MessageAttributes") && outcome.message.contains(r#"{"kind":["order"]}"#)
    );
    let mut raw = healthy();
    subscription("RawMessageDelivery", "true")(&mut raw);
    assert!(outcome_text(&raw, "raw-delivery").contains("ten attributes"));
}

fn outcome_text(snapshot: &Snapshot, code: &str) -> String {
    outcome(snapshot, code).unwrap().message
}

#[test]
fn dead_letter_queues() {
    only("redrive-policy", Status::Warn, |snapshot| {
        queue("RedrivePolicy", "")(snapshot);
        snapshot.dead_letters = Read::Skipped;
    });
    let once = json!({"deadLetterTargetArn": DEAD_LETTERS, "maxReceiveCount": 1}).to_string();
    only("redrive-policy", Status::Warn, queue("RedrivePolicy", once));
    let outcome = only("dead-letter-queue", Status::Fail, |snapshot| snapshot.dead_letters = Read::Missing);
    assert!(outcome.fix.unwrap().contains("sqs create-queue --queue-name billing-dlq"));
    let fifo =
        json!({"deadLetterTargetArn": format!("{DEAD_LETTERS}.fifo"), "maxReceiveCount": 5}).to_string();
    only("dead-letter-queue", Status::Fail, queue("RedrivePolicy", fifo));
    only(
        "redrive-allowed",
        Status::Fail,
        dead_letters("RedriveAllowPolicy", r#"{"redrivePermission":"denyAll"}"#),
    );
    let other =
        r#"{"redrivePermission":"byQueue","sourceQueueArns":["arn:aws:sqs:eu-west-1:111122223333:other"]}"#;
    only("redrive-allowed", Status::Fail, dead_letters("RedriveAllowPolicy", other));
    only("dead-letter-retention", Status::Warn, dead_letters("MessageRetentionPeriod", "60"));
    only("dead-letters", Status::Warn, dead_letters("ApproximateNumberOfMessages", "7"));
}

#[test]
fn topics_and_regions() {
    let mut missing = healthy();
    missing.topic = Read::Missing;
    missing.topic_arn = None;
    assert!(
        outcome(&missing, "topic-exists").unwrap().fix.unwrap().ends_with("sns create-topic --name orders")
    );
    assert_eq!(outcome(&missing, "queue-policy"), None, "there is nothing to look at");
    only("queue-region", Status::Fail, |snapshot| {
        snapshot.target.queue =
            QueueRef::Url("https://sqs.us-east-2.amazonaws.com/111122223333/billing".to_owned());
    });
    only("topic-region", Status::Warn, |snapshot| {
        snapshot.target.topic = TopicRef::Arn("arn:aws:sns:us-east-2:111122223333:orders".to_owned());
    });
    let mut fifo = healthy();
    fifo.target.queue = QueueRef::Name("billing.fifo".to_owned());
    assert_eq!(outcome(&fifo, "fifo").unwrap().status, Status::Fail);
}

#[test]
fn what_may_not_be_read_is_a_warning_that_names_the_permission_and_not_a_failure() {
    let mut snapshot = healthy();
    snapshot.topic = Read::Denied("ListTopics failed (denied): AccessDenied".to_owned());
    snapshot.subscription = Read::Skipped;
    snapshot.dead_letters = Read::Denied("GetQueueUrl failed (denied): AccessDenied".to_owned());
    let report = Report::of(&snapshot);
    assert!(report.is_ok(), "{}", report.text(Style::default()));
    let message = outcome_text(&snapshot, "permissions");
    assert!(message.contains("sns:ListTopics") && message.contains("on the dead-letter queue"), "{message}");
    assert_eq!(
        outcome(&snapshot, "queue-policy").unwrap().status,
        Status::Ok,
        "the policy is judged for the topic meant"
    );
}

#[test]
fn without_credentials_nothing_is_known_and_that_is_a_failure_at_an_emulator_too() {
    let mut snapshot = healthy();
    snapshot.endpoint = Some("http://127.0.0.1:4566".to_owned());
    let why = "GetCallerIdentity failed (denied): no credentials; set AWS_ACCESS_KEY_ID".to_owned();
    snapshot.identity = Read::Denied(why.clone());
    assert!(Report::of(&snapshot).is_ok(), "it has no STS, and the rest is read");
    (snapshot.topic, snapshot.queue) = (Read::Denied(why.clone()), Read::Denied(why));
    snapshot.subscription = Read::Skipped;
    assert!(!Report::of(&snapshot).is_ok());
    assert_eq!(outcome(&snapshot, "identity").unwrap().status, Status::Fail);
}

#[test]
fn an_endpoint_that_does_not_answer_is_one_failure() {
    let mut snapshot = healthy();
    snapshot.endpoint = Some("http://127.0.0.1:1".to_owned());
    let failed = "GetQueueUrl failed (unreachable): connection refused".to_owned();
    snapshot.queue = Read::Failed(failed);
    (snapshot.identity, snapshot.topic, snapshot.subscription) =
        (Read::Skipped, Read::Skipped, Read::Skipped);
    (snapshot.dead_letters, snapshot.topic_arn) = (Read::Skipped, None);
    let report = Report::of(&snapshot);
    assert_eq!(report.checks.len(), 1, "{}", report.text(Style::default()));
    assert_eq!(report.checks[0].code, "endpoint-reachable");
    assert!(!report.is_ok());
}

#[test]
fn text_and_json_say_the_same() {
    let mut snapshot = healthy();
    queue("Policy", "")(&mut snapshot);
    queue("DelaySeconds", "5")(&mut snapshot);
    let report = Report::of(&snapshot);
    let text = report.text(Style::default());
    assert!(text.contains("\nqueue\n  ok   queue arn:"), "{text}");
    assert!(
        text.contains("  FAIL the queue policy does not allow") && text.contains("[queue-policy]"),
        "{text}"
    );
    assert!(
        text.ends_with("\n1 check failed, 1 warning\n--fix prints the commands that change this\n"),
        "{text}"
    );
    assert!(!text.contains("set-queue-attributes") && !text.contains('\x1b'), "{text}");
    let colour = report.text(Style { colour: true, fix: true });
    assert!(colour.contains("\x1b[31mFAIL\x1b[0m") && colour.contains("fix: aws --region"), "{colour}");
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["status"], "fail");
    assert_eq!((&json["account"], &json["region"]), (&json!("111122223333"), &json!("eu-west-1")));
    let policy =
        json["checks"].as_array().unwrap().iter().find(|check| check["code"] == "queue-policy").unwrap();
    assert_eq!((&policy["status"], &policy["group"]), (&json!("fail"), &json!("queue")));
}
