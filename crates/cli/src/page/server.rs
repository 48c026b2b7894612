//! The page's requests and their responses.
//!
//! | request | response |
//! | --- | --- |
//! | `GET /_lifeline/` | the page |
//! | `GET /_lifeline/page/state` | queues, topics, faults and the pipeline |
//! | `GET /_lifeline/page/messages?queue=ARN` | messages of a queue, without receiving them |
//! | `POST /_lifeline/page/act` | what [`Act`] says |

use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use lifeline_emulator::{Answer, Emulator, Pages};
use serde_json::{Value, json};

use super::act::{self, Act};
use super::guard::{self, Token};
use super::pipeline::Pipeline;
use super::view;

/// Where the page is.
pub(super) const PAGE: &str = "/_lifeline/";
const API: &str = "/_lifeline/page/";
const HTML: &str = include_str!("page.html");
/// What `HTML` has in the place of the nonce, by which the browser knows its one script and its one style.
const NONCE: &str = "NONCE";

/// The page of one process.
#[derive(Debug)]
pub(super) struct Page {
    emulator: Emulator,
    token: Token,
    pipeline: Option<Arc<dyn Pipeline>>,
    /// What the page's times count from.
    started: Instant,
}

impl Page {
    pub(super) fn new(emulator: Emulator, token: Token, pipeline: Option<Arc<dyn Pipeline>>) -> Self {
        Self { emulator, token, pipeline, started: Instant::now() }
    }

    fn state(&self) -> Value {
        let mut state = view::state(&self.emulator);
        state["at"] = (self.started.elapsed().as_secs_f64() * 1000.0).into();
        state["version"] = env!("CARGO_PKG_VERSION").into();
        state["endpoint"] = self.emulator.url().into();
        state["cut_off"] = act::is_cut_off(&self.emulator).into();
        state["pipeline"] = self.pipeline.as_ref().map_or(Value::Null, |pipeline| pipeline.state());
        state
    }

    fn messages(&self, query: &str) -> Response<Bytes> {
        let value = |name: &str| {
            let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
            pairs.filter(|(key, _)| *key == name).map(|(_, value)| value).next()
        };
        // an ARN needs no escaping, but for its colons
        let queue = value("queue").unwrap_or_default().replace("%3A", ":").replace("%3a", ":");
        match view::messages(&self.emulator, &queue, value("after"), value("at")) {
            Some(messages) => json(StatusCode::OK, &messages),
            None => error(StatusCode::NOT_FOUND, &format!("there is no queue {queue}")),
        }
    }

    fn act(&self, body: &[u8]) -> Answer {
        let act = match serde_json::from_slice::<Act>(body) {
            Ok(act) => act,
            Err(problem) => return ready(error(StatusCode::BAD_REQUEST, &problem.to_string())),
        };
        let (emulator, pipeline) = (self.emulator.clone(), self.pipeline.clone());
        Box::pin(async move {
            match act::act(&emulator, pipeline, act).await {
                Ok(done) => json(StatusCode::OK, &json!({"done": done})),
                Err(reason) => error(StatusCode::BAD_REQUEST, &reason),
            }
        })
    }
}

impl Pages for Page {
    fn has(&self, path: &str) -> bool {
        path == PAGE || path == PAGE.trim_end_matches('/') || path.starts_with(API)
    }

    fn answer(&self, request: &Request<Bytes>) -> Answer {
        let (method, path) = (request.method(), request.uri().path());
        let get = matches!(*method, Method::GET | Method::HEAD);
        let Some(page) = path.strip_prefix(API) else {
            return ready(match (get, path == PAGE) {
                (false, _) => error(StatusCode::METHOD_NOT_ALLOWED, "the page is read with GET"),
                (true, true) => html(),
                (true, false) => moved(),
            });
        };
        if let Some(reason) = self.token.refuses(request.headers()) {
            return ready(error(StatusCode::FORBIDDEN, reason));
        }
        match page {
            "state" if get => ready(json(StatusCode::OK, &self.state())),
            "messages" if get => ready(self.messages(request.uri().query().unwrap_or_default())),
            "act" if method == Method::POST => self.act(request.body()),
            "state" | "messages" | "act" => {
                ready(error(StatusCode::METHOD_NOT_ALLOWED, "GET reads, POST acts"))
            }
            _ => ready(error(StatusCode::NOT_FOUND, "there is state, messages and act")),
        }
    }
}

fn ready(response: Response<Bytes>) -> Answer {
    Box::pin(std::future::ready(response))
}

fn json(status: StatusCode, body: &Value) -> Response<Bytes> {
    response(status, "application/json", body.to_string())
}

fn error(status: StatusCode, reason: &str) -> Response<Bytes> {
    json(status, &json!({"error": reason}))
}

fn moved() -> Response<Bytes> {
    let mut response = response(StatusCode::PERMANENT_REDIRECT, "text/plain", String::new());
    response.headers_mut().insert(header::LOCATION, HeaderValue::from_static(PAGE));
    response
}

/// The page. It may load nothing and call nobody else, no other page may show it, and a body that were taken for HTML
/// could run no script.
fn html() -> Response<Bytes> {
    let Ok(nonce) = guard::random() else {
        return error(StatusCode::INTERNAL_SERVER_ERROR, "the system has no random numbers");
    };
    let policy = format!(
        "default-src 'none'; script-src 'nonce-{nonce}'; style-src 'nonce-{nonce}'; connect-src 'self'; img-src data:; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    );
    let mut response = response(StatusCode::OK, "text/html; charset=utf-8", HTML.replace(NONCE, &nonce));
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

#[cfg(test)]
mod tests {
    use super::HTML;

    #[test]
    fn the_page_is_small_and_refers_to_no_other_host() {
        assert!(HTML.len() < 100_000, "{} bytes", HTML.len());
        for foreign in ["http://", "https://", "src=\"", "@import", "url("] {
            let found = HTML.find(foreign).map(|at| &HTML[at..HTML.len().min(at + 60)]);
            assert!(found.is_none_or(|at| at.contains("www.w3.org/2000/svg")), "{found:?}");
        }
        for dangerous in ["innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval("] {
            assert!(!HTML.contains(dangerous), "{dangerous}: a body must never become HTML");
        }
    }
}
