//! Tries a call of AWS again when that may help. The SDK's own retries are off.

use std::future::Future;
use std::time::Duration;

use lifeline_messaging::call::backoff::Backoff;
use lifeline_messaging::call::{CallError, Fault};

/// How often a call is tried.
const TRIES: u32 = 5;

/// The result of a call that was tried until it succeeded, could not succeed, or had its tries.
#[derive(Debug)]
pub(crate) struct Tried<T> {
    /// The last try's.
    pub(crate) result: Result<T, CallError>,
    /// Whether a try failed that may have taken effect nevertheless.
    pub(crate) unsure: bool,
}

/// Tries a call that may be repeated.
pub(crate) async fn retrying<T, F>(call: impl Fn() -> F) -> Result<T, CallError>
where
    F: Future<Output = Result<T, CallError>>,
{
    tried(call).await.result
}

/// Tries a call whose repetition has an effect of its own.
pub(crate) async fn tried<T, F>(call: impl Fn() -> F) -> Tried<T>
where
    F: Future<Output = Result<T, CallError>>,
{
    let mut backoff = Backoff::new(Duration::from_millis(200));
    let mut unsure = false;
    loop {
        let result = call().await;
        let Err(error) = &result else { return Tried { result, unsure } };
        let again = match error.fault {
            Fault::Throttled => true,
            Fault::Unreachable | Fault::TimedOut | Fault::Server => {
                unsure = true;
                true
            }
            Fault::Missing | Fault::Denied | Fault::Refused => false,
        };
        if !again || backoff.failures() + 1 >= TRIES {
            return Tried { result, unsure };
        }
        tokio::time::sleep(backoff.next(Duration::from_secs(4))).await;
    }
}
