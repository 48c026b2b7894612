//! One `PublishBatch` call, and what its answer says of each entry.
//!
//! The call owns nothing that could be lost with it: the batcher keeps the messages until each one's fate is known.

use std::sync::Arc;

use aws_sdk_sns::operation::publish_batch::PublishBatchOutput;
use aws_sdk_sns::primitives::Blob;
use aws_sdk_sns::types::{MessageAttributeValue, PublishBatchRequestEntry};
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_messaging::client::Clients;
use lifeline_messaging::message::Attribute;

use crate::message::Outgoing;

/// What the answer says of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fate {
    Published {
        message_id: String,
        sequence_number: Option<String>,
    },
    Failed {
        fault: Fault,
        code: String,
        text: String,
    },
    /// In neither list: nobody knows, so it is sent again.
    Unmentioned,
}

/// Sends the messages as one batch. The fates come in their order.
pub(crate) async fn publish(
    clients: &Clients,
    arn: &str,
    messages: &[Arc<Outgoing>],
) -> Result<Vec<Fate>, CallError> {
    let entries = messages.iter().enumerate().map(|(at, message)| entry(at, message)).collect();
    let call = clients.sns.publish_batch().topic_arn(arn).set_publish_batch_request_entries(Some(entries));
    let answer = bounded("PublishBatch", clients.call_timeout, call.send()).await?;
    Ok(fates(answer, messages.len()))
}

/// Ids are positions: the same message twice in a batch is two entries.
fn entry(at: usize, message: &Outgoing) -> PublishBatchRequestEntry {
    let attributes = message.attributes.iter().map(|(name, value)| (name.clone(), wired(value))).collect();
    PublishBatchRequestEntry::builder()
        .id(at.to_string())
        .message(message.body.clone())
        .set_message_attributes(Some(attributes))
        .set_message_group_id(message.group.clone())
        .set_message_deduplication_id(message.deduplication_id.clone())
        .build()
        .expect("an id and a message are all that it needs")
}

fn wired(attribute: &Attribute) -> MessageAttributeValue {
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

fn fates(answer: PublishBatchOutput, entries: usize) -> Vec<Fate> {
    let mut fates = vec![Fate::Unmentioned; entries];
    let at = |id: Option<&str>| id.and_then(|id| id.parse::<usize>().ok()).filter(|at| *at < entries);
    for failed in answer.failed.unwrap_or_default() {
        if let Some(at) = at(Some(&failed.id)) {
            let fault = Fault::of_code(&failed.code);
            fates[at] = Fate::Failed { fault, code: failed.code, text: failed.message.unwrap_or_default() };
        }
    }
    // second, so that what SNS took is never reported as failed
    for published in answer.successful.unwrap_or_default() {
        if let Some(at) = at(published.id.as_deref()) {
            let message_id = published.message_id.unwrap_or_default();
            fates[at] = Fate::Published { message_id, sequence_number: published.sequence_number };
        }
    }
    fates
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
    fn every_entry_of_an_answer_is_checked() {
        let answer = PublishBatchOutput::builder()
            .successful(published("2"))
            .successful(published("9"))
            .successful(published("x"))
            .failed(failed("0", "InternalError", false))
            .failed(failed("1", "InvalidParameter", true))
            .failed(failed("2", "InternalError", false))
            .build();
        let fates = fates(answer, 4);
        assert!(matches!(&fates[0], Fate::Failed { fault: Fault::Server, .. }));
        assert!(matches!(&fates[1], Fate::Failed { fault: Fault::Refused, .. }));
        assert!(
            matches!(&fates[2], Fate::Published { message_id, .. } if message_id == "m2"),
            "said to be both"
        );
        assert_eq!(fates[3], Fate::Unmentioned);
    }
}
