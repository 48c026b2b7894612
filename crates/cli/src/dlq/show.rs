//! `lifeline dlq show`: everything about some dead letters.

use std::collections::HashSet;
use std::fmt::Write as _;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::SystemTime;

use lifeline_escape::Line;
use lifeline_service::Shutdown;

use super::INTERRUPTED;
use super::letter::Letter;
use super::place::Place;
use super::scan::Scan;
use crate::age;

/// The command.
#[derive(Debug, Clone)]
pub(super) struct Show {
    pub(super) ids: Vec<String>,
    pub(super) json: bool,
}

impl Show {
    pub(super) async fn run(&self, place: &Place, shutdown: &Shutdown) -> anyhow::Result<ExitCode> {
        let now = SystemTime::now();
        let mut scan = Scan::of(place);
        let mut missing: HashSet<&str> = self.ids.iter().map(String::as_str).collect();
        let mut found = Vec::new();
        let ended = loop {
            if missing.is_empty() || shutdown.is_requested() {
                break Ok(());
            }
            match scan.next(10).await {
                Ok(new) if new.is_empty() => break Ok(()),
                Ok(new) => {
                    for letter in new {
                        if self.ids.iter().any(|id| letter.id.starts_with(id)) {
                            missing.retain(|id| !letter.id.starts_with(id));
                            found.push(letter);
                        }
                    }
                }
                Err(error) => break Err(error),
            }
        };
        scan.release().await;
        ended?;
        let mut out = io::stdout();
        for letter in &found {
            if self.json {
                writeln!(out, "{}", letter.json(now))?;
            } else {
                out.write_all(text(letter, now).as_bytes())?;
            }
        }
        for id in &missing {
            writeln!(io::stderr(), "no dead letter has an id that begins with {}", Line::new(id)).ok();
        }
        Ok(match (missing.is_empty(), shutdown.is_requested()) {
            (true, _) => ExitCode::SUCCESS,
            (false, true) => ExitCode::from(INTERRUPTED),
            (false, false) => ExitCode::FAILURE,
        })
    }
}

fn text(letter: &Letter, now: SystemTime) -> String {
    let mut text = String::new();
    let message = &letter.message;
    let write = |text: &mut String| -> std::fmt::Result {
        writeln!(text, "id          {}", Line::new(&letter.id))?;
        if message.id != letter.id {
            writeln!(text, "message id  {}", Line::new(&message.id))?;
        }
        if let (Some(published), Some(ago)) = (message.published_at, letter.age(now)) {
            writeln!(text, "published   {} ({} ago)", age::timestamp(published), age::of(ago))?;
        }
        writeln!(text, "receives    {}", letter.receive_count)?;
        writeln!(text, "reason      {}", Line::new(&letter.reason))?;
        for (label, value) in
            [("group", &message.group), ("topic", &message.topic_arn), ("subject", &message.subject)]
        {
            if let Some(value) = value {
                writeln!(text, "{label:<11} {}", Line::new(value))?;
            }
        }
        if !message.attributes.is_empty() {
            writeln!(text, "attributes")?;
            for (name, value) in &message.attributes {
                let (name, value) = (Line::new(name).to_string(), value.to_text());
                writeln!(text, "  {name} = {}", Line::new(&value))?;
            }
        }
        writeln!(text, "body")?;
        for line in message.body.lines() {
            writeln!(text, "  {}", Line::new(line))?;
        }
        writeln!(text)
    };
    write(&mut text).expect("a string takes everything");
    text
}
