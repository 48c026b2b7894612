//! Watches both services for the page, and does what a liveness probe does once the consumer was made to hang.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::Health;
use tokio::time::{Instant, sleep};

use super::events::Events;
use super::replaced::Replaced;

/// How often the services are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How often the probe asks.
const PERIOD: Duration = Duration::from_secs(3);
/// After how many failures in a row the consumer is restarted.
const THRESHOLD: u32 = 3;

/// Both services, and what the page breaks.
pub(super) struct Watch {
    /// Each with its name.
    pub(super) services: [(&'static str, Health); 2],
    /// Where the consumer's `/health` is.
    pub(super) consumer: SocketAddr,
    pub(super) replaced: Arc<Replaced>,
    pub(super) events: Events,
}

/// What was seen last of a service: whether it is up, and which conditions do not hold.
type Seen = (bool, Vec<String>);

impl Watch {
    /// Never ends.
    pub(super) async fn run(self) {
        let mut seen: [Option<Seen>; 2] = [None, None];
        let (mut failures, mut next) = (0, Instant::now());
        loop {
            sleep(LOOK).await;
            for ((name, health), seen) in self.services.iter().zip(&mut seen) {
                self.note_changes(name, health, seen);
            }
            if !self.replaced.is_hung() {
                failures = 0;
            } else if Instant::now() >= next {
                next = Instant::now() + PERIOD;
                failures = self.probe(failures).await;
            }
        }
    }

    fn note_changes(&self, name: &str, health: &Health, seen: &mut Option<Seen>) {
        let (stale, reasons) = (health.pulses.stale(), health.readiness.reasons());
        let now = (stale.is_empty(), reasons.iter().map(|(name, _)| name.to_string()).collect::<Vec<_>>());
        if let Some((was_up, were_unmet)) = seen {
            match (*was_up, now.0) {
                (true, false) => {
                    self.events.bad(&format!("{name}: /health is 503, no progress: {}", stale.join(", ")))
                }
                (false, true) => self.events.good(&format!("{name}: /health is 200")),
                _ => {}
            }
            match reasons.first() {
                Some((condition, reason)) if *were_unmet != now.1 => {
                    self.events.bad(&format!("{name}: /ready is 503, {condition}: {reason}"));
                }
                None if !were_unmet.is_empty() => self.events.good(&format!("{name}: /ready is 200")),
                _ => {}
            }
        }
        *seen = Some(now);
    }

    /// Asks `/health` once. How many failures there were in a row.
    async fn probe(&self, failures: u32) -> u32 {
        let address = self.consumer;
        let ask = move || lifeline_health::ask(address, "/health", Duration::from_secs(1));
        let answer = match tokio::task::spawn_blocking(ask).await {
            Ok(Ok(answer)) if answer.status == 200 => return 0,
            Ok(Ok(answer)) => format!("{} {}", answer.status, answer.body.trim()),
            Ok(Err(error)) => error.to_string(),
            Err(error) => error.to_string(),
        };
        let failures = failures + 1;
        self.events.bad(&format!("liveness probe {failures} of {THRESHOLD} failed: {answer}"));
        if failures < THRESHOLD {
            return failures;
        }
        tracing::warn!(target: "lifeline", "the consumer hangs and is restarted, as by a liveness probe; its summary counts from here");
        self.replaced.replace();
        self.events.good("the consumer was restarted; what it was working on is visible again when its visibility timeout ends");
        0
    }
}
