//! The trace of a message: W3C Trace Context, carried as the message attribute `traceparent`.
//!
//! Format: `00-<32 hex>-<16 hex>-<2 hex>`, see <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::fmt::{self, Display};
use std::str::FromStr;

/// The name of the message attribute, and of the HTTP header.
pub const TRACEPARENT: &str = "traceparent";

/// The name of the attribute, and of the HTTP header, that carries what vendors add to a trace.
/// <https://www.w3.org/TR/trace-context/#tracestate-header>
pub const TRACESTATE: &str = "tracestate";

/// The flag of a trace whose spans are kept.
const SAMPLED: u8 = 1;

/// One hop of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

/// Why a `traceparent` was not understood.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a W3C traceparent (00-<32 hex>-<16 hex>-<2 hex>, ids not zero)")]
pub struct BadTraceparent;

impl TraceContext {
    /// The hop that these ids name, sampled. Neither of them may be zero.
    #[cfg(feature = "otlp")]
    pub(crate) fn new(trace_id: [u8; 16], span_id: [u8; 8]) -> Self {
        let (trace_id, span_id) = (u128::from_be_bytes(trace_id), u64::from_be_bytes(span_id));
        Self { trace_id, span_id, flags: SAMPLED }
    }

    /// A new trace, sampled.
    pub fn start() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fastrand::u64(1..), flags: SAMPLED }
    }

    /// The next hop of the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: fastrand::u64(1..), ..self }
    }

    /// Whether spans of this trace are kept, by whoever began it.
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same trace, sampled or not.
    #[must_use]
    pub fn sampled(self, sampled: bool) -> Self {
        let flags = if sampled { self.flags | SAMPLED } else { self.flags & !SAMPLED };
        Self { flags, ..self }
    }

    /// The trace's id as OTLP has it.
    pub fn trace_bytes(self) -> [u8; 16] {
        self.trace_id.to_be_bytes()
    }

    /// The id of this hop's span as OTLP has it.
    pub fn span_bytes(self) -> [u8; 8] {
        self.span_id.to_be_bytes()
    }

    /// The trace's id, which both sides of a message log as `trace_id`.
    pub fn trace_id(self) -> TraceId {
        TraceId(self.trace_id)
    }
}

impl Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex(&mut text[3..35], self.trace_id);
        write_hex(&mut text[36..52], self.span_id.into());
        write_hex(&mut text[53..], self.flags.into());
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

impl FromStr for TraceContext {
    type Err = BadTraceparent;

    fn from_str(text: &str) -> Result<Self, BadTraceparent> {
        let text = text.trim().as_bytes();
        let (parts, rest) = text.split_at_checked(55).ok_or(BadTraceparent)?;
        let field = |from: usize, to: usize| read_hex(&parts[from..to]).ok_or(BadTraceparent);
        let (version, trace_id) = (field(0, 2)?, field(3, 35)?);
        let span_id = u64::try_from(field(36, 52)?).map_err(|_| BadTraceparent)?;
        let flags = u8::try_from(field(53, 55)?).map_err(|_| BadTraceparent)?;
        // version ff is forbidden; a later version may carry more parts behind these, version 00 may not
        let ends = rest.is_empty() || (version != 0 && rest[0] == b'-');
        let dashes = [2, 35, 52].iter().all(|&at| parts[at] == b'-');
        if !dashes || !ends || trace_id == 0 || span_id == 0 || version == 0xff {
            return Err(BadTraceparent);
        }
        Ok(Self { trace_id, span_id, flags })
    }
}

/// Digits as the specification has them, in lower case alone. By hand: read and written for every message, and the
/// standard library's ways cost ten times as much.
fn read_hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

/// The lowest digits, as many as there is room for.
fn write_hex(digits: &mut [u8], mut value: u128) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

/// A trace's id, shown as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = [0; 32];
        write_hex(&mut text, self.0);
        f.write_str(str::from_utf8(&text).map_err(|_| fmt::Error)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_text_panics_and_what_is_read_is_written_back(text in "[0-9a-fé+-]{0,70}", hex in "[0-9a-f]{50}") {
            text.parse::<TraceContext>().ok();
            let parent = format!("00-{}-{}-{}", &hex[..32], &hex[32..48], &hex[48..]);
            if let Ok(trace) = parent.parse::<TraceContext>() {
                prop_assert_eq!(trace.to_string(), parent.clone());
                prop_assert_eq!(trace.trace_id().to_string(), &hex[..32]);
            }
        }
    }

    #[test]
    fn what_is_written_is_read_back() {
        let trace = TraceContext::start();
        assert_eq!(trace.to_string().parse(), Ok(trace));
        assert_eq!(trace.child().trace_id(), trace.trace_id());
        assert_ne!(trace.child(), trace);
    }

    #[test]
    fn what_the_specification_refuses_is_refused() {
        let good = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        assert_eq!(good.parse::<TraceContext>().unwrap().to_string(), good);
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7_01",
            "00-4bf92f3577b34da6a3ce929d0e0e473é-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(BadTraceparent), "{bad}");
        }
        assert!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x".parse::<TraceContext>().is_ok());
    }
}
