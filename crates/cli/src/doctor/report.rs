//! The report: every outcome, as text for people and as JSON for programs, from the same data.

use std::fmt::{self, Write};

use super::check::{Group, Outcome, Status};
use super::checks;
use super::snapshot::Snapshot;

/// One outcome with its check.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Line {
    /// The check's stable code.
    pub code: &'static str,
    /// The part of the path.
    pub group: Group,
    /// What was found.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All outcomes, in the order of the checks.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Report {
    /// The account, if known.
    pub account: Option<String>,
    /// The region.
    pub region: String,
    /// An endpoint other than AWS's own.
    pub endpoint: Option<String>,
    /// The caller's ARN, if known.
    pub identity: Option<String>,
    /// The worst status.
    pub status: Status,
    /// The outcomes.
    pub checks: Vec<Line>,
}

/// How the text looks.
#[derive(Debug, Clone, Copy, Default)]
pub struct Style {
    /// With ANSI colours.
    pub colour: bool,
    /// With the commands that change what is wrong.
    pub fix: bool,
}

impl Report {
    /// Every check that has something to look at.
    pub fn of(snapshot: &Snapshot) -> Self {
        let line = |check: &super::check::Check| {
            let (code, group) = (check.code, check.group);
            (check.run)(snapshot).map(|outcome| Line { code, group, outcome })
        };
        let checks: Vec<_> = checks::all().filter_map(line).collect();
        Self {
            account: snapshot.account.clone(),
            region: snapshot.region.clone(),
            endpoint: snapshot.endpoint.clone(),
            identity: snapshot.identity.found().cloned(),
            status: checks.iter().map(|line| line.outcome.status).max().unwrap_or(Status::Ok),
            checks,
        }
    }

    /// With the outcomes of a probe.
    #[must_use]
    pub(super) fn with(mut self, lines: Vec<Line>) -> Self {
        self.checks.extend(lines);
        self.status = self.checks.iter().map(|line| line.outcome.status).max().unwrap_or(Status::Ok);
        self
    }

    /// Whether no check failed. Warnings do not count.
    pub fn is_ok(&self) -> bool {
        self.status < Status::Fail
    }

    /// How many checks ended like this.
    pub fn count(&self, status: Status) -> usize {
        self.checks.iter().filter(|line| line.outcome.status == status).count()
    }

    /// The report as text.
    pub fn text(&self, style: Style) -> String {
        let mut text = String::new();
        self.write(&mut text, style).expect("a string takes everything");
        text
    }

    fn write(&self, out: &mut String, style: Style) -> fmt::Result {
        let mut group = None;
        for line in &self.checks {
            if group.replace(line.group) != Some(line.group) {
                let gap = if out.is_empty() { "" } else { "\n" };
                writeln!(out, "{gap}{}", line.group.heading())?;
            }
            let Outcome { status, message, hint, fix } = &line.outcome;
            writeln!(out, "  {} {message} [{}]", label(*status, style.colour), line.code)?;
            if let Some(hint) = hint {
                writeln!(out, "       {hint}")?;
            }
            if let (Some(fix), true) = (fix, style.fix) {
                writeln!(out, "       fix: {fix}")?;
            }
        }
        let fixable = self.checks.iter().any(|line| line.outcome.fix.is_some());
        let (fails, warnings) = (self.count(Status::Fail), self.count(Status::Warn));
        writeln!(out)?;
        match fails {
            0 if warnings == 0 => write!(out, "all checks passed")?,
            0 => write!(out, "no check failed")?,
            1 => write!(out, "1 check failed")?,
            fails => write!(out, "{fails} checks failed")?,
        }
        match warnings {
            0 => writeln!(out)?,
            1 => writeln!(out, ", 1 warning")?,
            warnings => writeln!(out, ", {warnings} warnings")?,
        }
        if fixable && !style.fix {
            writeln!(out, "--fix prints the commands that change this")?;
        }
        Ok(())
    }
}

fn label(status: Status, colour: bool) -> String {
    let (text, code) = match status {
        Status::Ok => ("ok  ", 32),
        Status::Warn => ("warn", 33),
        Status::Fail => ("FAIL", 31),
    };
    if colour { format!("\x1b[{code}m{text}\x1b[0m") } else { text.to_owned() }
}
