//! The endpoint of a contender, with a topic, a queue, its dead-letter queue and the subscription, as Lifeline's consumer
//! provisions them.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::types::QueueAttributeName;

use aws_smithy_http_client::tls;
use serde::Deserialize;

use crate::process::Running;

/// Credentials and region that are used unless the environment sets them.
const SIGNED_AS: [(&str, &str); 3] =
    [("AWS_REGION", "us-east-1"), ("AWS_ACCESS_KEY_ID", "test"), ("AWS_SECRET_ACCESS_KEY", "test")];

/// How a subscription delivers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// In SNS's envelope.
    Wrapped,
    /// As published.
    Raw,
}

/// How a contender reaches the endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    /// By HTTP.
    Plain,
    /// By HTTPS, through a proxy that terminates TLS.
    Tls,
}

/// An SNS and SQS endpoint: a fresh embedded one, or that of `BENCH_ENDPOINT`.
#[derive(Debug)]
pub struct Endpoint {
    /// Its address.
    pub url: String,
    running: Option<Running>,
    front: Option<CountingProxy>,
}

impl Endpoint {
    /// Starts an embedded endpoint on a free port, unless `named` is another one.
    pub async fn start(program: &Path, pin: &[String], named: Option<&str>, log: &Path) -> Result<Self> {
        if let Some(url) = named {
            return Ok(Self { url: url.to_owned(), running: None, front: None });
        }
        let port = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let mut command = pinned(pin, Command::new(program));
        command.args(["aws", "--listen", &format!("127.0.0.1:{port}")]).env("RUST_LOG", "warn");
        let mut running = Running::start(command, log)?;
        while tokio::net::TcpStream::connect(("127.0.0.1", port)).await.is_err() {
            running.must_run()?;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Ok(Self { url: format!("http://127.0.0.1:{port}"), running: Some(running), front: None })
    }

    /// CPU seconds of an embedded endpoint and its TLS proxy; 0 for another endpoint.
    pub fn cpu(&self) -> f64 {
        let front = self.front.as_ref().map_or(0.0, |front| front.running.cpu());
        self.running.as_ref().map_or(0.0, Running::cpu) + front
    }

    /// Puts a proxy in front that terminates TLS; its CA is `ca.pem` in `directory`.
    pub fn terminate_tls(&mut self, program: &Path, directory: &Path, log: &Path) -> Result<&CountingProxy> {
        let front = CountingProxy::start_tls(program, &self.url, directory, log)?;
        Ok(self.front.insert(front))
    }
}

/// Runs a command through another, for example `taskset -c 0`.
pub fn pinned(pin: &[String], command: Command) -> Command {
    let [first, rest @ ..] = pin else { return command };
    let mut before = Command::new(first);
    before.args(rest).arg(command.get_program()).args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => before.env(name, value),
            None => before.env_remove(name),
        };
    }
    if let Some(directory) = command.get_current_dir() {
        before.current_dir(directory);
    }
    before
}

/// A proxy that counts the calls of one contender.
#[derive(Debug)]
pub struct CountingProxy {
    /// Its address.
    pub url: String,
    /// The certificate of its CA, if it terminates TLS.
    ca: Option<PathBuf>,
    running: Running,
}

impl CountingProxy {
    /// Starts a proxy in front of `endpoint`.
    pub fn start(program: &Path, endpoint: &str, log: &Path) -> Result<Self> {
        Self::run(Command::new(program), endpoint, None, log)
    }

    /// Starts a proxy that terminates TLS, with a CA of its own in `directory`.
    fn start_tls(program: &Path, endpoint: &str, directory: &Path, log: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.arg("--tls").arg(directory);
        Self::run(command, endpoint, Some(directory.join("ca.pem")), log)
    }

    fn run(mut command: Command, endpoint: &str, ca: Option<PathBuf>, log: &Path) -> Result<Self> {
        command.args(["--to", endpoint]);
        let mut running = Running::start_piped(command, log)?;
        let mut line = String::new();
        let output = running.output().context("reading the address of the proxy")?;
        BufReader::new(output).read_line(&mut line)?;
        anyhow::ensure!(!line.is_empty(), "the proxy did not start; see {}", log.display());
        Ok(Self { url: line.trim().to_owned(), ca, running })
    }

    /// The calls by action since the last request.
    pub async fn take(&self) -> Result<BTreeMap<String, u64>> {
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        let address = self.url.trim_start_matches("http://");
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        let request = format!("DELETE /_counts HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut response = String::new();
        stream.read_to_string(&mut response).await?;
        let (_, body) = response.split_once("\r\n\r\n").context("the response of the proxy has no body")?;
        let counts: Counts =
            serde_json::from_str(body).with_context(|| format!("the counts of the proxy: {body}"))?;
        Ok(counts.calls)
    }
}

/// The part of the proxy's counts that is used.
#[derive(Deserialize)]
struct Counts {
    calls: BTreeMap<String, u64>,
}

/// Topic, queue and subscription.
#[derive(Debug, Clone)]
pub struct Stage {
    /// The address for the contender: the endpoint's, or that of a proxy in front of it.
    pub endpoint: String,
    /// The topic.
    pub topic_arn: String,
    /// The certificate of the CA that the contender must trust.
    ca: Option<PathBuf>,
    /// The URL of the queue, with that address.
    pub queue_url: String,
    sqs: aws_sdk_sqs::Client,
    sns: aws_sdk_sns::Client,
}

impl Stage {
    /// Creates topic, queues, policy and subscription.
    pub async fn set(endpoint: &str, name: &str, delivery: Delivery) -> Result<Self> {
        let config = access(endpoint).await;
        let (sqs, sns) = (aws_sdk_sqs::Client::new(&config), aws_sdk_sns::Client::new(&config));
        let dead = sqs.create_queue().queue_name(format!("{name}-dlq")).send().await?;
        let dead = arn(&sqs, dead.queue_url().context("the queue has no URL")?).await?;
        let redrive = serde_json::json!({"deadLetterTargetArn": dead, "maxReceiveCount": 5}).to_string();
        let queue = sqs
            .create_queue()
            .queue_name(name)
            .attributes(QueueAttributeName::RedrivePolicy, redrive)
            .attributes(QueueAttributeName::VisibilityTimeout, "120")
            .send()
            .await?;
        let queue_url = queue.queue_url.context("the queue has no URL")?;
        let queue_arn = arn(&sqs, &queue_url).await?;
        let topic_arn =
            sns.create_topic().name(name).send().await?.topic_arn.context("the topic has no ARN")?;
        let policy = serde_json::json!({"Version": "2012-10-17", "Statement": [{
            "Effect": "Allow", "Principal": {"Service": "sns.amazonaws.com"}, "Action": "sqs:SendMessage",
            "Resource": queue_arn, "Condition": {"ArnEquals": {"aws:SourceArn": topic_arn}}}]});
        sqs.set_queue_attributes()
            .queue_url(&queue_url)
            .attributes(QueueAttributeName::Policy, policy.to_string())
            .send()
            .await?;
        let raw = (delivery == Delivery::Raw).then(|| "true".to_owned());
        sns.subscribe()
            .topic_arn(&topic_arn)
            .protocol("sqs")
            .endpoint(queue_arn)
            .set_attributes(raw.map(|raw| [("RawMessageDelivery".to_owned(), raw)].into()))
            .send()
            .await?;
        Ok(Self { endpoint: endpoint.to_owned(), ca: None, topic_arn, queue_url, sqs, sns })
    }

    /// The same topic and queue through a proxy.
    pub fn behind(&self, proxy: &CountingProxy) -> Self {
        let path = self.queue_url.splitn(4, '/').nth(3).unwrap_or_default();
        Self {
            endpoint: proxy.url.clone(),
            ca: proxy.ca.clone(),
            queue_url: format!("{}/{path}", proxy.url.trim_end_matches('/')),
            ..self.clone()
        }
    }

    /// Sets the environment of a contender.
    pub fn environment(&self, command: &mut Command) {
        if let Some(ca) = &self.ca {
            // Rust, Node and Python each read the CA from another variable.
            for variable in ["SSL_CERT_FILE", "NODE_EXTRA_CA_CERTS", "AWS_CA_BUNDLE"] {
                command.env(variable, ca);
            }
        }
        command
            .envs(SIGNED_AS.map(|(name, default)| (name, variable(name, default))))
            // botocore reads the region from this variable only.
            .env("AWS_DEFAULT_REGION", variable(SIGNED_AS[0].0, SIGNED_AS[0].1))
            .env("AWS_ENDPOINT_URL", &self.endpoint)
            .env("TOPIC_ARN", &self.topic_arn)
            .env("QUEUE_URL", &self.queue_url);
    }

    /// Messages in the queue: visible and in flight.
    pub async fn left(&self) -> Result<u64> {
        let asked = self
            .sqs
            .get_queue_attributes()
            .queue_url(&self.queue_url)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessages)
            .attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible)
            .send()
            .await?;
        let counts = asked.attributes.unwrap_or_default();
        Ok(counts.values().filter_map(|count| count.parse::<u64>().ok()).sum())
    }

    /// Publishes up to ten messages.
    pub async fn publish(&self, messages: Vec<String>) -> Result<()> {
        use aws_sdk_sns::types::PublishBatchRequestEntry;
        let entries: Result<Vec<_>, _> = messages
            .into_iter()
            .enumerate()
            .map(|(n, message)| {
                PublishBatchRequestEntry::builder().id(n.to_string()).message(message).build()
            })
            .collect();
        let batch = self.sns.publish_batch().topic_arn(&self.topic_arn);
        let response = batch.set_publish_batch_request_entries(Some(entries?)).send().await?;
        if !response.failed().is_empty() {
            bail!("{} messages were not published", response.failed().len());
        }
        Ok(())
    }

    /// Deletes topic and queues, which matters on an endpoint that is not embedded.
    pub async fn strike(&self) {
        self.sqs.delete_queue().queue_url(&self.queue_url).send().await.ok();
        self.sqs.delete_queue().queue_url(format!("{}-dlq", self.queue_url)).send().await.ok();
        self.sns.delete_topic().topic_arn(&self.topic_arn).send().await.ok();
    }
}

async fn arn(sqs: &aws_sdk_sqs::Client, url: &str) -> Result<String> {
    let asked = sqs
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await?;
    asked.attributes.unwrap_or_default().remove(&QueueAttributeName::QueueArn).context("the queue has no ARN")
}

async fn access(endpoint: &str) -> SdkConfig {
    let http = aws_smithy_http_client::Builder::new()
        .tls_provider(tls::Provider::Rustls(tls::rustls_provider::CryptoMode::Ring))
        .build_https();
    let [region, key, secret] = SIGNED_AS.map(|(name, default)| variable(name, default));
    aws_config::defaults(BehaviorVersion::latest())
        .http_client(http)
        .endpoint_url(endpoint)
        .region(Region::new(region))
        .credentials_provider(Credentials::new(key, secret, None, None, "bench"))
        .load()
        .await
}

fn variable(name: &str, default: &str) -> String {
    std::env::var(name).unwrap_or_else(|_| default.to_owned())
}
