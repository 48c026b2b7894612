//! `lifeline dlq purge`: deletes dead letters permanently.

use std::io::{self, BufRead, IsTerminal, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use anyhow::Context;
use futures_util::future::join_all;
use lifeline_messaging::call::bounded;
use lifeline_service::Shutdown;
use serde_json::json;

use super::INTERRUPTED;
use super::filter::Filter;
use super::place::Place;
use super::scan::Scan;
use crate::progress;
use crate::retry::retrying;
use lifeline_messaging::topology::arn_name;

/// The command.
#[derive(Debug, Clone)]
pub(super) struct Purge {
    pub(super) filter: Filter,
    pub(super) limit: Option<usize>,
    pub(super) yes: bool,
    pub(super) dry_run: bool,
    pub(super) json: bool,
}

impl Purge {
    pub(super) async fn run(&self, place: &Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
        let counts = place.counts().await?;
        let all = self.filter.is_empty() && self.limit.is_none();
        if !self.dry_run && !self.yes {
            let which = if all { format!("all {}", counts.total()) } else { "the chosen".to_owned() };
            confirm(&format!("Delete {which} messages of {} permanently?", arn_name(&place.arn)))?;
        }
        let total = usize::try_from(counts.total()).unwrap_or(usize::MAX);
        let deleted = match (all, self.dry_run) {
            (true, true) => counts.total(),
            (true, false) => purge(place).await.map(|()| counts.total())?,
            (false, _) => self.delete(place, total, shutdown).await?,
        };
        let mut out = io::stdout();
        let from = arn_name(&place.arn);
        if self.json {
            let report = json!({"dead_letter_queue": place.arn, "dry_run": self.dry_run, "deleted": deleted});
            writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
        } else if self.dry_run {
            writeln!(out, "{deleted} messages of {from} would be deleted")?;
        } else {
            writeln!(out, "{deleted} messages of {from} deleted")?;
        }
        Ok(if shutdown.is_requested() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
    }

    async fn delete(&self, place: &Place, total: usize, shutdown: &Shutdown) -> anyhow::Result<u64> {
        let bar = progress::counted(total);
        let mut scan = Scan::of(place);
        let ended = self.pass(&mut scan, total, &bar, shutdown).await;
        scan.release().await;
        bar.finish_and_clear();
        ended
    }

    async fn pass(
        &self,
        scan: &mut Scan<'_>,
        total: usize,
        bar: &indicatif::ProgressBar,
        shutdown: &Shutdown,
    ) -> anyhow::Result<u64> {
        let (place, now) = (scan.place(), SystemTime::now());
        let most = self.limit.unwrap_or(usize::MAX);
        let (mut chosen, mut looked_at) = (0, 0);
        while chosen < most && looked_at < total && !shutdown.is_requested() {
            let letters = scan.next(most - chosen).await?;
            if letters.is_empty() {
                break;
            }
            looked_at += letters.len();
            bar.inc(u64::try_from(letters.len()).unwrap_or(0));
            let letters: Vec<_> =
                letters.into_iter().filter(|letter| self.filter.matches(letter, now)).collect();
            if !self.dry_run {
                let delete = |receipt: &str| {
                    let call =
                        place.clients.sqs.delete_message().queue_url(&place.url).receipt_handle(receipt);
                    bounded("DeleteMessage", place.clients.call_timeout, call.send())
                };
                let delete = |letter: &super::letter::Letter| {
                    let receipt = letter.receipt.clone();
                    async move { retrying(|| delete(&receipt)).await }
                };
                let deletes: Vec<_> = join_all(letters.iter().map(delete)).await;
                for (letter, deleted) in letters.iter().zip(deletes) {
                    deleted
                        .with_context(|| format!("{chosen} messages were deleted, and not {}", letter.id))?;
                    scan.deleted(&letter.id);
                    chosen += 1;
                }
            } else {
                chosen += letters.len();
            }
        }
        Ok(u64::try_from(chosen).unwrap_or(u64::MAX))
    }
}

async fn purge(place: &Place) -> anyhow::Result<()> {
    let call = place.clients.sqs.purge_queue().queue_url(&place.url).send();
    bounded("PurgeQueue", place.clients.call_timeout, call).await?;
    Ok(())
}

/// Asks on the terminal. Without one nobody can answer.
fn confirm(question: &str) -> anyhow::Result<()> {
    if !io::stdin().is_terminal() {
        anyhow::bail!("nothing was deleted: standard input is not a terminal to confirm it on; add --yes");
    }
    write!(io::stderr(), "{question} Type yes: ")?;
    let mut answer = String::new();
    io::stdin().lock().read_line(&mut answer)?;
    if answer.trim() != "yes" {
        anyhow::bail!("nothing was deleted: the answer was not yes");
    }
    Ok(())
}
