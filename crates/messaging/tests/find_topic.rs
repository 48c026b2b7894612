//! A topic that is known by its name: found without a scan where region and account tell its ARN.
#![allow(clippy::unwrap_used, reason = "tests")]

use aws_sdk_sqs::config::Credentials;
use lifeline_emulator::{Action, Emulator, Fault};
use lifeline_messaging::call;
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, TopicRef, TopologyError};

const ORDERS: &str = "arn:aws:sns:us-east-1:000000000000:orders";

async fn find(aws: &Emulator) -> Result<String, TopologyError> {
    find_with(&Access::local(aws.url()), false).await
}

async fn find_with(access: &Access, provision: bool) -> Result<String, TopologyError> {
    let clients = Clients::connect(access).await.unwrap();
    let topic = TopicRef::Name("orders".to_owned());
    topology::topic(&clients, &topic, provision).await.map(|topic| topic.arn)
}

#[tokio::test]
async fn a_topic_by_its_name_is_found_without_a_scan() {
    let aws = Emulator::start().await.unwrap();
    assert!(matches!(find(&aws).await, Err(TopologyError::Missing { .. })));
    let _topic = aws.topic("orders");
    assert_eq!(find(&aws).await.unwrap(), ORDERS);
    assert_eq!((aws.calls(Action::GetCallerIdentity), aws.calls(Action::ListTopics)), (2, 0));
}

#[tokio::test]
async fn credentials_that_name_their_account_need_no_call_for_it() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("orders");
    let credentials = Credentials::builder().access_key_id("test").secret_access_key("test");
    let credentials = credentials.account_id("000000000000").provider_name("test").build();
    let access = Access { credentials: Some(credentials), ..Access::local(aws.url()) };
    assert_eq!(find_with(&access, false).await.unwrap(), ORDERS);
    assert_eq!((aws.calls(Action::GetCallerIdentity), aws.calls(Action::ListTopics)), (0, 0));
}

#[tokio::test]
async fn a_role_that_may_only_publish_finds_its_topic_by_name() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("orders");
    let denied = [Action::CreateTopic, Action::GetTopicAttributes, Action::ListTopics];
    for action in denied {
        aws.inject(Fault::on(action).error(403, "AuthorizationError"));
    }
    for provision in [false, true] {
        assert_eq!(find_with(&Access::local(aws.url()), provision).await.unwrap(), ORDERS);
    }
    assert_eq!(aws.calls(Action::ListTopics), 0);
}

#[tokio::test]
async fn without_an_account_the_topics_are_searched() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("orders");
    aws.inject(Fault::on(Action::GetCallerIdentity).error(400, "InvalidAction"));
    assert_eq!(find(&aws).await.unwrap(), ORDERS);
    assert_eq!(aws.calls(Action::ListTopics), 1);
}

#[tokio::test]
async fn a_failure_that_time_may_cure_starts_no_scan() {
    let aws = Emulator::start().await.unwrap();
    let _topic = aws.topic("orders");
    aws.inject(Fault::on(Action::GetTopicAttributes).times(1).throttle());
    assert_eq!(find(&aws).await.unwrap_err().fault(), call::Fault::Throttled);
    assert_eq!(find(&aws).await.unwrap(), ORDERS);
    assert_eq!(aws.calls(Action::ListTopics), 0);
}
