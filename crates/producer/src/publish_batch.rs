//! One `PublishBatch` call: sends a batch, reads every entry of the response, and says what a failure means.
//!
//! A message is rejected only by a code about a message's content. Everything else that comes back says something about the
//! call or the environment: an unknown code, a proxy's page, a timeout.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sns::config::Config;
use aws_sdk_sns::config::timeout::TimeoutConfig;
use aws_sdk_sns::operation::RequestId as _;
use aws_sdk_sns::operation::publish_batch::PublishBatchOutput;
use aws_sdk_sns::primitives::Blob;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use lifeline_escape::{Line, unescaped};
use lifeline_messaging::call::evidence::Effect;
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::message::Attribute;

use crate::entry::CallFacts;
use crate::message::Outgoing;

/// The slowest link that a large batch is given time for, in bytes per second.
const SLOWEST_LINK: u64 = 64_000;

/// Batches of fewer bytes pass any link within `CALL_TIMEOUT`.
pub(crate) const LARGE: usize = 16 << 10;

/// Bytes of a response without a code that are logged.
const SHOWN: usize = 200;

/// What the response says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum EntryResult {
    Published {
        message_id: String,
        sequence_number: Option<String>,
    },
    Failed {
        meaning: Meaning,
        code: String,
        text: String,
    },
    /// In neither list: nobody knows, so it is sent again.
    Unmentioned,
}

/// What became of a call, and of its messages in their order.
pub(crate) type Answer = Result<(CallFacts, Vec<EntryResult>), Failure>;

/// What a failure means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Meaning {
    /// A message's content: it would fail again, and only it. `certain` if code and text leave no doubt.
    Content { certain: bool },
    /// Refused with a code that is not known, or without one: the environment's fault unless others pass meanwhile.
    Refused,
    /// The environment's or SNS's, whatever the messages are.
    Environment(Fault),
}

/// A call that failed, and every entry with it.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    pub(crate) meaning: Meaning,
    /// The call may have taken effect: it was sent, and SNS's own response to it is not known.
    pub(crate) may_have_taken_effect: bool,
    pub(crate) error: CallError,
}

/// How long a call of so many bytes may take.
pub(crate) fn limit(call_timeout: Duration, bytes: usize) -> Duration {
    if bytes < LARGE {
        return call_timeout;
    }
    call_timeout + Duration::from_micros(bytes as u64 * 1_000_000 / SLOWEST_LINK)
}

/// Sends the messages as one batch within `limit`. The results come in their order.
pub(crate) async fn publish(
    clients: &Clients,
    arn: &str,
    messages: &[Arc<Outgoing>],
    limit: Duration,
) -> Answer {
    let entries = messages.iter().enumerate().map(|(at, message)| entry(at, message)).collect();
    let call = clients.sns.publish_batch().topic_arn(arn).set_publish_batch_request_entries(Some(entries));
    let mut page = None;
    let call = async {
        let response = if limit > clients.call_timeout {
            let timeout = TimeoutConfig::builder().operation_attempt_timeout(limit).build();
            call.customize().config_override(Config::builder().timeout_config(timeout)).send().await
        } else {
            call.send().await
        };
        response.inspect_err(|error| {
            let body = error.raw_response().and_then(|response| response.body().bytes());
            page = body.map(|body| String::from_utf8_lossy(&body[..body.len().min(SHOWN)]).into_owned());
        })
    };
    match bounded("PublishBatch", limit, call).await {
        Ok(response) => {
            let request_id = response.request_id().map(str::to_owned);
            let call = CallFacts { request_id, messages: messages.len() };
            Ok((call, results(response, messages.len())))
        }
        Err(error) => Err(Failure::new(error, page)),
    }
}

impl Failure {
    /// Of a call; `page` is what came back instead of an error code.
    fn new(mut error: CallError, page: Option<String>) -> Self {
        if error.code.is_none() && error.status.is_some() {
            let page = page.unwrap_or_default();
            let text = if page.is_empty() { "no body".to_owned() } else { format!("no error code: {page}") };
            error.detail = unescaped(Line::new(&text).limit(1024));
        }
        // SNS, and what stands in front of it, answer 4xx to what they did not do
        let refused = error.status.is_some_and(|status| (400..500).contains(&status) && status != 408);
        let may_have_taken_effect = error.evidence().effect() == Effect::Possible && !refused;
        let meaning = match error.fault {
            Fault::Refused => content(error.code.as_deref().unwrap_or_default(), &error.detail, false),
            // a code that nobody knows, or none at all
            Fault::Server if refused => Meaning::Refused,
            Fault::Denied if error.status == Some(403) && error.code.is_none() => Meaning::Refused,
            fault => Meaning::Environment(fault),
        };
        Self { meaning, may_have_taken_effect, error }
    }
}

/// What an entry's code means.
fn entry_meaning(code: &str, text: &str, sender_fault: bool) -> Meaning {
    match Fault::of_code(code) {
        Fault::Refused => content(code, text, true),
        // a code that nobody knows
        Fault::Server if sender_fault => Meaning::Refused,
        fault => Meaning::Environment(fault),
    }
}

/// What a code about the request means; one that stands at an entry is about that entry.
fn content(code: &str, text: &str, of_entry: bool) -> Meaning {
    // of the call, whatever its messages are: an ARN of another region, for example
    if text.contains("TopicArn") || text.contains("TargetArn") {
        return Meaning::Environment(Fault::Missing);
    }
    let about = ["too long", "Empty message", "parameter: Message", "Subject", "MessageGroupId", "XML"];
    let certain = code.contains("TooLong") || about.iter().any(|about| text.contains(about));
    Meaning::Content { certain: certain || of_entry }
}

/// Ids are positions: the same message twice in a batch is two entries.
fn entry(at: usize, message: &Outgoing) -> PublishBatchRequestEntry {
    let attributes = message.attributes.iter().map(|(name, value)| (name.clone(), to_sdk(value))).collect();
    PublishBatchRequestEntry::builder()
        .id(at.to_string())
        .message(message.body.clone())
        .set_subject(message.subject.clone())
        .set_message_attributes(Some(attributes))
        .set_message_group_id(message.group.clone())
        .set_message_deduplication_id(message.deduplication_id.clone())
        .build()
        .expect("an id and a message are all that it needs")
}

fn to_sdk(attribute: &Attribute) -> MessageAttributeValue {
    let builder = match attribute {
        Attribute::Text { data_type, value } => {
            MessageAttributeValue::builder().data_type(data_type).string_value(value)
        }
        Attribute::Binary { data_type, value } => {
            MessageAttributeValue::builder().data_type(data_type).binary_value(Blob::new(value.clone()))
        }
    };
    builder.build().expect("a type is all that it needs")
}

fn results(response: PublishBatchOutput, entries: usize) -> Vec<EntryResult> {
    let mut results = vec![EntryResult::Unmentioned; entries];
    let at = |id: Option<&str>| id.and_then(|id| id.parse::<usize>().ok()).filter(|at| *at < entries);
    for failed in response.failed.unwrap_or_default() {
        if let Some(at) = at(Some(&failed.id)) {
            let text = failed.message.unwrap_or_default();
            let meaning = entry_meaning(&failed.code, &text, failed.sender_fault);
            results[at] = EntryResult::Failed { meaning, code: failed.code, text };
        }
    }
    // second, so that what SNS accepted is never reported as failed
    for published in response.successful.unwrap_or_default() {
        if let Some(at) = at(published.id.as_deref()) {
            let message_id = published.message_id.unwrap_or_default();
            results[at] = EntryResult::Published { message_id, sequence_number: published.sequence_number };
        }
    }
    results
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_sns::types::{BatchResultErrorEntry, PublishBatchResultEntry};

    fn published(id: &str) -> PublishBatchResultEntry {
        PublishBatchResultEntry::builder().id(id).message_id(format!("m{id}")).build()
    }

    fn failed(id: &str, code: &str, sender_fault: bool) -> BatchResultErrorEntry {
        BatchResultErrorEntry::builder().id(id).code(code).sender_fault(sender_fault).build().unwrap()
    }

    #[test]
    fn every_entry_of_a_response_is_checked() {
        let response = PublishBatchOutput::builder()
            .successful(published("2"))
            .successful(published("9"))
            .successful(published("x"))
            .failed(failed("0", "InternalError", false))
            .failed(failed("1", "InvalidParameter", true))
            .failed(failed("2", "InternalError", false))
            .failed(failed("3", "NewToUs", true))
            .build();
        let results = results(response, 5);
        let meaning = |at: usize| match &results[at] {
            EntryResult::Failed { meaning, .. } => *meaning,
            other => panic!("{other:?}"),
        };
        assert_eq!(meaning(0), Meaning::Environment(Fault::Server));
        assert_eq!(meaning(1), Meaning::Content { certain: true });
        assert!(
            matches!(&results[2], EntryResult::Published { message_id, .. } if message_id == "m2"),
            "in both lists"
        );
        assert_eq!(meaning(3), Meaning::Refused);
        assert_eq!(results[4], EntryResult::Unmentioned);
    }

    fn refused(status: u16, code: Option<&str>, text: &str) -> Failure {
        let fault = Fault::of_response(code, status);
        let detail = text.to_owned();
        let code = code.map(str::to_owned);
        Failure::new(CallError { action: "PublishBatch", fault, status: Some(status), code, detail }, None)
    }

    #[test]
    fn only_codes_about_content_are_about_a_message() {
        for (code, text, certain) in [
            ("InvalidParameter", "InvalidParameter: Invalid parameter: Message too long", true),
            ("InvalidParameterException", "Invalid parameter: Empty message", true),
            ("BatchRequestTooLong", "", true),
            ("InvalidParameter", "", false),
        ] {
            assert_eq!(refused(400, Some(code), text).meaning, Meaning::Content { certain }, "{code}");
        }
        for (code, text, status) in [
            ("InvalidParameter", "Invalid parameter: TopicArn", 400),
            ("InvalidSignatureException", "", 403),
            ("MissingAuthenticationTokenException", "", 403),
            ("IncompleteSignatureException", "", 400),
            ("InvalidAccessKeyId", "", 403),
            ("EndpointDisabled", "", 400),
            ("NotAuthorized", "", 400),
            ("RequestTimeTooSkewed", "", 403),
            ("AuthFailure", "", 401),
            ("SomethingNew", "", 403),
            ("TooManyRequests", "", 429),
            ("KMS.ThrottlingException", "", 400),
            ("EC2ThrottledException", "", 400),
            ("PriorRequestNotComplete", "", 400),
        ] {
            let failure = refused(status, Some(code), text);
            assert!(matches!(failure.meaning, Meaning::Environment(_)), "{code}: {failure:?}");
        }
        for code in ["ValidationError", "InvalidAction", "RequestEntityTooLarge", "UnknownOperationException"]
        {
            assert_eq!(refused(400, Some(code), "").meaning, Meaning::Refused, "{code}");
        }
        for status in [400, 403, 404, 406, 413, 414, 431] {
            let failure = refused(status, None, "");
            assert_eq!(failure.meaning, Meaning::Refused, "{status}");
            assert!(
                !failure.may_have_taken_effect && failure.error.to_string().contains(&status.to_string())
            );
        }
        for status in [401, 407, 408, 429, 500, 502, 503, 509] {
            assert!(matches!(refused(status, None, "").meaning, Meaning::Environment(_)), "{status}");
        }
    }

    #[test]
    fn a_calls_timeout_grows_with_its_bytes() {
        let base = Duration::from_secs(5);
        assert_eq!(limit(base, LARGE - 1), base);
        assert_eq!(limit(base, 256_000), Duration::from_secs(9));
    }
}
