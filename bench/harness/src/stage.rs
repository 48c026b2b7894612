//! The endpoint of a contender, with a topic, a queue, its dead-letter queue and the subscription, as Lifeline's consumer
//! provisions them.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::Credentials;
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use aws_smithy_http_client::tls;

use crate::process::Running;
use crate::proxy::CountingProxy;

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

    /// CPU seconds of an embedded endpoint and the proxy in front; 0 for another endpoint.
    pub fn cpu(&self) -> f64 {
        let front = self.front.as_ref().map_or(0.0, CountingProxy::cpu);
        self.running.as_ref().map_or(0.0, Running::cpu) + front
    }

    /// Puts a proxy in front, which lives as long as the endpoint.
    pub fn put_in_front(&mut self, proxy: CountingProxy) -> &CountingProxy {
        self.front.insert(proxy)
    }

    /// The proxy in front.
    pub fn front(&self) -> Option<&CountingProxy> {
        self.front.as_ref()
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

    /// Creates a FIFO queue in high throughput mode, without a topic: [`Stage::send`] fills it.
    pub async fn set_fifo(endpoint: &str, name: &str) -> Result<Self> {
        let config = access(endpoint).await;
        let (sqs, sns) = (aws_sdk_sqs::Client::new(&config), aws_sdk_sns::Client::new(&config));
        let fifo = |name: String| {
            let queue = sqs.create_queue().queue_name(name).attributes(QueueAttributeName::FifoQueue, "true");
            queue
                .attributes(QueueAttributeName::DeduplicationScope, "messageGroup")
                .attributes(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId")
        };
        let dead = fifo(format!("{name}-dlq.fifo")).send().await?;
        let dead = arn(&sqs, dead.queue_url().context("the queue has no URL")?).await?;
        let redrive = serde_json::json!({"deadLetterTargetArn": dead, "maxReceiveCount": 5}).to_string();
        let queue = fifo(format!("{name}.fifo"))
            .attributes(QueueAttributeName::RedrivePolicy, redrive)
            .attributes(QueueAttributeName::VisibilityTimeout, "120")
            .send()
            .await?;
        let queue_url = queue.queue_url.context("the queue has no URL")?;
        let topic = sns.create_topic().name(format!("{name}.fifo")).attributes("FifoTopic", "true");
        let topic_arn = topic.send().await?.topic_arn.context("the topic has no ARN")?;
        Ok(Self { endpoint: endpoint.to_owned(), ca: None, topic_arn, queue_url, sqs, sns })
    }

    /// Sends up to ten messages to a FIFO queue: group, number, and body.
    pub async fn send(&self, messages: Vec<(String, u64, String)>) -> Result<()> {
        let entries: Result<Vec<_>, _> = messages
            .into_iter()
            .map(|(group, number, body)| {
                let entry = SendMessageBatchRequestEntry::builder().id(number.to_string()).message_body(body);
                entry.message_group_id(group).message_deduplication_id(number.to_string()).build()
            })
            .collect();
        let batch = self.sqs.send_message_batch().queue_url(&self.queue_url).set_entries(Some(entries?));
        let failed = batch.send().await?.failed;
        anyhow::ensure!(failed.is_empty(), "{} messages were not sent", failed.len());
        Ok(())
    }

    /// The same topic and queue through a proxy.
    pub fn behind(&self, proxy: &CountingProxy) -> Self {
        let path = self.queue_url.splitn(4, '/').nth(3).unwrap_or_default();
        Self {
            endpoint: proxy.url.clone(),
            ca: proxy.ca().map(Into::into),
            queue_url: format!("{}/{path}", proxy.url.trim_end_matches('/')),
            ..self.clone()
        }
    }

    /// The same with clients that connect to its address, which is a proxy's.
    pub async fn connected(self) -> Self {
        let config = access(&self.endpoint).await;
        Self { sqs: aws_sdk_sqs::Client::new(&config), sns: aws_sdk_sns::Client::new(&config), ..self }
    }

    /// Receives up to ten messages, deletes them, and returns how many there were.
    pub async fn receive_and_delete(&self) -> Result<usize> {
        use aws_sdk_sqs::types::DeleteMessageBatchRequestEntry;
        let receive = self.sqs.receive_message().queue_url(&self.queue_url).max_number_of_messages(10);
        let messages = receive.send().await?.messages.unwrap_or_default();
        let entries: Result<Vec<_>, _> = messages
            .iter()
            .enumerate()
            .map(|(n, message)| {
                let receipt = message.receipt_handle.clone().unwrap_or_default();
                DeleteMessageBatchRequestEntry::builder().id(n.to_string()).receipt_handle(receipt).build()
            })
            .collect();
        let delete = self.sqs.delete_message_batch().queue_url(&self.queue_url);
        delete.set_entries(Some(entries?)).send().await?;
        Ok(messages.len())
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
        self.left_in(&self.queue_url).await
    }

    /// Messages in the dead-letter queue.
    pub async fn dead(&self) -> Result<u64> {
        self.left_in(&format!("{}-dlq", self.queue_url)).await
    }

    async fn left_in(&self, queue_url: &str) -> Result<u64> {
        let asked = self
            .sqs
            .get_queue_attributes()
            .queue_url(queue_url)
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
