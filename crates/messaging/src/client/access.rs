//! How AWS is reached: endpoints, region, bound of a call, credentials.

use std::time::Duration;

use aws_sdk_sqs::config::Credentials;

/// The domain of AWS's endpoints, VPC endpoints included, in the partitions that are not in [`PARTITIONS`].
const DOMAIN: &str = "amazonaws.com";

/// The partitions with a domain of their own.
const PARTITIONS: [(&str, &str); 5] = [
    ("aws-cn", "amazonaws.com.cn"),
    ("aws-eusc", "amazonaws.eu"),
    ("aws-iso", "c2s.ic.gov"),
    ("aws-iso-b", "sc2s.sgov.gov"),
    ("aws-iso-f", "csp.hci.ic.gov"),
];

/// The domain of dual-stack endpoints.
const DUAL_STACK: &str = "api.aws";

/// The domain of the endpoints of the partition that an ARN names.
pub(crate) fn domain(partition: &str) -> &'static str {
    PARTITIONS.iter().find(|(name, _)| *name == partition).map_or(DOMAIN, |(_, domain)| domain)
}

/// How AWS is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// `AWS_ENDPOINT_URL`, where it was given to us; the SDK also knows those of profiles.
    pub endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SNS`, which comes before [`endpoint`](Self::endpoint).
    pub sns_endpoint: Option<String>,
    /// `AWS_ENDPOINT_URL_SQS`, which comes before [`endpoint`](Self::endpoint).
    pub sqs_endpoint: Option<String>,
    /// `AWS_REGION`.
    pub region: Option<String>,
    /// `CALL_TIMEOUT`.
    pub call_timeout: Duration,
    /// Fixed credentials instead of the SDK's chain: for the embedded endpoint, which does not check them.
    pub credentials: Option<Credentials>,
}

impl Access {
    /// What the SDK finds in its usual environment variables and files; 5 s for each call.
    pub fn from_environment() -> Self {
        Self {
            endpoint: None,
            sns_endpoint: None,
            sqs_endpoint: None,
            region: None,
            call_timeout: Duration::from_secs(5),
            credentials: None,
        }
    }

    /// The embedded endpoint, or any other that takes every credential.
    pub fn local(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            region: Some("us-east-1".to_owned()),
            credentials: Some(Credentials::new("test", "test", None, None, "lifeline")),
            ..Self::from_environment()
        }
    }

    /// SNS's endpoint, if one is set.
    pub fn sns(&self) -> Option<&str> {
        self.sns_endpoint.as_deref().or(self.endpoint.as_deref())
    }

    /// SQS's endpoint, if one is set.
    pub fn sqs(&self) -> Option<&str> {
        self.sqs_endpoint.as_deref().or(self.endpoint.as_deref())
    }

    /// Whether this may be AWS itself: there is no endpoint for one of the services, or it is one of AWS's own.
    pub fn is_aws(&self) -> bool {
        [self.sns(), self.sqs()].into_iter().any(|endpoint| endpoint.is_none_or(is_aws))
    }
}

/// Whether an endpoint is one of AWS's own: regional, FIPS, dual stack, or an interface endpoint in a VPC.
fn is_aws(endpoint: &str) -> bool {
    let uri = endpoint.parse::<hyper::Uri>().ok();
    let host = uri.and_then(|uri| uri.host().map(str::to_ascii_lowercase));
    host.is_none_or(|host| {
        let host = host.trim_end_matches('.');
        let within =
            |domain| host.strip_suffix(domain).is_some_and(|sub: &str| sub.is_empty() || sub.ends_with('.'));
        PARTITIONS.map(|(_, domain)| domain).into_iter().chain([DOMAIN, DUAL_STACK]).any(within)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_endpoint_of_aws_is_aws_whatever_its_form() {
        for aws in [
            "https://sqs.eu-west-1.amazonaws.com",
            "https://SQS-FIPS.us-east-1.amazonaws.com.",
            "https://vpce-1-2.sqs.eu-west-1.vpce.amazonaws.com/",
            "https://sqs.eu-west-1.api.aws",
            "https://sqs.cn-north-1.amazonaws.com.cn",
            "not a url",
        ] {
            assert!(is_aws(aws), "{aws}");
        }
        for other in ["http://localhost:4566", "http://[::1]:4566", "https://sqs.amazonaws.com.example.org"] {
            assert!(!is_aws(other), "{other}");
        }
    }

    #[test]
    fn a_service_without_an_endpoint_of_its_own_may_be_aws() {
        let mut access = Access { endpoint: None, ..Access::local("") };
        assert!(access.is_aws());
        access.sqs_endpoint = Some("http://localhost:4566".to_owned());
        assert!(access.is_aws(), "SNS is AWS's");
        access.sns_endpoint = access.sqs_endpoint.clone();
        assert!(!access.is_aws());
        access.endpoint = Some("https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com".to_owned());
        assert!(!access.is_aws(), "each service has its own");
    }
}
