//! Why a message was not sent: what SNS would refuse, found before the call, with the figure and the limit.

use lifeline_escape::Line;

use crate::limits::{MAX_ATTRIBUTES, MAX_SUBJECT};

/// Why a message was not sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum InvalidMessage {
    /// Larger than the topic accepts.
    #[error("{bytes} bytes with its attributes; the topic takes {limit}")]
    TooLarge {
        /// Body, and names, types and values of attributes.
        bytes: usize,
        /// The topic's `MaximumMessageSize`.
        limit: usize,
    },
    /// No body.
    #[error("the body is empty")]
    Empty,
    /// Too many attributes, `traceparent` included.
    #[error("{count} attributes with traceparent; {MAX_ATTRIBUTES} are accepted")]
    Attributes {
        /// How many.
        count: usize,
    },
    /// An attribute that SNS does not accept.
    #[error("attribute {}: {reason}", Line::new(.name).limit(300))]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A character outside of XML 1.0's range.
    #[error("{what} has U+{:04X} at byte {at}, which SNS does not accept (XML 1.0)", u32::from(*.character))]
    Character {
        /// Where: `the body`, `attribute x`.
        what: String,
        /// Which.
        character: char,
        /// Its offset in bytes, from 0.
        at: usize,
    },
    /// A subject that is empty, too long, or has control characters or line breaks.
    #[error(
        "the subject has {characters} characters; it must be 1 to {MAX_SUBJECT}, without control characters"
    )]
    Subject {
        /// Its length in characters.
        characters: usize,
    },
    /// A FIFO topic needs a group.
    #[error("a FIFO topic needs a message group")]
    NoGroup,
    /// Only a FIFO topic deduplicates.
    #[error("a deduplication id is for FIFO topics, and this topic is not one")]
    NotFifo,
    /// A group or deduplication id that SNS does not accept.
    #[error("the {what} has {bytes} bytes; it must be 1 to 128 letters, digits and punctuation of ASCII")]
    Id {
        /// Which: `message group`, `deduplication id`.
        what: &'static str,
        /// Its length.
        bytes: usize,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reason_has_the_figure_and_the_limit() {
        let large = InvalidMessage::TooLarge { bytes: 262_145, limit: 262_144 };
        assert_eq!(large.to_string(), "262145 bytes with its attributes; the topic takes 262144");
        let character = InvalidMessage::Character { what: "the body".to_owned(), character: '\0', at: 3 };
        assert_eq!(
            character.to_string(),
            "the body has U+0000 at byte 3, which SNS does not accept (XML 1.0)"
        );
        let attributes = InvalidMessage::Attributes { count: 11 };
        assert_eq!(attributes.to_string(), "11 attributes with traceparent; 10 are accepted");
    }
}
