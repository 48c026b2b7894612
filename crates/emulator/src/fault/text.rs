//! Faults as text, one a line: `ReceiveMessage: nth=3 hang`.
//!
//! ```text
//! ACTION[,ACTION…]|*: [nth=N] [times=N] [from=N] [every=N] [probability=P] [above=N] [after-effect] EFFECT
//! EFFECT: hang | delay=20ms | throttle | status=503 [body=TEXT] | error=CODE | reset | stall | truncate
//!       | bandwidth=BYTES | leave-out-entries | fail-entries=CODE | duplicate | lose-lease=30s
//! ```
//!
//! `above=100` is for calls beyond a hundred in a second, with bursts of ten. `latency` is another name of `delay`,
//! `reset-after-effect` one of `after-effect reset`. `body` takes the rest of the line. Empty lines and lines that begin
//! with `#` are skipped.

use std::{str::FromStr, time::Duration};

use super::{Calls, Effect, Fault, On};
use crate::action::Action;

/// Why a text is no fault.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("fault `{text}`: {reason}")]
pub struct FaultError {
    text: String,
    reason: String,
}

impl FromStr for Fault {
    type Err = FaultError;

    fn from_str(text: &str) -> Result<Self, FaultError> {
        parse(text).map_err(|reason| FaultError { text: text.trim().into(), reason })
    }
}

/// Reads several faults: one a line, or separated by semicolons.
pub(super) fn parse_all(text: &str) -> Result<Vec<Fault>, FaultError> {
    text.split(['\n', ';'])
        .map(str::trim)
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(str::parse)
        .collect()
}

fn parse(text: &str) -> Result<Fault, String> {
    let (names, rest) =
        text.split_once(':').ok_or("write ACTION: EFFECT, for example `ReceiveMessage: nth=3 hang`")?;
    let mut actions = Vec::new();
    for name in names.split(',').map(str::trim).filter(|name| *name != "*") {
        let before = actions.len();
        actions.extend(Action::named(name));
        if actions.len() == before {
            return Err(format!("there is no action {name:?}; `*` is every action"));
        }
    }
    let mut on = On::new(actions);
    let mut effect = None;
    let mut rest = rest.trim();
    while !rest.is_empty() {
        let (word, more) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
        if let Some(body) = rest.strip_prefix("body=") {
            match &mut effect {
                Some(Effect::Status(_, text)) => *text = body.into(),
                _ => return Err("`body` comes after `status`".into()),
            }
            break;
        }
        rest = more.trim_start();
        let (name, value) = word.split_once('=').map_or((word, None), |(name, value)| (name, Some(value)));
        on = match (name, value) {
            ("nth", Some(value)) => on.nth(number(value)?),
            ("times", Some(value)) => on.times(number(value)?),
            ("from", Some(value)) => on.from(number(value)?),
            ("every", Some(value)) => on.every(number(value)?),
            ("probability", Some(value)) => {
                let fits = value.parse().ok().filter(|p: &f64| (0.0..=1.0).contains(p));
                on.probability(fits.ok_or_else(|| format!("probability={value}: a number from 0 to 1"))?)
            }
            ("above", Some(value)) => on.above(number(value)?),
            ("after-effect", None) => on.after_effect(),
            ("reset-after-effect", None) => {
                effect = Some(Effect::Reset);
                on.after_effect()
            }
            _ => {
                if effect.is_some() {
                    return Err(format!("`{word}`: a fault has one effect"));
                }
                effect = Some(read(name, value).unwrap_or_else(|| Err(format!("`{word}` is not known")))?);
                on
            }
        };
    }
    let effect = effect.ok_or("names no effect, for example hang, delay=1s or status=503")?;
    Ok(on.with(effect))
}

fn read(name: &str, value: Option<&str>) -> Option<Result<Effect, String>> {
    Some(match (name, value) {
        ("hang", None) => Ok(Effect::Hang),
        ("delay" | "latency" | "slow", Some(value)) => duration(value).map(Effect::Delay),
        ("throttle", None) => Ok(Effect::Throttle),
        ("status", Some(value)) => match value.parse() {
            Ok(status) if (100..600).contains(&status) => Ok(Effect::Status(status, String::new())),
            _ => Err(format!("status={value}: a number from 100 to 599")),
        },
        ("error", Some(code)) => {
            Ok(Effect::Error(400, code.into(), format!("{code}, by the emulator's fault")))
        }
        ("reset", None) => Ok(Effect::Reset),
        ("stall", None) => Ok(Effect::Stall),
        ("truncate", None) => Ok(Effect::Truncate),
        ("bandwidth", Some(value)) => number(value).map(|rate| Effect::Bandwidth(rate.max(1))),
        ("leave-out-entries", None) => Ok(Effect::LeaveOutEntries),
        ("fail-entries", Some(code)) => Ok(Effect::FailEntries(code.into(), false)),
        ("duplicate", None) => Ok(Effect::Duplicate),
        ("lose-lease", Some(value)) => duration(value).map(Effect::LoseLease),
        _ => return None,
    })
}

fn number(text: &str) -> Result<u64, String> {
    text.parse().ok().filter(|number| *number > 0).ok_or_else(|| format!("`{text}` is no number from 1 on"))
}

fn duration(text: &str) -> Result<Duration, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let amount: u64 =
        text[..digits].parse().map_err(|_| format!("`{text}` is no duration, for example 250ms"))?;
    Ok(match &text[digits..] {
        "ms" => Duration::from_millis(amount),
        "s" => Duration::from_secs(amount),
        "m" => Duration::from_secs(amount.saturating_mul(60)),
        _ => return Err(format!("`{text}` is no duration, for example 250ms, 20s or 5m")),
    })
}

/// A fault as text that reads back as the same fault, but for its choice of entries.
pub(crate) fn describe(calls: &Calls, effect: &Effect, after_effect: bool) -> String {
    let names: Vec<&str> = calls.actions.iter().map(|action| action.name()).collect();
    let mut words = vec![if names.is_empty() { "*:".into() } else { format!("{}:", names.join(",")) }];
    match (calls.every, calls.from) {
        (1, 1) => {}
        (1, from) if calls.times == Some(1) => words.push(format!("nth={from}")),
        (1, from) => words.push(format!("from={from}")),
        (every, _) => words.push(format!("every={every}")),
    }
    if let Some(times) = calls.times
        && !(times == 1 && calls.from > 1 && calls.every == 1)
    {
        words.push(format!("times={times}"));
    }
    if let Some(probability) = calls.probability {
        words.push(format!("probability={probability}"));
    }
    if let Some(rate) = calls.above {
        words.push(format!("above={rate}"));
    }
    if after_effect {
        words.push("after-effect".into());
    }
    words.push(match effect {
        Effect::Hang => "hang".into(),
        Effect::Delay(delay) => format!("delay={}ms", delay.as_millis()),
        Effect::Throttle => "throttle".into(),
        Effect::Status(status, body) if body.is_empty() => format!("status={status}"),
        Effect::Status(status, body) => format!("status={status} body={body}"),
        Effect::Error(_, code, _) => format!("error={code}"),
        Effect::Reset => "reset".into(),
        Effect::Stall => "stall".into(),
        Effect::Truncate => "truncate".into(),
        Effect::Bandwidth(rate) => format!("bandwidth={rate}"),
        Effect::LeaveOutEntries => "leave-out-entries".into(),
        Effect::FailEntries(code, _) => format!("fail-entries={code}"),
        Effect::Duplicate => "duplicate".into(),
        Effect::LoseLease(lease) => format!("lose-lease={}ms", lease.as_millis()),
    });
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_back() {
        for text in [
            "ReceiveMessage: nth=3 hang",
            "*: delay=20ms",
            "DeleteMessageBatch: times=2 status=503",
            "DeleteMessageBatch: from=2 status=503 body=<html> no",
            "Publish,PublishBatch: every=10 throttle",
            "SendMessage: probability=0.25 after-effect reset",
            "ReceiveMessage: above=100 throttle",
            "ReceiveMessage: lose-lease=30000ms",
            "SendMessageBatch: fail-entries=InternalError",
        ] {
            assert_eq!(text.parse::<Fault>().unwrap().text, text);
        }
        let reset: Fault = "SendMessage: reset-after-effect".parse().unwrap();
        assert!(reset.after_effect && reset.effect == Effect::Reset);
        assert_eq!(parse_all("# none\n\n*: hang; *: reset").unwrap().len(), 2);
    }

    #[test]
    fn what_is_no_fault_is_refused_with_its_reason() {
        for (text, reason) in [
            ("hang", "ACTION: EFFECT"),
            ("Recieve: hang", "no action \"Recieve\""),
            ("*: nth=0 hang", "from 1 on"),
            ("*: nth=2", "no effect"),
            ("*: hang reset", "one effect"),
            ("*: explode", "not known"),
            ("*: delay=5", "duration"),
            ("*: status=99", "100 to 599"),
            ("*: body=x", "after `status`"),
        ] {
            let error = text.parse::<Fault>().unwrap_err().to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
    }
}
