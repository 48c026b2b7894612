//! Evidence: what a failure is about, whether the call may have had its effect, and how soon to try again.
//!
//! A message is settled only by a response entry that names it. So there are two types: a failed *call* is an
//! [`Evidence`] about the call or its environment, and has no way to say anything about a message; only an *entry* of a
//! response can become [`EntryVerdict::Refused`].

use super::Fault;

/// What a failure is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Scope {
    /// This call: the same one may fail again, others may work.
    Call,
    /// What all calls share: the network, the service, permissions, the queue or topic itself.
    Environment,
}

/// Whether a call that failed may have done what it asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Effect {
    /// The service refused it, or it was never sent.
    None,
    /// Nobody knows.
    Possible,
}

/// How soon the next try makes sense. Ordered: a later pace outweighs a sooner one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Pace {
    /// As soon as a short backoff allows: a peer that does not respond loses nothing by being asked.
    Now,
    /// With fewer calls: the service is overloaded.
    Slower,
    /// Only once somebody has changed something: permissions, a queue that is gone.
    Later,
}

/// What the failure of a call is evidence of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    scope: Scope,
    effect: Effect,
    pace: Pace,
}

impl Evidence {
    /// What the failure is about; never a message.
    pub fn scope(self) -> Scope {
        self.scope
    }

    /// Whether the call may have had its effect.
    pub fn effect(self) -> Effect {
        self.effect
    }

    /// How soon to try again.
    pub fn pace(self) -> Pace {
        self.pace
    }
}

impl Fault {
    /// What a call that failed in this way is evidence of.
    pub fn evidence(self) -> Evidence {
        let (scope, effect, pace) = match self {
            Self::Unreachable => (Scope::Environment, Effect::Possible, Pace::Now),
            Self::TimedOut => (Scope::Environment, Effect::Possible, Pace::Slower),
            Self::Throttled => (Scope::Environment, Effect::None, Pace::Slower),
            Self::Missing | Self::Denied => (Scope::Environment, Effect::None, Pace::Later),
            Self::Server => (Scope::Environment, Effect::Possible, Pace::Now),
            Self::Refused => (Scope::Call, Effect::None, Pace::Later),
        };
        Evidence { scope, effect, pace }
    }
}

/// What an entry of a batch response says about its own message.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum EntryVerdict {
    /// The service took it.
    Done,
    /// The service will never take it: the code is about the message itself, or about its receipt.
    Refused(Refusal),
    /// The entry failed for a reason that is not in the message: try again.
    Unproven(Evidence),
}

/// A refusal that names one message. Only [`EntryVerdict::failed`] makes one, from a response entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    code: String,
    text: String,
}

impl Refusal {
    /// The code of the entry.
    pub fn code(&self) -> &str {
        &self.code
    }

    /// The text of the entry, or nothing.
    pub fn text(&self) -> &str {
        &self.text
    }
}

/// Codes about a receipt handle or the contents of a message. Every other code says nothing about it.
const ABOUT_THE_MESSAGE: [&str; 17] = [
    "ReceiptHandleIsInvalid",
    "MessageNotInflight",
    "AWS.SimpleQueueService.MessageNotInflight",
    "InvalidIdFormat",
    "InvalidParameterValue",
    "InvalidParameterValueException",
    "InvalidParameter",
    "InvalidParameterException",
    "ParameterValueInvalid",
    "ParameterValueInvalidException",
    "InvalidMessageContents",
    "InvalidAttributeValue",
    "InvalidBatchEntryId",
    "MissingParameter",
    "UnsupportedOperation",
    "AWS.SimpleQueueService.UnsupportedOperation",
    "ValidationException",
];

pub(super) fn is_about_the_message(code: &str) -> bool {
    ABOUT_THE_MESSAGE.contains(&code)
}

impl EntryVerdict {
    /// What the `Failed` entry of a batch response says. Its `SenderFault` is not looked at: services set it for
    /// throttling too.
    pub fn failed(code: &str, text: Option<&str>) -> Self {
        let name = code.rsplit('#').next().unwrap_or(code);
        if is_about_the_message(name) {
            return Self::Refused(Refusal {
                code: name.to_owned(),
                text: text.unwrap_or_default().to_owned(),
            });
        }
        Self::Unproven(Fault::of_code(code).evidence())
    }

    /// What a response says that does not mention the entry: the service may have taken it.
    pub fn unmentioned() -> Self {
        Self::Unproven(Fault::Server.evidence())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_code_about_the_message_refuses_it() {
        for code in ABOUT_THE_MESSAGE {
            assert!(matches!(EntryVerdict::failed(code, None), EntryVerdict::Refused(_)), "{code}");
        }
        for code in [
            "ThrottlingException",
            "AccessDenied",
            "InternalError",
            "NotAuthorized",
            "InvalidSignatureException",
            "RequestTimeTooSkewed",
            "KMS.DisabledException",
            "OfTomorrow",
            "",
        ] {
            let verdict = EntryVerdict::failed(code, Some("as scripted"));
            assert!(matches!(verdict, EntryVerdict::Unproven(_)), "{code}: {verdict:?}");
        }
    }

    #[test]
    fn a_refusal_says_what_the_entry_said() {
        let verdict = EntryVerdict::failed("com.amazonaws.sqs#ReceiptHandleIsInvalid", Some("stale"));
        let EntryVerdict::Refused(refusal) = verdict else { panic!("{verdict:?}") };
        assert_eq!((refusal.code(), refusal.text()), ("ReceiptHandleIsInvalid", "stale"));
    }

    #[test]
    fn a_timeout_is_a_sign_of_congestion() {
        assert_eq!(Fault::TimedOut.evidence().pace(), Pace::Slower);
        assert!(Pace::Later > Pace::Slower && Pace::Slower > Pace::Now);
    }
}
