//! What a failed call means, by AWS's code and by its status.

use std::time::Duration;

/// What a failed call means for the caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Nobody answered: refused, reset, unresolvable. Trying again costs the peer nothing.
    Unreachable,
    /// Our clock ran out. The call may have taken effect.
    TimedOut,
    /// Too much, too fast: slow down.
    Throttled,
    /// The topic or queue does not exist.
    Missing,
    /// Not allowed, or the credentials are missing, wrong or expired, or the key that encrypts cannot be used.
    Denied,
    /// The service failed; the same call may succeed later.
    Server,
    /// The request itself is wrong: the same call will fail again.
    Refused,
}

impl Fault {
    /// Whether the same request may succeed later without anybody changing it.
    pub fn is_transient(self) -> bool {
        self != Self::Refused
    }

    /// The value of the metrics' `outcome` label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Unreachable => "unreachable",
            Self::TimedOut => "timeout",
            Self::Throttled => "throttled",
            Self::Missing => "missing",
            Self::Denied => "denied",
            Self::Server => "server_error",
            Self::Refused => "refused",
        }
    }

    /// The longest wait before the next try.
    ///
    /// A peer that does not answer is asked again soon: the question costs it nothing, and work resumes within
    /// ten seconds of its return. One that answers with an error is left in peace for longer.
    pub fn backoff_cap(self) -> Duration {
        match self {
            Self::Unreachable | Self::TimedOut => Duration::from_secs(4),
            _ => Duration::from_secs(20),
        }
    }

    /// What a code in an AWS answer means. Public, because a batch's entries carry codes of their own.
    pub fn of_code(code: &str, sender_fault: bool) -> Self {
        let code = code.rsplit('#').next().unwrap_or(code);
        match code {
            "QueueDoesNotExist"
            | "AWS.SimpleQueueService.NonExistentQueue"
            | "NonExistentQueue"
            | "NotFound"
            | "NotFoundException"
            | "ResourceNotFoundException" => Self::Missing,
            "Throttling"
            | "ThrottlingException"
            | "Throttled"
            | "ThrottledException"
            | "RequestThrottled"
            | "RequestThrottledException"
            | "TooManyRequestsException"
            | "KmsThrottled"
            | "KMSThrottling"
            | "KMSThrottlingException"
            | "SlowDown"
            | "OverLimit"
            | "LimitExceededException" => Self::Throttled,
            "AccessDenied"
            | "AccessDeniedException"
            | "AuthorizationError"
            | "AuthorizationErrorException"
            | "InvalidClientTokenId"
            | "UnrecognizedClientException"
            | "ExpiredToken"
            | "ExpiredTokenException"
            | "TokenRefreshRequired"
            | "RequestExpired"
            | "SignatureDoesNotMatch"
            | "MissingAuthenticationToken"
            | "IncompleteSignature"
            | "InvalidSecurity"
            | "OptInRequired"
            | "KmsAccessDenied"
            | "KMSAccessDenied"
            | "KMSAccessDeniedException" => Self::Denied,
            // a key that is disabled, pending or gone is an operator's matter too: the message is innocent
            "KmsDisabled"
            | "KMSDisabled"
            | "KMSDisabledException"
            | "KmsInvalidState"
            | "KMSInvalidState"
            | "KMSInvalidStateException"
            | "KmsNotFound"
            | "KMSNotFound"
            | "KMSNotFoundException"
            | "KmsOptInRequired"
            | "KMSOptInRequired" => Self::Denied,
            "InternalError"
            | "InternalErrorException"
            | "InternalFailure"
            | "ServiceUnavailable"
            | "RequestTimeout"
            | "RequestTimeoutException" => Self::Server,
            // said of a receipt that is stale, whoever is called at fault for it
            "ReceiptHandleIsInvalid"
            | "MessageNotInflight"
            | "AWS.SimpleQueueService.MessageNotInflight"
            | "InvalidParameterValue" => Self::Refused,
            _ if sender_fault => Self::Refused,
            _ => Self::Server,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_both_protocols_are_understood() {
        for (code, fault) in [
            ("com.amazonaws.sqs#QueueDoesNotExist", Fault::Missing),
            ("AWS.SimpleQueueService.NonExistentQueue", Fault::Missing),
            ("NotFound", Fault::Missing),
            ("Throttling", Fault::Throttled),
            ("InvalidClientTokenId", Fault::Denied),
            ("KMSDisabled", Fault::Denied),
            ("InternalError", Fault::Server),
            ("InvalidParameter", Fault::Refused),
        ] {
            assert_eq!(Fault::of_code(code, true), fault, "{code}");
        }
        assert_eq!(Fault::of_code("Whatever", false), Fault::Server);
    }
}
