//! `ReceiveRequestAttemptId`: receives of a FIFO queue that may be asked for again by those who did not get the answer.

use std::collections::HashMap;

use super::{deduplication::WINDOW, message::Key};
use crate::clock::Time;

/// Receives by their attempt id.
#[derive(Debug, Default)]
pub(crate) struct Attempts(HashMap<String, Attempt>);

/// What a receive brought.
#[derive(Debug)]
pub(crate) struct Attempt {
    at: Time,
    /// Each message, the number of the receipt that it was given, and the receipt.
    pub(crate) messages: Vec<(Key, u32, String)>,
}

impl Attempts {
    pub(crate) fn remember(&mut self, id: &str, messages: Vec<(Key, u32, String)>, now: Time) {
        self.0.insert(id.into(), Attempt { at: now, messages });
    }

    /// The earlier receive with this id, if it brought something.
    pub(crate) fn find(&mut self, id: &str, now: Time) -> Option<&Attempt> {
        self.0.retain(|_, attempt| attempt.at.plus_seconds(WINDOW) > now);
        self.0.get(id).filter(|attempt| !attempt.messages.is_empty())
    }
}
