//! The trace of a message: W3C Trace Context, carried as the message attribute `traceparent`.
//!
//! Format: `00-<32 hex>-<16 hex>-<2 hex>`, see <https://www.w3.org/TR/trace-context/#traceparent-header>.

use std::fmt::{self, Display};
use std::str::FromStr;

/// The name of the message attribute, and of the HTTP header.
pub const TRACEPARENT: &str = "traceparent";

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
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

impl FromStr for TraceContext {
    type Err = BadTraceparent;

    fn from_str(text: &str) -> Result<Self, BadTraceparent> {
        let mut parts = text.trim().split('-');
        let mut hex = |digits: usize| {
            let part = parts.next().filter(|p| p.len() == digits).ok_or(BadTraceparent)?;
            // the specification asks for lower case; `from_str_radix` alone would take a sign and upper case
            let lower = part.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f'));
            lower.then_some(part).ok_or(BadTraceparent)
        };
        let version = u8::from_str_radix(hex(2)?, 16).map_err(|_| BadTraceparent)?;
        let trace_id = u128::from_str_radix(hex(32)?, 16).map_err(|_| BadTraceparent)?;
        let span_id = u64::from_str_radix(hex(16)?, 16).map_err(|_| BadTraceparent)?;
        let flags = u8::from_str_radix(hex(2)?, 16).map_err(|_| BadTraceparent)?;
        // version ff is forbidden; a later version may carry more parts behind these, version 00 may not
        if trace_id == 0 || span_id == 0 || version == 0xff || (version == 0 && parts.next().is_some()) {
            return Err(BadTraceparent);
        }
        Ok(Self { trace_id, span_id, flags })
    }
}

/// A trace's id, shown as 32 hex digits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceId(u128);

impl Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
        ] {
            assert_eq!(bad.parse::<TraceContext>(), Err(BadTraceparent), "{bad}");
        }
        assert!("01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-x".parse::<TraceContext>().is_ok());
    }
}
