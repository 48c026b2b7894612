//! Takes lines from the input to the publisher, at the rate, as far as there is capacity.

use std::fmt::Display;
use std::io;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::time::Duration;

use lifeline_health::{Health, IntCounter, Pulse};
use tokio_util::sync::CancellationToken;

use crate::batcher::PULSE_BOUND;
use crate::entry::Outcome;
use crate::error::PublishErrorKind;
use crate::metrics::PublisherMetrics;
use crate::publisher::Publisher;
use crate::rate_limit::RateLimit;
use crate::service::args::PublishConfig;
use crate::service::compose::Compose;
use crate::service::input::{Content, Input, Line, Source};
use crate::service::progress::{Ended, Progress};
use crate::service::rejection_log::RejectionLog;
use crate::sink::{Reservation, Sink};

/// An input that takes longer than this at its rate is reported at start.
const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Feeder {
    sink: Sink,
    progress: Progress,
    rejections: Arc<RejectionLog>,
    rejected: IntCounter,
    pulse: Pulse,
    rate: RateLimit,
    compose: Compose,
    left: u64,
}

impl Feeder {
    pub(crate) fn new(
        config: &PublishConfig,
        publisher: &Publisher,
        health: &Health,
        progress: &Progress,
        rejections: &Arc<RejectionLog>,
    ) -> Self {
        let (counts, log) = (progress.clone(), Arc::clone(rejections));
        Self {
            sink: publisher.sink(move |line, outcome| record(&counts, &log, line, outcome)),
            progress: progress.clone(),
            rejections: Arc::clone(rejections),
            rejected: PublisherMetrics::new(&health.metrics).rejected,
            pulse: health.pulses.start("input", PULSE_BOUND),
            rate: RateLimit::new(config.limit()),
            compose: config.compose(),
            left: config.count.unwrap_or(u64::MAX),
        }
    }

    /// Until the end of the input, the count, or the shutdown.
    pub(crate) async fn feed(mut self, config: PublishConfig, stop: &CancellationToken) -> io::Result<Ended> {
        let seed = config.seed.unwrap_or_else(|| fastrand::u64(..));
        let (input, from) = (&config.input, self.progress.from());
        match input {
            Input::Generate => tracing::info!(target: "producer", %input, from, seed, "reading input"),
            _ => tracing::info!(target: "producer", %input, from, "reading input"),
        }
        let nature = Nature::of(&config);
        let mut source = Source::open(config.input.clone(), from, seed, config.follow)?;
        let pulse = self.pulse.clone();
        let mut first = true;
        let ended = loop {
            let next = async {
                let reservation = self.sink.reserve(self.most()).await.ok()?;
                let lines = source.next(reservation.len()).await;
                Some((reservation, lines))
            };
            let next = pulse.beat_while(next);
            let next = tokio::select! { biased; () = stop.cancelled() => None, next = next => next };
            let Some((reservation, lines)) = next else { break self.stop(&mut source, nature, stop).await };
            match lines {
                Err(error) => break Err(error),
                Ok(lines) if lines.is_empty() => break Ok(Ended::Finished { resumable: nature.is_finite() }),
                Ok(lines) => {
                    if std::mem::take(&mut first) {
                        estimate(&config, &lines);
                    }
                    if self.hand_over(reservation, lines, stop).await.is_break() {
                        break Ok(Ended::Finished { resumable: nature.is_finite() });
                    }
                }
            }
        };
        pulse.retire();
        ended
    }

    /// Shutdown: what was read and not handed over yet is published too, for a pipe's writer has no other copy.
    async fn stop(
        &mut self,
        source: &mut Source,
        nature: Nature,
        stop: &CancellationToken,
    ) -> io::Result<Ended> {
        let rest = self.pulse.beat_while(source.stop()).await?;
        let lines: Vec<Line> =
            rest.lines.into_iter().take(usize::try_from(self.left).unwrap_or(usize::MAX)).collect();
        if !lines.is_empty() {
            let reservation = self.pulse.beat_while(self.sink.reserve(lines.len())).await.ok();
            let _ = self.hand_over(reservation, lines, stop).await;
        }
        Ok(match nature {
            Nature::Finite => Ended::Interrupted,
            Nature::Stream if rest.more => Ended::Interrupted,
            Nature::Stream | Nature::Endless => Ended::Stopped,
        })
    }

    fn most(&self) -> usize {
        self.rate.most().min(usize::try_from(self.left).unwrap_or(usize::MAX))
    }

    async fn hand_over(
        &mut self,
        reservation: impl Into<Option<Reservation>>,
        lines: Vec<Line>,
        stop: &CancellationToken,
    ) -> ControlFlow<()> {
        let mut reservation = reservation.into();
        let pulse = self.pulse.clone();
        let mut closed = false;
        for Line { number, content } in lines {
            if let Content::Text(_) = content {
                // the first signal ends all waiting for turns: what was read is published
                let turn = pulse.beat_while(self.rate.turn());
                tokio::select! { biased; () = stop.cancelled() => {} () = turn => {} }
            }
            self.progress.begin(number);
            let body = match content {
                Content::Blank => {
                    self.progress.blank_line(number);
                    continue;
                }
                Content::Invalid(invalid) => {
                    self.reject(number, &invalid);
                    continue;
                }
                Content::Text(body) => body,
            };
            let message = match self.compose.message(number, body) {
                Ok(message) => message,
                Err(unusable) => {
                    self.reject(number, &unusable);
                    continue;
                }
            };
            let sent = async {
                match &mut reservation {
                    Some(reservation) => self.sink.send_into(reservation, number, message).await,
                    None => self.sink.send(number, message).await,
                }
            };
            match pulse.beat_while(sent).await {
                Ok(()) => self.left -= 1,
                Err(error) => {
                    // the grace period ended: the lines after this one are counted in the same way
                    closed |= error.kind() == PublishErrorKind::Closed;
                    record(&self.progress, &self.rejections, number, Err(error));
                }
            }
        }
        if closed || self.left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }

    /// A line that is not a message.
    fn reject(&self, line: u64, reason: &dyn Display) {
        self.rejected.inc();
        self.rejections.log(line, reason);
        self.progress.reject(line);
    }
}

/// What a shutdown leaves of the input.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Nature {
    /// A file, or a number of events: another run can publish the rest.
    Finite,
    /// Standard input that is a pipe: what is left in it is lost with this process.
    Stream,
    /// A FIFO, a file that is followed, or events without end.
    Endless,
}

impl Nature {
    fn of(config: &PublishConfig) -> Self {
        let regular = |about: io::Result<std::fs::Metadata>| about.is_ok_and(|about| about.is_file());
        match &config.input {
            Input::Generate if config.count.is_some() => Self::Finite,
            Input::Generate => Self::Endless,
            Input::Stdin if regular(std::fs::metadata("/dev/stdin")) => Self::Finite,
            Input::Stdin => Self::Stream,
            Input::File(_) if config.follow => Self::Endless,
            Input::File(path) if regular(path.metadata()) => Self::Finite,
            Input::File(_) => Self::Endless,
        }
    }

    fn is_finite(self) -> bool {
        self == Self::Finite
    }
}

/// Logs how long a file will take at the rate, if that is long.
fn estimate(config: &PublishConfig, first: &[Line]) {
    let (Input::File(path), Some(rate), false) = (&config.input, config.limit(), config.follow) else {
        return;
    };
    let bytes = path.metadata().map_or(0, |about| about.len());
    let sample = first.iter().map(|line| match &line.content {
        Content::Text(text) => text.len() + 1,
        _ => 1,
    });
    let average = (sample.sum::<usize>() / first.len().max(1)).max(1);
    let lines = (bytes / average as u64).min(config.count.unwrap_or(u64::MAX));
    let takes = Duration::try_from_secs_f64(lines as f64 / rate).unwrap_or(Duration::MAX);
    if takes >= LONG {
        let takes = approximately(takes);
        tracing::warn!(target: "producer", "about {lines} lines at PUBLISH_RATE={rate} take about {takes}; PUBLISH_RATE=unlimited publishes as fast as the topic accepts");
    }
}

fn approximately(time: Duration) -> String {
    let seconds = time.as_secs();
    match seconds {
        0..120 => format!("{seconds} s"),
        120..7_200 => format!("{} minutes", seconds / 60),
        7_200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A line's result: in the log and the counts.
fn record(progress: &Progress, rejections: &RejectionLog, line: u64, outcome: Outcome) {
    match outcome {
        Ok(receipt) => {
            let (message_id, bytes) = (receipt.message_id, receipt.bytes);
            match receipt.trace_id {
                Some(trace_id) => {
                    tracing::info!(target: "producer", %message_id, bytes, %trace_id, "published");
                }
                None => tracing::info!(target: "producer", %message_id, bytes, trace_id = "-", "published"),
            }
            progress.confirm(line);
        }
        Err(error) => {
            rejections.log(line, &error);
            if error.is_final() { progress.reject(line) } else { progress.give_up() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_in_a_unit_that_people_use() {
        for (seconds, text) in
            [(61, "61 s"), (600, "10 minutes"), (86_400, "24 hours"), (1_000_000, "11 days")]
        {
            assert_eq!(approximately(Duration::from_secs(seconds)), text);
        }
    }
}
