//! What a receipt handle is good for: changing a message's visibility timeout, and deleting it.

use super::{
    message::{Key, Message, State},
    queue::Queue,
    receipt::Receipt,
};
use crate::{
    clock::Time,
    error::{Result, sqs},
};

/// The longest visibility timeout, and the longest that a message can be in flight from its receive, in seconds.
pub(crate) const LONGEST_VISIBILITY: u64 = 43_200;

impl Queue {
    fn decode(&self, handle: &str) -> Result<Receipt> {
        Receipt::decode(handle)
            .filter(|receipt| receipt.queue == self.number)
            .ok_or_else(|| sqs::invalid_receipt(handle))
    }

    /// Sets how long from now a received message stays invisible; 0 gives it back at once.
    ///
    /// # Errors
    ///
    /// For what is no receipt of this queue, for a message that is gone, and beyond twelve hours from the receive; in a FIFO
    /// queue also for one that another receive has made stale. A standard queue accepts an older receipt, as AWS does, and
    /// changes the lease of whoever has the message now.
    pub(crate) fn change_visibility(&mut self, handle: &str, seconds: i64, now: Time) -> Result<()> {
        let seconds = u64::try_from(seconds)
            .ok()
            .filter(|seconds| *seconds <= LONGEST_VISIBILITY)
            .ok_or_else(|| {
                let reason = format!("Must be between 0 and {LONGEST_VISIBILITY}.");
                sqs::invalid_value(seconds, "VisibilityTimeout", reason)
            })?;
        self.advance(now);
        let receipt = self.decode(handle)?;
        let gone = || {
            let reason = "Message does not exist or is not available for visibility timeout change.";
            sqs::invalid_value(handle, "ReceiptHandle", reason)
        };
        let message = self.messages.get(&receipt.key).ok_or_else(gone)?;
        if self.settings.fifo && receipt.number != message.receipts {
            return Err(gone());
        }
        let received = message.received.unwrap_or(now);
        if now.plus_seconds(seconds) > received.plus_seconds(LONGEST_VISIBILITY) {
            let reason = format!(
                "Total VisibilityTimeout for the message is beyond the limit [{LONGEST_VISIBILITY} seconds]"
            );
            return Err(sqs::invalid_value(seconds, "VisibilityTimeout", reason));
        }
        if !matches!(message.state, State::InFlight { .. }) {
            // Accepted without effect: the timeout ended, and the message is anybody's.
            return Ok(());
        }
        let state = match seconds {
            0 => State::Visible,
            seconds => State::InFlight { until: now.plus_seconds(seconds) },
        };
        self.journal.visibility(receipt.key, seconds, now);
        self.set_state(receipt.key, state);
        Ok(())
    }

    /// Deletes a received message. In a standard queue an older receipt, or one whose timeout ended, will do.
    ///
    /// # Errors
    ///
    /// For what is no receipt of this queue; in a FIFO queue also for one that expired.
    pub(crate) fn delete(&mut self, handle: &str, now: Time) -> Result<Option<Message>> {
        self.advance(now);
        let receipt = self.decode(handle)?;
        let Some(message) = self.messages.get(&receipt.key) else {
            self.journal.stale_delete(receipt.key);
            return Ok(None);
        };
        let expired = receipt.number != message.receipts || !matches!(message.state, State::InFlight { .. });
        if self.settings.fifo && expired {
            return Err(sqs::invalid_value(handle, "ReceiptHandle", "The receipt handle has expired."));
        }
        self.journal.deleted(receipt.key, now);
        Ok(self.remove(receipt.key))
    }

    /// Ends the lease of every message in flight whose body fits: another consumer takes it for `thief` seconds, or it
    /// becomes visible at once while its receipts stay good. Returns how many.
    pub(crate) fn break_leases(
        &mut self,
        fits: impl Fn(&str) -> bool,
        thief: Option<u64>,
        now: Time,
    ) -> usize {
        let leased =
            |message: &Message| matches!(message.state, State::InFlight { .. }) && fits(&message.body);
        let keys: Vec<Key> =
            self.in_order().into_iter().filter(|(_, message)| leased(message)).map(|(key, _)| key).collect();
        for key in &keys {
            match thief {
                Some(seconds) => {
                    if let Some(message) = self.messages.get_mut(key) {
                        message.receives += 1;
                        message.receives_here += 1;
                    }
                    self.take_away(*key, seconds, now);
                }
                None => self.set_state(*key, State::Visible),
            }
        }
        keys.len()
    }

    /// Takes a message from whoever received it, as if its timeout had ended and another consumer had it for
    /// `seconds`: the fault of a lost lease.
    pub(crate) fn take_away(&mut self, key: Key, seconds: u64, now: Time) {
        let Some(message) = self.messages.get_mut(&key) else { return };
        message.receipts += 1;
        self.set_state(key, State::InFlight { until: now.plus_seconds(seconds.max(1)) });
    }
}
