//! Receipt handles: opaque to callers, and self-describing, so that the model keeps no table of them.

use base64::{Engine, engine::general_purpose::STANDARD};

use super::message::Key;
use crate::random::Random;

/// Bytes of a receipt: a mark, the queue, the message, the number of the receive, and padding to AWS's order of size.
const LENGTH: usize = 132;
const MARK: u8 = 0x4c;

/// What a receipt handle says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Receipt {
    /// The queue's own number: a receipt of another queue, or of a deleted one of the same name, is not valid.
    pub(crate) queue: u64,
    pub(crate) key: Key,
    /// Which receive of the message issued it, from 1.
    pub(crate) number: u32,
}

impl Receipt {
    pub(crate) fn encode(self, random: &mut Random) -> String {
        let mut bytes = [0u8; LENGTH];
        bytes[0] = MARK;
        bytes[1..9].copy_from_slice(&self.queue.to_be_bytes());
        bytes[9..17].copy_from_slice(&self.key.to_be_bytes());
        bytes[17..21].copy_from_slice(&self.number.to_be_bytes());
        for chunk in bytes[21..].chunks_mut(8) {
            let noise = random.u64().to_be_bytes();
            chunk.copy_from_slice(&noise[..chunk.len()]);
        }
        STANDARD.encode(bytes)
    }

    /// `None` for what the emulator never issued.
    pub(crate) fn decode(text: &str) -> Option<Self> {
        let bytes: [u8; LENGTH] = STANDARD.decode(text).ok()?.try_into().ok()?;
        if bytes[0] != MARK {
            return None;
        }
        let queue = u64::from_be_bytes(bytes[1..9].try_into().ok()?);
        let key = u64::from_be_bytes(bytes[9..17].try_into().ok()?);
        let number = u32::from_be_bytes(bytes[17..21].try_into().ok()?);
        Some(Self { queue, key, number })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_receipt_says_what_it_was_issued_for_and_other_text_is_none() {
        let receipt = Receipt { queue: u64::MAX - 3, key: 7, number: 2 };
        let text = receipt.encode(&mut Random::new(Some(1)));
        assert_eq!(Receipt::decode(&text), Some(receipt));
        assert_ne!(text, receipt.encode(&mut Random::new(Some(2))));
        assert_eq!(Receipt::decode("garbage"), None);
        assert_eq!(Receipt::decode(&text[4..]), None);
        assert_eq!(Receipt::decode(&STANDARD.encode([0u8; LENGTH])), None);
    }
}
