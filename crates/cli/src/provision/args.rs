//! The command line of `lifeline provision`, and the command.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use lifeline_messaging::args::{AwsArgs, QueueArgs, TopicArgs};
use lifeline_messaging::call::{Fault, bounded};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::topology::{self, QueueRef, QueueSpec, TopicRef, arn_account, dead_letter_name};
use lifeline_service::settings::{Checked, Problems, choice};
use lifeline_service::{Log, LogArgs};
use tokio::time::Instant;

use super::model::Topology;
use super::plan::Plan;
use super::print::{Language, print};
use super::sweep;
use crate::doctor::{Snapshot, Target};

/// The settings of `provision`.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Plan", after_help = AFTER_HELP)]
pub struct ProvisionArgs {
    /// Shows what would be made, and makes nothing
    #[arg(long)]
    pub dry_run: bool,

    /// Prints topology and roles instead, in a language of yours, and makes nothing
    #[arg(long, value_name = "LANGUAGE", value_parser = choice(&Language::ALL), conflicts_with_all = ["dry_run", "sweep"])]
    pub print: Option<Checked<Language>>,

    /// Removes the temporary queues and subscriptions that a killed `lifeline tail` left, and makes nothing
    #[arg(long)]
    pub sweep: bool,

    /// Prints the plan as JSON
    #[arg(long)]
    pub json: bool,

    /// The topic.
    #[command(flatten)]
    pub topic: TopicArgs,
    /// The queue.
    #[command(flatten)]
    pub queue: QueueArgs,
    /// How AWS is reached.
    #[command(flatten)]
    pub aws: AwsArgs,
    /// The log.
    #[command(flatten)]
    pub log: LogArgs,
}

const AFTER_HELP: &str = "\
Makes what is missing and reads it back. What exists is not changed, but for one statement added to the queue's policy.
In the plan + is created, ~ is changed, = is kept, and ! is different and left alone.
Needs sns:CreateTopic, GetTopicAttributes, Subscribe, ListSubscriptionsByTopic and GetSubscriptionAttributes, and sqs:CreateQueue,
GetQueueUrl, GetQueueAttributes and SetQueueAttributes; with --sweep also sqs:ListQueues, ListQueueTags and DeleteQueue, and
sns:Unsubscribe.
Exit codes: 0 everything is there, 1 something failed, 2 invalid settings, 3 with --dry-run: something is missing.

Examples:
  lifeline provision --topic-name orders --queue-name billing --dry-run
  lifeline provision --topic-name orders --queue-name billing --print terraform >billing.tf
  lifeline provision --sweep";

/// The exit code of `--dry-run` when something is missing.
const PENDING: u8 = 3;
/// How long what was made may take to be seen.
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// How often it is looked at.
const AGAIN: Duration = Duration::from_secs(1);

/// [`ProvisionArgs`], checked.
#[derive(Debug, Clone)]
pub struct Provision {
    access: Access,
    spec: QueueSpec,
    work: Work,
    json: bool,
}

#[derive(Debug, Clone, Copy)]
enum Work {
    Apply,
    Plan,
    Print(Language),
    Sweep { dry_run: bool },
}

impl ProvisionArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self, mut problems: Problems) -> Result<(Log, Provision), Problems> {
        let access = self.aws.check(&mut problems);
        let (topic, _) = self.topic.check(&access, &mut problems);
        let spec = self.queue.check((topic, true), &mut problems);
        let work = match problems.optional(self.print) {
            Some(language) => Work::Print(language),
            None if self.sweep => Work::Sweep { dry_run: self.dry_run },
            None if self.dry_run => Work::Plan,
            None => Work::Apply,
        };
        let log = self.log.check(&mut problems);
        problems.finish().map(|_| (log, Provision { access, spec, work, json: self.json }))
    }
}

impl Provision {
    /// Does what was asked for.
    ///
    /// # Errors
    /// No region is known, a call failed, or what was made cannot be read back.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let clients = Clients::connect(&self.access).await?;
        match self.work {
            Work::Sweep { dry_run } => sweep::run(&clients, dry_run, self.json).await,
            Work::Print(language) => {
                let topology =
                    Topology::of(&self.spec, clients.region.clone(), self.account(&clients).await?);
                io::stdout().write_all(print(&topology, language).as_bytes())?;
                Ok(ExitCode::SUCCESS)
            }
            Work::Plan => {
                let plan = self.plan(&clients).await?;
                self.show(&plan)?;
                Ok(if plan.is_pending() { ExitCode::from(PENDING) } else { ExitCode::SUCCESS })
            }
            Work::Apply => self.apply(&clients).await,
        }
    }

    async fn apply(&self, clients: &Clients) -> anyhow::Result<ExitCode> {
        let plan = self.plan(clients).await?;
        self.show(&plan)?;
        if !plan.is_pending() {
            return Ok(ExitCode::SUCCESS);
        }
        topology::queue(clients, &self.spec).await?;
        let deadline = Instant::now() + SEEN_WITHIN;
        loop {
            let left = self.plan(clients).await?;
            if !left.is_pending() {
                if !self.json {
                    writeln!(io::stdout(), "Done: everything was made, and read back.")?;
                }
                return Ok(ExitCode::SUCCESS);
            }
            if Instant::now() + AGAIN > deadline {
                writeln!(io::stdout(), "{}", left.text())?;
                anyhow::bail!("what was made cannot be read back within a minute");
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn plan(&self, clients: &Clients) -> anyhow::Result<Plan> {
        let target = Target {
            topic: self.spec.topic.clone(),
            queue: self.spec.queue.clone(),
            handler_timeout: Duration::ZERO,
        };
        let snapshot = Snapshot::take(clients, self.access.endpoint.clone(), target).await;
        let dead_letters = QueueRef::Name(dead_letter_name(self.spec.queue.name()));
        let exist = match topology::look_up(clients, &dead_letters).await {
            Ok(_) => true,
            Err(error) if error.fault() == Fault::Missing => false,
            // only a queue that is made needs it
            Err(_) if snapshot.queue.found().is_some() => false,
            Err(error) => return Err(error.into()),
        };
        Plan::of(&snapshot, &self.spec, exist).map_err(anyhow::Error::msg).context("the plan is incomplete")
    }

    fn show(&self, plan: &Plan) -> anyhow::Result<()> {
        let text = if self.json { format!("{}\n", serde_json::to_string_pretty(plan)?) } else { plan.text() };
        Ok(io::stdout().write_all(text.as_bytes())?)
    }

    /// The account for ARNs: the topic's, if its ARN was given, else that of the credentials.
    async fn account(&self, clients: &Clients) -> anyhow::Result<String> {
        if let TopicRef::Arn(arn) = &self.spec.topic
            && let Some(account) = arn_account(arn)
        {
            return Ok(account.to_owned());
        }
        if let Some(account) = &clients.account {
            return Ok(account.clone());
        }
        let call = aws_sdk_sts::Client::new(&clients.config).get_caller_identity().send();
        let identity = bounded("GetCallerIdentity", clients.call_timeout, call).await;
        let identity = identity.context("the account is not known; pass --topic-arn")?;
        identity.account.context("GetCallerIdentity answered without an account")
    }
}
