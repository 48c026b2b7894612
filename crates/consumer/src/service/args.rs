//! The consumer's settings.

use std::path::PathBuf;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, QueueArgs, TopicArgs};
use lifeline_messaging::client::Access;
use lifeline_messaging::envelope::Envelope;
use lifeline_messaging::topology::QueueSpec;
use lifeline_service::settings::{
    Accept, Checked, Problems, choice, duration, integer, text, url, whole_seconds,
};
use lifeline_service::{CommonArgs, Program};

/// How much of a body is logged where the log is the handler.
const LOGGED: usize = 1024;

/// Receives messages from an SQS queue, handles and deletes them.
#[derive(clap::Parser, Debug, Clone)]
#[command(name = "consumer", version, after_help = AFTER_HELP)]
pub struct Args {
    /// The handler.
    #[command(flatten)]
    pub handler: HandlerArgs,
    /// Everything else.
    #[command(flatten)]
    pub consumer: ConsumerArgs,
}

const AFTER_HELP: &str = "\
Every flag is also an environment variable; the flag wins. Durations are written 250ms, 20s, 5m, 1h.
Credentials come from the usual AWS sources.

Examples:
  HANDLER=http HANDLER_URL=http://localhost:8080/orders QUEUE_NAME=orders consumer
  AWS_ENDPOINT_URL=http://localhost:4566 consumer --handler file --handler-file orders.jsonl
  consumer health";

/// The settings of a consumer, whatever its handler is.
#[derive(clap::Args, Debug, Clone)]
pub struct ConsumerArgs {
    /// The worker.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// The topic that feeds the queue.
    #[command(flatten)]
    pub topic: TopicArgs,
    /// The queue.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The service.
    #[command(flatten)]
    pub common: CommonArgs,
}

/// The settings of the worker.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Worker")]
pub struct WorkerArgs {
    /// Maximum number of concurrent receives, 1 to 256 (one while the queue is idle)
    #[arg(long, env = "POLLERS", value_name = "COUNT", default_value = "4", value_parser = integer::<usize>(1..=256))]
    pub pollers: Checked<usize>,

    /// Maximum number of messages in flight, across all pollers, 1 to 100000
    #[arg(long, env = "MAX_IN_FLIGHT", value_name = "COUNT", default_value = "64", value_parser = integer::<usize>(1..=100_000))]
    pub max_in_flight: Checked<usize>,

    /// Duration of a long poll, whole seconds, 0s to 20s
    #[arg(long, env = "WAIT_TIME", value_name = "DURATION", default_value = "20s", value_parser = wait_time())]
    pub wait_time: Checked<Duration>,

    /// What the bodies are: SNS notifications or raw messages, detected one by one, or always the same
    #[arg(long, env = "ENVELOPE", value_name = "detect|raw|notification", default_value = "detect", hide_possible_values = true,
          value_parser = choice(&[("detect", Envelope::Detect), ("raw", Envelope::Raw), ("notification", Envelope::Notification)]))]
    pub envelope: Checked<Envelope>,

    /// Maximum time a handler may run, 1ms to 12h; after that it is cancelled and the message is retried
    #[arg(long, env = "HANDLER_TIMEOUT", value_name = "DURATION", default_value = "5m",
          value_parser = duration(Duration::from_millis(1)..=Duration::from_secs(12 * 3600)))]
    pub handler_timeout: Checked<Duration>,

    /// How much of a body is logged: none, a number of bytes, or all [default: 1024 with HANDLER=log, else none]
    #[arg(long, env = "LOG_BODY", value_name = "BYTES", value_parser = log_body())]
    pub log_body: Option<Checked<usize>>,
}

/// The settings of the built-in handlers.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Handler")]
pub struct HandlerArgs {
    /// What handles a message: log it, append it to a file, or POST it [default: that of the settings below which is set; log with an endpoint]
    #[arg(long, env = "HANDLER", value_name = "log|file|http", hide_possible_values = true,
          value_parser = choice(&[("log", Kind::Log), ("file", Kind::File), ("http", Kind::Http)]))]
    pub handler: Option<Checked<Kind>>,

    /// HANDLER=file: file to which each body is appended as a line
    #[arg(long, env = "HANDLER_FILE", value_name = "FILE", value_parser = text())]
    pub handler_file: Option<Checked<String>>,

    /// HANDLER=file: line ends within a body are escaped, so that each body is one line, or such a body is rejected
    #[arg(long, env = "HANDLER_FILE_NEWLINES", value_name = "escape|reject", default_value = "escape", hide_possible_values = true,
          value_parser = choice(&[("escape", Newlines::Escape), ("reject", Newlines::Reject)]))]
    pub handler_file_newlines: Checked<Newlines>,

    /// HANDLER=http: URL to which each message is POSTed; a 2xx response means success
    #[arg(long, env = "HANDLER_URL", value_name = "URL", value_parser = url())]
    pub handler_url: Option<Checked<String>>,

    /// HANDLER=http: content type of every request [default: the message's own, or JSON if it parses, or text]
    #[arg(long, env = "HANDLER_CONTENT_TYPE", value_name = "TYPE", value_parser = content_type())]
    pub handler_content_type: Option<Checked<String>>,

    /// Fault injection: a message with this body blocks every thread forever
    #[arg(long, env = "FAULT_HANG", value_name = "BODY", hide = true, value_parser = text())]
    pub fault_hang: Option<Checked<String>>,

    /// The former name of `fault_hang`.
    #[arg(long, env = "DRILL_HANG", value_name = "BODY", hide = true, value_parser = text())]
    pub drill_hang: Option<Checked<String>>,
}

/// `HANDLER`, as a word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Kind {
    /// `log`
    Log,
    /// `file`
    File,
    /// `http`
    Http,
}

/// What becomes of a body with line ends in it, where each body is a line of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Newlines {
    /// In JSON they become spaces, which mean the same; elsewhere `\n` and `\r`, each of two characters.
    Escape,
    /// The message is rejected.
    Reject,
}

/// The built-in handlers.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HandlerKind {
    /// The log line is all.
    Log,
    /// Each body becomes a line of a file.
    File {
        /// `HANDLER_FILE`.
        path: PathBuf,
        /// `HANDLER_FILE_NEWLINES`.
        newlines: Newlines,
    },
    /// Each message is POSTed.
    Http {
        /// `HANDLER_URL`.
        url: String,
        /// `HANDLER_CONTENT_TYPE`.
        content_type: Option<String>,
    },
}

/// [`Args`], checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct Config {
    /// `HANDLER` and its settings.
    pub handler: HandlerKind,
    /// `FAULT_HANG`.
    pub fault_hang: Option<String>,
    /// Everything else.
    pub consumer: ConsumerConfig,
}

/// [`ConsumerArgs`], checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct ConsumerConfig {
    /// How AWS is reached.
    pub access: Access,
    /// Queue and topic.
    pub queue: QueueSpec,
    /// Why `PROVISION` is on or off, for the log.
    pub provision_reason: &'static str,
    /// The worker.
    pub worker: WorkerConfig,
}

/// [`WorkerArgs`], checked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct WorkerConfig {
    /// `POLLERS`.
    pub pollers: usize,
    /// `MAX_IN_FLIGHT`.
    pub max_in_flight: usize,
    /// `WAIT_TIME`.
    pub wait_time: Duration,
    /// `ENVELOPE`.
    pub envelope: Envelope,
    /// `HANDLER_TIMEOUT`.
    pub handler_timeout: Duration,
    /// `LOG_BODY`, if it is set: 0 is none, and `usize::MAX` all.
    pub log_body: Option<usize>,
}

impl Config {
    /// Settings that were checked one by one.
    #[must_use]
    pub fn new(handler: HandlerKind, fault_hang: Option<String>, mut consumer: ConsumerConfig) -> Self {
        consumer.worker.log_body.get_or_insert(if handler == HandlerKind::Log { LOGGED } else { 0 });
        Self { handler, fault_hang, consumer }
    }
}

impl ConsumerConfig {
    /// Settings that were checked one by one.
    #[must_use]
    pub fn new(access: Access, queue: QueueSpec, worker: WorkerConfig) -> Self {
        Self { access, queue, provision_reason: "set by the program", worker }
    }
}

impl Program for Args {
    type Config = Config;

    fn common(&self) -> &CommonArgs {
        &self.consumer.common
    }

    fn check(self, problems: &mut Problems) -> Config {
        let consumer = self.consumer.check(problems);
        let (handler, fault_hang) = self.handler.check(consumer.access.is_aws(), problems);
        Config::new(handler, fault_hang, consumer)
    }
}

impl ConsumerArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> ConsumerConfig {
        let access = self.aws.check(problems);
        let provision_reason = self.topic.provision_reason(&access);
        let topic = self.topic.check(&access, problems);
        let queue = self.queue.check(topic, problems);
        ConsumerConfig { access, queue, provision_reason, worker: self.worker.check(problems) }
    }
}

impl WorkerArgs {
    /// Notes bad values in `problems`.
    pub fn check(self, problems: &mut Problems) -> WorkerConfig {
        WorkerConfig {
            pollers: problems.value(self.pollers),
            max_in_flight: problems.value(self.max_in_flight),
            wait_time: problems.value(self.wait_time),
            envelope: problems.value(self.envelope),
            handler_timeout: problems.value(self.handler_timeout),
            log_body: problems.optional(self.log_body),
        }
    }
}

impl HandlerArgs {
    /// The handler, and `FAULT_HANG`. On AWS itself the handler must be named: a forgotten variable would otherwise delete
    /// everything in a real queue. Notes bad values in `problems`.
    pub fn check(self, on_aws: bool, problems: &mut Problems) -> (HandlerKind, Option<String>) {
        let hang = match self.fault_hang {
            Some(new) => Some(new),
            None => {
                self.drill_hang.inspect(|_| problems.warn("DRILL_HANG is deprecated: it is now FAULT_HANG"))
            }
        };
        let hang = problems.optional(hang);
        let named = self.handler.is_some();
        let kind = problems.optional(self.handler);
        let kind = match (kind, &self.handler_file, &self.handler_url) {
            (Some(kind), ..) => Some(kind),
            (None, Some(_), None) => Some(Kind::File),
            (None, None, Some(_)) => Some(Kind::Http),
            (None, Some(file), Some(_)) if !named => {
                problems.reject(file, "HANDLER_URL is set too; set only one of them, or HANDLER");
                None
            }
            (None, ..) if !on_aws => Some(Kind::Log),
            (None, ..) => {
                if !named {
                    problems.missing("HANDLER", "set it to http, file or log: on AWS there is no default, because messages are deleted once they are handled");
                }
                None
            }
        };
        if matches!(kind, Some(Kind::Log | Kind::Http)) && self.handler_file.is_some() {
            problems.warn("HANDLER_FILE is ignored: HANDLER is not file");
        }
        if matches!(kind, Some(Kind::Log | Kind::File)) && self.handler_url.is_some() {
            problems.warn("HANDLER_URL is ignored: HANDLER is not http");
        }
        if matches!(kind, Some(Kind::Log | Kind::File)) && self.handler_content_type.is_some() {
            problems.warn("HANDLER_CONTENT_TYPE is ignored: HANDLER is not http");
        }
        if matches!(kind, Some(Kind::Log | Kind::Http)) && self.handler_file_newlines.is_given() {
            problems.warn("HANDLER_FILE_NEWLINES is ignored: HANDLER is not file");
        }
        let (file_set, url_set) = (self.handler_file.is_some(), self.handler_url.is_some());
        let (file, url) = (problems.optional(self.handler_file), problems.optional(self.handler_url));
        let newlines = problems.value(self.handler_file_newlines);
        let content_type = problems.optional(self.handler_content_type);
        let handler = match kind {
            Some(Kind::File) if !file_set => {
                problems.missing("HANDLER_FILE", "HANDLER=file needs it; set it to the file to append to");
                None
            }
            Some(Kind::File) => file.map(|path| HandlerKind::File { path: path.into(), newlines }),
            Some(Kind::Http) if !url_set => {
                problems.missing("HANDLER_URL", "HANDLER=http needs it; set it to the URL to POST to");
                None
            }
            Some(Kind::Http) => url.map(|url| HandlerKind::Http { url, content_type }),
            Some(Kind::Log) | None => None,
        };
        (handler.unwrap_or(HandlerKind::Log), hang)
    }
}

/// SQS counts the wait in whole seconds: <https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_ReceiveMessage.html>.
fn wait_time() -> Accept<Duration> {
    whole_seconds(Duration::ZERO..=Duration::from_secs(20))
}

fn log_body() -> Accept<usize> {
    Accept::new("none, a number of bytes, or all", |text| match text {
        "none" => Some(0),
        "all" => Some(usize::MAX),
        bytes => bytes.parse().ok(),
    })
}

fn content_type() -> Accept<String> {
    Accept::new("a content type, such as application/json", |text| {
        let graphic = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        (graphic && text.split_once('/').is_some_and(|(kind, sub)| !kind.is_empty() && !sub.is_empty()))
            .then(|| text.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    const LOCAL: &str = "--aws-endpoint-url=http://localhost:4566";

    fn check(arguments: &[&str]) -> Result<(Config, Vec<String>), String> {
        let args =
            Args::try_parse_from(std::iter::once("consumer").chain(arguments.iter().copied())).unwrap();
        let mut problems = Problems::default();
        let config = args.check(&mut problems);
        problems.finish().map(|warnings| (config, warnings)).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_defaults_are_those_of_the_contract() {
        let (config, _) = check(&[LOCAL]).unwrap();
        let Config { handler, consumer: ConsumerConfig { queue, worker, .. }, .. } = config;
        assert_eq!((worker.pollers, worker.max_in_flight), (4, 64));
        assert_eq!(
            (worker.wait_time, worker.handler_timeout),
            (Duration::from_secs(20), Duration::from_secs(300))
        );
        assert_eq!((handler, worker.log_body), (HandlerKind::Log, Some(1024)));
        assert!(queue.provision && !queue.raw_delivery);
        assert_eq!(
            (queue.queue.name(), queue.topic.name(), queue.max_receives),
            ("events-consumer", "events", 5)
        );
    }

    #[test]
    fn on_aws_the_handler_must_be_named() {
        assert!(check(&[]).unwrap_err().starts_with("HANDLER: not set; set it to http, file or log"));
        assert_eq!(check(&["--handler=log"]).unwrap().0.handler, HandlerKind::Log);
        assert_eq!(
            check(&["--handler-file=x"]).unwrap().0.handler,
            HandlerKind::File { path: "x".into(), newlines: Newlines::Escape }
        );
    }

    #[test]
    fn a_handlers_own_setting_chooses_it() {
        let http = |content_type: Option<&str>| HandlerKind::Http {
            url: "http://x/y".to_owned(),
            content_type: content_type.map(str::to_owned),
        };
        let (config, warnings) = check(&[LOCAL, "--handler-url=http://x/y"]).unwrap();
        assert_eq!(
            (config.handler, config.consumer.worker.log_body, warnings.len()),
            (http(None), Some(0), 0)
        );
        let typed = [LOCAL, "--handler-url=http://x/y", "--handler-content-type=text/csv", "--log-body=all"];
        let (config, _) = check(&typed).unwrap();
        assert_eq!(
            (config.handler, config.consumer.worker.log_body),
            (http(Some("text/csv")), Some(usize::MAX))
        );
        let both = [LOCAL, "--handler-url=http://x/y", "--handler-file=z"];
        assert!(check(&both).unwrap_err().contains("set only one of them"));
        let (config, warnings) = check(&[&both[..], &["--handler=http"]].concat()).unwrap();
        assert_eq!(
            (config.handler, &warnings[..]),
            (http(None), &["HANDLER_FILE is ignored: HANDLER is not file".to_owned()][..])
        );
    }

    #[test]
    fn a_setting_of_another_handler_is_warned_about() {
        for (setting, of) in [
            ("--handler-url=http://x/y", "http"),
            ("--handler-content-type=text/csv", "http"),
            ("--handler-file=z", "file"),
            ("--handler-file-newlines=escape", "file"),
        ] {
            let (config, warnings) = check(&[LOCAL, "--handler=log", setting]).unwrap();
            let name = setting.trim_start_matches('-').split('=').next().unwrap();
            let name = name.replace('-', "_").to_uppercase();
            assert_eq!(
                (config.handler, &warnings[..]),
                (HandlerKind::Log, &[format!("{name} is ignored: HANDLER is not {of}")][..])
            );
        }
    }

    #[test]
    fn an_invalid_endpoint_is_the_only_problem() {
        let problems = check(&["--aws-endpoint-url=localhost:4566"]).unwrap_err();
        assert_eq!(problems.lines().count(), 1, "{problems}");
    }

    #[test]
    fn a_former_name_is_taken_with_a_warning() {
        let (config, warnings) = check(&[LOCAL, "--drill-hang=x"]).unwrap();
        assert_eq!((config.fault_hang.as_deref(), warnings.len()), (Some("x"), 1));
    }

    #[test]
    fn every_bad_setting_has_its_line() {
        let bad = [
            "--health-addr=5000",
            "--pollers=0",
            "--threads=0",
            "--wait-time=1500ms",
            "--envelope=yes",
            "--handler=http",
            "--handler-content-type=json",
            "--queue-name=no spaces",
            "--aws-endpoint-url=localhost:4566",
            "--log-body=-1",
        ];
        let args = Args::try_parse_from(std::iter::once("consumer").chain(bad)).unwrap();
        let mut problems = Problems::default();
        let _common = args.common().clone().check(&mut problems);
        let _config = args.check(&mut problems);
        let lines = problems.finish().unwrap_err().to_string();
        for flag in bad.iter().filter(|flag| **flag != "--handler=http") {
            assert!(lines.contains(&format!("{flag}: ")), "{flag} has no line in:\n{lines}");
        }
        assert!(lines.contains("HANDLER_URL: not set; HANDLER=http needs it"), "{lines}");
        assert_eq!(lines.lines().count(), bad.len(), "{lines}");
    }
}
