//! Clients of SNS and SQS that cannot hang and do not retry behind our back.
//!
//! - Every attempt has a timeout, also where the SDK's default has none (awslabs/aws-sdk-rust#1094).
//! - The SDK's own retries are off: they would repeat whole batches, count against leases unseen and hide throttling
//!   from the code that adapts to it. Each caller retries what it knows to be safe.
//! - Receives have a connection pool of their own, so that long polls and deletes never wait for each other.
//! - Connections are [`lifeline_http`]'s: made within a bound, and dropped when idle.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedHttpClient};

use super::connector;
#[cfg(feature = "fast-codecs")]
use crate::codec::{ReadInOnePass, WriteInOnePass};

/// The domains of AWS's own endpoints, VPC endpoints included, in all its partitions.
const AWS_DOMAINS: [&str; 7] = [
    "amazonaws.com",
    "amazonaws.com.cn",
    "amazonaws.eu",
    "api.aws",
    "c2s.ic.gov",
    "sc2s.sgov.gov",
    "csp.hci.ic.gov",
];

/// How AWS is reached.
#[derive(Debug, Clone)]
pub struct Access {
    /// `AWS_ENDPOINT_URL`, where it was given to us; the SDK also knows profiles and per-service variables.
    pub endpoint: Option<String>,
    /// `AWS_REGION`.
    pub region: Option<String>,
    /// `CALL_TIMEOUT`.
    pub call_timeout: Duration,
    /// Fixed credentials instead of the SDK's chain: for the embedded endpoint, which does not check them.
    pub credentials: Option<Credentials>,
}

impl Access {
    /// Whether this may be AWS itself: there is no endpoint, or it is one of AWS's own.
    pub fn is_aws(&self) -> bool {
        let Some(endpoint) = &self.endpoint else { return true };
        let host =
            endpoint.parse::<hyper::Uri>().ok().and_then(|uri| uri.host().map(str::to_ascii_lowercase));
        host.is_none_or(|host| {
            let within = |domain| {
                host.strip_suffix(domain).is_some_and(|sub: &str| sub.is_empty() || sub.ends_with('.'))
            };
            AWS_DOMAINS.into_iter().any(within)
        })
    }

    /// What the SDK finds in its usual environment variables and files; 5 s for each call.
    pub fn from_environment() -> Self {
        Self { endpoint: None, region: None, call_timeout: Duration::from_secs(5), credentials: None }
    }

    /// The embedded endpoint, or any other that takes every credential.
    pub fn local(endpoint: impl Into<String>) -> Self {
        Self {
            endpoint: Some(endpoint.into()),
            region: Some("us-east-1".to_owned()),
            call_timeout: Duration::from_secs(5),
            credentials: Some(Credentials::new("test", "test", None, None, "lifeline")),
        }
    }
}

/// Nothing says which region to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "AWS_REGION: not set, and neither a profile nor the instance names a region; set it, like AWS_REGION=eu-west-1"
)]
pub struct NoRegion;

/// The clients. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Clients {
    /// SNS.
    pub sns: aws_sdk_sns::Client,
    /// SQS, for everything but receives.
    pub sqs: aws_sdk_sqs::Client,
    /// SQS over a pool of its own, for receives.
    pub polls: aws_sdk_sqs::Client,
    /// SQS over a pool of its own, for deletes and changes of visibility, which may run on a thread of their own.
    pub leases: aws_sdk_sqs::Client,
    /// The bound of one call, for [`crate::call::bounded`].
    pub call_timeout: Duration,
    /// The region in force.
    pub region: String,
    /// What the clients share: for clients of further services.
    pub config: SdkConfig,
}

impl Clients {
    /// Builds the clients. Nothing is sent to SNS or SQS yet; the SDK's chain may ask the instance for a region.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub async fn connect(access: &Access) -> Result<Self, NoRegion> {
        Self::connect_over(access, || connector::client(connect_limit(access.call_timeout))).await
    }

    /// [`connect`](Self::connect) with other HTTP than ours: a recording, a measurement. `http` is asked for three clients:
    /// one for receives, one for leases, one for all else.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub async fn connect_over(
        access: &Access,
        http: impl Fn() -> SharedHttpClient,
    ) -> Result<Self, NoRegion> {
        let (polled, leased, http) = (http(), http(), http());
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .http_client(http.clone())
            .retry_config(RetryConfig::disabled())
            // its clock would abort an upload or download that ours bounds already
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        if let Some(endpoint) = &access.endpoint {
            loader = loader.endpoint_url(endpoint);
        }
        if let Some(credentials) = &access.credentials {
            loader = loader.credentials_provider(credentials.clone());
        }
        if let Some(region) = &access.region {
            loader = loader.region(Region::new(region.clone()));
        } else if access.endpoint.is_some() {
            // not the SDK's whole chain: that ends with a question to an instance that is not there
            let named = RegionProviderChain::first_try(EnvironmentVariableRegionProvider::new())
                .or_else(ProfileFileRegionProvider::new());
            loader = loader.region(named.or_else(Region::from_static("us-east-1")));
        }
        let config = loader.load().await;
        let region = config.region().ok_or(NoRegion)?.to_string();
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(access.call_timeout).build();
        let sns = aws_sdk_sns::config::Builder::from(&config).timeout_config(timeouts.clone());
        // the attempt's timeout is set per receive, for it depends on the wait
        let polls = sqs(&config, polled, TimeoutConfig::disabled());
        #[cfg(feature = "fast-codecs")]
        let (sns, polls) = (sns.interceptor(WriteInOnePass), polls.interceptor(ReadInOnePass));
        Ok(Self {
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs(&config, http, timeouts.clone()).build()),
            leases: aws_sdk_sqs::Client::from_conf(sqs(&config, leased, timeouts).build()),
            polls: aws_sdk_sqs::Client::from_conf(polls.build()),
            call_timeout: access.call_timeout,
            region,
            config,
        })
    }
}

fn sqs(config: &SdkConfig, http: SharedHttpClient, timeouts: TimeoutConfig) -> aws_sdk_sqs::config::Builder {
    aws_sdk_sqs::config::Builder::from(config).http_client(http).timeout_config(timeouts)
}

/// A SYN that is lost is sent again after 1 s and 3 s: 3.1 s leaves room for two.
fn connect_limit(call: Duration) -> Duration {
    call.min(Duration::from_millis(3100))
}
