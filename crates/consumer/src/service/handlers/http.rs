//! `HANDLER=http`: each message is posted to a service in any language, which stands behind this consumer as a
//! sidecar and needs to know nothing of SQS.
//!
//! | the service answers | the message |
//! | --- | --- |
//! | 2xx | is deleted |
//! | 429 or 503 with `Retry-After: seconds` | comes back after that |
//! | anything else, or nothing | comes back after the growing delay, at last to the dead-letter queue |
//!
//! The body is the message's. Its ids, receive count, group, topic and attributes are headers, and `traceparent`
//! carries the trace on. A header cannot hold every text: what does not fit is percent-encoded.

use std::io;
use std::time::Duration;

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use lifeline_http as http;
use lifeline_messaging::message::{Attribute, Message};
use lifeline_messaging::span::onward;
use lifeline_messaging::trace::TRACEPARENT;

use crate::handler::Failure;

/// The longest delay that an answer may ask for.
const LONGEST_DELAY: Duration = Duration::from_secs(12 * 60 * 60);

/// How long the service may take to accept a connection: it stands beside us, or not far away.
const CONNECT: Duration = Duration::from_secs(5);

/// How much of an answer's body is read, and for how long, to keep its connection.
const ANSWER_MAX: usize = 64 * 1024;
const ANSWER_WAIT: Duration = Duration::from_millis(500);

/// Posts messages over a pool of kept-alive connections, at most as many as there are messages in flight.
#[derive(Debug)]
pub(crate) struct Post {
    url: Uri,
    client: http::Client<Full<Bytes>>,
}

impl Post {
    pub(crate) fn to(url: &str, connections: usize) -> io::Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("HANDLER_URL={url}: not an address: {e}"))
        };
        let parsed: Uri = url.parse().map_err(|e: hyper::http::uri::InvalidUri| bad(&e))?;
        let client = http::Client::builder(CONNECT).max_idle(connections).build();
        client.check_trust(&parsed)?;
        Ok(Self { url: parsed, client })
    }

    pub(crate) async fn send(&self, message: Message) -> Result<(), Failure> {
        let request = self.request(message)?;
        let answer = self.client.request(request).await?;
        let verdict = judge(&answer);
        drain(answer.into_body()).await;
        verdict
    }

    fn request(&self, message: Message) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(self.url.clone());
        let json = message.body.starts_with(['{', '[']);
        let kind = if json { "application/json" } else { "text/plain; charset=utf-8" };
        request = request
            .header(CONTENT_TYPE, kind)
            .header("message-id", header(&message.id))
            .header("sqs-message-id", header(&message.sqs_message_id))
            .header("receive-count", message.receive_count);
        for (name, value) in [("message-group", &message.group), ("topic-arn", &message.topic_arn)] {
            if let Some(value) = value {
                request = request.header(name, header(value));
            }
        }
        if let Some(trace) = message.trace {
            request = request.header(TRACEPARENT, onward(trace).to_string());
        }
        for (name, attribute) in message.attributes.iter().filter(|(name, _)| *name != TRACEPARENT) {
            // SNS and SQS allow letters, digits, - _ and . in names, and so do headers
            if let Ok(name) = HeaderName::try_from(format!("attribute-{name}")) {
                request = request.header(name, attribute_header(attribute));
            }
        }
        Ok(request.body(Full::new(Bytes::from(message.body)))?)
    }
}

/// Reads what is left of an answer, for a connection whose answer was not read cannot be used again. One that is long, or
/// slow, is worth less than a new connection.
async fn drain(mut body: Incoming) {
    let short = async {
        let mut read = 0;
        while let Some(Ok(frame)) = body.frame().await {
            read += frame.data_ref().map_or(0, Bytes::len);
            if read > ANSWER_MAX {
                return;
            }
        }
    };
    tokio::time::timeout(ANSWER_WAIT, short).await.ok();
}

fn judge<B>(answer: &Response<B>) -> Result<(), Failure> {
    let status = answer.status();
    if status.is_success() {
        return Ok(());
    }
    let failure = Failure::new(format!("the service answered {status}"));
    let asks = matches!(status, StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE);
    let delay =
        answer.headers().get(RETRY_AFTER).filter(|_| asks).and_then(|v| v.to_str().ok()?.trim().parse().ok());
    Err(match delay {
        Some(seconds) => failure.retry_after(Duration::from_secs(seconds).min(LONGEST_DELAY)),
        None => failure,
    })
}

fn attribute_header(attribute: &Attribute) -> HeaderValue {
    match attribute {
        Attribute::Text { value, .. } => header(value),
        Attribute::Binary { value, .. } => header(&aws_smithy_types::base64::encode(value)),
    }
}

/// Visible ASCII as it is; everything else, and `%` itself, percent-encoded.
fn header(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'%' => encoded.push_str("%25"),
            b' '..=b'~' => encoded.push(char::from(byte)),
            other => encoded.push_str(&format!("%{other:02X}")),
        }
    }
    HeaderValue::try_from(encoded).expect("visible ASCII is a header value")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_429_and_503_set_the_delay() {
        let answer = |status: u16, after: &str| {
            judge(&Response::builder().status(status).header(RETRY_AFTER, after).body(()).unwrap())
        };
        assert!(answer(204, "7").is_ok());
        assert_eq!(answer(429, "7").unwrap_err().delay(), Some(Duration::from_secs(7)));
        assert_eq!(answer(503, "99999999").unwrap_err().delay(), Some(LONGEST_DELAY));
        assert_eq!(answer(503, "Wed, 21 Oct 2026 07:28:00 GMT").unwrap_err().delay(), None);
        assert_eq!(answer(500, "7").unwrap_err().delay(), None);
        assert_eq!(answer(301, "7").unwrap_err().delay(), None);
    }

    #[test]
    fn any_text_fits_into_a_header() {
        assert_eq!(header("a b\r\nx: y 100% é"), "a b%0D%0Ax: y 100%25 %C3%A9");
    }
}
