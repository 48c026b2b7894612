//! The command line of `lifeline dlq`, and which command runs.

use std::process::ExitCode;
use std::time::Duration;

use lifeline_messaging::args::{AwsArgs, QueueRefArgs};
use lifeline_messaging::client::Access;
use lifeline_messaging::topology::QueueRef;
use lifeline_service::settings::{Checked, Problems, integer};
use lifeline_service::{Log, LogArgs, Shutdown};

use super::filter::FilterArgs;
use super::list::List;
use super::place::Place;
use super::purge::Purge;
use super::redrive::Redrive;
use super::show::Show;

/// The settings of `dlq`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = AFTER_HELP)]
pub struct DlqArgs {
    /// What to do.
    #[command(subcommand)]
    pub command: DlqCommand,
}

const AFTER_HELP: &str = "\
Exit codes: 0 done, 1 something failed, 2 invalid settings, 75 interrupted (run it again).

Examples:
  lifeline dlq list --queue-name orders                        what failed, since when and why
  lifeline dlq redrive --queue-name orders --rate 20           all of it again, 20 messages per second
  lifeline dlq purge --queue-name orders --reason 'no such customer'";

/// The commands.
#[derive(clap::Subcommand, Debug, Clone)]
pub enum DlqCommand {
    /// Counts the dead letters of a queue by reason, and lists them
    List(Box<ListArgs>),
    /// Shows everything about some dead letters
    Show(Box<ShowArgs>),
    /// Returns dead letters to their queue: all, or those that are chosen
    Redrive(Box<RedriveArgs>),
    /// Deletes dead letters permanently: all, or those that are chosen
    Purge(Box<PurgeArgs>),
}

/// Where.
#[derive(clap::Args, Debug, Clone)]
pub struct PlaceArgs {
    /// Prints JSON
    #[arg(long, help_heading = "Report")]
    pub json: bool,
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

/// The settings of `dlq list`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = LIST_HELP)]
pub struct ListArgs {
    /// Most messages that are listed
    #[arg(long, value_name = "COUNT", default_value = "100", help_heading = "Which messages", value_parser = integer(1..=120_000_usize))]
    pub limit: Checked<usize>,
    /// Which messages.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

const LIST_HELP: &str = "\
SQS shows a message only to those who receive it. Looking therefore raises the receive count of each message by one, and hides it
until the list is complete, or for two minutes if this is killed. A FIFO queue shows the first ten messages of each group.

Examples:
  lifeline dlq list --queue-name orders
  lifeline dlq list --queue-name orders --reason timeout --older-than 2h
  lifeline dlq list --queue-name orders --json | jq -r '.messages[].body'";

/// The settings of `dlq show`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = SHOW_HELP)]
pub struct ShowArgs {
    /// Id of a message, as `dlq list` shows it; its beginning is enough
    #[arg(value_name = "ID", required = true)]
    pub id: Vec<String>,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

const SHOW_HELP: &str = "\
Control characters are escaped; --json has the body as it is, in one line for each message.

Examples:
  lifeline dlq show --queue-name orders 7c5f
  lifeline dlq show --queue-name orders 7c5f 81aa
  lifeline dlq show --queue-name orders 7c5f --json | jq -r .body";

/// The settings of `dlq redrive`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = REDRIVE_HELP)]
pub struct RedriveArgs {
    /// Most messages per second [default: as fast as possible]
    #[arg(long, value_name = "COUNT", help_heading = "Redrive", value_parser = integer::<u32>(1..=500))]
    pub rate: Option<Checked<u32>>,
    /// Says how many messages would move, and moves none
    #[arg(long, help_heading = "Redrive")]
    pub dry_run: bool,
    /// Most messages that are moved [default: all]
    #[arg(long, value_name = "COUNT", help_heading = "Which messages", value_parser = integer(1..=120_000_usize))]
    pub limit: Option<Checked<usize>>,
    /// Which messages.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

const REDRIVE_HELP: &str = "\
All of them are moved by SQS itself. If this is killed SQS goes on, and running it again follows the move; ctrl-c cancels it.
Chosen ones are sent to the queue and then deleted. If this is killed, run it again: no message is lost, and at most ten that were sent
and not yet deleted are sent twice (in a FIFO queue none, if it is run again within five minutes).

Examples:
  lifeline dlq redrive --queue-name orders
  lifeline dlq redrive --queue-name orders --rate 20
  lifeline dlq redrive --queue-name orders --reason 'connection refused' --limit 1";

/// The settings of `dlq purge`.
#[derive(clap::Args, Debug, Clone)]
#[command(after_help = PURGE_HELP)]
pub struct PurgeArgs {
    /// Does not ask
    #[arg(long, help_heading = "Purge")]
    pub yes: bool,
    /// Says how many messages would be deleted, and deletes none
    #[arg(long, help_heading = "Purge")]
    pub dry_run: bool,
    /// Most messages that are deleted [default: all]
    #[arg(long, value_name = "COUNT", help_heading = "Which messages", value_parser = integer(1..=120_000_usize))]
    pub limit: Option<Checked<usize>>,
    /// Which messages.
    #[command(flatten)]
    pub filter: FilterArgs,
    /// Where.
    #[command(flatten)]
    pub place: PlaceArgs,
}

const PURGE_HELP: &str = "\
Without a filter SQS deletes everything within a minute, also what arrives meanwhile.

Examples:
  lifeline dlq list --queue-name orders --json >letters.json && lifeline dlq purge --queue-name orders
  lifeline dlq purge --queue-name orders --id 7c5f --yes
  lifeline dlq purge --queue-name orders --older-than 168h --dry-run";

/// How long a command may take to end after a signal.
const GRACE: Duration = Duration::from_secs(25);

/// [`DlqArgs`], checked.
#[derive(Debug, Clone)]
pub struct Dlq {
    access: Access,
    queue: QueueRef,
    command: Checks,
}

#[derive(Debug, Clone)]
enum Checks {
    List(List),
    Show(Show),
    Redrive(Redrive),
    Purge(Purge),
}

impl DlqArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self, mut problems: Problems) -> Result<(Log, Dlq), Problems> {
        let problems_ref = &mut problems;
        let (place, command) = match self.command {
            DlqCommand::List(args) => {
                let (filter, limit) = (args.filter.check(problems_ref), problems_ref.value(args.limit));
                let json = args.place.json;
                (args.place, Checks::List(List { filter, limit, json }))
            }
            DlqCommand::Show(args) => {
                let json = args.place.json;
                (args.place, Checks::Show(Show { ids: args.id, json }))
            }
            DlqCommand::Redrive(args) => {
                let redrive = Redrive {
                    filter: args.filter.check(problems_ref),
                    limit: problems_ref.optional(args.limit),
                    rate: problems_ref.optional(args.rate),
                    dry_run: args.dry_run,
                    json: args.place.json,
                };
                (args.place, Checks::Redrive(redrive))
            }
            DlqCommand::Purge(args) => {
                let purge = Purge {
                    filter: args.filter.check(problems_ref),
                    limit: problems_ref.optional(args.limit),
                    yes: args.yes,
                    dry_run: args.dry_run,
                    json: args.place.json,
                };
                (args.place, Checks::Purge(purge))
            }
        };
        let (access, queue) = (place.aws.check(problems_ref), place.queue.check(problems_ref));
        let log = place.log.check(problems_ref);
        problems.finish().map(|_| (log, Dlq { access, queue, command }))
    }
}

impl Dlq {
    /// Runs the command.
    ///
    /// # Errors
    /// No region is known, the queue has no dead letters to look at, or a call failed.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let shutdown = Shutdown::on_signals(GRACE)?;
        let place = Place::find(&self.access, &self.queue).await?;
        match &self.command {
            Checks::List(list) => list.run(&place, &shutdown).await,
            Checks::Show(show) => show.run(&place, &shutdown).await,
            Checks::Redrive(redrive) => redrive.run(&place, &shutdown).await,
            Checks::Purge(purge) => purge.run(&place, &shutdown).await,
        }
    }
}
