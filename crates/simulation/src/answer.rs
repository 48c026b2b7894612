//! Answers that are not the emulator's: errors in AWS's form, pages of others, bodies that arrive slowly or in part.

use std::error::Error;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use aws_smithy_types::body::SdkBody;
use hyper::Response;
use hyper::body::{Body, Bytes, Frame};
use tokio::time::{Sleep, sleep};

use crate::observer::Disturbed;

/// A response before its bytes leave.
pub(crate) type Answer = Response<Bytes>;

/// How often a slow body sends.
const TICK: Duration = Duration::from_millis(250);

/// An error in AWS's form: SQS's JSON, or SNS's XML.
pub(crate) fn error(sqs: bool, status: u16, code: &str) -> Answer {
    let (kind, body) = if sqs {
        let body = format!(r#"{{"__type":"com.amazonaws.sqs#{code}","message":"as simulated"}}"#);
        ("application/x-amz-json-1.0", body)
    } else {
        let body = format!(
            "<ErrorResponse><Error><Type>Sender</Type><Code>{code}</Code><Message>as simulated</Message></Error>\
             <RequestId>0</RequestId></ErrorResponse>"
        );
        ("text/xml", body)
    };
    with_type(status, kind, body)
}

/// What a proxy, a login page or a load balancer says.
pub(crate) fn page(status: u16) -> Answer {
    with_type(status, "text/html", "<html><body><h1>It is not here</h1></body></html>".to_owned())
}

fn with_type(status: u16, kind: &'static str, body: String) -> Answer {
    let answer = Response::builder().status(status).header("content-type", kind);
    answer.body(body.into()).unwrap_or_default()
}

/// The first entry that succeeded is named as one that nobody sent.
pub(crate) fn misname(answer: Answer) -> Option<Answer> {
    let text = std::str::from_utf8(answer.body()).ok()?;
    let changed = ["\"Id\":\"", "<Id>"].into_iter().find_map(|mark| {
        let at = text.find(mark)? + mark.len();
        Some(format!("{}x7{}", &text[..at], &text[at..]))
    })?;
    let mut answer = answer;
    // as it was counted before
    answer.headers_mut().remove("content-length");
    Some(answer.map(|_| changed.into()))
}

/// How the bytes of a response arrive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pace {
    Whole,
    /// Bytes per second.
    Slow(u64),
    Stall,
    Truncate,
}

/// A body that arrives in its own time.
pub(crate) struct Paced {
    left: Bytes,
    pace: Pace,
    next: Pin<Box<Sleep>>,
    /// A fault that lasts for as long as the body arrives.
    _fault: Option<Disturbed>,
}

impl Paced {
    pub(crate) fn new(body: Bytes, pace: Pace, fault: Option<Disturbed>) -> Self {
        let half = body.len() / 2;
        let left = if matches!(pace, Pace::Stall | Pace::Truncate) { body.slice(..half) } else { body };
        Self { left, pace, next: Box::pin(sleep(Duration::ZERO)), _fault: fault }
    }
}

impl Body for Paced {
    type Data = Bytes;
    type Error = Box<dyn Error + Send + Sync>;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Self::Error>>> {
        if self.left.is_empty() {
            return match self.pace {
                Pace::Stall => Poll::Pending,
                Pace::Truncate => {
                    self.pace = Pace::Whole;
                    Poll::Ready(Some(Err(io::Error::from(io::ErrorKind::UnexpectedEof).into())))
                }
                Pace::Whole | Pace::Slow(_) => Poll::Ready(None),
            };
        }
        let Pace::Slow(rate) = self.pace else {
            let all = std::mem::take(&mut self.left);
            return Poll::Ready(Some(Ok(Frame::data(all))));
        };
        if self.next.as_mut().poll(context).is_pending() {
            return Poll::Pending;
        }
        self.next = Box::pin(sleep(TICK));
        let most = usize::try_from(rate / 4).unwrap_or(usize::MAX).max(1);
        let length = self.left.len();
        let some = self.left.split_to(most.min(length));
        Poll::Ready(Some(Ok(Frame::data(some))))
    }
}

/// The response as the SDK gets it.
pub(crate) fn send(answer: Answer, pace: Pace, fault: Option<Disturbed>) -> Response<SdkBody> {
    lifeline_messaging::call::arriving(answer.map(|body| Paced::new(body, pace, fault)))
}
