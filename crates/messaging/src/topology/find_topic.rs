//! Finds a topic by its name: at the ARN that follows from region and account, else by a scan of all topics.
//!
//! The account is that of the credentials, where they name it, else of STS's `GetCallerIdentity`, which needs no permission
//! but a way to STS. `GetTopicAttributes` then tells whether the topic exists; where that is not allowed, the ARN is taken as
//! it is, as one that was configured is. Only where the account cannot be had is there a scan, which needs `sns:ListTopics`.

use std::time::Duration;

use aws_sdk_sns::operation::list_topics::ListTopicsOutput;

use super::error::{TopologyError, about};
use super::inspect::{Pages, topic_attributes};
use super::names::arn_name;
use crate::call::backoff::Backoff;
use crate::call::{CallError, Fault, bounded};
use crate::client::Clients;

/// How often one page is tried while SNS throttles: `ListTopics` has a quota of 30 calls per second.
const PAGE_TRIES: u32 = 8;

/// Partitions by how the names of their regions begin.
/// <https://docs.aws.amazon.com/general/latest/gr/rande.html>
const PARTITIONS: [(&str, &str); 7] = [
    ("cn-", "aws-cn"),
    ("us-gov-", "aws-us-gov"),
    ("us-iso-", "aws-iso"),
    ("us-isob-", "aws-iso-b"),
    ("us-isof-", "aws-iso-f"),
    ("eu-isoe-", "aws-iso-e"),
    ("eusc-", "aws-eusc"),
];

/// The topic's ARN, if it exists.
///
/// # Errors
/// A call's, or that the scan does not end.
pub(super) async fn find_topic(clients: &Clients, name: &str) -> Result<Option<String>, TopologyError> {
    let subject = format!("topic {name}");
    let account = match &clients.account {
        Some(account) => Ok(account.clone()),
        None => own_account(clients, &subject).await,
    };
    let Ok(account) = account else { return scan(clients, name).await };
    let (partition, region) = (partition(&clients.region), &clients.region);
    let arn = format!("arn:{partition}:sns:{region}:{account}:{name}");
    match topic_attributes(clients, &arn).await {
        Ok(_) => Ok(Some(arn)),
        Err(error) => match error.fault {
            Fault::Denied => Ok(Some(arn)),
            Fault::Missing => Ok(None),
            // not an ARN to this endpoint
            Fault::Refused => scan(clients, name).await,
            _ => Err(TopologyError::Call { subject, error }),
        },
    }
}

/// The account of the credentials; it needs no permission to ask for.
///
/// # Errors
/// The call's.
pub(super) async fn own_account(clients: &Clients, subject: &str) -> Result<String, TopologyError> {
    let call = aws_sdk_sts::Client::new(&clients.config).get_caller_identity().send();
    let identity = bounded("GetCallerIdentity", clients.call_timeout, call).await.map_err(about(subject))?;
    identity.account.ok_or_else(|| TopologyError::Nonsense {
        subject: subject.to_owned(),
        detail: "GetCallerIdentity answered without an account".to_owned(),
    })
}

fn partition(region: &str) -> &'static str {
    let found = PARTITIONS.into_iter().find(|(prefix, _)| region.starts_with(prefix));
    found.map_or("aws", |(_, partition)| partition)
}

/// Looks through all topics, page by page. A throttled page is tried again, so that the scan resumes where it was.
async fn scan(clients: &Clients, name: &str) -> Result<Option<String>, TopologyError> {
    let subject = || format!("topic {name}");
    let mut pages = Pages::default();
    loop {
        let page = topics_page(clients, pages.token()).await.map_err(about(subject()))?;
        let mut arns = page.topics().iter().filter_map(|t| t.topic_arn());
        if let Some(arn) = arns.find(|arn| arn_name(arn) == name) {
            return Ok(Some(arn.to_owned()));
        }
        if !pages.next(page.next_token, "ListTopics", subject)? {
            return Ok(None);
        }
    }
}

async fn topics_page(clients: &Clients, token: Option<String>) -> Result<ListTopicsOutput, CallError> {
    let mut backoff = Backoff::new(Duration::from_millis(100));
    loop {
        let page = clients.sns.list_topics().set_next_token(token.clone()).send();
        match bounded("ListTopics", clients.call_timeout, page).await {
            Err(error) if error.fault == Fault::Throttled && backoff.failures() < PAGE_TRIES => {
                tokio::time::sleep(backoff.next(Duration::from_secs(5))).await;
            }
            page => return page,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_region_names_its_partition() {
        for (region, expected) in [
            ("eu-west-1", "aws"),
            ("us-east-1", "aws"),
            ("cn-north-1", "aws-cn"),
            ("us-gov-west-1", "aws-us-gov"),
            ("us-isob-east-1", "aws-iso-b"),
            ("eusc-de-east-1", "aws-eusc"),
        ] {
            assert_eq!(partition(region), expected, "{region}");
        }
    }
}
