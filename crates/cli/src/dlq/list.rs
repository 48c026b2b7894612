//! `lifeline dlq list`: how many dead letters there are, why, and each with its age and body.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use console::Term;
use lifeline_escape::Line;
use lifeline_service::Shutdown;
use serde_json::json;

use super::INTERRUPTED;
use super::filter::Filter;
use super::letter::Letter;
use super::place::{Counts, Place};
use super::scan::Scan;
use crate::age;
use lifeline_messaging::topology::arn_name;

/// Longest part of a body or reason in a line.
const SHOWN: usize = 500;

/// The command.
#[derive(Debug, Clone)]
pub(super) struct List {
    pub(super) filter: Filter,
    pub(super) limit: usize,
    pub(super) json: bool,
}

impl List {
    pub(super) async fn run(&self, place: &Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
        let counts = place.counts().await?;
        let now = SystemTime::now();
        let mut scan = Scan::of(place);
        let found = self.look(&mut scan, now, shutdown).await;
        scan.release().await;
        let letters = found?;
        let received = scan.received;
        let text = if self.json {
            let found: Vec<_> = letters.iter().map(|letter| letter.json(now)).collect();
            let list = json!({
                "queue": place.queue.arn,
                "dead_letter_queue": place.arn,
                "counts": counts,
                "received": received,
                "messages": found,
            });
            format!("{}\n", serde_json::to_string_pretty(&list)?)
        } else {
            text(place, counts, &letters, now)
        };
        io::stdout().write_all(text.as_bytes())?;
        if !self.json && received > 0 {
            let cost = format!(
                "{received} messages were received to look at them: their receive counts are higher by one"
            );
            writeln!(io::stderr(), "{cost}").ok();
        }
        Ok(if shutdown.is_requested() { ExitCode::from(INTERRUPTED) } else { ExitCode::SUCCESS })
    }

    async fn look(
        &self,
        scan: &mut Scan<'_>,
        now: SystemTime,
        shutdown: &Shutdown,
    ) -> anyhow::Result<Vec<Letter>> {
        let mut letters = Vec::new();
        while letters.len() < self.limit && !shutdown.is_requested() {
            let new = scan.next(self.limit - letters.len()).await?;
            if new.is_empty() {
                break;
            }
            letters.extend(new.into_iter().filter(|letter| self.filter.matches(letter, now)));
        }
        letters.sort_by_key(|letter| letter.message.published_at);
        Ok(letters)
    }
}

fn text(place: &Place, counts: Counts, letters: &[Letter], now: SystemTime) -> String {
    let mut text = String::new();
    let mut reasons = BTreeMap::<_, usize>::new();
    for letter in letters {
        *reasons.entry(letter.reason.as_str()).or_default() += 1;
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let write = |text: &mut String| -> std::fmt::Result {
        writeln!(
            text,
            "{}: {} messages ({} in flight), kept for {}; dead letters of {}",
            arn_name(&place.arn),
            counts.total(),
            counts.in_flight,
            age::of(counts.retention()),
            arn_name(&place.queue.arn)
        )?;
        for (reason, count) in &reasons {
            writeln!(text, "{count:>7}  {}", Line::new(reason).limit(SHOWN))?;
        }
        if letters.is_empty() {
            return Ok(());
        }
        let longest =
            reasons.iter().map(|(reason, _)| reason.chars().count()).max().unwrap_or(0).clamp(6, 40);
        writeln!(text, "\n{:<11}  {:>8}  {:<36}  {:<longest$}  BODY", "AGE", "RECEIVES", "ID", "REASON")?;
        for letter in letters {
            let age = letter.age(now).map_or_else(|| "?".to_owned(), age::of);
            let reason = Line::new(&letter.reason).limit(longest).to_string();
            let body = Line::new(&letter.message.body).limit(SHOWN);
            let line = format!(
                "{age:<11}  {:>8}  {:<36}  {reason:<longest$}  {body}",
                letter.receive_count, letter.id
            );
            writeln!(text, "{}", fit(&line))?;
        }
        Ok(())
    };
    write(&mut text).expect("a string takes everything");
    text
}

/// A line cut to the width of the terminal, if standard output is one.
fn fit(line: &str) -> String {
    let terminal = Term::stdout();
    match terminal.is_term().then(|| terminal.size_checked()).flatten() {
        Some((_, columns)) => console::truncate_str(line, usize::from(columns), "…").into_owned(),
        None => line.to_owned(),
    }
}
