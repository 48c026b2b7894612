//! Which dead letters are meant.

use std::time::{Duration, SystemTime};

use lifeline_service::settings::{Accept, Checked, Problems, duration};

use super::letter::Letter;

/// Longest retention of a queue.
const RETENTION: Duration = Duration::from_secs(14 * 86_400);

/// Which dead letters are meant: those that fit all that is set.
#[derive(clap::Args, Debug, Clone)]
#[command(next_help_heading = "Which messages")]
pub struct FilterArgs {
    /// Only the message with this id, as `dlq list` shows it; its beginning is enough; may be repeated
    #[arg(long, value_name = "ID")]
    pub id: Vec<String>,

    /// Only messages whose reason contains this text
    #[arg(long, value_name = "TEXT")]
    pub reason: Option<String>,

    /// Only messages whose body contains this text
    #[arg(long, value_name = "TEXT")]
    pub body: Option<String>,

    /// Only messages with this attribute; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = attribute())]
    pub attribute: Vec<Checked<(String, String)>>,

    /// Only messages that were published at least so long ago
    #[arg(long, value_name = "DURATION", value_parser = duration(Duration::ZERO..=RETENTION))]
    pub older_than: Option<Checked<Duration>>,

    /// Only messages that were published at most so long ago
    #[arg(long, value_name = "DURATION", value_parser = duration(Duration::ZERO..=RETENTION))]
    pub younger_than: Option<Checked<Duration>>,
}

fn attribute() -> Accept<(String, String)> {
    Accept::new("NAME=VALUE", |text| {
        let (name, value) = text.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    })
}

/// [`FilterArgs`], checked.
#[derive(Debug, Clone, Default)]
pub(super) struct Filter {
    ids: Vec<String>,
    reason: Option<String>,
    body: Option<String>,
    attributes: Vec<(String, String)>,
    older_than: Option<Duration>,
    younger_than: Option<Duration>,
}

impl FilterArgs {
    pub(super) fn check(self, problems: &mut Problems) -> Filter {
        Filter {
            ids: self.id,
            reason: self.reason,
            body: self.body,
            attributes: self.attribute.into_iter().filter_map(|a| problems.optional(Some(a))).collect(),
            older_than: problems.optional(self.older_than),
            younger_than: problems.optional(self.younger_than),
        }
    }
}

impl Filter {
    /// Whether every letter is meant.
    pub(super) fn is_empty(&self) -> bool {
        let Self { ids, reason, body, attributes, older_than, younger_than } = self;
        ids.is_empty()
            && attributes.is_empty()
            && reason.is_none()
            && body.is_none()
            && older_than.is_none()
            && younger_than.is_none()
    }

    pub(super) fn matches(&self, letter: &Letter, now: SystemTime) -> bool {
        let age = letter.age(now);
        let contains =
            |text: &str, part: &Option<String>| part.as_ref().is_none_or(|part| text.contains(part));
        (self.ids.is_empty() || self.ids.iter().any(|id| letter.id.starts_with(id)))
            && contains(&letter.reason, &self.reason)
            && contains(&letter.message.body, &self.body)
            && self.attributes.iter().all(|(name, value)| {
                letter.message.attributes.get(name).is_some_and(|attribute| attribute.to_text() == *value)
            })
            && self.older_than.is_none_or(|least| age.is_some_and(|age| age >= least))
            && self.younger_than.is_none_or(|most| age.is_some_and(|age| age <= most))
    }
}

#[cfg(test)]
mod tests {
    use aws_sdk_sqs::types::{Message, MessageSystemAttributeName};

    use super::*;

    #[test]
    fn a_letter_fits_if_it_fits_everything_that_is_set() {
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let body = r#"{"Type":"Notification","TopicArn":"arn:aws:sns:eu-west-1:1:t","Message":"one","Timestamp":"1970-01-01T00:10:00Z",
            "MessageAttributes":{"kind":{"Type":"String","Value":"order"}}}"#;
        let entry = Message::builder()
            .message_id("7c5f-1")
            .receipt_handle("r")
            .body(body)
            .attributes(MessageSystemAttributeName::SentTimestamp, "600000")
            .build();
        let letter = Letter::of(entry, 5).unwrap();
        let text = |text: &str| Some(text.to_owned());
        let kind = |value: &str| vec![("kind".to_owned(), value.to_owned())];
        let s = |seconds| Some(Duration::from_secs(seconds));
        let all = Filter::default;
        for (fits, filter) in [
            (true, all()),
            (true, Filter { ids: vec!["nope".to_owned(), "7c5f".to_owned()], ..all() }),
            (false, Filter { ids: vec!["nope".to_owned()], ..all() }),
            (true, Filter { reason: text("after 5 receives"), body: text("one"), ..all() }),
            (false, Filter { reason: text("after 5 receives"), body: text("two"), ..all() }),
            (false, Filter { body: text("Notification"), ..all() }),
            (true, Filter { attributes: kind("order"), ..all() }),
            (false, Filter { attributes: kind("bill"), ..all() }),
            (true, Filter { older_than: s(400), younger_than: s(400), ..all() }),
            (false, Filter { older_than: s(401), ..all() }),
            (false, Filter { younger_than: s(399), ..all() }),
        ] {
            assert_eq!(filter.matches(&letter, now), fits, "{filter:?}");
        }
    }
}
