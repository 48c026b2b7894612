//! The command line of `lifeline`: its subcommands, and the settings of `up`.
//!
//! Variables begin with `LIFELINE_`, so that those of other programs in the same shell change nothing.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{CommandFactory, FromArgMatches};
use lifeline_consumer::service::{ConsumerConfig, HandlerArgs, HandlerKind, Newlines, WorkerArgs};
use lifeline_emulator::Fault;
use lifeline_messaging::args::{CallArgs, DeliveryArgs, queue_name, topic_name};
use lifeline_messaging::client::Access;
use lifeline_messaging::topology::{QueueRef, TopicRef};
use lifeline_producer::service::PublishArgs;
use lifeline_service::settings::{
    Accept, Checked, Problems, address, boolean, integer, read_environment, text,
};
use lifeline_service::{Log, LogArgs, Process, ProcessArgs, unreadable};

use crate::dlq::DlqArgs;
use crate::doctor::DoctorArgs;
use crate::output::{Identity, Output};
use crate::provision::ProvisionArgs;
use crate::reference::{CompletionsArgs, ManArgs};
use crate::send::SendArgs;
use crate::tail::TailArgs;

/// What the variables of this binary begin with.
pub const PREFIX: &str = "LIFELINE_";

/// Runs SNS, SQS, a producer and a consumer on this machine. Without a command: up.
#[derive(clap::Parser, Debug)]
#[command(name = "lifeline", version, args_conflicts_with_subcommands = true, after_help = AFTER_HELP)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Option<Command>,
    /// The settings of `up`, the command if there is none.
    #[command(flatten)]
    pub up: UpArgs,
}

const AFTER_HELP: &str = "\
Every flag is also an environment variable with the prefix LIFELINE_; the flag wins. Durations are written 250ms, 20s, 5m.

Examples:
  lifeline                                                 sample events through SNS and SQS
  lifeline up --demo                                       half a minute of failures, explained
  lifeline up --input orders.jsonl --output handled.jsonl  every line of a file, and then it ends
  lifeline up --handler-url http://localhost:8080/orders   your own handler, in any language
  lifeline aws                                             SNS and SQS alone, on port 4566";

/// The commands.
#[derive(clap::Subcommand, Debug)]
pub enum Command {
    /// The whole pipeline; ends when its input does and everything is handled
    Up(Box<UpArgs>),
    /// The embedded SNS and SQS alone, for your own producers and consumers
    Aws(Box<EmbeddedArgs>),
    /// Checks a topic, a queue and what connects them, here or on AWS, and reports what is wrong
    Doctor(Box<DoctorArgs>),
    /// Makes topic, queue, dead-letter queue, policy and subscription, or prints what would make them
    Provision(Box<ProvisionArgs>),
    /// Publishes a message, or each line of standard input
    Send(Box<SendArgs>),
    /// Lists the dead letters of a queue, shows one, returns them to the queue, or deletes them
    Dlq(Box<DlqArgs>),
    /// Shows what goes through a topic, or how a queue's length changes
    Tail(Box<TailArgs>),
    /// Prints what a shell needs to complete this command line
    Completions(CompletionsArgs),
    /// Prints a man page, or writes all of them
    Man(ManArgs),
}

/// What `--demo` has its own values for.
const DEMO_DECIDES: [&str; 14] = [
    "data",
    "input",
    "from",
    "publish_rate",
    "publish_count",
    "follow",
    "state_file",
    "output",
    "handler",
    "handler_file",
    "handler_url",
    "topic_name",
    "queue_name",
    "max_receives",
];

const UP_HELP: &str = "\
Exit codes: 0 everything was handled, 1 something was not, 2 invalid settings.

Examples:
  lifeline up --demo
  lifeline up --input orders.jsonl --handler-url http://localhost:8080/orders --dead-letters failed.jsonl
  lifeline up --publish-rate 100 --publish-count 1000 --max-in-flight 50";

const EMBEDDED_HELP: &str = "\
Examples:
  lifeline aws
  lifeline aws --data aws.json --enforce-policies
  lifeline aws --listen 127.0.0.1:0 --fault 'ReceiveMessage: nth=3 hang' --fault '*: delay=20ms'";

/// The settings of `up`.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Pipeline", after_help = UP_HELP)]
pub struct UpArgs {
    /// Show a retry, a dead letter, an outage and a hung consumer in half a minute, explained as they happen
    #[arg(long, conflicts_with_all = DEMO_DECIDES)]
    pub demo: bool,

    /// The embedded SNS and SQS.
    #[command(flatten)]
    pub endpoint: EndpointArgs,

    /// Address of the producer's /health, /ready and /metrics
    #[arg(long, env = "PRODUCER_HEALTH_ADDR", value_name = "ADDRESS", default_value = "127.0.0.1:5000", value_parser = address())]
    pub producer_health_addr: Checked<SocketAddr>,

    /// Address of the consumer's /health, /ready and /metrics
    #[arg(long, env = "CONSUMER_HEALTH_ADDR", value_name = "ADDRESS", default_value = "127.0.0.1:5001", value_parser = address())]
    pub consumer_health_addr: Checked<SocketAddr>,

    /// File that the body of each handled message is written to as a line, or - for standard output
    #[arg(long, env = "OUTPUT", value_name = "FILE|-", value_parser = Output::accept())]
    pub output: Option<Checked<Output>>,

    /// File that the bodies in the dead-letter queue are written to in the end, or - for standard output
    #[arg(long, env = "DEAD_LETTERS", value_name = "FILE|-", value_parser = Output::accept())]
    pub dead_letters: Option<Checked<Output>>,

    /// Append to the files of --output and --dead-letters instead of replacing them
    #[arg(long, env = "APPEND", num_args = 0..=1, require_equals = true, value_name = "true|false",
          default_value = "false", default_missing_value = "true", value_parser = boolean())]
    pub append: Checked<bool>,

    /// Show the log instead of a line per message; the default where standard output is not a terminal, and with --rust-log and --log-format
    #[arg(long, env = "LOG", num_args = 0..=1, require_equals = true, value_name = "true|false",
          default_value = "false", default_missing_value = "true", value_parser = boolean())]
    pub log: Checked<bool>,

    /// Name of the topic; a name that ends in .fifo means a FIFO topic
    #[arg(long, env = "TOPIC_NAME", value_name = "NAME", default_value = "events", value_parser = topic_name())]
    pub topic_name: Checked<String>,

    /// Name of the queue; a name that ends in .fifo means a FIFO queue
    #[arg(long, env = "QUEUE_NAME", value_name = "NAME", default_value = "events-consumer", value_parser = queue_name())]
    pub queue_name: Checked<String>,

    /// What is provisioned.
    #[command(flatten)]
    pub delivery: DeliveryArgs,
    /// The producer.
    #[command(flatten)]
    pub publish: PublishArgs,
    /// The handler.
    #[command(flatten)]
    pub handler: HandlerArgs,
    /// The consumer.
    #[command(flatten)]
    pub worker: WorkerArgs,
    /// Bounds of calls.
    #[command(flatten)]
    pub call: CallArgs,
    /// The process.
    #[command(flatten)]
    pub process: ProcessArgs,
}

/// The address and the file of the embedded SNS and SQS.
#[derive(clap::Args, Debug, Clone)]
pub struct EndpointArgs {
    /// Address that the embedded SNS and SQS listen on
    #[arg(long, env = "LISTEN", value_name = "ADDRESS", default_value = "127.0.0.1:4566", value_parser = address())]
    pub listen: Checked<SocketAddr>,

    /// File that keeps queues, topics and messages across restarts and crashes; without it they end with the process
    #[arg(long, env = "DATA", value_name = "FILE", value_parser = text())]
    pub data: Option<Checked<String>>,
}

/// The settings of `aws`.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Emulator", after_help = EMBEDDED_HELP)]
pub struct EmbeddedArgs {
    /// Where it listens, and its file.
    #[command(flatten)]
    pub endpoint: EndpointArgs,

    /// Whether the policies of queues decide what topics may deliver, as at AWS; LocalStack's do not
    #[arg(long, env = "ENFORCE_POLICIES", value_name = "true|false", default_value = "false", num_args = 0..=1, default_missing_value = "true", value_parser = boolean())]
    pub enforce_policies: Checked<bool>,

    /// What goes wrong on purpose, such as 'ReceiveMessage: nth=3 hang' or '*: delay=20ms', or a file of such lines as
    /// @FILE; repeatable. While it runs: curl -X PUT --data-binary @FILE ENDPOINT/_lifeline/faults
    #[arg(long, env = "FAULT", value_name = "FAULT", value_parser = faults())]
    pub fault: Vec<Checked<Vec<Fault>>>,

    /// Most MiB of messages that are held; beyond it sends wait, then are throttled
    #[arg(long, env = "MEMORY_LIMIT", value_name = "MIB", default_value = "1024", value_parser = integer(1..=1_048_576_usize))]
    pub memory_limit: Checked<usize>,

    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

/// [`UpArgs`], checked.
#[derive(Debug, Clone)]
pub struct Up {
    /// `--demo`.
    pub demo: bool,
    /// `LISTEN`.
    pub listen: Address,
    /// `DATA`.
    pub data: Option<PathBuf>,
    /// `PRODUCER_HEALTH_ADDR`.
    pub producer_health: Address,
    /// `CONSUMER_HEALTH_ADDR`.
    pub consumer_health: Address,
    /// The producer, but for the endpoint, which is not known yet.
    pub producer: lifeline_producer::service::Config,
    /// The consumer, likewise.
    pub consumer: lifeline_consumer::service::Config,
    /// `OUTPUT`. That of a file is the handler `file` too.
    pub output: Option<Output>,
    /// `DEAD_LETTERS`.
    pub dead_letters: Option<Output>,
    /// `APPEND`.
    pub append: bool,
    /// Whether the log is shown on a terminal too.
    pub log_lines: bool,
    /// The process.
    pub process: Process,
}

/// Reads the command line and the environment of this process.
pub fn parse() -> Cli {
    let matches = command().try_get_matches().unwrap_or_else(|error| unreadable(&error, PREFIX));
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| unreadable(&error, PREFIX))
}

/// The command line: what [`parse`] reads.
pub fn command() -> clap::Command {
    // a shutdown waits for the current receive, and on this machine an empty one costs nothing
    let quick = |command: clap::Command| command.mut_arg("wait_time", |wait| wait.default_value("1s"));
    read_environment(quick(Cli::command()).mut_subcommand("up", quick), PREFIX)
}

impl UpArgs {
    /// Checks both services' settings. Whatever the environment says of AWS, `up` never leaves this machine.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self) -> Result<(Up, Vec<String>), Problems> {
        let mut problems = Problems::new(PREFIX);
        let problems_ref = &mut problems;
        let call_timeout = problems_ref.value(self.call.call_timeout);
        let access = Access { call_timeout, ..Access::local("http://127.0.0.1") };
        let topic = TopicRef::Name(problems_ref.value(self.topic_name));
        let queue_flag = self.queue_name.clone();
        let queue = QueueRef::Name(problems_ref.value(self.queue_name));
        if queue.is_fifo() && !topic.is_fifo() {
            problems_ref.reject(
                &queue_flag,
                format!("a FIFO queue cannot subscribe to the standard topic {}; use a --topic-name that ends in .fifo", topic.name()),
            );
        }
        let publish = self.publish.check(&topic, problems_ref);
        let read = Identity::of_input(&publish.input);
        let producer = lifeline_producer::service::Config::new(access.clone(), topic.clone(), true, publish);
        let spec = self.delivery.check(queue, topic, true, problems_ref);
        let handler_file = self.handler.handler_file.clone();
        let another = self.handler.handler.is_some()
            || self.handler.handler_file.is_some()
            || self.handler.handler_url.is_some();
        let (mut handler, hang) = self.handler.check(false, problems_ref);
        if let (HandlerKind::File { path, .. }, Some(flag)) = (&handler, &handler_file)
            && reads(read, &Output::File(path.clone()))
        {
            problems_ref.reject(flag, IS_INPUT);
        }
        let output = distinct(self.output.clone(), read, problems_ref);
        let dead_letters = distinct(self.dead_letters.clone(), read, problems_ref);
        if let (Some(output), Some(dead), Some(flag)) = (&output, &dead_letters, &self.dead_letters)
            && output.is(dead)
        {
            problems_ref.reject(flag, "is --output too; name another file");
        }
        if let (Some(flag), true) = (&self.output, another) {
            problems_ref.reject(
                flag,
                "a handler is set too; set only one of --output, --handler, --handler-file and --handler-url",
            );
        }
        if let Some(Output::File(path)) = &output {
            handler = HandlerKind::File { path: path.clone(), newlines: Newlines::Escape };
        }
        let log = &self.process.log;
        let log_given = log.rust_log.is_given() || log.log_format.is_given();
        let consumer = ConsumerConfig::new(access, spec, self.worker.check(problems_ref));
        let up = Up {
            demo: self.demo,
            listen: Address::check(self.endpoint.listen, problems_ref),
            data: problems_ref.optional(self.endpoint.data).map(PathBuf::from),
            producer_health: Address::check(self.producer_health_addr, problems_ref),
            consumer_health: Address::check(self.consumer_health_addr, problems_ref),
            producer,
            consumer: lifeline_consumer::service::Config::new(handler, hang, consumer),
            output,
            dead_letters,
            append: problems_ref.value(self.append),
            log_lines: problems_ref.value(self.log) || log_given,
            process: self.process.check(problems_ref),
        };
        problems.finish().map(|warnings| (up, warnings))
    }
}

impl EmbeddedArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self) -> Result<(Embedded, Log), Problems> {
        let mut problems = Problems::new(PREFIX);
        let embedded = Embedded {
            listen: problems.value(self.endpoint.listen),
            enforce_policies: problems.value(self.enforce_policies),
            faults: self
                .fault
                .into_iter()
                .flat_map(|faults| problems.optional(Some(faults)).unwrap_or_default())
                .collect(),
            data: problems.optional(self.endpoint.data).map(PathBuf::from),
            memory_limit: problems.value(self.memory_limit) << 20,
        };
        let log = self.log.check(&mut problems);
        problems.finish().map(|_| (embedded, log))
    }
}

/// Faults of the emulator, or a file of them.
fn faults() -> Accept<Vec<Fault>> {
    Accept::explained("ACTION: EFFECT, such as 'ReceiveMessage: nth=3 hang', or @FILE", |text| {
        let from_file = |path| std::fs::read_to_string(path).map_err(|error| error.to_string());
        let text = text.strip_prefix('@').map_or_else(|| Ok(text.to_owned()), from_file)?;
        Fault::parse_all(&text).map_err(|error| error.to_string())
    })
}

/// [`EmbeddedArgs`], checked.
#[derive(Debug, Clone)]
pub struct Embedded {
    /// `LISTEN`.
    pub listen: SocketAddr,
    /// `ENFORCE_POLICIES`.
    pub enforce_policies: bool,
    /// `FAULT`.
    pub faults: Vec<Fault>,
    /// `DATA`.
    pub data: Option<PathBuf>,
    /// `MEMORY_LIMIT`, in bytes.
    pub memory_limit: usize,
}

const IS_INPUT: &str = "is --input too, which would never end; name another file";

fn reads(input: Option<Identity>, output: &Output) -> bool {
    input.is_some() && output.identity() == input
}

/// An output that is not the input.
fn distinct(
    flag: Option<Checked<Output>>,
    input: Option<Identity>,
    problems: &mut Problems,
) -> Option<Output> {
    let output = problems.optional(flag.clone())?;
    if let (Some(flag), true) = (&flag, reads(input, &output)) {
        problems.reject(flag, IS_INPUT);
    }
    Some(output)
}

/// An address to listen on.
#[derive(Debug, Clone, Copy)]
pub struct Address {
    /// The address.
    pub address: SocketAddr,
    /// Whether the user chose it. A default one that is taken may be replaced.
    pub given: bool,
}

impl Address {
    fn check(checked: Checked<SocketAddr>, problems: &mut Problems) -> Self {
        Self { given: checked.is_given(), address: problems.value(checked) }
    }
}

impl Up {
    /// Whether standard output belongs to messages, so that the log goes to standard error.
    pub fn writes_stdout(&self) -> bool {
        [&self.output, &self.dead_letters].into_iter().any(|output| *output == Some(Output::Stdout))
    }

    /// Points both services at the endpoint.
    pub fn reach(&mut self, endpoint: &str) {
        for access in [&mut self.producer.access, &mut self.consumer.consumer.access] {
            access.endpoint = Some(endpoint.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Cli {
        let arguments = std::iter::once("lifeline").chain(arguments.iter().copied());
        Cli::from_arg_matches(&command().try_get_matches_from(arguments).unwrap()).unwrap()
    }

    fn up(arguments: &[&str]) -> Result<Up, String> {
        let cli = parse(arguments);
        let args = match cli.command {
            Some(Command::Up(args)) => *args,
            None => cli.up,
            other => panic!("{other:?}"),
        };
        args.check().map(|(up, _)| up).map_err(|problems| problems.to_string())
    }

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn up_is_the_command_if_there_is_none_and_has_its_own_defaults() {
        for arguments in [&[][..], &["up"]] {
            let up = up(arguments).unwrap();
            assert_eq!(up.listen.address.to_string(), "127.0.0.1:4566");
            assert_eq!(up.producer_health.address.to_string(), "127.0.0.1:5000");
            assert_eq!(up.consumer_health.address.to_string(), "127.0.0.1:5001");
            assert_eq!(up.consumer.consumer.worker.wait_time.as_secs(), 1);
            assert!(up.producer.provision && up.consumer.consumer.queue.provision);
            assert_eq!(up.consumer.handler, HandlerKind::Log);
        }
    }

    #[test]
    fn flags_reach_both_services() {
        let up = up(&[
            "--max-in-flight",
            "7",
            "--publish-rate",
            "0",
            "--output",
            "o",
            "--append",
            "--topic-name=t",
        ])
        .unwrap();
        assert_eq!(up.consumer.consumer.worker.max_in_flight, 7);
        assert_eq!(up.producer.publish.rate, f64::INFINITY);
        assert_eq!(up.consumer.handler, HandlerKind::File { path: "o".into(), newlines: Newlines::Escape });
        assert_eq!((up.output, up.append), (Some(Output::File("o".into())), true));
        assert_eq!((up.producer.topic.name(), up.consumer.consumer.queue.topic.name()), ("t", "t"));
    }

    #[test]
    fn an_output_is_neither_the_input_nor_another_output_nor_a_second_handler() {
        let folder = std::env::temp_dir().join(format!("lifeline-args-{}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = |name: &str| folder.join(name).display().to_string();
        std::fs::write(path("in"), "x\n").unwrap();
        std::fs::hard_link(path("in"), path("link")).unwrap();
        let input = format!("--input={}", path("in"));
        for flag in ["--output", "--dead-letters", "--handler-file"] {
            for name in ["in", "link"] {
                let given = format!("{flag}={}", path(name));
                let problem = up(&[&input, &given]).unwrap_err();
                assert_eq!(problem, format!("{given}: {IS_INPUT}"));
            }
        }
        let twice = up(&[&format!("--output={}", path("new")), &format!("--dead-letters={}", path("./new"))]);
        assert!(twice.unwrap_err().contains("is --output too"));
        let two = up(&["--output=-", "--handler-url=http://localhost:1/"]).unwrap_err();
        assert!(two.starts_with("--output=-: a handler is set too"), "{two}");
        let none = up(&[&format!("--output={}", path("missing/new"))]).unwrap_err();
        assert!(none.contains("--output=") && none.contains("cannot be written"), "{none}");
        assert!(!folder.join("new").exists(), "nothing is created by a check");
        // what is written to a device is not read from it
        up(&["--input=/dev/null", "--output=/dev/null"]).unwrap();
        std::fs::remove_dir_all(folder).unwrap();
    }

    #[test]
    fn up_never_leaves_this_machine() {
        let mut up = up(&[]).unwrap();
        up.reach("http://127.0.0.1:4566");
        for access in [&up.producer.access, &up.consumer.consumer.access] {
            assert_eq!(access.endpoint.as_deref(), Some("http://127.0.0.1:4566"));
            assert!(access.credentials.is_some() && !access.is_aws());
        }
        for flag in ["--aws-endpoint-url=http://x", "--aws-region=x", "--provision=false", "--threads=2"] {
            assert!(command().try_get_matches_from(["lifeline", "up", flag]).is_err(), "{flag}");
        }
    }

    #[test]
    fn a_command_takes_only_its_own_settings() {
        for arguments in [["aws", "--publish-rate=1"], ["doctor", "--input=x"], ["--pollers=1", "aws"]] {
            let all = std::iter::once("lifeline").chain(arguments);
            assert!(command().try_get_matches_from(all).is_err(), "{arguments:?}");
        }
        assert!(
            aws(&["--enforce-policies"]).unwrap().enforce_policies && !aws(&[]).unwrap().enforce_policies
        );
        assert!(matches!(parse(&["doctor"]).command, Some(Command::Doctor(_))));
    }

    fn aws(arguments: &[&str]) -> Result<Embedded, String> {
        match parse(&[&["aws"], arguments].concat()).command {
            Some(Command::Aws(args)) => {
                args.check().map(|(embedded, _)| embedded).map_err(|problems| problems.to_string())
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn faults_are_flags_or_lines_of_a_file() {
        let file = std::env::temp_dir().join(format!("lifeline-faults-{}", std::process::id()));
        std::fs::write(&file, "# an outage\n*: from=9 status=503\nReceiveMessage: hang\n").unwrap();
        let in_file = format!("@{}", file.display());
        let embedded = aws(&["--fault", "*: delay=20ms", "--fault", &in_file]).unwrap();
        assert_eq!((embedded.faults.len(), embedded.memory_limit), (3, 1 << 30));
        std::fs::remove_file(file).unwrap();
        let wrong = aws(&["--fault", "Recieve: hang", "--fault", "@/nowhere"]).unwrap_err();
        assert!(wrong.contains("no action \"Recieve\"") && wrong.lines().count() == 2, "{wrong}");
    }

    #[test]
    fn what_is_wrong_with_either_service_is_reported_at_once() {
        let bad = ["--pollers=0", "--publish-rate=fast", "--listen=x"];
        let lines = up(&bad).unwrap_err();
        let fifo = up(&["--queue-name=x.fifo"]).unwrap_err();
        assert!(fifo.starts_with("--queue-name=x.fifo: a FIFO queue cannot subscribe"), "{fifo}");
        let url = up(&["--handler=http"]).unwrap_err();
        assert!(url.starts_with("--handler-url (LIFELINE_HANDLER_URL): not set"), "{url}");
        for flag in bad {
            assert_eq!(lines.lines().filter(|line| line.starts_with(flag)).count(), 1, "{flag} in:\n{lines}");
        }
    }
}
