//! ARNs of queues and topics, and the scope (account and region) that they are in.

use std::{fmt, sync::Arc};

/// The account and region of a call or a resource.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Scope {
    pub(crate) account: Arc<str>,
    pub(crate) region: Arc<str>,
}

impl Scope {
    pub(crate) fn new(account: &str, region: &str) -> Self {
        Self { account: account.into(), region: region.into() }
    }

    fn partition(&self) -> &'static str {
        match () {
            () if self.region.starts_with("cn-") => "aws-cn",
            () if self.region.starts_with("us-gov-") => "aws-us-gov",
            () => "aws",
        }
    }

    pub(crate) fn queue_arn(&self, name: &str) -> String {
        format!("arn:{}:sqs:{}:{}:{name}", self.partition(), self.region, self.account)
    }

    pub(crate) fn topic_arn(&self, name: &str) -> String {
        format!("arn:{}:sns:{}:{}:{name}", self.partition(), self.region, self.account)
    }

    /// The ARN of an account's root user, as permissions name it.
    pub(crate) fn root_of(&self, account: &str) -> String {
        format!("arn:{}:iam::{account}:root", self.partition())
    }

    /// The principal that `GetSubscriptionAttributes` shows.
    pub(crate) fn user(&self) -> String {
        format!("arn:{}:iam::{}:user/lifeline", self.partition(), self.account)
    }
}

/// The parts of `arn:partition:service:region:account:resource`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Arn<'a> {
    pub(crate) service: &'a str,
    pub(crate) region: &'a str,
    pub(crate) account: &'a str,
    /// All after the fifth colon.
    pub(crate) resource: &'a str,
}

impl<'a> Arn<'a> {
    /// `None` for text that has fewer than six parts or does not begin with `arn`.
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let mut parts = text.splitn(6, ':');
        let (prefix, _partition) = (parts.next()?, parts.next()?);
        let arn = Self {
            service: parts.next()?,
            region: parts.next()?,
            account: parts.next()?,
            resource: parts.next()?,
        };
        (prefix == "arn").then_some(arn)
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.account, self.region)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arns_are_told_from_other_text() {
        let scope = Scope::new("000000000000", "eu-west-1");
        let arn = scope.queue_arn("orders.fifo");
        let parsed = Arn::parse(&arn).unwrap();
        assert_eq!((parsed.service, parsed.resource), ("sqs", "orders.fifo"));
        assert_eq!((parsed.account, parsed.region), ("000000000000", "eu-west-1"));
        assert!(Arn::parse("arn:aws:sqs:eu-west-1:0").is_none());
        assert!(Arn::parse("a:b:c:d:e:f").is_none());
        assert!(Scope::new("0", "cn-north-1").topic_arn("t").starts_with("arn:aws-cn:sns:"));
    }
}
