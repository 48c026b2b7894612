//! A fake SNS and SQS in memory: responds to every call immediately, without a network.
//!
//! It replaces the HTTP client, so that only instructions of Lifeline and the SDK are counted. Its queue has a given length; a
//! receive from the empty queue never returns.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_sdk_sqs::config::SharedHttpClient;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::body::SdkBody;
use tokio::sync::Notify;

/// Maximum messages per receive.
const LARGEST: usize = 10;

pub const TOPIC_ARN: &str = "arn:aws:sns:us-east-1:000000000000:events";
pub const QUEUE_URL: &str = "http://fake/000000000000/events-consumer";

/// The endpoint. Clones share one queue.
#[derive(Clone, Debug)]
pub struct FakeEndpoint(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// One entry of a receive response.
    message: String,
    left: AtomicUsize,
    undeleted: AtomicUsize,
    calls: AtomicUsize,
    all_deleted: Notify,
}

impl FakeEndpoint {
    /// A queue of `messages` messages with the same body, in SNS's envelope and with the attribute of Lifeline's producer.
    pub fn new(messages: usize, body: &str) -> Self {
        let inner = Inner {
            message: message(body),
            left: AtomicUsize::new(messages),
            undeleted: AtomicUsize::new(messages),
            calls: AtomicUsize::new(0),
            all_deleted: Notify::new(),
        };
        Self(Arc::new(inner))
    }

    /// The endpoint as an HTTP client.
    pub fn http(&self) -> SharedHttpClient {
        let connector = SharedHttpConnector::new(self.clone());
        http_client_fn(move |_, _| connector.clone())
    }

    /// Completes when the last message is deleted.
    pub async fn emptied(self) {
        self.0.all_deleted.notified().await;
    }

    /// Number of calls.
    pub fn calls(&self) -> usize {
        self.0.calls.load(Ordering::Relaxed)
    }

    fn receive(&self, body: &str) -> Option<String> {
        let asked = number_after(body, "\"MaxNumberOfMessages\":").unwrap_or(1).min(LARGEST);
        let left = self.0.left.load(Ordering::Relaxed);
        let given = left.min(asked);
        self.0.left.store(left - given, Ordering::Relaxed);
        let messages = vec![self.0.message.as_str(); given].join(",");
        (given > 0).then(|| format!("{{\"Messages\":[{messages}]}}"))
    }

    fn delete(&self, body: &str) -> String {
        let entries = body.matches("\"ReceiptHandle\"").count();
        if self.0.undeleted.fetch_sub(entries, Ordering::Relaxed) == entries {
            self.0.all_deleted.notify_one();
        }
        let successes: Vec<_> = (0..entries).map(|id| format!("{{\"Id\":\"{id}\"}}")).collect();
        format!("{{\"Successful\":[{}],\"Failed\":[]}}", successes.join(","))
    }

    /// The body of the response to a call, by the header `x-amz-target` and its body; `None` if it never responds.
    pub fn respond(&self, target: Option<&str>, body: &[u8]) -> Option<String> {
        self.0.calls.fetch_add(1, Ordering::Relaxed);
        let body = std::str::from_utf8(body).unwrap_or_default();
        let response = match target.and_then(|target| target.split('.').nth(1)) {
            Some("ReceiveMessage") => return self.receive(body),
            Some("DeleteMessageBatch") => self.delete(body),
            Some("GetQueueAttributes") => QUEUE_ATTRIBUTES.to_owned(),
            None if body.starts_with("Action=PublishBatch&") => published(body),
            None if body.starts_with("Action=GetTopicAttributes&") => TOPIC_ATTRIBUTES.to_owned(),
            // An unexpected call means that something else is measured.
            other => panic!("unexpected call: {other:?} {}", body.chars().take(60).collect::<String>()),
        };
        Some(response)
    }
}

impl HttpConnector for FakeEndpoint {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let body = request.body().bytes().unwrap_or_default();
        let Some(body) = self.respond(request.headers().get("x-amz-target"), body) else {
            return HttpConnectorFuture::new(std::future::pending::<Result<Response, ConnectorError>>());
        };
        let response = http::Response::new(SdkBody::from(body));
        HttpConnectorFuture::ready(
            Response::try_from(response).map_err(|e| ConnectorError::other(e.into(), None)),
        )
    }
}

const QUEUE_ATTRIBUTES: &str = r#"{"Attributes":{"QueueArn":"arn:aws:sqs:us-east-1:000000000000:events-consumer","VisibilityTimeout":"30","RedrivePolicy":"{\"deadLetterTargetArn\":\"arn:aws:sqs:us-east-1:000000000000:events-consumer-dlq\",\"maxReceiveCount\":5}","ApproximateNumberOfMessages":"0","ApproximateNumberOfMessagesNotVisible":"0"}}"#;

const TOPIC_ATTRIBUTES: &str = r#"<GetTopicAttributesResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><GetTopicAttributesResult><Attributes><entry><key>TopicArn</key><value>arn:aws:sns:us-east-1:000000000000:events</value></entry></Attributes></GetTopicAttributesResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></GetTopicAttributesResponse>"#;

fn message(body: &str) -> String {
    // As AWS writes them, since their length matters.
    let notification = serde_json::json!({
        "Type": "Notification",
        "MessageId": "dc1e94d9-56c5-5e96-808d-cc7f68faa162",
        "TopicArn": TOPIC_ARN,
        "Message": body,
        "Timestamp": "2026-11-24T00:00:00.500Z",
        "SignatureVersion": "1",
        "Signature": "x".repeat(344),
        "SigningCertURL": "https://sns.us-east-1.amazonaws.com/SimpleNotificationService-9c6465fa7f48f5cacd23014631ec1136.pem",
        "UnsubscribeURL": "https://sns.us-east-1.amazonaws.com/?Action=Unsubscribe&SubscriptionArn=arn:aws:sns:us-east-1:000000000000:events:8f5dcb5b",
        "MessageAttributes": {
            "traceparent": {"Type": "String", "Value": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"},
        },
    });
    serde_json::json!({
        "MessageId": "5fea7756-0ea4-451a-a703-a558b933e274",
        "ReceiptHandle": "r".repeat(320),
        "MD5OfBody": "fafb00f5732ab283681e124bf8747ed1",
        "Body": notification.to_string(),
        "Attributes": {"ApproximateReceiveCount": "1", "SentTimestamp": "1795478400500"},
    })
    .to_string()
}

fn published(body: &str) -> String {
    // Every entry has the field `member.N.Id` once.
    let entries = (1..=LARGEST).filter(|n| body.contains(&format!("member.{n}.Id="))).count();
    let member = |id| {
        format!("<member><Id>{id}</Id><MessageId>dc1e94d9-56c5-5e96-808d-cc7f68faa162</MessageId></member>")
    };
    let members: String = (0..entries).map(member).collect();
    format!(
        r#"<PublishBatchResponse xmlns="http://sns.amazonaws.com/doc/2010-03-31/"><PublishBatchResult><Failed/><Successful>{members}</Successful></PublishBatchResult><ResponseMetadata><RequestId>r</RequestId></ResponseMetadata></PublishBatchResponse>"#
    )
}

fn number_after(text: &str, key: &str) -> Option<usize> {
    let rest = &text[text.find(key)? + key.len()..];
    let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..end].parse().ok()
}
