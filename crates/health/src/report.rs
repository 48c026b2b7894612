//! Reports: what `/health` and `/ready` respond, for a server of your own.

use serde_json::Value;

use crate::pulse::Pulses;
use crate::readiness::Readiness;

/// Whether a service is up, or ready, and if not, why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Report {
    up: bool,
    json: String,
}

impl Report {
    pub(crate) fn of_pulses(pulses: &Pulses) -> Self {
        let stale = pulses.stale();
        if stale.is_empty() {
            return Self { up: true, json: r#"{ "status": "UP!" }"#.to_owned() };
        }
        let stale: Vec<_> = stale.into_iter().map(|name| Value::from(name).to_string()).collect();
        Self { up: false, json: format!(r#"{{ "status": "DOWN", "stale": [{}] }}"#, stale.join(", ")) }
    }

    pub(crate) fn of_conditions(readiness: &Readiness) -> Self {
        let reasons = readiness.reasons();
        if reasons.is_empty() {
            return Self { up: true, json: r#"{ "status": "READY" }"#.to_owned() };
        }
        let reasons: Vec<_> = reasons
            .into_iter()
            .map(|(name, reason)| format!("{}: {}", Value::from(name), Value::from(reason)))
            .collect();
        let json = format!(r#"{{ "status": "NOT READY", "reasons": {{ {} }} }}"#, reasons.join(", "));
        Self { up: false, json }
    }

    /// Whether the response is 200; else it is 503.
    pub fn is_up(&self) -> bool {
        self.up
    }

    /// The body.
    pub fn to_json(&self) -> String {
        self.json.clone()
    }
}
