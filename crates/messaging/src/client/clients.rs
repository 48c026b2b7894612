//! Clients of SNS and SQS that cannot hang and do not retry behind our back.
//!
//! - Every attempt has a timeout, also where the SDK's default has none (awslabs/aws-sdk-rust#1094).
//! - The SDK's own retries are off: they would repeat whole batches, count against leases unseen and hide throttling
//!   from the code that adapts to it. Each caller retries what it knows to be safe.
//! - Receives have a connection pool of their own, so that long polls and deletes never wait for each other.
//! - Connections are [`lifeline_http`]'s: made within a bound, and dropped when idle.

use std::time::Duration;

use aws_config::identity::IdentityCache;
use aws_config::imds::region::ImdsRegionProvider;
use aws_config::meta::region::RegionProviderChain;
use aws_config::profile::ProfileFileRegionProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::stalled_stream_protection::StalledStreamProtectionConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::{Credentials, SharedCredentialsProvider, SharedHttpClient};

use super::access::Access;
use super::connector;
use super::credentials::Renewed;
#[cfg(feature = "fast-codecs")]
use crate::codec::{ReadInOnePass, WriteInOnePass};

/// How long the clients wait for their first credentials: a slow source costs the start this time, and no call.
const FIRST_CREDENTIALS: Duration = Duration::from_secs(20);

/// Nothing says which region to use.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "AWS_REGION: not set, and neither a profile nor the instance names a region; set it, like AWS_REGION=eu-west-1"
)]
pub struct NoRegion;

/// The clients. Cheap to clone.
#[derive(Debug, Clone)]
#[non_exhaustive]
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
    /// The account of the credentials, where they name it: those of a role or a portal do.
    pub account: Option<String>,
    /// The endpoint in force, for the log, without user and password: `AWS` where none is set.
    pub endpoint: String,
    /// What the clients share: for clients of further services.
    pub config: SdkConfig,
}

impl Clients {
    /// As the SDK's usual environment variables and files say, with a timeout of 5 s for each call.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub async fn from_env() -> Result<Self, NoRegion> {
        Self::connect(&Access::from_environment()).await
    }

    /// With the region, the credentials, the endpoint and the HTTP client of your own configuration, if it has one; timeouts and retries are
    /// ours.
    ///
    /// # Errors
    /// [`NoRegion`].
    pub fn from_sdk_config(config: &SdkConfig) -> Result<Self, NoRegion> {
        let access = Access::from_environment();
        let http =
            || config.http_client().unwrap_or_else(|| connector::client(connect_limit(access.call_timeout)));
        let pools = Pools { polls: http(), leases: http(), others: http() };
        let config = config
            .to_builder()
            .http_client(pools.others.clone())
            .retry_config(RetryConfig::disabled())
            .stalled_stream_protection(StalledStreamProtectionConfig::disabled());
        Self::of(&access, config.build(), pools, None, None)
    }

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
        let pools = Pools { polls: http(), leases: http(), others: http() };
        let http = pools.others.clone();
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
        if is_blank("AWS_PROFILE") {
            loader = loader.profile_name("default");
        }
        let mut config = loader.region(region(access, http.clone())).load().await;
        if config.region().is_none() {
            return Err(NoRegion);
        }
        let named = |credentials: &Credentials| Some(credentials.account_id()?.as_str().to_owned());
        let mut account = access.credentials.as_ref().and_then(named);
        let renewed = match config.credentials_provider() {
            Some(source) if access.credentials.is_none() => {
                let renewed = Renewed::of(source);
                let provider = SharedCredentialsProvider::new(renewed.clone());
                let builder = config.into_builder().credentials_provider(provider);
                config = builder.identity_cache(IdentityCache::no_cache()).build();
                account = renewed.first(FIRST_CREDENTIALS).await.as_ref().and_then(named);
                Some(renewed)
            }
            _ => None,
        };
        Self::of(access, config, pools, renewed, account)
    }

    fn of(
        access: &Access,
        config: SdkConfig,
        pools: Pools,
        renewed: Option<Renewed>,
        account: Option<String>,
    ) -> Result<Self, NoRegion> {
        let region = config.region().ok_or(NoRegion)?.to_string();
        let timeouts = TimeoutConfig::builder().operation_attempt_timeout(access.call_timeout).build();
        let mut sns = aws_sdk_sns::config::Builder::from(&config).timeout_config(timeouts.clone());
        if let Some(endpoint) =
            endpoint(access, access.sns_endpoint.as_ref(), "AWS_ENDPOINT_URL_SNS", &config)
        {
            sns.set_endpoint_url(endpoint);
        }
        if let Some(renewed) = renewed.clone() {
            sns = sns.interceptor(renewed);
        }
        let sqs = |http, timeouts| {
            let sqs = sqs(&config, access, renewed.clone(), http, timeouts);
            #[cfg(feature = "otlp")]
            let sqs = if is_true(super::call_spans::SETTING) {
                sqs.interceptor(super::call_spans::CallSpans)
            } else {
                sqs
            };
            sqs
        };
        // the attempt's timeout is set per receive, for it depends on the wait
        let polls = sqs(pools.polls, TimeoutConfig::disabled());
        #[cfg(feature = "fast-codecs")]
        let (sns, polls) = (sns.interceptor(WriteInOnePass), polls.interceptor(ReadInOnePass));
        let endpoint = match (access.sns(), access.sqs()) {
            (Some(sns), Some(sqs)) if sns != sqs => {
                format!("{} and {}", without_user(sns), without_user(sqs))
            }
            (Some(endpoint), _) | (_, Some(endpoint)) => without_user(endpoint),
            (None, None) => {
                config.endpoint_url().filter(|url| !url.is_empty()).map_or("AWS".to_owned(), without_user)
            }
        };
        Ok(Self {
            sns: aws_sdk_sns::Client::from_conf(sns.build()),
            sqs: aws_sdk_sqs::Client::from_conf(sqs(pools.others, timeouts.clone()).build()),
            leases: aws_sdk_sqs::Client::from_conf(sqs(pools.leases, timeouts).build()),
            polls: aws_sdk_sqs::Client::from_conf(polls.build()),
            call_timeout: access.call_timeout,
            region,
            account,
            endpoint,
            config,
        })
    }
}

/// The HTTP of the clients of SQS: each has connections of its own.
struct Pools {
    polls: SharedHttpClient,
    leases: SharedHttpClient,
    others: SharedHttpClient,
}

/// A URL as the log may have it.
fn without_user(url: &str) -> String {
    let (scheme, rest) = url.split_once("://").unwrap_or(("", url));
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    match authority.rsplit_once('@') {
        Some((user, _)) => format!("{scheme}://***{}", &rest[user.len()..]),
        None => url.to_owned(),
    }
}

fn sqs(
    config: &SdkConfig,
    access: &Access,
    renewed: Option<Renewed>,
    http: SharedHttpClient,
    timeouts: TimeoutConfig,
) -> aws_sdk_sqs::config::Builder {
    let mut sqs = aws_sdk_sqs::config::Builder::from(config).http_client(http).timeout_config(timeouts);
    if let Some(endpoint) = endpoint(access, access.sqs_endpoint.as_ref(), "AWS_ENDPOINT_URL_SQS", config) {
        sqs.set_endpoint_url(endpoint);
    }
    match renewed {
        Some(renewed) => sqs.interceptor(renewed),
        None => sqs,
    }
}

/// The endpoint of a service, where it is not the one that the SDK finds: `own`, which was given to us, or none instead of
/// an empty variable.
fn endpoint(
    access: &Access,
    own: Option<&String>,
    variable_name: &str,
    config: &SdkConfig,
) -> Option<Option<String>> {
    if own.is_some() {
        return Some(own.cloned());
    }
    let general_is_blank = access.endpoint.is_none() && is_blank("AWS_ENDPOINT_URL");
    let wrong = is_blank(variable_name) || (general_is_blank && variable(variable_name).is_none());
    wrong.then(|| config.endpoint_url().filter(|url| !url.is_empty()).map(str::to_owned))
}

/// The region: what is set, else what a profile or the instance says; with an endpoint `us-east-1` instead of a question
/// to an instance that is not there.
fn region(access: &Access, http: SharedHttpClient) -> RegionProviderChain {
    let set = access.region.clone().or_else(|| variable("AWS_REGION"));
    let set = set.or_else(|| variable("AWS_DEFAULT_REGION")).map(Region::new);
    let mut profile = ProfileFileRegionProvider::builder();
    if is_blank("AWS_PROFILE") {
        profile = profile.profile_name("default");
    }
    let named = RegionProviderChain::first_try(set).or_else(profile.build());
    let ignored = is_true("AWS_IGNORE_CONFIGURED_ENDPOINT_URLS");
    // those of a library's user are given to nobody but the SDK, in the environment
    let is_known = |given: Option<&str>, own: &str| {
        given.is_some() || (!ignored && [own, "AWS_ENDPOINT_URL"].iter().any(|name| variable(name).is_some()))
    };
    if is_known(access.sns(), "AWS_ENDPOINT_URL_SNS") && is_known(access.sqs(), "AWS_ENDPOINT_URL_SQS") {
        return named.or_else(Region::from_static("us-east-1"));
    }
    let instance = ProviderConfig::without_region().with_http_client(http);
    named.or_else(ImdsRegionProvider::builder().configure(&instance).build())
}

/// A variable of the environment; an empty one counts as unset, which the SDK does not know.
fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

fn is_true(name: &str) -> bool {
    variable(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
}

fn is_blank(name: &str) -> bool {
    std::env::var_os(name).is_some_and(|value| value.is_empty())
}

/// A SYN that is lost is sent again after 1 s and 3 s: 3.1 s leaves room for two.
fn connect_limit(call: Duration) -> Duration {
    call.min(Duration::from_millis(3100))
}

#[cfg(test)]
mod tests {
    use super::without_user;

    #[test]
    fn an_endpoint_is_logged_without_its_user() {
        assert_eq!(without_user("http://me:se@cret@host:4566/a@b"), "http://***@host:4566/a@b");
        assert_eq!(without_user("http://[::1]:4566/?user=a@b"), "http://[::1]:4566/?user=a@b");
    }
}
