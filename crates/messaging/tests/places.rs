//! What is named by an ARN or a URL of another place is neither used nor created here.
#![allow(clippy::unwrap_used, reason = "tests")]

use lifeline_emulator::{Action, Emulator};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef, TopologyError};

async fn emulator() -> (Emulator, Clients) {
    let aws = Emulator::start().await.unwrap();
    let clients = Clients::connect(&Access::local(aws.url())).await.unwrap();
    (aws, clients)
}

fn spec(queue: QueueRef) -> QueueSpec {
    QueueSpec {
        queue,
        topic: TopicRef::Name("orders".to_owned()),
        provision: true,
        max_receives: 5,
        raw_delivery: false,
    }
}

#[tokio::test]
async fn a_topic_of_another_region_is_an_error_that_names_both() {
    let (aws, clients) = emulator().await;
    let topic = TopicRef::from("arn:aws:sns:eu-central-1:000000000000:orders");
    for provision in [true, false] {
        let error = topology::topic(&clients, &topic, provision).await.unwrap_err();
        assert!(matches!(error, TopologyError::Elsewhere { .. }), "{error}");
        assert_eq!(
            error.to_string(),
            "topic arn:aws:sns:eu-central-1:000000000000:orders is in region eu-central-1 of account 000000000000, but this \
             service works in region us-east-1; name one that is here, or set AWS_REGION and the credentials for there"
        );
    }
    assert_eq!(aws.calls(None), 0);
}

#[tokio::test]
async fn a_topic_of_another_account_is_not_created_here() {
    let (aws, clients) = emulator().await;
    let there = TopicRef::from("arn:aws:sns:us-east-1:999988887777:orders");
    let error = topology::topic(&clients, &there, true).await.unwrap_err().to_string();
    assert!(error.contains("in region us-east-1 of account 999988887777"), "{error}");
    assert!(error.contains("works in region us-east-1 of account 000000000000"), "{error}");
    assert_eq!(aws.calls(Action::CreateTopic), 0);
    // its own is
    let here = TopicRef::from("arn:aws:sns:us-east-1:000000000000:orders");
    assert_eq!(
        topology::topic(&clients, &here, true).await.unwrap().arn,
        "arn:aws:sns:us-east-1:000000000000:orders"
    );
}

#[tokio::test]
async fn a_queue_of_another_place_is_not_created_here() {
    let (aws, clients) = emulator().await;
    let url = QueueRef::Url("https://sqs.eu-west-1.amazonaws.com/000000000000/q".to_owned());
    let error = topology::queue(&clients, &spec(url)).await.unwrap_err().to_string();
    assert!(error.contains("is in region eu-west-1 of account 000000000000"), "{error}");
    let url = QueueRef::Url(format!("{}/999988887777/q", aws.url()));
    let error = topology::queue(&clients, &spec(url)).await.unwrap_err().to_string();
    assert!(
        error.contains("is in account 999988887777, but this service works in region us-east-1 of account"),
        "{error}"
    );
    assert_eq!(aws.calls(Action::CreateQueue), 0);
    let url = QueueRef::Url(format!("{}/000000000000/q", aws.url()));
    topology::queue(&clients, &spec(url)).await.unwrap();
    assert_eq!(aws.existing_queue("q").name(), "q");
}
