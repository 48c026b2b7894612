//! Provisioning the queue policy: when it writes, what it keeps, and when it refuses to report success.
#![allow(clippy::unwrap_used, reason = "tests")]

use std::time::Duration;

use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::call;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef};
use lifeline_policy::topics;
use serde_json::{Value, json};

const ORDERS: &str = "arn:aws:sns:us-east-1:000000000000:orders";
const QUEUE: &str = "arn:aws:sqs:us-east-1:000000000000:billing";

fn spec(topic: &str) -> QueueSpec {
    QueueSpec {
        queue: QueueRef::Name("billing".to_owned()),
        topic: TopicRef::Name(topic.to_owned()),
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    }
}

async fn clients(aws: &Emulator) -> Clients {
    Clients::connect(&Access::local(aws.url())).await.unwrap()
}

fn policy(statement: &Value) -> String {
    json!({"Version": "2012-10-17", "Statement": [statement]}).to_string()
}

#[tokio::test]
async fn a_policy_that_allows_the_topic_in_any_form_is_not_touched() {
    for statement in [
        json!({"Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:Send*", "Resource": QUEUE,
               "Condition": {"ArnLike": {"aws:SourceArn": "arn:aws:sns:*:*:orders"}}}),
        json!({"Effect": "Allow", "Principal": "*", "Action": "SQS:*", "Resource": "*",
               "Condition": {"StringEquals": {"aws:SourceAccount": "000000000000"}}}),
    ] {
        let aws = Emulator::start().await.unwrap();
        let queue = aws.queue("billing").attribute("Policy", &policy(&statement));
        topology::queue(&clients(&aws).await, &spec("orders")).await.unwrap();
        assert_eq!(queue.get_attribute("Policy").unwrap(), policy(&statement));
        assert_eq!(aws.calls(Action::SetQueueAttributes), 0);
    }
}

#[tokio::test]
async fn a_policy_that_does_not_allow_the_topic_gets_one_more_statement() {
    for statement in [
        json!({"Effect": "Allow", "Principal": {"AWS": "444455556666"}, "Action": "sqs:*", "Resource": QUEUE}),
        json!({"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": "arn:aws:sqs:us-east-1:000000000000:other"}),
        json!({"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": QUEUE,
               "Condition": {"ArnNotEquals": {"aws:SourceArn": ORDERS}}}),
        json!({"Effect": "Allow", "Principal": "*", "Action": "sqs:*", "Resource": QUEUE,
               "Condition": {"ArnEquals": {"aws:SourceArn": ORDERS}, "StringEquals": {"aws:SourceOrgID": "o-1"}}}),
    ] {
        let aws = Emulator::start().await.unwrap();
        let queue = aws.queue("billing").attribute("Policy", &policy(&statement));
        topology::queue(&clients(&aws).await, &spec("orders")).await.unwrap();
        let written = queue.get_attribute("Policy").unwrap();
        assert_eq!(topics(&written, QUEUE).unwrap(), [ORDERS]);
        assert_eq!(serde_json::from_str::<Value>(&written).unwrap()["Statement"][0], statement);
    }
}

#[tokio::test]
async fn an_explicit_deny_is_an_error_that_names_the_statement_and_nothing_is_subscribed() {
    let aws = Emulator::start().await.unwrap();
    let deny = json!({"Sid": "Frozen", "Effect": "Deny", "Principal": "*", "Action": "sqs:SendMessage", "Resource": QUEUE});
    let queue = aws.queue("billing").attribute("Policy", &policy(&deny));
    let error = topology::queue(&clients(&aws).await, &spec("orders")).await.unwrap_err();
    assert_eq!(error.fault(), call::Fault::Denied);
    assert!(error.to_string().contains("Frozen"), "{error}");
    assert_eq!(queue.get_attribute("Policy").unwrap(), policy(&deny));
    assert_eq!(aws.calls(Action::Subscribe), 0);
}

#[tokio::test]
async fn a_policy_that_cannot_be_read_is_not_overwritten() {
    let aws = Emulator::start().await.unwrap();
    let queue = aws.queue("billing").attribute("Policy", "{\"Statement\": 7}");
    let error = topology::queue(&clients(&aws).await, &spec("orders")).await.unwrap_err();
    assert!(error.to_string().contains("Statement"), "{error}");
    assert_eq!(queue.get_attribute("Policy").unwrap(), "{\"Statement\": 7}");
}

#[tokio::test]
async fn two_services_that_provision_at_the_same_moment_end_with_both_topics_allowed() {
    let aws = Emulator::start().await.unwrap();
    let queue = aws.queue("billing");
    // both have read the empty policy before either writes
    aws.inject(Fault::on(Action::SetQueueAttributes).times(2).delay(Duration::from_millis(100)));
    let clients = clients(&aws).await;
    let until_ready = async |topic: &str| {
        while let Err(error) = topology::queue(&clients, &spec(topic)).await {
            assert!(error.to_string().contains("just written"), "{error}");
        }
    };
    tokio::join!(until_ready("orders"), until_ready("payments"));
    // one may have been overwritten after it had read its own statement back: its next look, a minute later, sees that
    until_ready("orders").await;
    until_ready("payments").await;
    assert!(aws.calls(Action::SetQueueAttributes) >= 3, "the writes did not meet");
    let mut listed = topics(&queue.get_attribute("Policy").unwrap(), QUEUE).unwrap();
    listed.sort();
    assert_eq!(listed, [ORDERS, "arn:aws:sns:us-east-1:000000000000:payments"]);
}
