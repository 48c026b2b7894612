//! `HANDLER=http`: each message is posted to a service in any language, which stands behind this consumer as a
//! sidecar and needs to know nothing of SQS.
//!
//! | the service responds | the message |
//! | --- | --- |
//! | 2xx | is deleted |
//! | 429, 502, 503, 504, or no connection | stays leased and is tried again in place, no sooner than `Retry-After` says; nothing new is received until the service responds |
//! | any other 4xx or 5xx with `Retry-After` (seconds, or a date) | is redelivered after that |
//! | the connection ends without a response | stays leased; once the service is back it is tried again alone, and has failed if the service dies of it again |
//! | anything else, or nothing within `HANDLER_TIMEOUT` | is redelivered after the growing delay, at last to the dead-letter queue |
//!
//! A connection that was kept alive may be closed by the service just as it is used again; such a request is sent once more,
//! on a new connection.
//!
//! The body is the message's. Its ids, times, receive count, subject, group and topic are headers; `traceparent`, `tracestate` and
//! `baggage` carry the trace on. Each attribute is a header `attribute-NAME`, which is easy to look at; but servers ignore the case
//! of names, and some drop those with `_` or `.` (tests/servers shows which). So all of them are in `attributes` too, as JSON in the form of an SNS
//! notification: `{"NAME": {"Type": "String", "Value": "…"}}`. The content type is `HANDLER_CONTENT_TYPE`, else the message's attribute `contentType`, else JSON if the
//! body is JSON, else text. A header cannot hold every text: what does not fit is percent-encoded, in `attributes` too.

use std::collections::BTreeMap;
use std::io;
use std::time::{Duration, SystemTime};

use aws_smithy_types::DateTime;
use aws_smithy_types::date_time::Format;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::header::{AUTHORIZATION, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use hyper::{Request, Response, StatusCode, Uri};
use lifeline_http as http;
use lifeline_messaging::envelope::attributes_as_json;
use lifeline_messaging::message::{Attribute, Message};
use lifeline_messaging::span::onward;
use lifeline_messaging::trace::TRACEPARENT;
use percent_encoding::percent_decode_str;

use crate::failure::{Failure, OrFailure as _};

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
    /// Of the user and the password in the URL.
    authorization: Option<HeaderValue>,
    client: http::Client<Full<Bytes>>,
    /// Keeps no connection.
    fresh: http::Client<Full<Bytes>>,
}

impl Post {
    pub(crate) fn to(url: &str, content_type: Option<&str>, connections: usize) -> io::Result<Self> {
        let bad = |e: &dyn std::fmt::Display| {
            let (_, url) = split_user(url);
            io::Error::new(io::ErrorKind::InvalidInput, format!("HANDLER_URL={url}: not an address: {e}"))
        };
        let (authorization, plain) = split_user(url);
        let parsed: Uri = plain.parse().map_err(|e: hyper::http::uri::InvalidUri| bad(&e))?;
        let client = http::Client::builder(CONNECT).max_idle(connections).build();
        let fresh = http::Client::builder(CONNECT).max_idle(0).build();
        client.check_trust(&parsed)?;
        Ok(Self { url: parsed, content_type: content_type.map(header), authorization, client, fresh })
    }

    pub(crate) async fn send(&self, mut message: Message) -> Result<(), Failure> {
        let body = Bytes::from(std::mem::take(&mut message.body));
        let answer = match self.client.request(self.request(&message, &body)?).await {
            Ok(answer) => answer,
            Err(error) if error.is_connect() => return Err(Failure::unavailable(error)),
            // it was kept alive, perhaps, and closed by the service just now; or the service died of this message
            Err(error) => match self.fresh.request(self.request(&message, &body)?).await {
                Ok(answer) => answer,
                Err(again) => return Err(Failure::unavailable(error).interrupted().gone(again.is_connect())),
            },
        };
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
        for (name, value) in [
            ("subject", &message.subject),
            ("message-group", &message.group),
            ("sequence-number", &message.sequence_number),
            ("topic-arn", &message.topic_arn),
            ("dead-letter-source", &message.dead_letter_source),
        ] {
            if let Some(value) = value {
                request = request.header(name, header(value));
            }
        }
        for (name, time) in
            [("published-at", message.published_at), ("first-received-at", message.first_received_at)]
        {
            if let Some(time) = time.and_then(|time| DateTime::from(time).fmt(Format::DateTime).ok()) {
                request = request.header(name, time);
            }
        }
        if let Some(authorization) = &self.authorization {
            request = request.header(AUTHORIZATION, authorization.clone());
        }
        if let Some(trace) = message.trace {
            request = request.header(TRACEPARENT, onward(trace).to_string());
        }
        for (name, attribute) in others(&message.attributes) {
            let own_name = OF_THE_TRACE.contains(&name.as_str());
            let name = if own_name { name.clone() } else { format!("attribute-{name}") };
            // SNS and SQS allow letters, digits, - _ and . in names, and so do headers
            if let Ok(name) = HeaderName::try_from(name) {
                request = request.header(name, header(&attribute.to_text()));
            }
        }
        if others(&message.attributes).next().is_some() {
            request = request.header("attributes", header(&attributes_as_json(others(&message.attributes))));
        }
        request.body(Full::new(body.clone())).or_failed()
    }
}

/// What belongs to the trace beside `traceparent`: <https://www.w3.org/TR/trace-context/>, <https://www.w3.org/TR/baggage/>.
const OF_THE_TRACE: [&str; 2] = ["tracestate", "baggage"];

/// `Basic` authorization (RFC 7617) of the user and the password in a URL, and the URL without them.
fn split_user(url: &str) -> (Option<HeaderValue>, String) {
    let Some((scheme, rest)) = url.split_once("://") else { return (None, url.to_owned()) };
    let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let Some(at) = rest[..end].rfind('@') else { return (None, url.to_owned()) };
    let decoded: Vec<u8> = percent_decode_str(&rest[..at]).collect();
    let pair = if decoded.contains(&b':') { decoded } else { [decoded, b":".to_vec()].concat() };
    let mut value = header(&format!("Basic {}", aws_smithy_types::base64::encode(pair)));
    value.set_sensitive(true);
    (Some(value), format!("{scheme}://{}", &rest[at + 1..]))
}

/// All but the trace, which goes on as a child of its own.
fn others(attributes: &BTreeMap<String, Attribute>) -> impl Iterator<Item = (&String, &Attribute)> {
    attributes.iter().filter(|(name, _)| *name != TRACEPARENT)
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
        answer.headers().get(RETRY_AFTER).filter(|_| asks).and_then(|v| retry_after(v.to_str().ok()?));
    Err(match delay {
        Some(delay) => failure.retry_after(delay.min(LONGEST_DELAY)),
        None => failure,
    })
}

/// Both forms of <https://www.rfc-editor.org/rfc/rfc9110#section-10.2.3>: seconds, or a date. One in the past means now.
fn retry_after(text: &str) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let at = SystemTime::try_from(DateTime::from_str(text, Format::HttpDate).ok()?).ok()?;
    #[allow(clippy::disallowed_methods, reason = "a date of the calendar that the other side has read")]
    let now = SystemTime::now();
    Some(at.duration_since(now).unwrap_or_default())
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
        assert_eq!(answer(503, "soon").unwrap_err().delay(), None);
        assert_eq!(answer(301, "7").unwrap_err().delay(), None);
    }

    #[test]
    fn a_delay_may_be_a_date() {
        let in_a_minute =
            DateTime::from(SystemTime::now() + Duration::from_secs(60)).fmt(Format::HttpDate).unwrap();
        let delay = answer(503, &in_a_minute).unwrap_err().delay().unwrap();
        assert!((58..=60).contains(&delay.as_secs()), "{delay:?}");
        let past = answer(400, "Wed, 21 Oct 2015 07:28:00 GMT").unwrap_err().delay();
        assert_eq!(past, Some(Duration::from_secs(1)), "one in the past is at once, and at once is a second");
    }

    #[test]
    fn a_user_and_a_password_are_sent_and_not_shown() {
        let basic = |url: &str| split_user(url).0.map(|value| value.to_str().unwrap().to_owned());
        assert_eq!(basic("http://user:pa%40ss@host/in").as_deref(), Some("Basic dXNlcjpwYUBzcw=="));
        assert_eq!(basic("http://user@host:1/in").as_deref(), Some("Basic dXNlcjo="));
        assert_eq!(basic("http://host/in?mail=a@b"), None);
        assert_eq!(split_user("https://u:p@[::1]:8443/in@x").1, "https://[::1]:8443/in@x");
        let error = Post::to("http://user:secret@a b/", None, 1).unwrap_err().to_string();
        assert!(error.contains("HANDLER_URL=http://a b/: ") && !error.contains("secret"), "{error}");
    }

    #[test]
    fn attributes_are_each_a_header_and_all_in_one() {
        let mut message = Message::default();
        message.attributes = [
            ("kind_of.Order".to_owned(), Attribute::string("größer")),
            ("blob".to_owned(), Attribute::from(vec![0, 1, 255])),
            ("tracestate".to_owned(), Attribute::string("vendor=1")),
            ("baggage".to_owned(), Attribute::string("user=7")),
        ]
        .into();
        message.subject = Some("ALARM: \"x\"\n".to_owned());
        message.sequence_number = Some("42".to_owned());
        message.first_received_at = Some(SystemTime::UNIX_EPOCH);
        let post = Post::to("http://user:pass@host/in", None, 1).unwrap();
        let request = post.request(&message, &Bytes::from("x")).unwrap();
        for (name, expected) in [
            ("attribute-kind_of.order", "gr%C3%B6%C3%9Fer"),
            ("attribute-blob", "AAH/"),
            ("tracestate", "vendor=1"),
            ("baggage", "user=7"),
            ("subject", "ALARM: \"x\"%0A"),
            ("sequence-number", "42"),
            ("first-received-at", "1970-01-01T00:00:00Z"),
            ("authorization", "Basic dXNlcjpwYXNz"),
            (
                "attributes",
                r#"{"baggage":{"Type":"String","Value":"user=7"},"blob":{"Type":"Binary","Value":"AAH/"},"kind_of.Order":{"Type":"String","Value":"gr%C3%B6%C3%9Fer"},"tracestate":{"Type":"String","Value":"vendor=1"}}"#,
            ),
        ] {
            assert_eq!(request.headers()[name], expected, "{name}");
        }
        assert_eq!(request.uri(), "http://host/in");
        assert!(!request.headers().contains_key("attribute-tracestate"));
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
            let mut message = Message::default();
            message.attributes = attribute.into_iter().collect();
            assert_eq!(content_type(&message, body.as_bytes()), expected, "{body:?} {own:?}");
        }
    }

    #[test]
    fn any_text_fits_into_a_header() {
        assert_eq!(header("a b\r\nx: y 100% é"), "a b%0D%0Ax: y 100%25 %C3%A9");
    }
}
