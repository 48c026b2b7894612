//! Why a message was not published: each variant says who refused, what, and what is known of its fate.

use std::time::Duration;

use lifeline_escape::Line;

use crate::limits::MAX_ATTRIBUTES;

/// Why a message was not published.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// Refused here: nothing was sent, and sending it again would be refused again.
    #[error("refused before it was sent: {0}")]
    Refused(#[from] Refusal),
    /// SNS says that the sender is at fault: sending it again would be rejected again.
    #[error("SNS rejected it: {code}: {text}")]
    Rejected {
        /// SNS's code: `InvalidParameter`.
        code: String,
        /// SNS's text.
        text: String,
    },
    /// The deadline passed. It may have been published, if a try was sent.
    #[error("not confirmed within {after:?}, after {tries} tries: {last}")]
    Expired {
        /// The publisher's deadline.
        after: Duration,
        /// How often it was sent.
        tries: u32,
        /// The last failure.
        last: String,
    },
    /// Given up at shutdown. It may have been published, if a try was sent.
    #[error("not confirmed at shutdown, after {tries} tries: {last}")]
    Abandoned {
        /// How often it was sent.
        tries: u32,
        /// The last failure.
        last: String,
    },
    /// The publisher was closed before it took the message.
    #[error("the publisher is closed")]
    Closed,
}

impl PublishError {
    /// Whether the fate is known: the message is not in the topic, and never will be.
    pub fn is_final(&self) -> bool {
        matches!(self, Self::Refused(_) | Self::Rejected { .. })
    }
}

/// What SNS does not take, found before the wire.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Larger than the topic takes.
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
    #[error("{count} attributes with traceparent; {MAX_ATTRIBUTES} are taken")]
    Attributes {
        /// How many.
        count: usize,
    },
    /// An attribute that is none.
    #[error("attribute {}: {reason}", Line::new(.name).limit(300))]
    Attribute {
        /// Its name.
        name: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A character outside of XML 1.0's range.
    #[error("{what} has U+{:04X} at byte {at}, which SNS does not take (XML 1.0)", u32::from(*.character))]
    Character {
        /// Where: `the body`, `attribute x`.
        what: String,
        /// Which.
        character: char,
        /// Its offset in bytes, from 0.
        at: usize,
    },
    /// A FIFO topic needs a group.
    #[error("a FIFO topic needs a message group")]
    NoGroup,
    /// Only a FIFO topic deduplicates.
    #[error("a deduplication id is for FIFO topics, and this is none")]
    NotFifo,
    /// A group or deduplication id that is none.
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
    fn a_refusal_names_the_figure_and_the_limit() {
        let refused = PublishError::from(Refusal::TooLarge { bytes: 262_145, limit: 262_144 });
        assert_eq!(
            refused.to_string(),
            "refused before it was sent: 262145 bytes with its attributes; the topic takes 262144"
        );
        let character = Refusal::Character { what: "the body".to_owned(), character: '\0', at: 3 };
        assert_eq!(character.to_string(), "the body has U+0000 at byte 3, which SNS does not take (XML 1.0)");
        assert_eq!(
            Refusal::Attributes { count: 11 }.to_string(),
            "11 attributes with traceparent; 10 are taken"
        );
    }
}
