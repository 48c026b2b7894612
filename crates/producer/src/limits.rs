//! What SNS takes: the limits that are known before a call.

/// Attributes of one message, `traceparent` included. SNS takes more; a raw subscription then discards the message
/// without an error: <https://docs.aws.amazon.com/sns/latest/dg/sns-message-attributes.html>.
pub const MAX_ATTRIBUTES: usize = 10;

/// Characters of a message group or deduplication id.
pub(crate) const MAX_ID: usize = 128;

/// Entries of one batch.
pub(crate) const MAX_ENTRIES: usize = 10;
