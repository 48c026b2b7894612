//! The settings of AWS, topic and queue as clap arguments: the feature `service`.

use std::time::Duration;

use lifeline_http::Proxies;
use lifeline_service::settings::{Accept, Checked, Problems, boolean, duration, integer, url};

use crate::client::{Access, defect};
use crate::envelope::is_topic;
use crate::topology::{QueueRef, QueueSpec, TopicRef};

/// How AWS is reached. What is not set here, the SDK looks for in its usual places: profiles, credentials, the instance.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "AWS")]
pub struct AwsArgs {
    /// Endpoint of SNS and SQS instead of AWS's own, such as http://localhost:4566
    #[arg(long, env = "AWS_ENDPOINT_URL", value_name = "URL", value_parser = url())]
    pub aws_endpoint_url: Option<Checked<String>>,

    /// Endpoint of SNS, before AWS_ENDPOINT_URL
    #[arg(long, env = "AWS_ENDPOINT_URL_SNS", value_name = "URL", value_parser = url())]
    pub aws_endpoint_url_sns: Option<Checked<String>>,

    /// Endpoint of SQS, before AWS_ENDPOINT_URL
    #[arg(long, env = "AWS_ENDPOINT_URL_SQS", value_name = "URL", value_parser = url())]
    pub aws_endpoint_url_sqs: Option<Checked<String>>,

    /// AWS region [default: the SDK's own; us-east-1 with an endpoint]
    #[arg(long, env = "AWS_REGION", value_name = "REGION", value_parser = region())]
    pub aws_region: Option<Checked<String>>,

    /// Bounds of AWS calls.
    #[command(flatten)]
    pub call: CallArgs,
}

/// How long AWS calls may take.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "AWS")]
pub struct CallArgs {
    /// Timeout of one attempt of one AWS call, 100ms to 1m; a long poll gets WAIT_TIME on top
    #[arg(long, env = "CALL_TIMEOUT", value_name = "DURATION", default_value = "5s",
          value_parser = duration(Duration::from_millis(100)..=Duration::from_secs(60)))]
    pub call_timeout: Checked<Duration>,
}

/// The topic.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Topic and queue")]
pub struct TopicArgs {
    /// Name of the topic; a name that ends in .fifo means a FIFO topic
    #[arg(long, env = "TOPIC_NAME", value_name = "NAME", default_value = "events", value_parser = topic_name())]
    pub topic_name: Checked<String>,

    /// ARN of the topic, instead of its name
    #[arg(long, env = "TOPIC_ARN", value_name = "ARN", value_parser = topic_arn())]
    pub topic_arn: Option<Checked<String>>,

    /// Create what is missing, at startup and whenever it disappears [default: true with an endpoint that is not AWS's own]
    #[arg(long, env = "PROVISION", value_name = "true|false", value_parser = boolean())]
    pub provision: Option<Checked<bool>>,
}

/// Which queue.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Topic and queue")]
pub struct QueueRefArgs {
    /// Name of the queue; a name that ends in .fifo means a FIFO queue
    #[arg(long, env = "QUEUE_NAME", value_name = "NAME", default_value = "events-consumer", value_parser = queue_name())]
    pub queue_name: Checked<String>,

    /// URL of the queue, instead of its name
    #[arg(long, env = "QUEUE_URL", value_name = "URL", value_parser = url())]
    pub queue_url: Option<Checked<String>>,
}

/// The queue.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Topic and queue")]
pub struct QueueArgs {
    /// Which it is.
    #[command(flatten)]
    pub queue: QueueRefArgs,

    /// What is provisioned with the queue.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
}

/// How a queue and a subscription are provisioned. Existing ones are not changed.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Topic and queue")]
pub struct DeliveryArgs {
    /// Receives before a message moves to the dead-letter queue, 1 to 1000; when provisioning
    #[arg(long, env = "MAX_RECEIVES", value_name = "COUNT", default_value = "5", value_parser = integer::<u32>(1..=1000))]
    pub max_receives: Checked<u32>,

    /// Raw message delivery of the subscription; when provisioning (both forms are understood in any case)
    #[arg(long, env = "RAW_DELIVERY", value_name = "true|false", default_value = "false", value_parser = boolean())]
    pub raw_delivery: Checked<bool>,
}

/// AWS's variable that makes endpoints of variables and profiles count for nothing.
const IGNORE_ENDPOINTS: &str = "AWS_IGNORE_CONFIGURED_ENDPOINT_URLS";

/// The variables that the SDK reads secrets from and puts into headers.
const SECRETS: [&str; 3] = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"];

impl AwsArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> Access {
        for name in SECRETS {
            let value = std::env::var_os(name).unwrap_or_default();
            if let Some(why) = defect(&value.to_string_lossy()) {
                problems.secret(name, why);
            }
        }
        for (name, value) in Proxies::ignored_variables() {
            problems.ignored(name, &value, "the URL of a proxy, http://, https:// or socks5://");
        }
        let is_flag = |endpoint: &Option<Checked<String>>| endpoint.as_ref().is_some_and(Checked::is_flag);
        // it must also reach the SDK, which reads the environment alone
        let ignore = std::env::var(IGNORE_ENDPOINTS).is_ok_and(|value| value.eq_ignore_ascii_case("true"));
        // a flag comes before all variables
        let general = is_flag(&self.aws_endpoint_url);
        let mut endpoint = |endpoint: Option<Checked<String>>, of_all: bool| {
            let heeded = is_flag(&endpoint) || !(ignore || (general && !of_all));
            let is_given = endpoint.is_some();
            // one that is invalid ends the start, but is no reason to take this for AWS
            let invalid = || is_given.then(|| "http://invalid".to_owned());
            problems.optional(endpoint).or_else(invalid).filter(|_| heeded)
        };
        let (sns_endpoint, sqs_endpoint) =
            (endpoint(self.aws_endpoint_url_sns, false), endpoint(self.aws_endpoint_url_sqs, false));
        Access {
            endpoint: endpoint(self.aws_endpoint_url, true),
            sns_endpoint,
            sqs_endpoint,
            region: problems.optional(self.aws_region),
            call_timeout: problems.value(self.call.call_timeout),
            credentials: None,
        }
    }
}

impl TopicArgs {
    /// Why missing resources are created, or not, for the log.
    pub fn provision_reason(&self, access: &Access) -> &'static str {
        match (&self.provision, access.is_aws()) {
            (Some(_), _) => "PROVISION is set",
            (None, true) => "the default on AWS",
            (None, false) => "the default, since the endpoint is not AWS's own",
        }
    }

    /// The topic, and whether missing resources are created. Notes bad values in `problems`.
    pub fn check(self, access: &Access, problems: &mut Problems) -> (TopicRef, bool) {
        if let Some(arn) = &self.topic_arn
            && self.topic_name.is_given()
        {
            problems.reject(arn, "TOPIC_NAME is set too; set only one of them");
        }
        let (name, arn) = (problems.value(self.topic_name), problems.optional(self.topic_arn));
        let topic = arn.map_or(TopicRef::Name(name), TopicRef::Arn);
        (topic, problems.optional(self.provision).unwrap_or(!access.is_aws()))
    }
}

impl QueueRefArgs {
    /// The queue. Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> QueueRef {
        if let Some(url) = &self.queue_url
            && self.queue_name.is_given()
        {
            problems.reject(url, "QUEUE_NAME is set too; set only one of them");
        }
        let (name, url) = (problems.value(self.queue_name), problems.optional(self.queue_url));
        url.map_or(QueueRef::Name(name), QueueRef::Url)
    }
}

impl QueueArgs {
    /// What a consumer needs around its queue. Notes bad values in `problems`.
    pub fn check(self, (topic, provision): (TopicRef, bool), problems: &mut Problems) -> QueueSpec {
        let given = self.queue.queue_name.clone();
        let queue = self.queue.check(problems);
        if provision && queue.is_fifo() && !topic.is_fifo() {
            let topic = topic.name();
            problems.reject(&given, format!("a FIFO queue cannot subscribe to the standard topic {topic}; use a topic whose name ends in .fifo"));
        }
        self.delivery.check(queue, topic, provision, problems)
    }
}

impl DeliveryArgs {
    /// Notes bad values in `problems`.
    pub fn check(
        self,
        queue: QueueRef,
        topic: TopicRef,
        provision: bool,
        problems: &mut Problems,
    ) -> QueueSpec {
        QueueSpec {
            queue,
            topic,
            provision,
            max_receives: problems.value(self.max_receives),
            raw_delivery: problems.value(self.raw_delivery),
        }
    }
}

/// A topic's name: CreateTopic takes 256 characters.
#[must_use]
pub fn topic_name() -> Accept<String> {
    resource_name(256)
}

/// A queue's name: CreateQueue takes 80 characters.
#[must_use]
pub fn queue_name() -> Accept<String> {
    resource_name(80)
}

/// Letters, digits, `-`, `_`, and `.fifo` at the end, which counts.
fn resource_name(longest: usize) -> Accept<String> {
    let expected = format!("a name of 1 to {longest} letters, digits, - and _, which may end in .fifo");
    Accept::new(expected, move |text| {
        let stem = text.strip_suffix(".fifo").unwrap_or(text);
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
        (!stem.is_empty() && text.len() <= longest && stem.bytes().all(valid)).then(|| text.to_owned())
    })
}

/// A region's name, which becomes a part of host names.
fn region() -> Accept<String> {
    Accept::new("a region, such as eu-west-1", |text| {
        let valid = |b: u8| b.is_ascii_alphanumeric() || b == b'-';
        (!text.is_empty() && text.bytes().all(valid)).then(|| text.to_owned())
    })
}

fn topic_arn() -> Accept<String> {
    let expected = "the ARN of an SNS topic, such as arn:aws:sns:eu-west-1:123456789012:events";
    Accept::new(expected, |text| is_topic(text).then(|| text.to_owned()))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Args {
        #[command(flatten)]
        aws: AwsArgs,
        #[command(flatten)]
        topic: TopicArgs,
        #[command(flatten)]
        queue: QueueArgs,
    }

    fn check(arguments: &[&str]) -> Result<QueueSpec, String> {
        let args = Args::try_parse_from(std::iter::once("test").chain(arguments.iter().copied())).unwrap();
        let mut problems = Problems::default();
        let access = args.aws.check(&mut problems);
        let topic = args.topic.check(&access, &mut problems);
        let spec = args.queue.check(topic, &mut problems);
        problems.finish().map(|_| spec).map_err(|problems| problems.to_string())
    }

    #[test]
    fn nothing_is_provisioned_on_aws_unless_it_is_asked_for() {
        assert!(!check(&[]).unwrap().provision);
        assert!(check(&["--provision=true"]).unwrap().provision);
        assert!(check(&["--aws-endpoint-url=http://localhost:4566"]).unwrap().provision);
        assert!(!check(&["--aws-endpoint-url=http://localhost:4566", "--provision=off"]).unwrap().provision);
        for aws in ["https://sqs.eu-west-1.amazonaws.com", "https://vpce-1.sqs.eu-west-1.vpce.amazonaws.com/"]
        {
            assert!(!check(&["--aws-endpoint-url", aws]).unwrap().provision, "{aws}");
        }
    }

    #[test]
    fn the_log_says_why_it_provisions() {
        let reason = |arguments: &[&str]| {
            let arguments = std::iter::once("test").chain(arguments.iter().copied());
            let args = Args::try_parse_from(arguments).unwrap();
            args.topic.provision_reason(&args.aws.check(&mut Problems::default()))
        };
        let local = "--aws-endpoint-url=http://localhost:4566";
        assert_eq!(reason(&[]), "the default on AWS");
        assert_eq!(reason(&[local]), "the default, since the endpoint is not AWS's own");
        for set in ["--provision=true", "--provision=false"] {
            assert_eq!(reason(&[local, set]), "PROVISION is set");
        }
    }

    #[test]
    fn a_name_and_its_alternative_exclude_each_other() {
        let arn = "--topic-arn=arn:aws:sns:eu-west-1:123456789012:orders";
        assert_eq!(check(&[arn]).unwrap().topic.name(), "orders");
        let error =
            check(&[arn, "--topic-name=orders", "--queue-name=q", "--queue-url=http://x/y"]).unwrap_err();
        assert_eq!(
            error,
            format!(
                "{arn}: TOPIC_NAME is set too; set only one of them\n\
                     --queue-url=http://x/y: QUEUE_NAME is set too; set only one of them"
            )
        );
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "no spaces", ".fifo", "a.b", "ä"] {
            assert!(check(&["--queue-name", bad]).is_err(), "{bad:?}");
            assert!(check(&["--topic-name", bad]).is_err(), "{bad:?}");
        }
        assert!(check(&["--topic-name", &"x".repeat(256), "--queue-name", &"x".repeat(80)]).is_ok());
        assert!(check(&["--queue-name", &"x".repeat(81)]).is_err());
        assert!(check(&["--topic-arn=orders"]).is_err());
    }

    #[test]
    fn a_fifo_queue_needs_a_fifo_topic() {
        let fifo = ["--provision=true", "--queue-name=orders.fifo"];
        assert!(
            check(&fifo).unwrap_err().starts_with("--queue-name=orders.fifo: a FIFO queue cannot subscribe")
        );
        assert!(check(&[&fifo[..], &["--topic-name=orders.fifo"]].concat()).is_ok());
    }
}
