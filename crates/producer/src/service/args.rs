//! The producer's settings.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, TopicArgs};
use lifeline_messaging::client::Access;
use lifeline_messaging::topology::TopicRef;
use lifeline_service::settings::{Accept, Checked, Problems, duration, integer, rate};
use lifeline_service::{CommonArgs, Program};

use super::input::Input;
use super::message_group::Group;

/// Publishes generated events, or the lines of a file, a FIFO or standard input, to an SNS topic.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "producer", version, after_help = AFTER_HELP)]
pub struct Args {
    /// What is published, and how fast.
    #[command(flatten)]
    pub publish: PublishArgs,
    /// The topic.
    #[command(flatten)]
    pub topic: TopicArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The service.
    #[command(flatten)]
    pub common: CommonArgs,
}

const AFTER_HELP: &str = "\
Every flag is also an environment variable; the flag wins. Durations are written 250ms, 20s, 5m, 1h.
Credentials come from the usual AWS sources.

Examples:
  producer --topic-name orders --input orders.jsonl
  tail -F orders.log | TOPIC_NAME=orders producer --input -
  producer health";

/// The settings of input and publisher.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Input")]
pub struct PublishArgs {
    /// generate for sample events, - for standard input, or a file or FIFO: one message per line, sent as is; blank lines are skipped
    #[arg(long, env = "INPUT", value_name = "generate|-|FILE", default_value = "generate", value_parser = input())]
    pub input: Checked<Input>,

    /// First line of INPUT to publish, or first event
    #[arg(long, env = "FROM", value_name = "LINE", default_value = "1", value_parser = integer::<u64>(1..=u64::MAX))]
    pub from: Checked<u64>,

    /// Stop after this many messages
    #[arg(long, env = "PUBLISH_COUNT", value_name = "COUNT", value_parser = integer::<u64>(1..=u64::MAX))]
    pub publish_count: Option<Checked<u64>>,

    /// Messages per second, or unlimited [default: 1 for generated events, unlimited for an input]
    #[arg(long, env = "PUBLISH_RATE", value_name = "RATE", value_parser = rate(1e6))]
    pub publish_rate: Option<Checked<f64>>,

    /// Seed for generated events; the same seed generates the same events [default: random, logged at start]
    #[arg(long, env = "SEED", value_name = "NUMBER", value_parser = integer::<u64>(0..=u64::MAX))]
    pub seed: Option<Checked<u64>>,

    /// FIFO topics: a JSON pointer into each message, such as /customer/id, or a constant
    #[arg(long, env = "MESSAGE_GROUP", value_name = "POINTER", value_parser = group())]
    pub message_group: Option<Checked<Group>>,

    /// Maximum number of concurrent PublishBatch calls, 1 to 256; raise it if the round trip to AWS is long
    #[arg(long, env = "PUBLISH_CONCURRENCY", value_name = "COUNT", default_value = "16", value_parser = integer::<usize>(1..=256))]
    pub publish_concurrency: Checked<usize>,

    /// The former name of `publish_concurrency`.
    #[arg(long, env = "IN_AIR", value_name = "COUNT", hide = true, value_parser = integer::<usize>(1..=256))]
    pub in_air: Option<Checked<usize>>,

    /// Maximum time a message waits for its batch to fill, 0s to 10s
    #[arg(long, env = "LINGER", value_name = "DURATION", default_value = "5ms",
          value_parser = duration(Duration::ZERO..=Duration::from_secs(10)))]
    pub linger: Checked<Duration>,

    /// Maximum number of messages in memory, 1 to 1000000; input is not read beyond it
    #[arg(long, env = "BUFFER", value_name = "COUNT", default_value = "1000", value_parser = integer::<usize>(1..=1_000_000))]
    pub buffer: Checked<usize>,
}

/// [`Args`], checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// How AWS is reached.
    pub access: Access,
    /// `TOPIC_NAME` or `TOPIC_ARN`.
    pub topic: TopicRef,
    /// `PROVISION`.
    pub provision: bool,
    /// Input and publisher.
    pub publish: PublishConfig,
}

/// [`PublishArgs`], checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct PublishConfig {
    /// `INPUT`.
    pub input: Input,
    /// `FROM`: 1 or more.
    pub from: u64,
    /// `SEED`.
    pub seed: Option<u64>,
    /// `PUBLISH_RATE`, messages per second; infinity is no limit.
    pub rate: f64,
    /// `PUBLISH_COUNT`: messages handed to the publisher.
    pub count: Option<u64>,
    /// `LINGER`.
    pub linger: Duration,
    /// `BUFFER`: 1 or more.
    pub buffer: usize,
    /// `PUBLISH_CONCURRENCY`: 1 or more.
    pub concurrency: usize,
    /// `MESSAGE_GROUP`.
    pub group: Option<Group>,
}

impl Config {
    /// Settings that were checked one by one.
    #[must_use]
    pub fn new(access: Access, topic: TopicRef, provision: bool, publish: PublishConfig) -> Self {
        Self { access, topic, provision, publish }
    }
}

impl Program for Args {
    type Config = Config;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(self, problems: &mut Problems) -> Config {
        let access = self.aws.check(problems);
        let (topic, provision) = self.topic.check(&access, problems);
        let publish = self.publish.check(&topic, problems);
        Config { access, topic, provision, publish }
    }
}

impl PublishArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, topic: &TopicRef, problems: &mut Problems) -> PublishConfig {
        if topic.is_fifo() && self.message_group.is_none() {
            problems.missing("MESSAGE_GROUP", format!("the FIFO topic {} needs it; set it to a JSON pointer into each message, such as /customer/id, or to a constant", topic.name()));
        }
        let input = problems.value(self.input);
        let rate = problems.optional(self.publish_rate);
        let concurrency = problems.renamed(self.in_air, self.publish_concurrency, "PUBLISH_CONCURRENCY");
        PublishConfig {
            from: problems.value(self.from),
            seed: problems.optional(self.seed),
            rate: rate.unwrap_or(if input == Input::Generate { 1.0 } else { f64::INFINITY }),
            count: problems.optional(self.publish_count),
            linger: problems.value(self.linger),
            buffer: problems.value(self.buffer),
            concurrency: problems.value(concurrency),
            group: problems.optional(self.message_group),
            input,
        }
    }
}

fn input() -> Accept<Input> {
    Accept::explained("generate, - for standard input, or a file or FIFO", |text| match text {
        "generate" => Ok(Input::Generate),
        "-" => Ok(Input::Stdin),
        path => {
            let about = Path::new(path).metadata().map_err(|error| format!("cannot be read: {error}"))?;
            if about.is_dir() {
                return Err("is a directory".to_owned());
            }
            // a FIFO is not opened yet: that waits for a writer
            if about.is_file() {
                File::open(path).map_err(|error| format!("cannot be read: {error}"))?;
            }
            Ok(Input::File(path.into()))
        }
    })
}

fn group() -> Accept<Group> {
    Accept::new(
        "a JSON pointer that begins with /, or a constant of 1 to 128 ASCII letters, digits and punctuation",
        Group::parse,
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn check(arguments: &[&str]) -> Result<(Config, Vec<String>), String> {
        let args =
            Args::try_parse_from(std::iter::once("producer").chain(arguments.iter().copied())).unwrap();
        let mut problems = Problems::default();
        let config = args.check(&mut problems);
        problems.finish().map(|warnings| (config, warnings)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let (Config { topic, provision, publish, .. }, warnings) = check(&[]).unwrap();
        assert_eq!(topic, TopicRef::Name("events".to_owned()));
        assert_eq!((publish.input, publish.from, publish.count), (Input::Generate, 1, None));
        assert_eq!((publish.rate, publish.concurrency), (1.0, 16));
        assert_eq!((publish.linger, publish.buffer), (Duration::from_millis(5), 1000));
        assert!(!provision && publish.group.is_none() && warnings.is_empty());
    }

    #[test]
    fn an_input_is_read_as_fast_as_the_topic_takes_it() {
        let rate = |arguments: &[&str]| check(arguments).unwrap().0.publish.rate;
        assert_eq!(rate(&["--input=-"]), f64::INFINITY);
        assert_eq!(rate(&["--input=-", "--publish-rate=2"]), 2.0);
        assert_eq!(rate(&["--publish-rate=unlimited"]), f64::INFINITY);
        assert_eq!(rate(&["--publish-rate=0"]), f64::INFINITY);
    }

    #[test]
    fn a_former_name_is_taken_with_a_warning() {
        let (config, warnings) = check(&["--in-air=4"]).unwrap();
        assert_eq!((config.publish.concurrency, warnings.len()), (4, 1));
        assert_eq!(check(&["--in-air=4", "--publish-concurrency=5"]).unwrap().0.publish.concurrency, 5);
    }

    #[test]
    fn a_fifo_topic_needs_a_group() {
        assert!(
            check(&["--topic-name=a.fifo"])
                .unwrap_err()
                .starts_with("MESSAGE_GROUP: not set; the FIFO topic a.fifo needs it")
        );
        assert!(check(&["--topic-name=a.fifo", "--message-group=/customer/id"]).is_ok());
    }

    #[test]
    fn every_bad_setting_has_its_line() {
        let bad = [
            "--input=/no/such/file",
            "--from=0",
            "--publish-rate=-1",
            "--publish-count=x",
            "--linger=1h",
            "--buffer=0",
            "--publish-concurrency=0",
            "--message-group=",
            "--seed=-1",
            "--topic-name=a b",
            "--call-timeout=1ms",
        ];
        let lines = check(&bad).unwrap_err();
        assert_eq!(lines.lines().count(), bad.len(), "{lines}");
        for flag in bad {
            assert!(lines.contains(&format!("{flag}: ")), "{flag} has no line in:\n{lines}");
        }
        assert!(
            lines.contains("--input=/no/such/file: cannot be read: No such file or directory"),
            "{lines}"
        );
        assert!(
            check(&["--input=/"]).unwrap_err().starts_with("--input=/: is a directory; expected generate")
        );
    }
}
