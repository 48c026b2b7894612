//! `lifeline dlq redrive`: returns dead letters to their queue.
//!
//! *All of them* are moved by SQS itself ([`move_task`]): it goes on if this process is killed, and the next run follows
//! the move that it finds. *Chosen ones* are copied: each is received, sent to the queue, and deleted when SQS has confirmed
//! the copy. A process that is killed in between leaves at most [`TOGETHER`] messages in both queues; the next run, which
//! finds them after two minutes, sends these again. In a FIFO queue the letter's id is the deduplication id, so that SQS
//! drops the second copy if it comes within five minutes.

use std::io::{self, Write};
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::{
    MessageSystemAttributeName, MessageSystemAttributeNameForSends, MessageSystemAttributeValue,
};
use futures_util::future::join_all;
use indicatif::ProgressBar;
use lifeline_messaging::call::{CallError, Fault, bounded};
use lifeline_service::Shutdown;
use serde_json::json;
use tokio::time::{Instant, sleep_until};

use super::filter::Filter;
use super::letter::Letter;
use super::place::Place;
use super::scan::Scan;
use super::{INTERRUPTED, move_task};
use crate::progress;
use crate::retry::{retrying, tried};
use lifeline_messaging::topology::arn_name;

/// How many messages are sent and deleted at the same time; in a FIFO queue one, for their order.
const TOGETHER: usize = 10;

/// The command.
#[derive(Debug, Clone)]
pub(super) struct Redrive {
    pub(super) filter: Filter,
    pub(super) limit: Option<usize>,
    /// Messages per second.
    pub(super) rate: Option<u32>,
    pub(super) dry_run: bool,
    pub(super) json: bool,
}

/// What was done.
#[derive(Debug, Default, serde::Serialize)]
pub(super) struct Done {
    /// Returned to the queue, or with `--dry-run` what would be.
    pub(super) moved: u64,
    /// Still dead letters, because SQS did not take them.
    failed: u64,
    /// Perhaps in the queue twice: an answer of SQS was lost.
    unsure: u64,
    /// In both queues, because they could not be deleted.
    undeleted: u64,
}

/// What became of one letter.
enum Outcome {
    Moved,
    NotSent(CallError),
    NotDeleted(CallError),
}

impl Redrive {
    pub(super) async fn run(&self, place: &Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
        let by_sqs = self.filter.is_empty() && self.limit.is_none() && !self.dry_run;
        let done = if by_sqs {
            Done { moved: move_task::run(place, self.rate, shutdown).await?, ..Done::default() }
        } else {
            self.copy(place, shutdown).await?
        };
        let left = place.counts().await?.total();
        let (from, to) = (arn_name(&place.arn), arn_name(&place.queue.arn));
        let mut out = io::stdout();
        if self.json {
            let mechanism = if by_sqs { "move-task" } else { "copy" };
            let report = json!({
                "dead_letter_queue": place.arn,
                "queue": place.queue.arn,
                "mechanism": mechanism,
                "dry_run": self.dry_run,
                "result": done,
                "left": left,
            });
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        } else if self.dry_run {
            writeln!(out, "{} of {left} messages would move from {from} to {to}", done.moved)?;
        } else {
            writeln!(out, "{} messages moved from {from} to {to}; {left} left", done.moved)?;
        }
        for (count, what) in [
            (done.failed, "could not be sent and are still dead letters"),
            (
                done.undeleted,
                "could not be deleted and are in both queues: the next redrive sends them again",
            ),
            (done.unsure, "may be in the queue twice, because SQS's answer was lost"),
        ] {
            if count > 0 {
                writeln!(io::stderr(), "{count} messages {what}").ok();
            }
        }
        Ok(if done.failed + done.undeleted > 0 {
            ExitCode::FAILURE
        } else if shutdown.is_requested() {
            ExitCode::from(INTERRUPTED)
        } else {
            ExitCode::SUCCESS
        })
    }

    async fn copy(&self, place: &Place, shutdown: &Shutdown) -> anyhow::Result<Done> {
        // what fails again while this runs is not moved a second time
        let total = usize::try_from(place.counts().await?.total()).unwrap_or(usize::MAX);
        let bar = progress::counted(total.min(self.limit.unwrap_or(usize::MAX)));
        let mut done = Done::default();
        let mut scan = Scan::of(place);
        let ended = self.pass(&mut scan, total, &mut done, &bar, shutdown).await;
        scan.release().await;
        bar.finish_and_clear();
        if ended.is_err() && done.moved > 0 {
            writeln!(io::stderr(), "{} messages were moved before this failed", done.moved).ok();
        }
        ended.map(|()| done).map_err(anyhow::Error::from)
    }

    async fn pass(
        &self,
        scan: &mut Scan<'_>,
        total: usize,
        done: &mut Done,
        bar: &ProgressBar,
        shutdown: &Shutdown,
    ) -> Result<(), CallError> {
        let (place, begun, now) = (scan.place(), Instant::now(), SystemTime::now());
        let most = self.limit.unwrap_or(usize::MAX);
        let (mut chosen, mut looked_at) = (0, 0);
        while chosen < most && looked_at < total && !shutdown.is_requested() {
            let pace = self.rate.map_or(TOGETHER, |rate| usize::try_from(rate).unwrap_or(TOGETHER));
            let letters = scan.next(TOGETHER.min(pace).min(most - chosen)).await?;
            if letters.is_empty() {
                break;
            }
            looked_at += letters.len();
            let letters: Vec<_> =
                letters.into_iter().filter(|letter| self.filter.matches(letter, now)).collect();
            chosen += letters.len();
            bar.inc(u64::try_from(letters.len()).unwrap_or(0));
            if self.dry_run {
                done.moved += u64::try_from(letters.len()).unwrap_or(0);
                continue;
            }
            self.move_letters(place, letters, scan, done).await?;
            if let Some(rate) = self.rate {
                let due = begun + Duration::from_secs_f64(chosen as f64 / f64::from(rate));
                tokio::select! {
                    biased;
                    () = sleep_until(due) => {}
                    () = shutdown.requested() => {}
                }
            }
        }
        Ok(())
    }

    async fn move_letters(
        &self,
        place: &Place,
        letters: Vec<Letter>,
        scan: &mut Scan<'_>,
        done: &mut Done,
    ) -> Result<(), CallError> {
        let fifo = place.queue.is_fifo();
        for together in letters.chunks(if fifo { 1 } else { TOGETHER }) {
            let outcomes = join_all(together.iter().map(|letter| move_one(place, letter))).await;
            let mut ended = Ok(());
            for (letter, (outcome, unsure)) in together.iter().zip(outcomes) {
                done.unsure += u64::from(unsure);
                match outcome {
                    Outcome::Moved => {
                        scan.deleted(&letter.id);
                        done.moved += 1;
                    }
                    Outcome::NotDeleted(error) => {
                        done.moved += 1;
                        done.undeleted += 1;
                        tracing::warn!(id = letter.id, %error, "sent to its queue, but still a dead letter too");
                    }
                    Outcome::NotSent(error) => {
                        done.failed += 1;
                        // one message that the queue does not take keeps the others from nothing, but in a FIFO queue
                        // those of its group must not overtake it
                        let only_this = error.fault == Fault::Refused && !fifo;
                        tracing::warn!(id = letter.id, %error, "not sent to its queue");
                        if !only_this {
                            ended = Err(error);
                        }
                    }
                }
            }
            ended?;
        }
        Ok(())
    }
}

/// Sends a copy to the queue and then deletes the letter. Whether a copy may have been sent twice, too.
async fn move_one(place: &Place, letter: &Letter) -> (Outcome, bool) {
    let clients = &place.clients;
    let system = letter.entry.attributes.as_ref();
    let trace = system.and_then(|all| all.get(&MessageSystemAttributeName::AwsTraceHeader));
    let send = || {
        let mut call = clients
            .sqs
            .send_message()
            .queue_url(&place.queue.url)
            .set_message_body(letter.entry.body.clone())
            .set_message_attributes(letter.entry.message_attributes.clone())
            .set_message_group_id(letter.message.group.clone());
        if place.queue.is_fifo() {
            call = call.message_deduplication_id(&letter.id);
        }
        if let Some(trace) = trace {
            let value = MessageSystemAttributeValue::builder().data_type("String").string_value(trace);
            let value = value.build().expect("the type is set");
            call = call.message_system_attributes(MessageSystemAttributeNameForSends::AwsTraceHeader, value);
        }
        bounded("SendMessage", clients.call_timeout, call.send())
    };
    let sent = tried(send).await;
    // SQS drops a second copy with the same deduplication id
    let unsure = sent.unsure && !place.queue.is_fifo();
    if let Err(error) = sent.result {
        return (Outcome::NotSent(error), unsure);
    }
    let delete = || {
        let call = clients.sqs.delete_message().queue_url(&place.url).receipt_handle(&letter.receipt);
        bounded("DeleteMessage", clients.call_timeout, call.send())
    };
    let outcome = match retrying(delete).await {
        Ok(_) => Outcome::Moved,
        Err(error) => Outcome::NotDeleted(error),
    };
    (outcome, unsure)
}
