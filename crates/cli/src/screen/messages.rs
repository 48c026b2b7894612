//! The compact view: the events of the services as one short line per message, when it is known what became of it.
//!
//! When many messages pass, some are shown each second and the others counted. Events wait in a bounded queue for a thread
//! that shows them, so that a terminal that is stopped (Ctrl-S) stops no work; what does not fit is left out.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::io;
use std::sync::mpsc::{SyncSender, sync_channel};
use std::time::{Duration, Instant};

use console::{Style, measure_text_width, truncate_str};
use lifeline_escape::Line;
use lifeline_service::SUMMARY;
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::layer::Context;

use super::terminal::Screen;

/// How many lines about messages are shown each second, of each kind: more could not be read.
const LINES_PER_SECOND: u32 = 10;

/// A terminal with fewer columns has no place for the time of day, nor for a body beside a reason.
const NARROW: usize = 70;

/// Events that may wait to be shown.
const WAITING: usize = 10_000;

/// How long a terminal that is stopped may delay the end.
const LAST_LINES: Duration = Duration::from_secs(1);

/// A layer that shows events on the screen. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Messages {
    events: SyncSender<Waiting>,
}

enum Waiting {
    Event(&'static Metadata<'static>, Fields),
    /// Somebody waits for what came before.
    End(SyncSender<()>),
}

/// The thread's side.
struct View {
    screen: Screen,
    state: State,
}

#[derive(Default)]
struct State {
    /// What was received and has no outcome yet.
    in_flight: HashMap<String, Received>,
    handled: Limit,
    failed: Limit,
}

struct Received {
    at: Instant,
    body: String,
}

/// Some lines per second, and the count of the others.
#[derive(Default)]
struct Limit {
    second: Option<Instant>,
    shown: u32,
    hidden: u64,
}

impl Limit {
    /// Whether a line may be shown now, and how many were not since the last one.
    fn admit(&mut self, now: Instant) -> Option<u64> {
        if self.second.is_none_or(|second| now - second >= Duration::from_secs(1)) {
            (self.second, self.shown) = (Some(now), 0);
        }
        if self.shown == LINES_PER_SECOND {
            self.hidden += 1;
            return None;
        }
        self.shown += 1;
        Some(std::mem::take(&mut self.hidden))
    }
}

impl Messages {
    /// # Errors
    /// The system has no thread to give.
    pub(crate) fn start(screen: Screen) -> io::Result<Self> {
        let (events, waiting) = sync_channel(WAITING);
        let mut view = View { screen, state: State::default() };
        std::thread::Builder::new().name("screen".to_owned()).spawn(move || {
            for event in waiting {
                match event {
                    Waiting::Event(metadata, fields) => view.show(metadata, &fields),
                    Waiting::End(shown) => {
                        view.finish();
                        shown.send(()).ok();
                    }
                }
            }
        })?;
        Ok(Self { events })
    }

    /// Waits until everything is shown, and how many lines were left out.
    pub(crate) fn finish(&self) {
        let (shown, all) = sync_channel(1);
        if self.events.try_send(Waiting::End(shown)).is_ok() {
            all.recv_timeout(LAST_LINES).ok();
        }
    }
}

impl View {
    fn show(&mut self, metadata: &Metadata<'_>, fields: &Fields) {
        let (level, target, name) = (*metadata.level(), metadata.target(), metadata.name());
        let text = fields.get("message");
        match text {
            "received" => {
                let received = Received { at: fields.at, body: fields.get("body").to_owned() };
                self.state.in_flight.insert(fields.get("message_id").to_owned(), received);
            }
            "deleted" => self.handled(fields),
            _ if fields.has("retry_in") => self.failed(fields, false),
            _ if text.starts_with("handler failed; it was the last receive") => self.failed(fields, true),
            // the services' summaries are a table in the end
            "drained" if name == SUMMARY => {}
            _ if level == Level::ERROR => {
                let line = format!("{} ! {fields}", clock());
                self.screen.print(&self.screen.paint(&Style::new().red().bold(), line));
            }
            _ if level == Level::WARN => {
                // at most two lines: the log has all of it
                let line = format!("{} ! {fields}", clock());
                let line = truncate_str(&line, 2 * self.screen.width(), "…");
                self.screen.print(&self.screen.paint(&Style::new().yellow(), line));
            }
            _ if name == SUMMARY || target == "lifeline" || fields.has("signal") => {
                self.screen.print(&format!("{}   {}", clock(), Line::new(text)));
            }
            _ if text.ends_with("works again") => {
                let line = format!("{} ✓ {}", clock(), Line::new(text));
                self.screen.print(&self.screen.paint(&Style::new().green(), line));
            }
            _ => {}
        }
    }

    fn handled(&mut self, fields: &Fields) {
        let (received, hidden) = self.ended(fields, |state| &mut state.handled);
        let Some(hidden) = hidden else { return };
        self.more(hidden, "more were handled");
        self.line(&Style::new().green(), "✓ handled", &short(fields.at - received.at), &received.body, "");
    }

    fn failed(&mut self, fields: &Fields, last: bool) {
        let (received, hidden) = self.ended(fields, |state| &mut state.failed);
        let Some(hidden) = hidden else { return };
        self.more(hidden, "more failed");
        let (reason, delay) = (fields.get("reason"), fields.get("retry_in"));
        let attempt = fields.get("receive_count");
        if last {
            let reason = format!("{reason} (attempt {attempt}, the last)");
            return self.line(&Style::new().red(), "✗ dead letter", "", &received.body, &reason);
        }
        // the text of a duration, such as 1.483s
        let seconds = delay.strip_suffix('s').and_then(|seconds| seconds.parse().ok());
        let delay = seconds.map_or(delay.to_owned(), |seconds| short(Duration::from_secs_f64(seconds)));
        let reason = format!("{reason} (attempt {attempt})");
        self.line(&Style::new().yellow(), "↻ retry in", &delay, &received.body, &reason);
    }

    fn finish(&mut self) {
        let handled = std::mem::take(&mut self.state.handled.hidden);
        let failed = std::mem::take(&mut self.state.failed.hidden);
        self.more(handled, "more were handled");
        self.more(failed, "more failed");
    }

    /// What was received, and whether a line may be shown about it.
    fn ended(
        &mut self,
        fields: &Fields,
        limit: impl Fn(&mut State) -> &mut Limit,
    ) -> (Received, Option<u64>) {
        let id = fields.get("message_id");
        let received = self.state.in_flight.remove(id);
        let received = received.unwrap_or_else(|| Received { at: fields.at, body: id.to_owned() });
        (received, limit(&mut self.state).admit(fields.at))
    }

    fn more(&self, hidden: u64, what: &str) {
        if hidden > 0 {
            let line = format!("… {hidden} {what}");
            self.screen.print(&self.screen.paint(&Style::new().dim(), line));
        }
    }

    /// One line, cut to the width. The reason is more important than the body, and both than the time of day.
    fn line(&self, style: &Style, what: &str, time: &str, body: &str, reason: &str) {
        let (screen, width) = (&self.screen, self.screen.width());
        let head = screen.paint(style, format!("{what:13} {time:>6}"));
        let head = if width < NARROW { head } else { format!("{} {head}", clock()) };
        let reason = Line::new(reason).to_string();
        let left = width.saturating_sub(measure_text_width(&head) + 1);
        let body_width = match reason.is_empty() {
            true => left,
            false => left.saturating_sub(measure_text_width(&reason) + 2).max(left.min(16)),
        };
        let body = truncate_str(body, body_width, "…");
        let line = match reason.as_str() {
            "" => format!("{head} {body}"),
            reason if width < NARROW => format!("{head} {}", screen.paint(style, reason)),
            reason => format!("{head} {body}  {}", screen.paint(style, reason)),
        };
        screen.print(&truncate_str(&line, width, "…"));
    }
}

impl<S: Subscriber> Layer<S> for Messages {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut fields = Fields { at: Instant::now(), values: BTreeMap::new() };
        event.record(&mut fields);
        self.events.try_send(Waiting::Event(event.metadata(), fields)).ok();
    }
}

/// The fields of an event, as text.
struct Fields {
    at: Instant,
    values: BTreeMap<&'static str, String>,
}

impl Fields {
    fn get(&self, name: &str) -> &str {
        self.values.get(name).map_or("", String::as_str)
    }

    fn has(&self, name: &str) -> bool {
        self.values.contains_key(name)
    }
}

impl Visit for Fields {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.values.insert(field.name(), format!("{value:?}"));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.values.insert(field.name(), value.to_owned());
    }
}

/// What says little to somebody who watches.
const OMITTED: [&str; 3] = ["message", "failures", "since"];

/// The message, and the others behind it.
impl fmt::Display for Fields {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Line::new(self.get("message")).fmt(f)?;
        for (name, value) in self.values.iter().filter(|(name, _)| !OMITTED.contains(name)) {
            write!(f, " {name}={}", Line::new(value))?;
        }
        Ok(())
    }
}

fn clock() -> impl fmt::Display {
    chrono::Local::now().format("%H:%M:%S")
}

/// Four characters, or few more.
fn short(time: Duration) -> String {
    match time.as_millis() {
        0 => "<1 ms".to_owned(),
        millis @ 1..1000 => format!("{millis} ms"),
        _ => format!("{:.1} s", time.as_secs_f64()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_lines_a_second_are_shown_and_the_others_counted() {
        let mut limit = Limit::default();
        let now = Instant::now();
        let shown = (0..25).filter_map(|_| limit.admit(now)).collect::<Vec<_>>();
        assert_eq!(shown, [0; 10]);
        assert_eq!(limit.admit(now + Duration::from_millis(1500)), Some(15));
        assert_eq!(limit.admit(now + Duration::from_millis(1501)), Some(0));
    }

    #[test]
    fn a_time_is_short() {
        let times = [0, 4, 999, 1400, 61_000].map(|millis| short(Duration::from_millis(millis)));
        assert_eq!(times, ["<1 ms", "4 ms", "999 ms", "1.4 s", "61.0 s"]);
    }
}
