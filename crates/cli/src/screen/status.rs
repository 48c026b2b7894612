//! The status line: what the services' own counters and conditions say, in as many columns as there are.

use std::io;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

use console::{Style, measure_text_width, truncate_str};
use lifeline_health::{Health, IntCounter, IntGauge, Metrics};

use super::terminal::Screen;

const REDRAW: Duration = Duration::from_millis(250);

/// What the line shows.
#[derive(Debug)]
pub(crate) struct Status {
    producer: lifeline_producer::Progress,
    health: [Health; 2],
    handled: IntCounter,
    in_flight: IntGauge,
    consumer: Metrics,
}

/// The line is shown as long as it lives.
pub(crate) struct Showing(#[expect(dead_code, reason = "its end is what counts")] SyncSender<()>);

impl Status {
    pub(crate) fn new(progress: lifeline_producer::Progress, producer: &Health, consumer: &Health) -> Self {
        // a metric that exists is handed out again: these are the consumer's own
        let metrics = &consumer.metrics;
        Self {
            producer: progress,
            health: [consumer.clone(), producer.clone()],
            handled: metrics
                .counter("consumer_messages_deleted_total", "Messages handled whose delete SQS confirmed."),
            in_flight: metrics
                .int_gauge("consumer_in_flight_messages", "Messages in flight now, from receive to outcome."),
            consumer: metrics.clone(),
        }
    }

    /// Keeps the line up to date until what it returns is dropped: on a thread of its own, for a terminal that is stopped
    /// (Ctrl-S) takes nothing.
    ///
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn show(self, screen: Screen) -> io::Result<Showing> {
        let (showing, dropped) = sync_channel::<()>(0);
        if screen.is_terminal() {
            std::thread::Builder::new().name("status".to_owned()).spawn(move || {
                while dropped.recv_timeout(REDRAW) == Err(RecvTimeoutError::Timeout) {
                    screen.draw(self.handled.get(), |rate| self.line(&screen, rate));
                }
            })?;
        }
        Ok(Showing(showing))
    }

    /// The most important first; what does not fit is left out.
    fn line(&self, screen: &Screen, rate: f64) -> String {
        let condition = self.health.iter().find_map(|health| {
            let (name, reason) = health.readiness.reasons().into_iter().next()?;
            Some(format!("not ready: {name}: {reason}"))
        });
        let rate = if rate < 10.0 { format!("{rate:.1}/s") } else { format!("{rate:.0}/s") };
        let oldest = self.consumer.read("consumer_queue_oldest_message_age_seconds").unwrap_or(0.0);
        let fields = [
            rate,
            format!("handled {}", self.handled.get()),
            format!("published {}", self.producer.published()),
            format!("in flight {}", self.in_flight.get()),
            format!("oldest {oldest:.1} s"),
        ];
        // the terminal shows ctrl-c behind it, which must not wrap
        let width = screen.width().saturating_sub("^C".len() + 1);
        let fields = fit(condition.iter().cloned().chain(fields), width);
        let style = if condition.is_some() { Style::new().yellow() } else { Style::new().dim() };
        screen.paint(&style, fields)
    }
}

/// As many fields as fit; of the first as much as fits.
fn fit(fields: impl IntoIterator<Item = String>, width: usize) -> String {
    let mut line = String::new();
    for field in fields {
        if line.is_empty() {
            line = truncate_str(&format!(" {field}"), width, "…").into_owned();
        } else if measure_text_width(&line) + 2 + measure_text_width(&field) <= width {
            line = format!("{line}  {field}");
        } else {
            break;
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_left_out_from_the_end() {
        let fields = || ["12/s", "handled 王", "published 4"].map(str::to_owned);
        assert_eq!(fit(fields(), 80), " 12/s  handled 王  published 4");
        assert_eq!(fit(fields(), 17), " 12/s  handled 王");
        assert_eq!(fit(fields(), 16), " 12/s", "a wide character has two columns");
        assert_eq!(fit(fields(), 3), " 1…");
    }
}
