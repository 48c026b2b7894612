//! The command line of `lifeline tail`, and which command runs.

use std::process::ExitCode;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, QueueRefArgs, TopicArgs};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{QueueRef, TopicRef};
use lifeline_service::settings::{Accept, Checked, Problems, duration, integer};
use lifeline_service::{Log, LogArgs, Shutdown};

use super::lines::Lines;
use super::{queue, topic};

/// The settings of `tail`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = AFTER_HELP)]
pub struct TailArgs {
    /// What to follow.
    #[command(subcommand)]
    pub command: TailCommand,
}

const AFTER_HELP: &str = "\
Ends with ctrl-c. Exit codes: 0 ended, 1 something failed, 2 invalid settings.

Examples:
  lifeline tail topic --topic-name orders
  lifeline tail queue --queue-name billing
  lifeline tail topic --topic-name orders --json | jq -r .body";

/// The commands.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum TailCommand {
    /// Shows each message of a topic, through a temporary queue of its own
    Topic(Box<TopicTailArgs>),
    /// Shows how many messages a queue and its dead-letter queue hold, and how that changes
    Queue(Box<QueueTailArgs>),
}

/// Settings of both.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Report")]
pub struct ReportArgs {
    /// Prints one JSON object per line
    #[arg(long)]
    pub json: bool,
    /// Ends after this many lines [default: with ctrl-c]
    #[arg(long, value_name = "COUNT", value_parser = integer(1..=u64::MAX))]
    pub count: Option<Checked<u64>>,
}

/// The settings of `tail topic`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = TOPIC_HELP)]
pub struct TopicTailArgs {
    /// Only messages that this filter policy of SNS lets through, such as '{\"kind\": [\"order\"]}'
    #[arg(long, value_name = "JSON", help_heading = "Report", value_parser = json())]
    pub filter_policy: Option<Checked<String>>,
    /// How it is shown.
    #[command(flatten)]
    pub report: ReportArgs,
    /// The topic.
    #[command(flatten)]
    pub topic: TopicArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const TOPIC_HELP: &str = "\
Other subscribers are not affected. The queue lifeline-tail-… and its subscription are removed at the end; if this is killed,
`lifeline provision --sweep` removes them ten minutes later. Needs sqs:CreateQueue, TagQueue, SetQueueAttributes, GetQueueAttributes,
ReceiveMessage, DeleteMessage and DeleteQueue on lifeline-tail-*, and sns:Subscribe and sns:Unsubscribe on the topic.

Examples:
  lifeline tail topic --topic-name orders
  lifeline tail topic --topic-name orders --filter-policy '{\"kind\": [\"order\"]}' --count 10
  lifeline tail topic --topic-name orders --json >orders.jsonl";

/// The settings of `tail queue`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = QUEUE_HELP)]
pub struct QueueTailArgs {
    /// How often the queue is asked
    #[arg(long, value_name = "DURATION", default_value = "2s", help_heading = "Report",
          value_parser = duration(Duration::from_millis(100)..=Duration::from_secs(3600)))]
    pub every: Checked<Duration>,
    /// How it is shown.
    #[command(flatten)]
    pub report: ReportArgs,
    /// The queue.
    #[command(flatten)]
    pub queue: QueueRefArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const QUEUE_HELP: &str = "\
Receives nothing. SQS's counts are approximate, and lag a minute behind at times.

Examples:
  lifeline tail queue --queue-name billing
  lifeline tail queue --queue-name billing --every 30s
  lifeline tail queue --queue-name billing --json --count 1 | jq .visible";

/// How long the removal may take after a signal.
const GRACE: Duration = Duration::from_secs(25);

fn json() -> Accept<String> {
    Accept::new("a JSON object", |text| {
        let value: serde_json::Value = serde_json::from_str(text).ok()?;
        value.is_object().then(|| text.to_owned())
    })
}

/// [`TailArgs`], checked.
#[derive(Debug, Clone)]
pub struct Tail {
    access: Access,
    lines: Lines,
    what: What,
}

#[derive(Debug, Clone)]
enum What {
    Topic { topic: TopicRef, filter_policy: Option<String> },
    Queue { queue: QueueRef, every: Duration },
}

impl ReportArgs {
    fn check(self, problems: &mut Problems) -> Lines {
        Lines { json: self.json, count: problems.optional(self.count).unwrap_or(u64::MAX) }
    }
}

impl TailArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self, mut problems: Problems) -> Result<(Log, Tail), Problems> {
        let (log, tail) = match self.command {
            TailCommand::Topic(args) => {
                let access = args.aws.check(&mut problems);
                let (topic, _) = args.topic.check(&access, &mut problems);
                let what = What::Topic { topic, filter_policy: problems.optional(args.filter_policy) };
                let lines = args.report.check(&mut problems);
                (args.log, Tail { access, lines, what })
            }
            TailCommand::Queue(args) => {
                let access = args.aws.check(&mut problems);
                let queue = args.queue.check(&mut problems);
                let what = What::Queue { queue, every: problems.value(args.every) };
                let lines = args.report.check(&mut problems);
                (args.log, Tail { access, lines, what })
            }
        };
        let log = log.check(&mut problems);
        problems.finish().map(|_| (log, tail))
    }
}

impl Tail {
    /// Runs until it is interrupted, or the lines are shown.
    ///
    /// # Errors
    /// No region is known, topic or queue do not exist, or a call failed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let shutdown = Shutdown::on_signals(GRACE)?;
        let clients = Clients::connect(&self.access).await?;
        match &self.what {
            What::Topic { topic, filter_policy } => {
                topic::follow(&clients, topic, filter_policy.as_deref(), self.lines, &shutdown).await?;
            }
            What::Queue { queue, every } => {
                queue::follow(&clients, queue, *every, self.lines, &shutdown).await?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
