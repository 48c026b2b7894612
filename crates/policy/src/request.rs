//! A request to decide on: a principal performs an action on a resource, with the condition keys that are known.

use std::collections::BTreeMap;

/// Who makes the request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Principal {
    /// An AWS service, by the name of its principal, for example `sns.amazonaws.com`.
    Service(String),
    /// A user, a role or a role's session, by ARN.
    Aws(String),
    /// A request without a signature.
    Anonymous,
}

/// What is asked of a policy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    pub(crate) principal: Principal,
    pub(crate) action: String,
    pub(crate) resource: String,
    /// By lower-case name, since names of condition keys are case-insensitive. An empty list is a key that is absent.
    keys: BTreeMap<String, Vec<String>>,
    /// Whether keys that are not listed are absent instead of unknown.
    complete: bool,
}

/// What is known of a condition key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Known<'a> {
    Values(&'a [String]),
    Absent,
    Unknown,
}

impl Request {
    /// A request about whose condition keys nothing is known yet.
    pub fn new(principal: Principal, action: impl Into<String>, resource: impl Into<String>) -> Self {
        let (action, resource) = (action.into(), resource.into());
        Self { principal, action, resource, keys: BTreeMap::new(), complete: false }
    }

    /// The delivery of a message from a topic to a queue, as SNS makes it.
    pub fn sns_delivery(topic_arn: &str, queue_arn: &str) -> Self {
        Self::from_sns(topic_arn, "sqs:SendMessage", queue_arn)
    }

    /// A call that SNS makes to a KMS key to deliver into an encrypted queue: it needs `kms:GenerateDataKey` and
    /// `kms:Decrypt`.
    pub fn sns_key_use(topic_arn: &str, action: &str, key_arn: &str) -> Self {
        Self::from_sns(topic_arn, action, key_arn)
    }

    /// The keys are those that IAM's page on global condition keys promises for a call that a service principal makes
    /// directly. Keys about which it promises nothing for this call, for example `aws:SourceOrgID`, stay unknown.
    fn from_sns(topic_arn: &str, action: &str, resource: &str) -> Self {
        let account = topic_arn.split(':').nth(4).unwrap_or_default();
        Self::new(Principal::Service("sns.amazonaws.com".to_owned()), action, resource)
            .with("aws:SourceArn", topic_arn)
            .with("aws:SourceAccount", account)
            .with("aws:PrincipalIsAWSService", "true")
            .with("aws:PrincipalServiceName", "sns.amazonaws.com")
            .with("aws:SecureTransport", "true")
            .without("aws:PrincipalOrgID")
            .without("aws:SourceVpc")
            .without("aws:SourceVpce")
    }

    /// Sets a condition key to one value.
    #[must_use]
    pub fn with(self, key: &str, value: impl Into<String>) -> Self {
        self.with_values(key, [value.into()])
    }

    /// Sets a condition key to several values.
    #[must_use]
    pub fn with_values(mut self, key: &str, values: impl IntoIterator<Item = String>) -> Self {
        self.keys.insert(key.to_ascii_lowercase(), values.into_iter().collect());
        self
    }

    /// States that the request does not have this condition key.
    #[must_use]
    pub fn without(self, key: &str) -> Self {
        self.with_values(key, [])
    }

    /// Sets the time of the request, in seconds since 1970.
    #[must_use]
    pub fn at(self, unix_seconds: i64) -> Self {
        let seconds = unix_seconds.to_string();
        self.with("aws:CurrentTime", seconds.clone()).with("aws:EpochTime", seconds)
    }

    /// States that the request has no condition keys but the given ones: for an endpoint that makes the request itself.
    #[must_use]
    pub fn without_other_keys(mut self) -> Self {
        self.complete = true;
        self
    }

    pub(crate) fn key(&self, name: &str) -> Known<'_> {
        match self.keys.get(&name.to_ascii_lowercase()) {
            Some(values) if !values.is_empty() => Known::Values(values),
            Some(_) => Known::Absent,
            None if self.complete => Known::Absent,
            None => Known::Unknown,
        }
    }
}
