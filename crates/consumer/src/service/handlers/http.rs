//! `HANDLER=http`: each message is posted to a service in any language, which stands behind this consumer as a
//! sidecar and needs to know nothing of SQS.
//!
//! | the service responds | the message |
//! | --- | --- |
//! | 2xx | is deleted |
//! | 429, 502, 503, 504, or no connection | stays leased and is tried again in place, no sooner than `Retry-After` says; nothing new is received until the service responds |
//! | any other 4xx or 5xx with `Retry-After: seconds` | is redelivered after that |
//! | anything else, or nothing within `HANDLER_TIMEOUT` | is redelivered after the growing delay, at last to the dead-letter queue |
//!
//! A connection that was kept alive may be closed by the service just as it is used again; such a request is sent once more,
//! on a new connection.
//!
//! The body is the message's. Its ids, receive count, group, topic and attributes are headers, and `traceparent`
//! carries the trace on. The content type is `HANDLER_CONTENT_TYPE`, else the message's attribute `contentType`, else JSON if the
//! body is JSON, else text. A header cannot hold every text: what does not fit is percent-encoded.

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

use crate::failure::{Failure, OrFailure};

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
    /// Of every request, whatever the message says.
    content_type: Option<HeaderValue>,
    client: http::Client<Full<Bytes>>,
    /// Keeps no connection.
    fresh: http::Client<Full<Bytes>>,
}

impl Post {
    pub(crate) fn to(url: &str, content_type: Option<&str>, connections: usize) -> io::Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            io::Error::new(io::ErrorKind::InvalidInput, format!("HANDLER_URL={url}: not an address: {e}"))
        };
        let parsed: Uri = url.parse().map_err(|e: hyper::http::uri::InvalidUri| bad(&e))?;
        let client = http::Client::builder(CONNECT).max_idle(connections).build();
        let fresh = http::Client::builder(CONNECT).max_idle(0).build();
        client.check_trust(&parsed)?;
        Ok(Self { url: parsed, content_type: content_type.map(header), client, fresh })
    }

    pub(crate) async fn send(&self, mut message: Message) -> Result<(), Failure> {
        let body = Bytes::from(std::mem::take(&mut message.body));
        let answer = match self.client.request(self.request(&message, &body)?).await {
            // it was kept alive, perhaps, and closed by the service just now
            Err(error) if !error.is_connect() => self.fresh.request(self.request(&message, &body)?).await,
            answer => answer,
        };
        let answer = answer.or_unavailable()?;
        let verdict = judge(&answer);
        drain(answer.into_body()).await;
        verdict
    }

    fn request(&self, message: &Message, body: &Bytes) -> Result<Request<Full<Bytes>>, Failure> {
        let mut request = Request::post(self.url.clone());
        request = request
            .header(CONTENT_TYPE, self.content_type.clone().unwrap_or_else(|| content_type(message, body)))
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
        request.body(Full::new(body.clone())).or_failed()
    }
}

/// The type that the message says it has (attribute `contentType`, as Spring and the SDKs' users write it, or
/// `content-type`); else JSON if the body is that, and text if it is not.
fn content_type(message: &Message, body: &[u8]) -> HeaderValue {
    let own = ["contentType", "content-type", "Content-Type"].into_iter().find_map(|name| {
        let text = message.attributes.get(name)?.as_str()?;
        HeaderValue::try_from(text.trim()).ok().filter(|value| !value.is_empty())
    });
    own.unwrap_or_else(|| {
        // only what can be an object or an array is read: a number or a quoted word is more likely a text
        let json = matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
            && serde_json::from_slice::<serde::de::IgnoredAny>(body).is_ok();
        HeaderValue::from_static(if json { "application/json" } else { "text/plain; charset=utf-8" })
    })
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
    let text = format!("the service responded {status}");
    let failure = match status {
        StatusCode::TOO_MANY_REQUESTS
        | StatusCode::BAD_GATEWAY
        | StatusCode::SERVICE_UNAVAILABLE
        | StatusCode::GATEWAY_TIMEOUT => Failure::unavailable(text),
        _ => Failure::failed(text),
    };
    let asks = status.is_client_error() || status.is_server_error();
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
    use crate::failure::FailureKind;

    fn answer(status: u16, after: &str) -> Result<(), Failure> {
        judge(&Response::builder().status(status).header(RETRY_AFTER, after).body(()).unwrap())
    }

    #[test]
    fn a_service_that_is_down_or_busy_is_unavailable_and_every_other_answer_is_about_the_message() {
        assert!(answer(204, "7").is_ok());
        for status in [429, 502, 503, 504] {
            assert_eq!(answer(status, "").unwrap_err().kind(), Some(FailureKind::Unavailable), "{status}");
        }
        for status in [301, 400, 401, 404, 409, 413, 422, 500, 501] {
            assert_eq!(answer(status, "").unwrap_err().kind(), Some(FailureKind::Failed), "{status}");
        }
    }

    #[test]
    fn any_failure_may_ask_for_a_delay_of_at_least_a_second() {
        for status in [400, 423, 429, 500, 503] {
            assert_eq!(answer(status, "7").unwrap_err().delay(), Some(Duration::from_secs(7)), "{status}");
        }
        assert_eq!(answer(503, "0").unwrap_err().delay(), Some(Duration::from_secs(1)));
        assert_eq!(answer(503, "99999999").unwrap_err().delay(), Some(LONGEST_DELAY));
        assert_eq!(answer(503, "Wed, 21 Oct 2026 07:28:00 GMT").unwrap_err().delay(), None);
        assert_eq!(answer(301, "7").unwrap_err().delay(), None);
    }

    #[test]
    fn the_content_type_is_the_messages_own_or_what_its_body_is() {
        const JSON: &str = "application/json";
        const TEXT: &str = "text/plain; charset=utf-8";
        for (body, own, expected) in [
            (r#"{"id":1}"#, None, JSON),
            ("  [1, 2]\n", None, JSON),
            ("[warn] disk is full", None, TEXT),
            ("{{name}} has left", None, TEXT),
            ("7", None, TEXT),
            ("", None, TEXT),
            ("<order/>", Some("application/xml"), "application/xml"),
            (r#"{"id":1}"#, Some("application/vnd.order+json"), "application/vnd.order+json"),
            (r#"{"id":1}"#, Some(" "), JSON),
            ("plain", Some("a\r\nb: c"), TEXT),
        ] {
            let attribute = own.map(|own| ("contentType".to_owned(), Attribute::string(own)));
            let message = Message {
                id: String::new(),
                sqs_message_id: String::new(),
                body: String::new(),
                attributes: attribute.into_iter().collect(),
                receive_count: 1,
                published_at: None,
                group: None,
                topic_arn: None,
                trace: None,
            };
            assert_eq!(content_type(&message, body.as_bytes()), expected, "{body:?} {own:?}");
        }
    }

    #[test]
    fn any_text_fits_into_a_header() {
        assert_eq!(header("a b\r\nx: y 100% é"), "a b%0D%0Ax: y 100%25 %C3%A9");
    }
}
