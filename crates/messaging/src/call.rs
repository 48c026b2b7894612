//! One call of AWS, bounded by our own clock and with its failure understood.
//!
//! The SDK has timeouts too, and they are set (see [`crate::aws`]). This clock stands outside of them
//! because a receive that never returned in spite of the SDK's is the worst report against every peer
//! (awslabs/aws-sdk-rust#1094, vectordotdev/vector#20017).

use std::error::Error;
use std::fmt::{self, Display};
use std::future::Future;
use std::time::Duration;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;

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

/// A call that failed: what was tried, on what, and what came back.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The AWS action, as in its documentation: `ReceiveMessage`.
    pub action: &'static str,
    /// What it means.
    pub fault: Fault,
    /// AWS's code, where there was an answer.
    pub code: Option<String>,
    /// What came back, in a line.
    pub detail: String,
}

impl Error for CallError {}

impl Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} failed ({}): {}", self.action, self.fault.label(), self.detail)
    }
}

/// Awaits `call` for at most `limit`.
///
/// # Errors
/// [`CallError`] with the [`Fault`]. After [`Fault::TimedOut`] the call may still have taken effect.
///
/// # Cancel safety
/// Dropping the future drops the call; like a timeout, that does not undo it.
pub fn bounded<T, E>(
    action: &'static str,
    limit: Duration,
    call: impl Future<Output = Result<T, SdkError<E, Response>>>,
) -> impl Future<Output = Result<T, CallError>>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    // the SDK's futures have 5 kB; on the heap they are copied once, and not with every task and future around them
    let call = Box::pin(call);
    async move {
        match tokio::time::timeout(limit, call).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(error)) => Err(understand(action, &error)),
            Err(_) => Err(CallError {
                action,
                fault: Fault::TimedOut,
                code: None,
                detail: format!("no answer within {limit:?}"),
            }),
        }
    }
}

fn understand<E>(action: &'static str, error: &SdkError<E, Response>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let (fault, code) = match error {
        SdkError::TimeoutError(_) => (Fault::TimedOut, None),
        SdkError::DispatchFailure(failure) if failure.is_timeout() => (Fault::TimedOut, None),
        SdkError::DispatchFailure(failure) if failure.is_io() || failure.is_user() => {
            (Fault::Unreachable, None)
        }
        // what is left is the chain of credentials, which comes as a connector's error: nothing was sent
        SdkError::DispatchFailure(failure) => match failure.as_connector_error() {
            Some(_) if construction(error) != Fault::Denied => (Fault::Unreachable, None),
            _ => (Fault::Denied, None),
        },
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().map(str::to_owned);
            let fault = match (&code, status) {
                (Some(code), _) => Fault::of_code(code, status < 500),
                (None, 429) => Fault::Throttled,
                (None, 401 | 403) => Fault::Denied,
                // 408 with an empty body happens on SNS and SQS (kalaspuff/tomodachi PR 1765)
                (None, 408 | 500..) => Fault::Server,
                (None, _) => Fault::Refused,
            };
            (fault, code)
        }
        // an answer that is none: a proxy's page, a body cut short
        SdkError::ResponseError(_) => (Fault::Server, None),
        SdkError::ConstructionFailure(_) => (construction(error), None),
        _ => (Fault::Server, None),
    };
    CallError { action, fault, code, detail: detail(error) }
}

/// AWS's code and text where there was an answer, else the causes.
fn detail<E>(error: &SdkError<E, Response>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let answer = error.as_service_error();
    match (answer.and_then(|e| e.code()), answer.and_then(|e| e.message())) {
        (Some(code), Some(message)) => {
            crate::escape::Line::new(&format!("{code}: {message}")).limit(1024).to_string()
        }
        _ => chain(error),
    }
}

/// The SDK reports missing credentials as a construction failure: that is an operator's matter, not the message's.
fn construction(error: &dyn Error) -> Fault {
    let text = chain(error);
    if text.contains("credential") || text.contains("identity") { Fault::Denied } else { Fault::Refused }
}

/// The causes of an error on one line, each once.
pub fn chain(error: &dyn Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        if !parts.iter().any(|p| p.contains(&text)) {
            parts.push(text);
        }
        next = error.source();
    }
    crate::escape::Line::new(&parts.join(": ")).limit(1024).to_string()
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

    #[tokio::test(start_paused = true)]
    async fn a_call_that_never_returns_costs_one_timeout() {
        let begun = tokio::time::Instant::now();
        let never = std::future::pending::<
            Result<(), SdkError<aws_sdk_sqs::operation::receive_message::ReceiveMessageError, Response>>,
        >();
        let error = bounded("ReceiveMessage", Duration::from_secs(25), never).await.unwrap_err();
        assert_eq!(error.fault, Fault::TimedOut);
        assert_eq!(begun.elapsed(), Duration::from_secs(25));
    }
}
