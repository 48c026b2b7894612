//! The actions of SQS: a request, the model, an answer. Which protocol it came by is not known here.

pub(crate) mod leases;
pub(crate) mod permissions;
pub(crate) mod queues;
pub(crate) mod receive;
pub(crate) mod send;
pub(crate) mod tasks;

use crate::{
    call::Call,
    error::{Result, sqs},
    model::{arn::Scope, queue::Queue},
};

/// The ARN of the queue that a call is about: by its URL, its name, or the path that was called.
pub(crate) fn locate(call: &Call, url: Option<&str>) -> Result<String> {
    match url.filter(|url| !url.is_empty()) {
        Some(url) => Ok(parse_url(call, url).unwrap_or_else(|| call.scope.queue_arn(url))),
        None => parse_url(call, &call.path).ok_or_else(|| sqs::missing("QueueUrl")),
    }
}

/// Reads `…/account/name` and `…/queue/region/account/name`; the region may also stand in the host, as in
/// `sqs.eu-west-1.…`, and otherwise is the caller's.
fn parse_url(call: &Call, url: &str) -> Option<String> {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let (host, path) = rest.split_once('/')?;
    let parts: Vec<&str> = path.trim_end_matches('/').split('/').collect();
    let (region, account, name) = match parts[..] {
        ["queue", region, account, name] => (Some(region), account, name),
        [account, name] => (region_of(host), account, name),
        _ => return None,
    };
    let is_account = account.len() == 12 && account.bytes().all(|byte| byte.is_ascii_digit());
    is_account.then(|| Scope::new(account, region.unwrap_or(&call.scope.region)).queue_arn(name))
}

fn region_of(host: &str) -> Option<&str> {
    let mut labels = host.split('.');
    match (labels.next()?, labels.next()) {
        ("sqs", Some(region)) if region.contains('-') && host.matches('.').count() > 1 => Some(region),
        (region, Some("queue")) if region.contains('-') => Some(region),
        _ => None,
    }
}

/// A queue's URL, by the name under which the caller reached the emulator.
pub(crate) fn url(call: &Call, queue: &Queue) -> String {
    url_of(call, &queue.scope, &queue.name)
}

fn url_of(call: &Call, scope: &Scope, name: &str) -> String {
    format!("{}/{}/{name}", call.host, scope.account)
}

/// The checks that all batches share.
pub(crate) fn check_batch<'a>(
    action: &str,
    ids: impl ExactSizeIterator<Item = Option<&'a str>>,
) -> Result<()> {
    let entries = ids.len();
    if entries == 0 {
        let text = format!("There should be at least one {action}RequestEntry in the request.");
        return Err(sqs::batch("AWS.SimpleQueueService.EmptyBatchRequest", "EmptyBatchRequest", text));
    }
    if entries > 10 {
        return Err(sqs::batch(
            "AWS.SimpleQueueService.TooManyEntriesInBatchRequest",
            "TooManyEntriesInBatchRequest",
            format!("Maximum number of entries per request are 10. You have sent {entries}."),
        ));
    }
    let mut seen = std::collections::HashSet::new();
    for id in ids {
        let Some(id) = id else { return Err(sqs::missing(&format!("{action}RequestEntry.Id"))) };
        let accepted = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
        if id.is_empty() || id.len() > 80 || !id.chars().all(accepted) {
            return Err(sqs::batch(
                "AWS.SimpleQueueService.InvalidBatchEntryId",
                "InvalidBatchEntryId",
                "A batch entry id can only contain alphanumeric characters, hyphens and underscores. It can be at \
                 most 80 letters long.",
            ));
        }
        if !seen.insert(id) {
            return Err(sqs::batch(
                "AWS.SimpleQueueService.BatchEntryIdsNotDistinct",
                "BatchEntryIdsNotDistinct",
                format!("Id {id} repeated."),
            ));
        }
    }
    Ok(())
}

/// An entry of a batch that failed.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct FailedEntry {
    pub(crate) id: String,
    pub(crate) sender_fault: bool,
    pub(crate) code: String,
    pub(crate) message: String,
}

impl FailedEntry {
    pub(crate) fn new(id: &str, error: crate::error::AwsError) -> Self {
        Self {
            id: id.into(),
            sender_fault: error.sender,
            code: error.code.into_owned(),
            message: error.message,
        }
    }
}

/// An entry that succeeded and has nothing but its id to tell.
#[derive(Debug, Clone, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct DoneEntry {
    pub(crate) id: String,
}

/// The answer to a batch whose entries have nothing but their ids to tell.
#[derive(Debug, Clone, Default, serde::Serialize)]
#[serde(rename_all = "PascalCase")]
pub(crate) struct BatchAnswer {
    pub(crate) successful: Vec<DoneEntry>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) failed: Vec<FailedEntry>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Time;

    fn call(path: &str) -> Call {
        Call {
            scope: Scope::new("000000000000", "us-east-1"),
            now: Time(0),
            host: "http://localhost:4566".into(),
            path: path.into(),
            access_key: String::new(),
            trace_header: None,
        }
    }

    #[test]
    fn a_queue_is_named_by_its_url_its_name_or_the_path() {
        for (url, arn) in [
            ("http://localhost:4566/000000000001/q", "arn:aws:sqs:us-east-1:000000000001:q"),
            ("http://localhost:4566/queue/eu-west-1/000000000001/q", "arn:aws:sqs:eu-west-1:000000000001:q"),
            ("https://sqs.eu-west-1.amazonaws.com/000000000001/q", "arn:aws:sqs:eu-west-1:000000000001:q"),
            ("https://eu-west-1.queue.amazonaws.com/000000000001/q", "arn:aws:sqs:eu-west-1:000000000001:q"),
            ("q.fifo", "arn:aws:sqs:us-east-1:000000000000:q.fifo"),
        ] {
            assert_eq!(locate(&call("/"), Some(url)).unwrap(), arn);
        }
        assert_eq!(locate(&call("/000000000000/q"), None).unwrap(), "arn:aws:sqs:us-east-1:000000000000:q");
        assert_eq!(locate(&call("/"), None).unwrap_err().code, "MissingParameter");
    }

    #[test]
    fn batches_are_refused_whole_for_their_ids() {
        let check = |ids: &[&'static str]| {
            let ids: Vec<_> = ids.iter().map(|id| Some(*id)).collect();
            check_batch("SendMessageBatch", ids.into_iter()).map_err(|error| error.shape().to_string())
        };
        assert_eq!(check(&["a", "b-_1"]), Ok(()));
        assert_eq!(check(&[]), Err("EmptyBatchRequest".into()));
        assert_eq!(check(&["a", "a"]), Err("BatchEntryIdsNotDistinct".into()));
        assert_eq!(check(&["a.b"]), Err("InvalidBatchEntryId".into()));
        assert_eq!(check(&["a"; 11]), Err("TooManyEntriesInBatchRequest".into()));
    }
}
