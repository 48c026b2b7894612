//! Names of topics and queues as they are configured, and their limits.

use lifeline_service::settings::{self, Reader, Setting, Values};

/// The rows that both programs have.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "TOPIC_NAME",
        default: Some("events"),
        help: "the topic's name; one that ends in .fifo is a FIFO topic",
    },
    Setting { name: "TOPIC_ARN", default: None, help: "the topic's ARN, instead of its name" },
    Setting {
        name: "PROVISION",
        default: None,
        help: "create what is missing; true where AWS_ENDPOINT_URL is set, else false",
    },
];

/// The rows of a consumer.
pub const QUEUE_SETTINGS: &[Setting] = &[
    Setting {
        name: "QUEUE_NAME",
        default: Some("events-consumer"),
        help: "the queue's name; one that ends in .fifo is a FIFO queue",
    },
    Setting { name: "QUEUE_URL", default: None, help: "the queue's URL, instead of its name" },
    Setting {
        name: "MAX_RECEIVES",
        default: Some("5"),
        help: "when provisioning: receives before the dead-letter queue",
    },
    Setting {
        name: "RAW_DELIVERY",
        default: Some("false"),
        help: "when provisioning the subscription; both forms are always understood",
    },
];

/// A topic as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TopicRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By ARN.
    Arn(String),
}

impl TopicRef {
    /// Reads `TOPIC_ARN` or `TOPIC_NAME`.
    pub fn read(reader: &mut Reader<'_>, values: &Values) -> Self {
        let arn = reader.optional(
            "TOPIC_ARN",
            settings::Accept::new(
                "an SNS topic's ARN, like arn:aws:sns:eu-west-1:123456789012:events",
                |text| {
                    let parts: Vec<_> = text.split(':').collect();
                    (parts.len() == 6 && parts[0] == "arn" && parts[2] == "sns" && !parts[5].is_empty())
                        .then(|| text.to_owned())
                },
            ),
        );
        let name = reader.read("TOPIC_NAME", resource_name(256));
        match arn {
            Some(_) if values.is_given("TOPIC_NAME") => {
                reader.object("TOPIC_ARN", "TOPIC_NAME is set too; set one of them");
                Self::Name(name)
            }
            Some(arn) => Self::Arn(arn),
            None => Self::Name(name),
        }
    }

    /// The topic's name.
    pub fn name(&self) -> &str {
        match self {
            Self::Name(name) => name,
            Self::Arn(arn) => arn.rsplit(':').next().unwrap_or(arn),
        }
    }

    /// Whether it is a FIFO topic: SNS reserves the ending `.fifo` for them.
    pub fn is_fifo(&self) -> bool {
        self.name().ends_with(".fifo")
    }
}

/// Reads `PROVISION`, whose default depends on the endpoint.
pub fn read_provision(reader: &mut Reader<'_>, values: &Values) -> bool {
    reader.optional("PROVISION", settings::boolean()).unwrap_or_else(|| values.is_given("AWS_ENDPOINT_URL"))
}

/// Names of topics and queues: letters, digits, `-`, `_`, and `.fifo` at the end.
/// Bounds: CreateTopic 256, CreateQueue 80 characters, the ending included.
fn resource_name(longest: usize) -> settings::Accept<String> {
    settings::Accept::new(
        format!("a name of 1 to {longest} letters, digits, - and _, with .fifo at its end for FIFO"),
        move |text| {
            let stem = text.strip_suffix(".fifo").unwrap_or(text);
            let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
            (!stem.is_empty() && text.len() <= longest && stem.bytes().all(valid)).then(|| text.to_owned())
        },
    )
}

/// What a consumer needs around its queue.
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

/// A queue as it was configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum QueueRef {
    /// By name, in the account and region in force.
    Name(String),
    /// By URL.
    Url(String),
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

impl QueueSpec {
    /// Reads the settings of topic, queue and provisioning.
    pub fn read(reader: &mut Reader<'_>, values: &Values) -> Self {
        let topic = TopicRef::read(reader, values);
        let url = reader.optional("QUEUE_URL", settings::url());
        let name = reader.read("QUEUE_NAME", resource_name(80));
        let queue = match url {
            Some(_) if values.is_given("QUEUE_NAME") => {
                reader.object("QUEUE_URL", "QUEUE_NAME is set too; set one of them");
                QueueRef::Name(name)
            }
            Some(url) => QueueRef::Url(url),
            None => QueueRef::Name(name),
        };
        let provision = read_provision(reader, values);
        if provision && queue.is_fifo() && !topic.is_fifo() {
            let topic = topic.name();
            reader.object("QUEUE_NAME", format!("a FIFO queue takes no messages of the standard topic {topic}; use a topic that ends in .fifo"));
        }
        Self {
            queue,
            topic,
            provision,
            max_receives: u32::try_from(reader.read("MAX_RECEIVES", settings::integer(1..=1000)))
                .unwrap_or(5),
            raw_delivery: reader.read("RAW_DELIVERY", settings::boolean()),
        }
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
    fn a_dead_letter_queue_of_a_fifo_queue_is_fifo() {
        assert_eq!(dead_letter_name("orders"), "orders-dlq");
        assert_eq!(dead_letter_name("orders.fifo"), "orders-dlq.fifo");
    }
}
