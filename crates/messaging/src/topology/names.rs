//! Names of topics and queues as they are configured, and their limits.

use crate::client::domain;

/// The name in the ARN of a topic or queue.
pub fn arn_name(arn: &str) -> &str {
    arn.rsplit(':').next().unwrap_or(arn)
}

/// The account in an ARN.
pub fn arn_account(arn: &str) -> Option<&str> {
    arn.split(':').nth(4)
}

/// A topic as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By ARN.
    Arn(String),
}

impl TopicRef {
    /// The topic's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn_name(arn),
        }
    }

    /// Whether it is a FIFO topic: SNS reserves the ending `.fifo` for them.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

impl From<&str> for TopicRef {
    /// An ARN begins with `arn:`; everything else is a name.
    fn from(topic: &str) -> Self {
        if topic.starts_with("arn:") { Self::Arn(topic.to_owned()) } else { Self::Name(topic.to_owned()) }
    }
}

impl From<String> for TopicRef {
    fn from(topic: String) -> Self {
        topic.as_str().into()
    }
}

/// What a consumer needs around its queue: `QueueSpec::from("orders").subscribed_to("events").provision(true)`.
#[derive(Debug, Clone)]
pub struct QueueSpec {
    /// The queue.
    pub queue: QueueRef,
    /// The topic that feeds it.
    pub topic: TopicRef,
    /// Create what is missing.
    pub provision: bool,
    /// `maxReceiveCount` of a redrive policy that is created: 1 to 1,000.
    pub max_receives: u32,
    /// `RawMessageDelivery` of a subscription that is created.
    pub raw_delivery: bool,
}

/// A queue that is there already, by its name or URL: nothing is created around it.
impl From<QueueRef> for QueueSpec {
    fn from(queue: QueueRef) -> Self {
        let topic = TopicRef::Name(String::new());
        Self { queue, topic, provision: false, max_receives: 5, raw_delivery: false }
    }
}

impl QueueSpec {
    /// The topic that feeds it.
    #[must_use]
    pub fn subscribed_to(mut self, topic: impl Into<TopicRef>) -> Self {
        self.topic = topic.into();
        self
    }

    /// Creates what is missing: the queue, its dead-letter queue, the topic and the subscription. Default `false`.
    #[must_use]
    pub fn provision(mut self, provision: bool) -> Self {
        self.provision = provision;
        self
    }

    /// After how many receives a message is a dead letter, where that is created: 1 to 1,000. Default 5.
    #[must_use]
    pub fn max_receives(mut self, receives: u32) -> Self {
        self.max_receives = receives;
        self
    }

    /// Whether a subscription that is created delivers the bare message instead of a notification. Default `false`.
    #[must_use]
    pub fn raw_delivery(mut self, raw: bool) -> Self {
        self.raw_delivery = raw;
        self
    }
}

impl From<&str> for QueueSpec {
    fn from(queue: &str) -> Self {
        QueueRef::from(queue).into()
    }
}

impl From<String> for QueueSpec {
    fn from(queue: String) -> Self {
        queue.as_str().into()
    }
}

/// A queue as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By URL.
    Url(String),
}

impl From<&str> for QueueRef {
    /// A URL begins with `https://` or `http://`, an ARN with `arn:`; everything else is a name.
    fn from(queue: &str) -> Self {
        let is_url = queue.starts_with("https://") || queue.starts_with("http://");
        match url_of_arn(queue) {
            Some(url) => Self::Url(url),
            None if is_url => Self::Url(queue.to_owned()),
            None => Self::Name(queue.to_owned()),
        }
    }
}

impl From<String> for QueueRef {
    fn from(queue: String) -> Self {
        queue.as_str().into()
    }
}

/// `arn:aws:sqs:eu-west-1:111122223333:orders` → `https://sqs.eu-west-1.amazonaws.com/111122223333/orders`.
fn url_of_arn(arn: &str) -> Option<String> {
    let parts: Vec<_> = arn.split(':').collect();
    let ["arn", partition, "sqs", region, account, name] = parts[..] else { return None };
    Some(format!("https://sqs.{region}.{}/{account}/{name}", domain(partition)))
}

impl QueueRef {
    /// The queue's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Url(url) => url.rsplit('/').next().unwrap_or(url),
        }
    }

    /// Whether it is a FIFO queue: SQS reserves the ending `.fifo` for them.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

/// `orders` → `orders-dlq`, `orders.fifo` → `orders-dlq.fifo`: the dead letters of a FIFO queue need one too.
pub fn dead_letter_name(queue: &str) -> String {
    match queue.strip_suffix(".fifo") {
        Some(stem) => format!("{stem}-dlq.fifo"),
        None => format!("{queue}-dlq"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_queue_is_a_name_a_url_or_an_arn() {
        let url = |url: &str| QueueRef::Url(url.to_owned());
        assert_eq!(QueueRef::from("orders"), QueueRef::Name("orders".to_owned()));
        let own = "http://localhost:4566/000000000000/orders";
        assert_eq!(QueueRef::from(own), url(own));
        let arn =
            |partition: &str| QueueRef::from(format!("arn:{partition}:sqs:eu-west-1:111122223333:orders"));
        assert_eq!(arn("aws"), url("https://sqs.eu-west-1.amazonaws.com/111122223333/orders"));
        assert_eq!(arn("aws-cn"), url("https://sqs.eu-west-1.amazonaws.com.cn/111122223333/orders"));
        let spec = QueueSpec::from("orders")
            .subscribed_to("events")
            .provision(true)
            .max_receives(3)
            .raw_delivery(true);
        assert_eq!(
            (spec.topic.name(), spec.provision, spec.max_receives, spec.raw_delivery),
            ("events", true, 3, true)
        );
    }

    #[test]
    fn a_dead_letter_queue_of_a_fifo_queue_is_fifo() {
        assert_eq!(dead_letter_name("orders"), "orders-dlq");
        assert_eq!(dead_letter_name("orders.fifo"), "orders-dlq.fifo");
    }
}
