//! `lifeline tail queue`: how many messages a queue and its dead-letter queue hold, over time.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use aws_sdk_sqs::types::QueueAttributeName;
use lifeline_messaging::client::Clients;
use lifeline_messaging::topology::{self, QueueRef, TopologyError};
use lifeline_service::Shutdown;
use tokio::time::{Instant, sleep_until};

use super::lines::Lines;
use crate::age;

/// One look at a queue.
#[derive(Debug, Clone, serde::Serialize)]
struct Look {
    at: String,
    visible: u64,
    in_flight: u64,
    delayed: u64,
    /// How the sum changed since the last look, per second.
    change_per_second: Option<f64>,
    /// When the queue is empty if this goes on.
    empty_in_seconds: Option<u64>,
    dead_letters: Option<u64>,
}

pub(super) async fn follow(
    clients: &Clients,
    queue: &QueueRef,
    every: Duration,
    lines: Lines,
    shutdown: &Shutdown,
) -> anyhow::Result<()> {
    let queue = topology::look_up(clients, queue).await?;
    if !lines.json {
        writeln!(io::stderr(), "{queue}").ok();
    }
    let dead_letter_url = queue.dead_letter_url();
    let mut last: Option<(Instant, u64)> = None;
    let mut due = Instant::now();
    for shown in 0..lines.count {
        let [visible, in_flight, delayed] = counts(clients, &queue.url).await?;
        let dead_letters = match &dead_letter_url {
            // what may not be read is left out
            Some(url) => counts(clients, url).await.ok().map(|counts| counts.into_iter().sum()),
            None => None,
        };
        let (now, total) = (Instant::now(), visible + in_flight + delayed);
        let change = last.map(|(then, before)| {
            (total as f64 - before as f64) / now.duration_since(then).as_secs_f64().max(0.001)
        });
        last = Some((now, total));
        let empty_in_seconds =
            change.filter(|change| *change < 0.0).map(|change| (total as f64 / -change).ceil() as u64);
        let look = Look {
            at: age::timestamp(SystemTime::now()),
            visible,
            in_flight,
            delayed,
            change_per_second: change,
            empty_in_seconds,
            dead_letters,
        };
        let line = if lines.json { serde_json::to_string(&look)? } else { text(&look, shown % 20 == 0) };
        if writeln!(io::stdout(), "{line}").is_err() || shown + 1 == lines.count {
            break;
        }
        due += every;
        tokio::select! {
            biased;
            () = shutdown.requested() => break,
            () = sleep_until(due) => {}
        }
    }
    Ok(())
}

async fn counts(clients: &Clients, url: &str) -> Result<[u64; 3], TopologyError> {
    let names = [
        QueueAttributeName::ApproximateNumberOfMessages,
        QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        QueueAttributeName::ApproximateNumberOfMessagesDelayed,
    ];
    let attributes = topology::queue_attributes(clients, url, &names).await?;
    Ok(names.map(|name| attributes.get(&name).and_then(|count| count.parse().ok()).unwrap_or(0)))
}

fn text(look: &Look, heading: bool) -> String {
    let heading = if heading {
        format!(
            "{:<20}  {:>9}  {:>9}  {:>8}  {:>10}  {:>12}  {:>12}\n",
            "TIME", "VISIBLE", "IN FLIGHT", "DELAYED", "CHANGE/S", "EMPTY IN", "DEAD LETTERS"
        )
    } else {
        String::new()
    };
    let unknown = || "-".to_owned();
    let change = look.change_per_second.map_or_else(unknown, |change| format!("{change:+.1}"));
    let empty = look.empty_in_seconds.map_or_else(unknown, |s| age::of(Duration::from_secs(s)));
    let dead = look.dead_letters.map_or_else(unknown, |dead| dead.to_string());
    let at = look.at.split('.').next().unwrap_or_default();
    format!(
        "{heading}{at:<20}  {:>9}  {:>9}  {:>8}  {change:>10}  {empty:>12}  {dead:>12}",
        look.visible, look.in_flight, look.delayed
    )
}
