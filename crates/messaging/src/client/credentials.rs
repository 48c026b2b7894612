//! Credentials, loaded by a task of their own: a source that is slower than a call (a process, a sign-on portal, a busy
//! instance) still comes to its end, and one load serves all calls.
//!
//! They are renewed in the background before they expire, and after a response that may mean that they are no longer valid.

use std::error::Error;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use aws_credential_types::provider::error::CredentialsError;
use aws_credential_types::provider::{ProvideCredentials, SharedCredentialsProvider, future};
use aws_sdk_sqs::config::interceptors::AfterDeserializationInterceptorContextRef;
use aws_sdk_sqs::config::{ConfigBag, Credentials, Intercept, RuntimeComponents};
use aws_sdk_sqs::error::BoxError;
use tokio::sync::watch;
use tokio::time::{Instant, timeout};

use crate::call::chain;

/// How long a source may take.
const LOAD_LIMIT: Duration = Duration::from_secs(60);

/// Time before the expiry from which credentials are no longer used, and from which others are loaded.
const EXPIRED: Duration = Duration::from_secs(10);
const OLD: Duration = Duration::from_secs(120);

/// A source that returns old credentials again, as the instance does, is asked this often.
const PAUSE: Duration = Duration::from_secs(5);

/// Time between renewals after denials: a missing permission is denied at every call.
const DENIED_PAUSE: Duration = Duration::from_secs(60);

/// Codes of status 400 that say that the credentials are to blame; with 401 and 403 any may.
const CODES: [&str; 5] = [
    "ExpiredToken",
    "UnrecognizedClient",
    "InvalidClientTokenId",
    "InvalidAccessKeyId",
    "TokenRefreshRequired",
];

/// The variable that names the file of a pod's token.
const TOKEN_FILE: &str = "AWS_WEB_IDENTITY_TOKEN_FILE";

/// What to do about a source that has none.
const REMEDY: &str =
    "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY (for an emulator to any text), AWS_PROFILE, or a role";

/// The credentials of a source. Cheap to clone.
#[derive(Clone)]
pub(super) struct Renewed(Arc<Shared>);

struct Shared {
    source: SharedCredentialsProvider,
    state: Mutex<State>,
}

/// The result of a load, once there is one. The error is text, because many wait for it.
type Load = watch::Receiver<Option<Result<Credentials, String>>>;

#[derive(Default)]
struct State {
    current: Option<Credentials>,
    loading: Option<Load>,
    /// When the last load began, and the last after a denial.
    began: Option<Instant>,
    denied: Option<Instant>,
}

impl Renewed {
    pub(super) fn of(source: SharedCredentialsProvider) -> Self {
        Self(Arc::new(Shared { source, state: Mutex::default() }))
    }

    /// Waits for the first credentials, but no longer than `limit`; a source that has none is reported by the calls.
    pub(super) async fn first(&self, limit: Duration) -> Option<Credentials> {
        timeout(limit, self.get()).await.ok()?.ok()
    }

    async fn get(&self) -> Result<Credentials, CredentialsError> {
        let mut load = {
            let mut state = self.state();
            let left = state.current.as_ref().map(remaining);
            match (&state.current, left) {
                (Some(current), Some(left)) if left > EXPIRED => {
                    let current = current.clone();
                    if left <= OLD && state.began.is_none_or(|began| began.elapsed() > PAUSE) {
                        self.load(&mut state);
                    }
                    return Ok(current);
                }
                _ => self.load(&mut state),
            }
        };
        let loaded = load.wait_for(Option::is_some).await.map(|result| result.clone());
        // its runtime has ended
        let loaded =
            loaded.ok().flatten().unwrap_or_else(|| Err("loading credentials was aborted".to_owned()));
        loaded.map_err(CredentialsError::provider_error)
    }

    /// Loads credentials, unless somebody does already.
    fn load(&self, state: &mut State) -> Load {
        // a task that ended with its runtime has dropped its end
        if let Some(loading) = state.loading.as_ref().filter(|loading| loading.has_changed().is_ok()) {
            return loading.clone();
        }
        let (done, loading) = watch::channel(None);
        state.loading = Some(loading.clone());
        state.began = Some(Instant::now());
        let renewed = self.clone();
        #[allow(clippy::disallowed_methods, reason = "ends within LOAD_LIMIT, whoever waits for it")]
        tokio::spawn(async move {
            let result = match timeout(LOAD_LIMIT, renewed.0.source.provide_credentials()).await {
                Ok(Ok(credentials)) => sound(credentials),
                Ok(Err(error)) => Err(format!("{}; {REMEDY}", why(&error))),
                Err(_) => Err(format!("no credentials within {LOAD_LIMIT:?}")),
            };
            let mut state = renewed.state();
            state.loading = None;
            if let Ok(credentials) = &result {
                state.current = Some(credentials.clone());
            }
            drop(state);
            done.send_replace(Some(result));
        });
        loading
    }

    fn denied(&self) {
        let mut state = self.state();
        if state.denied.is_none_or(|denied| denied.elapsed() > DENIED_PAUSE) {
            state.denied = Some(Instant::now());
            self.load(&mut state);
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What the SDK says below its own "an error occurred while loading credentials", which is said again above. Of a token's
/// file that cannot be read it has no name.
fn why(error: &CredentialsError) -> String {
    let why = chain(error.source().unwrap_or(error));
    match std::env::var(TOKEN_FILE) {
        Ok(path) if why.contains("(os error ") => format!("{TOKEN_FILE}={path}: {why}"),
        _ => why,
    }
}

/// Credentials that can be signed with: the SDK panics at others, in every call.
fn sound(credentials: Credentials) -> Result<Credentials, String> {
    let parts = [
        ("AWS_ACCESS_KEY_ID", Some(credentials.access_key_id())),
        ("AWS_SECRET_ACCESS_KEY", Some(credentials.secret_access_key())),
        ("AWS_SESSION_TOKEN", credentials.session_token()),
    ];
    let defects = parts.into_iter().find_map(|(name, text)| Some((name, defect(text?)?)));
    match defects {
        Some((name, why)) => Err(format!("what the profile or role has for {name} {why}")),
        None => Ok(credentials),
    }
}

/// The time until they expire, by the calendar of whoever issued them.
#[allow(clippy::disallowed_methods, reason = "the SDK compares it with the system's calendar too")]
fn remaining(credentials: &Credentials) -> Duration {
    credentials
        .expiry()
        .map_or(Duration::MAX, |expiry| expiry.duration_since(SystemTime::now()).unwrap_or_default())
}

impl ProvideCredentials for Renewed {
    fn provide_credentials<'a>(&'a self) -> future::ProvideCredentials<'a>
    where
        Self: 'a,
    {
        future::ProvideCredentials::new(self.get())
    }
}

/// For the clients: looks for denials among the responses.
impl Intercept for Renewed {
    fn name(&self) -> &'static str {
        "Renewed"
    }

    fn read_after_deserialization(
        &self,
        context: &AfterDeserializationInterceptorContextRef<'_>,
        _: &RuntimeComponents,
        _: &mut ConfigBag,
    ) -> Result<(), BoxError> {
        let response = context.response();
        let to_blame =
            |body: &[u8]| CODES.iter().any(|code| memchr::memmem::find(body, code.as_bytes()).is_some());
        let denied = match response.status().as_u16() {
            401 | 403 => true,
            400 => response.body().bytes().is_some_and(to_blame),
            _ => false,
        };
        if denied {
            self.denied();
        }
        Ok(())
    }
}

impl fmt::Debug for Renewed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Renewed").field("source", &self.0.source).finish_non_exhaustive()
    }
}

/// What is wrong with a key or a token, which goes into a header: mostly a line break, from a Secret made with `echo`.
pub(crate) fn defect(text: &str) -> Option<&'static str> {
    if text.ends_with(['\n', '\r']) {
        Some("ends in a line break; make the Secret without it, as by printf instead of echo")
    } else if !text.chars().all(|c| c.is_ascii_graphic()) {
        Some("contains blanks or other characters that no credential has; copy it again")
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_that_cannot_be_signed_with_are_an_error_that_names_the_part() {
        let of = |key: &str, secret: &str, token: Option<&str>| {
            sound(Credentials::new(key, secret, token.map(str::to_owned), None, "test"))
        };
        assert!(of("AKIA", "a/b+c=", Some("t/+=")).is_ok());
        for (key, secret, token, name) in [
            ("AKIA\n", "s", None, "AWS_ACCESS_KEY_ID ends in a line break"),
            ("AKIA", "s\r", None, "AWS_SECRET_ACCESS_KEY ends in a line break"),
            ("AKIA", "s", Some("a\u{e9}"), "AWS_SESSION_TOKEN contains blanks or other"),
        ] {
            let error = of(key, secret, token).unwrap_err();
            assert!(error.contains(name), "{error}");
        }
    }
}
