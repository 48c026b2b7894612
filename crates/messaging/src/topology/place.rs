//! Places: the region and account that an ARN or a URL names, beside those that calls are made in.
//!
//! A topic or queue of another region cannot be reached from here, and one of the same name that is created here instead
//! would be another one, empty and unnoticed. Another account's can be used, where its policy allows that, but not created.

use std::fmt;

use super::names::{QueueRef, TopicRef};

/// Where something is, as far as its name tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The region.
    pub region: Option<String>,
    /// The account.
    pub account: Option<String>,
}

impl Place {
    pub(super) fn of_topic(topic: &TopicRef) -> Option<Self> {
        let TopicRef::Arn(arn) = topic else { return None };
        let mut parts =
            arn.split(':').skip(3).map(|part| Some(part.to_owned()).filter(|part| !part.is_empty()));
        Some(Self { region: parts.next().flatten(), account: parts.next().flatten() })
    }

    /// `https://sqs.REGION.amazonaws.com/ACCOUNT/NAME`, older forms and interface endpoints; an emulator's host mostly
    /// names no region.
    pub(super) fn of_queue(queue: &QueueRef) -> Option<Self> {
        let QueueRef::Url(url) = queue else { return None };
        let uri: hyper::Uri = url.parse().ok()?;
        let region = uri.host()?.split('.').find(|label| is_region(label)).map(str::to_owned);
        let account = uri.path().rsplit('/').nth(1).filter(|part| is_account(part)).map(str::to_owned);
        Some(Self { region, account })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.region, &self.account) {
            (Some(region), Some(account)) => write!(f, "region {region} of account {account}"),
            (Some(region), None) => write!(f, "region {region}"),
            (None, Some(account)) => write!(f, "account {account}"),
            (None, None) => f.write_str("an unknown place"),
        }
    }
}

/// `eu-west-1`, `us-gov-east-1`, `us-isob-east-1`.
fn is_region(label: &str) -> bool {
    let parts: Vec<_> = label.split('-').collect();
    let letters = |part: &&str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase());
    (3..=4).contains(&parts.len())
        && parts[0].len() == 2
        && parts[..parts.len() - 1].iter().all(letters)
        && parts[parts.len() - 1].bytes().all(|b| b.is_ascii_digit())
}

fn is_account(part: &str) -> bool {
    part.len() == 12 && part.bytes().all(|b| b.is_ascii_digit())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_names_its_place_in_every_form() {
        let place = |url: &str| {
            let place = Place::of_queue(&QueueRef::Url(url.to_owned())).unwrap();
            (place.region.unwrap_or_default(), place.account.unwrap_or_default())
        };
        let both = |region: &str| (region.to_owned(), "123456789012".to_owned());
        for (url, region) in [
            ("https://sqs.eu-west-1.amazonaws.com/123456789012/q", "eu-west-1"),
            ("https://eu-west-1.queue.amazonaws.com/123456789012/q.fifo", "eu-west-1"),
            ("https://sqs-fips.us-gov-east-1.amazonaws.com/123456789012/q", "us-gov-east-1"),
            ("https://vpce-1a-2b.sqs.eu-west-1.vpce.amazonaws.com/123456789012/q", "eu-west-1"),
            ("http://sqs.us-east-1.localhost.localstack.cloud:4566/123456789012/q", "us-east-1"),
            ("http://localhost:4566/123456789012/q", ""),
        ] {
            assert_eq!(place(url), both(region), "{url}");
        }
        assert_eq!(place("http://127.0.0.1:4566/queue/q"), (String::new(), String::new()));
        assert_eq!(Place::of_queue(&QueueRef::Name("q".to_owned())), None);
    }

    #[test]
    fn an_arn_names_its_place() {
        let place = Place::of_topic(&"arn:aws-cn:sns:cn-north-1:123456789012:orders".into()).unwrap();
        assert_eq!(place.to_string(), "region cn-north-1 of account 123456789012");
        assert_eq!(Place::of_topic(&"orders".into()), None);
    }
}
