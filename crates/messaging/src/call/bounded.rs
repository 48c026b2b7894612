//! One call of AWS, bounded by our own clock and with its failure understood.
//!
//! The SDK has timeouts too, and they are set (see [`crate::client`]). This clock stands outside of them
//! because a receive that never returned in spite of the SDK's is the worst report against every peer
//! (awslabs/aws-sdk-rust#1094, vectordotdev/vector#20017).

use std::error::Error;
use std::fmt::{self, Display};
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_smithy_runtime_api::http::Response;
use lifeline_escape::{Line, unescaped, verbatim};
use tokio::time::Instant;

use super::evidence::Evidence;
use super::fault::Fault;
use super::progress::Progress;

/// A call that failed: what was tried, on what, and what came back.
#[derive(Debug, Clone)]
pub struct CallError {
    /// The AWS action, as in its documentation: `ReceiveMessage`.
    pub action: &'static str,
    /// What it means.
    pub fault: Fault,
    /// The HTTP status, where there was a response.
    pub status: Option<u16>,
    /// AWS's code, where there was one.
    pub code: Option<String>,
    /// What came back, as it was; [`Display`] puts it on one line.
    pub detail: String,
}

impl CallError {
    /// A failure that no response is the cause of.
    pub fn local(action: &'static str, fault: Fault, detail: impl Into<String>) -> Self {
        Self { action, fault, status: None, code: None, detail: detail.into() }
    }

    /// What it is evidence of: the call or its environment, never a message.
    pub fn evidence(&self) -> Evidence {
        self.fault.evidence()
    }
}

impl Error for CallError {}

impl Display for CallError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { action, fault, .. } = self;
        let detail = Line::new(&self.detail);
        match self.status {
            Some(status) => write!(f, "{action} failed ({}, HTTP {status}): {detail}", fault.label()),
            None => write!(f, "{action} failed ({}): {detail}", fault.label()),
        }
    }
}

/// The time in which a response that has begun must go on arriving, and how much of it must arrive then: a slow link is
/// waited for, a stalled or a dripping response is not.
const STEP: Duration = Duration::from_secs(5);
const STEP_BYTES: u64 = 5 * 1024;

/// Awaits the response of `call` for at most `limit`. One that has begun to arrive by then is awaited for as long as it goes
/// on arriving, with at least 1 KiB a second.
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
    bounded_with(action, limit, || {}, call)
}

/// [`bounded`], which calls `arriving` whenever more of a long response has arrived, at least every 5 s.
///
/// # Errors
/// As of [`bounded`].
///
/// # Cancel safety
/// As of [`bounded`].
pub fn bounded_with<T, E>(
    action: &'static str,
    limit: Duration,
    arriving: impl Fn(),
    call: impl Future<Output = Result<T, SdkError<E, Response>>>,
) -> impl Future<Output = Result<T, CallError>>
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let progress = Arc::new(Progress::default());
    // the SDK's futures have 5 kB; on the heap they are copied once, and not with every task and future around them
    let mut call = Box::pin(Arc::clone(&progress).of(call));
    async move {
        let mut until = Instant::now() + limit;
        let mut before = 0;
        loop {
            if let Ok(response) = tokio::time::timeout_at(until, &mut call).await {
                return response.map_err(|error| understand(action, &error));
            }
            let arrived = progress.arrived();
            if arrived == 0 {
                return Err(CallError::local(
                    action,
                    Fault::TimedOut,
                    format!("no response within {limit:?}"),
                ));
            }
            if arrived < before + STEP_BYTES && before > 0 {
                return Err(CallError::local(
                    action,
                    Fault::TimedOut,
                    format!("the response stalled after {arrived} bytes"),
                ));
            }
            arriving();
            before = arrived;
            until = Instant::now() + STEP;
        }
    }
}

fn understand<E>(action: &'static str, error: &SdkError<E, Response>) -> CallError
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let status = error.raw_response().map(|response| response.status().as_u16());
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
        SdkError::ServiceError(response) => {
            let code = response.err().code().map(str::to_owned);
            (Fault::of_response(code.as_deref(), response.raw().status().as_u16()), code)
        }
        // not SQS's or SNS's: a proxy's page, a body cut short
        SdkError::ResponseError(response) => {
            (Fault::of_response(None, response.raw().status().as_u16()), None)
        }
        SdkError::ConstructionFailure(_) => (construction(error), None),
        _ => (Fault::Server, None),
    };
    CallError { action, fault, status, code, detail: detail(error) }
}

/// AWS's code and text where there was an answer, else the causes.
fn detail<E>(error: &SdkError<E, Response>) -> String
where
    E: ProvideErrorMetadata + Error + 'static,
{
    let answer = error.as_service_error();
    match (answer.and_then(|e| e.code()), answer.and_then(|e| e.message())) {
        (Some(code), Some(message)) => unescaped(Line::new(&format!("{code}: {message}")).limit(1024)),
        _ => verbatim(|| chain(error)),
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
    Line::new(&parts.join(": ")).limit(1024).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

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
