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
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Unreachable,
        Self::TimedOut,
        Self::Throttled,
        Self::Missing,
        Self::Denied,
        Self::Server,
        Self::Refused,
    ];

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

    /// What a failed response means: by AWS's code, and by the HTTP status where there is no code or one that nobody
    /// knows. A proxy's page, whatever its status, is a service that failed: it says nothing about the request.
    pub fn of_response(code: Option<&str>, status: u16) -> Self {
        code.and_then(Self::of_known_code).unwrap_or(match status {
            401 | 403 | 407 => Self::Denied,
            429 | 509 => Self::Throttled,
            // 408 with an empty body happens on SNS and SQS (kalaspuff/tomodachi PR 1765)
            _ => Self::Server,
        })
    }

    /// What the code of a batch response's entry means. One that nobody knows is a service that failed.
    pub fn of_code(code: &str) -> Self {
        Self::of_known_code(code).unwrap_or(Self::Server)
    }

    fn of_known_code(code: &str) -> Option<Self> {
        let code = code.rsplit('#').next().unwrap_or(code);
        if code.starts_with("KMS") || code.starts_with("Kms") {
            // a key that is disabled, pending or gone is an operator's matter: the message is innocent
            return Some(if code.contains("Throttl") { Self::Throttled } else { Self::Denied });
        }
        if is_about_the_request(code) {
            return Some(Self::Refused);
        }
        let code = code.strip_suffix("Exception").unwrap_or(code);
        Some(match code {
            "QueueDoesNotExist"
            | "AWS.SimpleQueueService.NonExistentQueue"
            | "NonExistentQueue"
            | "NotFound"
            | "ResourceNotFound" => Self::Missing,
            "Throttling"
            | "Throttled"
            | "RequestThrottled"
            | "EC2Throttled"
            | "TooManyRequests"
            | "SlowDown"
            | "OverLimit"
            | "LimitExceeded"
            | "BandwidthLimitExceeded"
            | "PriorRequestNotComplete" => Self::Throttled,
            "AccessDenied"
            | "AuthorizationError"
            | "AuthFailure"
            | "NotAuthorized"
            | "InvalidAccessKeyId"
            | "InvalidClientTokenId"
            | "UnrecognizedClient"
            | "ExpiredToken"
            | "TokenRefreshRequired"
            | "RequestExpired"
            // a clock that jumped: the SDK signs the next call by the clock of this answer
            | "RequestTimeTooSkewed"
            | "SignatureDoesNotMatch"
            | "InvalidSignature"
            | "IncompleteSignature"
            | "MissingAuthenticationToken"
            | "InvalidSecurity"
            | "InvalidAddress"
            | "EndpointDisabled"
            | "OptInRequired" => Self::Denied,
            "InternalError" | "InternalFailure" | "InternalServerError" | "ServiceUnavailable"
            | "RequestTimeout" | "RequestAborted" | "TransactionInProgress" => Self::Server,
            _ => return None,
        })
    }
}

/// Codes about a receipt handle, the contents of a message, or an entire batch: the same request fails again.
fn is_about_the_request(code: &str) -> bool {
    super::evidence::is_about_the_message(code)
        || matches!(
            code.strip_prefix("AWS.SimpleQueueService.").unwrap_or(code),
            "BatchRequestTooLong"
                | "BatchEntryIdsNotDistinct"
                | "EmptyBatchRequest"
                | "TooManyEntriesInBatchRequest"
                | "BatchRequestTooLongException"
                | "BatchEntryIdsNotDistinctException"
                | "EmptyBatchRequestException"
                | "TooManyEntriesInBatchRequestException"
                | "ReadCountOutOfRange"
        )
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
            ("NotFoundException", Fault::Missing),
            ("Throttling", Fault::Throttled),
            ("ThrottlingException", Fault::Throttled),
            ("InvalidClientTokenId", Fault::Denied),
            ("InvalidSignatureException", Fault::Denied),
            ("MissingAuthenticationTokenException", Fault::Denied),
            ("KMSDisabled", Fault::Denied),
            ("KMS.DisabledException", Fault::Denied),
            ("KmsThrottled", Fault::Throttled),
            ("KMS.ThrottlingException", Fault::Throttled),
            ("InternalError", Fault::Server),
            ("InvalidParameter", Fault::Refused),
            ("AWS.SimpleQueueService.BatchRequestTooLong", Fault::Refused),
        ] {
            assert_eq!(Fault::of_code(code), fault, "{code}");
            assert_eq!(Fault::of_response(Some(code), 400), fault, "{code}");
        }
    }

    #[test]
    fn a_response_without_a_code_that_is_known_is_judged_by_its_status() {
        for code in [None, Some("OfTomorrow"), Some("")] {
            for (status, fault) in [
                (200, Fault::Server),
                (301, Fault::Server),
                (400, Fault::Server),
                (401, Fault::Denied),
                (403, Fault::Denied),
                (404, Fault::Server),
                (407, Fault::Denied),
                (408, Fault::Server),
                (413, Fault::Server),
                (429, Fault::Throttled),
                (500, Fault::Server),
                (503, Fault::Server),
            ] {
                assert_eq!(Fault::of_response(code, status), fault, "{code:?} {status}");
            }
        }
    }
}
