//! `lifeline send`: publishes one message, or one per line of standard input, and prints the id of each.

use std::collections::VecDeque;
use std::io::{self, BufRead, Write};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use lifeline_messaging::args::{AwsArgs, TopicArgs};
use lifeline_messaging::client::{Access, Clients};
use lifeline_messaging::message::Attribute;
use lifeline_messaging::topology::{self, TopicRef};
use lifeline_producer::{NewMessage, Outcome, Pending, Publisher};
use lifeline_service::settings::{Accept, Checked, Problems};
use lifeline_service::{Log, LogArgs};
use tokio::sync::mpsc;

/// The settings of `send`.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Message", after_help = AFTER_HELP)]
pub struct SendArgs {
    /// Body of the message; without it, or as -, each line of standard input is a message
    #[arg(value_name = "BODY")]
    pub body: Option<String>,

    /// Attribute of each message, of type String unless another is given; may be repeated
    #[arg(long, short, value_name = "NAME[:TYPE]=VALUE", value_parser = attribute())]
    pub attribute: Vec<Checked<(String, Attribute)>>,

    /// Message group of each message; a FIFO topic needs one
    #[arg(long, value_name = "GROUP")]
    pub group: Option<String>,

    /// Deduplication id of the message, on a FIFO topic; only with BODY
    #[arg(long, value_name = "ID", requires = "body")]
    pub deduplication_id: Option<String>,

    /// Prints one JSON object per message
    #[arg(long)]
    pub json: bool,

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

const AFTER_HELP: &str = "\
Blank lines are skipped. Exit codes: 0 everything is published, 1 something is not, 2 invalid settings.

Examples:
  lifeline send --topic-name orders '{\"id\": 7}' --attribute kind=order --attribute retries:Number=0
  lifeline send --topic-name orders.fifo --group customer-1 'first'
  lifeline send --topic-name orders < orders.jsonl";

/// Longest time that one message may take.
const DEADLINE: Duration = Duration::from_secs(30);
/// Most messages whose results are still awaited.
const PENDING: usize = 1000;

/// [`SendArgs`], checked.
#[derive(Debug, Clone)]
pub struct Send {
    access: Access,
    topic: TopicRef,
    body: Option<String>,
    attributes: Vec<(String, Attribute)>,
    group: Option<String>,
    deduplication_id: Option<String>,
    json: bool,
}

/// `NAME[:TYPE]=VALUE`.
fn attribute() -> Accept<(String, Attribute)> {
    Accept::new("NAME=VALUE or NAME:TYPE=VALUE, of a type other than Binary", |text| {
        let (name, value) = text.split_once('=')?;
        let (name, data_type) = name.split_once(':').unwrap_or((name, "String"));
        let valid = !name.is_empty() && !data_type.is_empty() && !data_type.starts_with("Binary");
        let value = Attribute::Text { data_type: data_type.to_owned(), value: value.to_owned() };
        valid.then(|| (name.to_owned(), value))
    })
}

impl SendArgs {
    /// Checks the settings.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn check(self, mut problems: Problems) -> Result<(Log, Send), Problems> {
        let access = self.aws.check(&mut problems);
        let (topic, _) = self.topic.check(&access, &mut problems);
        let attributes = self.attribute.into_iter().filter_map(|a| problems.optional(Some(a))).collect();
        let log = self.log.check(&mut problems);
        let send = Send {
            access,
            topic,
            body: self.body.filter(|body| body != "-"),
            attributes,
            group: self.group,
            deduplication_id: self.deduplication_id,
            json: self.json,
        };
        problems.finish().map(|_| (log, send))
    }
}

impl Send {
    /// Publishes and prints.
    ///
    /// # Errors
    /// No region is known, the topic does not exist, or standard input cannot be read. A message that is not published is
    /// reported, and makes the exit code 1.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let clients = Clients::connect(&self.access).await?;
        // the publisher would wait for a topic that is missing
        let topic = topology::topic(&clients, &self.topic, false).await?;
        if matches!(topology::has_subscription(&clients, &topic.arn).await, Ok(false)) {
            writeln!(io::stderr(), "topic {} has no subscriptions: SNS drops the messages", topic.arn).ok();
        }
        let publisher = Publisher::to(topic.arn).clients(clients).deadline(DEADLINE).start().await?;
        let result = match &self.body {
            Some(body) => {
                let outcome = publisher.publish(self.message(body)).await;
                Ok((u64::from(self.print(&ProgressBar::hidden(), None, &outcome)), 1))
            }
            None => self.lines(&publisher).await,
        };
        publisher.close().await;
        let (published, read) = result?;
        Ok(if published == read { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    fn message(&self, body: &str) -> NewMessage {
        let mut message = NewMessage::new(body);
        for (name, value) in &self.attributes {
            message = message.attribute(name, value.clone());
        }
        if let Some(group) = &self.group {
            message = message.group(group);
        }
        if let Some(id) = &self.deduplication_id {
            message = message.deduplication_id(id);
        }
        message
    }

    /// Publishes each line of standard input; how many were published, and how many were read.
    async fn lines(&self, publisher: &Publisher) -> anyhow::Result<(u64, u64)> {
        let (sender, mut lines) = mpsc::channel(PENDING);
        // it ends with the input; a line that is not UTF-8 ends it with an error
        std::thread::spawn(move || {
            for line in io::stdin().lock().lines() {
                if sender.blocking_send(line).is_err() {
                    break;
                }
            }
        });
        // on standard error, if that is a terminal
        let style = ProgressStyle::with_template("{pos} messages  {per_sec}")?;
        let bar = ProgressBar::no_length().with_style(style);
        let mut pending: VecDeque<(u64, Pending)> = VecDeque::new();
        let (mut number, mut read, mut published) = (0, 0, 0);
        while let Some(line) = lines.recv().await {
            number += 1;
            let line = line.with_context(|| format!("standard input, line {number}"))?;
            if line.trim().is_empty() {
                continue;
            }
            read += 1;
            if pending.len() >= PENDING
                && let Some((number, first)) = pending.pop_front()
            {
                published += u64::from(self.print(&bar, Some(number), &first.await));
            }
            match publisher.enqueue(self.message(&line)).await {
                Ok(waiting) => pending.push_back((number, waiting)),
                Err(error) => published += u64::from(self.print(&bar, Some(number), &Err(error))),
            }
        }
        for (number, waiting) in pending {
            published += u64::from(self.print(&bar, Some(number), &waiting.await));
        }
        bar.finish_and_clear();
        Ok((published, read))
    }

    /// Prints one result above the progress; whether the message is published.
    fn print(&self, bar: &ProgressBar, line: Option<u64>, outcome: &Outcome) -> bool {
        let place = line.map_or(String::new(), |line| format!("line {line}: "));
        bar.inc(1);
        bar.suspend(|| match outcome {
            Ok(receipt) if self.json => {
                let object = serde_json::json!({
                    "message_id": receipt.message_id,
                    "sequence_number": receipt.sequence_number,
                    "bytes": receipt.bytes,
                    "trace_id": receipt.trace_id.as_ref().map(ToString::to_string),
                });
                writeln!(io::stdout(), "{object}").ok();
            }
            Ok(receipt) => {
                writeln!(io::stdout(), "{}", receipt.message_id).ok();
            }
            Err(error) => {
                writeln!(io::stderr(), "{place}not published: {error}").ok();
            }
        });
        outcome.is_ok()
    }
}
