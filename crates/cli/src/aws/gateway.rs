//! One HTTP endpoint for both services: tells requests apart and says how it is, as LocalStack does.

use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full, Limited, combinators::BoxBody};
use hyper::body::Incoming;

use super::{queues::Queues, topics::Topics};

/// Ten messages of 256 KiB, each byte percent-encoded to three, and room to spare.
const LARGEST_REQUEST: usize = 16 * 1024 * 1024;
/// From the end of the head to the end of the body; a client on this machine needs milliseconds.
const SLOWEST_BODY: Duration = Duration::from_secs(30);

pub(crate) type Body = BoxBody<Bytes, std::io::Error>;

#[derive(Debug)]
pub(crate) struct Gateway {
    queues: Queues,
    topics: Topics,
}

impl Gateway {
    pub(crate) fn new(queues: Queues, topics: Topics) -> Self {
        Self { queues, topics }
    }

    pub(crate) async fn answer(&self, request: Request<Incoming>) -> Response<Body> {
        let (head, body) = request.into_parts();
        if head.method == Method::GET || head.method == Method::HEAD {
            return match head.uri.path() {
                "/_localstack/health" | "/health" | "/" => json(StatusCode::OK, &health()),
                _ => json(
                    StatusCode::NOT_FOUND,
                    &serde_json::json!({"error": "no such page; try /_localstack/health"}),
                ),
            };
        }
        if head.method != Method::POST {
            return json(
                StatusCode::METHOD_NOT_ALLOWED,
                &serde_json::json!({"error": "SNS and SQS are asked with POST"}),
            );
        }
        let body =
            match tokio::time::timeout(SLOWEST_BODY, Limited::new(body, LARGEST_REQUEST).collect()).await {
                Ok(Ok(body)) => body.to_bytes(),
                Ok(Err(error)) => {
                    return json(
                        StatusCode::PAYLOAD_TOO_LARGE,
                        &serde_json::json!({"message": error.to_string()}),
                    );
                }
                Err(_) => {
                    return json(
                        StatusCode::REQUEST_TIMEOUT,
                        &serde_json::json!({"message": "the body did not arrive"}),
                    );
                }
            };
        if head.headers.contains_key("x-amz-target") {
            let host = head.headers.get(header::HOST).and_then(|host| host.to_str().ok());
            return self.queues.answer(&head.headers, host.unwrap_or("localhost"), body).await;
        }
        self.topics.answer(body).await
    }
}

fn health() -> serde_json::Value {
    serde_json::json!({
        "services": {"sns": "running", "sqs": "running"},
        "edition": "lifeline",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn json(status: StatusCode, body: &serde_json::Value) -> Response<Body> {
    respond(status, "application/json", body.to_string())
}

pub(crate) fn respond(
    status: StatusCode,
    content_type: &'static str,
    body: impl Into<Bytes>,
) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).map_err(|never| match never {}).boxed());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    response
}
