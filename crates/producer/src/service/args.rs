//! The producer's settings.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, TopicArgs};
use lifeline_messaging::client::Access;
use lifeline_messaging::topology::TopicRef;
use lifeline_service::settings::{Accept, Checked, Problems, boolean, choice, duration, integer, rate};
use lifeline_service::{CommonArgs, Program};

use super::compose::{Attributes, Compose, Deduplication, Source};
use super::input::Input;
use super::state_file::StateFile;
use crate::limits::MAX_ATTRIBUTES;

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

    /// Follow INPUT beyond its end: a file as it grows and is rotated, a FIFO between its writers
    #[arg(long, env = "FOLLOW", value_name = "true|false", default_value = "false", value_parser = boolean())]
    pub follow: Checked<bool>,

    /// File that keeps the line to resume from, instead of FROM; created if it is missing
    #[arg(long, env = "STATE_FILE", value_name = "FILE", value_parser = state_file())]
    pub state_file: Option<Checked<StateFile>>,

    /// Message group, required by FIFO topics, used for fair queues on others: a JSON pointer into each message, such as /customer/id, or a constant
    #[arg(long, env = "MESSAGE_GROUP", value_name = "POINTER", value_parser = group())]
    pub message_group: Option<Checked<Source>>,

    /// Subject: a JSON pointer into each message, or a constant
    #[arg(long, env = "SUBJECT", value_name = "POINTER", value_parser = subject())]
    pub subject: Option<Checked<Source>>,

    /// Message attributes by JSON pointers, at most 9, such as kind=/type,total=/order/total; what is missing or null is left out
    #[arg(long, env = "ATTRIBUTES", value_name = "NAME=POINTER,…", value_parser = attributes())]
    pub attributes: Option<Checked<Attributes>>,

    /// Deduplication ids, FIFO topics: random (every line is a message of its own), line (its number and content: reading a line again within 5 minutes publishes nothing twice) or content [default: random]
    #[arg(long, env = "DEDUPLICATION", value_name = "random|line|content", value_parser = deduplication())]
    pub deduplication: Option<Checked<Deduplication>>,

    /// When provisioning: publish nothing until the topic has a confirmed subscription, since SNS discards messages that nobody has subscribed to
    #[arg(long, env = "WAIT_FOR_SUBSCRIPTION", value_name = "true|false", default_value = "true", value_parser = boolean())]
    pub wait_for_subscription: Checked<bool>,

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
    /// Why it is on or off, for the log.
    pub provision_reason: &'static str,
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
    /// `FOLLOW`.
    pub follow: bool,
    /// `STATE_FILE`.
    pub state_file: Option<StateFile>,
    /// `MESSAGE_GROUP`.
    pub group: Option<Source>,
    /// `SUBJECT`.
    pub subject: Option<Source>,
    /// `ATTRIBUTES`.
    pub attributes: Attributes,
    /// `DEDUPLICATION`.
    pub deduplication: Deduplication,
    /// `WAIT_FOR_SUBSCRIPTION`.
    pub wait_for_subscription: bool,
}

impl PublishConfig {
    /// The rate as a limit; none is unlimited.
    pub(crate) fn limit(&self) -> Option<f64> {
        Some(self.rate).filter(|rate| rate.is_finite())
    }

    pub(crate) fn compose(&self) -> Compose {
        Compose {
            group: self.group.clone(),
            subject: self.subject.clone(),
            attributes: self.attributes.clone(),
            deduplication: self.deduplication,
        }
    }
}

impl Config {
    /// Settings that were checked one by one.
    #[must_use]
    pub fn new(access: Access, topic: TopicRef, provision: bool, publish: PublishConfig) -> Self {
        Self { access, topic, provision, provision_reason: "set by the program", publish }
    }
}

impl Program for Args {
    type Config = Config;

    fn common(&self) -> &CommonArgs {
        &self.common
    }

    fn check(self, problems: &mut Problems) -> Config {
        let access = self.aws.check(problems);
        let provision_reason = self.topic.provision_reason(&access);
        let (topic, provision) = self.topic.check(&access, problems);
        let publish = self.publish.check(&topic, problems);
        Config { access, topic, provision, provision_reason, publish }
    }
}

impl PublishArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, topic: &TopicRef, problems: &mut Problems) -> PublishConfig {
        if topic.is_fifo() && self.message_group.is_none() {
            problems.missing("MESSAGE_GROUP", format!("the FIFO topic {} needs it; set it to a JSON pointer into each message, such as /customer/id, or to a constant", topic.name()));
        }
        if let Some(deduplication) = &self.deduplication
            && !topic.is_fifo()
        {
            problems.reject(deduplication, format!("the topic {} is not a FIFO topic", topic.name()));
        }
        if let Some(state_file) = &self.state_file {
            if self.from.is_given() {
                problems.reject(state_file, "FROM is set too; set only one of them");
            }
            if problems.value(self.follow.clone()) {
                problems.reject(state_file, "FOLLOW is set too; a line number says nothing after a rotation");
            }
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
            follow: problems.value(self.follow),
            state_file: problems.optional(self.state_file),
            group: problems.optional(self.message_group),
            subject: problems.optional(self.subject),
            attributes: problems.optional(self.attributes).unwrap_or_default(),
            deduplication: problems.optional(self.deduplication).unwrap_or_default(),
            wait_for_subscription: problems.value(self.wait_for_subscription),
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

fn group() -> Accept<Source> {
    Accept::new(
        "a JSON pointer that begins with /, or a constant of 1 to 128 ASCII letters, digits and punctuation",
        Source::group,
    )
}

fn subject() -> Accept<Source> {
    Accept::new(
        "a JSON pointer that begins with /, or a constant of 1 to 100 characters without control characters",
        Source::subject,
    )
}

fn attributes() -> Accept<Attributes> {
    // traceparent is the tenth
    let few = |attributes: &Attributes| attributes.len() < MAX_ATTRIBUTES;
    Accept::new(
        "1 to 9 pairs NAME=POINTER, separated by commas, such as kind=/type,total=/order/total",
        move |text| Attributes::parse(text).filter(few),
    )
}

fn deduplication() -> Accept<Deduplication> {
    choice(&[
        ("random", Deduplication::Random),
        ("line", Deduplication::Line),
        ("content", Deduplication::Content),
    ])
}

fn state_file() -> Accept<StateFile> {
    Accept::explained("a file that can be read and written", |text| {
        let state = StateFile::new(text);
        state
            .read()
            .and_then(|from| state.write(from))
            .map_err(|error| format!("cannot be used: {error}"))?;
        Ok(state)
    })
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
    fn settings_that_contradict_each_other_are_named() {
        for (arguments, part) in [
            (&["--deduplication=line"][..], "--deduplication=line: the topic events is not a FIFO topic"),
            (&["--state-file=/dev/null/x"], "--state-file=/dev/null/x: cannot be used"),
            (&["--attributes=kind"], "--attributes=kind: "),
        ] {
            let lines = check(arguments).unwrap_err();
            assert!(lines.contains(part), "{lines}");
        }
        let publish = check(&["--subject=/s", "--attributes=a=/a", "--message-group=all"]).unwrap().0.publish;
        assert!(publish.subject.is_some() && publish.attributes.len() == 1 && publish.group.is_some());
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
