//! The emulator's own pages: how it is, its faults, and how often each action was called.
//!
//! | request | answer |
//! | --- | --- |
//! | `GET /health`, `/_localstack/health`, `/` | services and version |
//! | `GET /_lifeline/faults` | the faults in force, with how many calls each met |
//! | `POST /_lifeline/faults` | adds the faults in the body, one a line |
//! | `PUT /_lifeline/faults` | puts them in the place of all others |
//! | `DELETE /_lifeline/faults`, `/_lifeline/faults/ID` | takes all or one back |
//! | `GET /_lifeline/calls` | calls by action |
//! | `GET /_lifeline/credentials` | a new access key, as containers are given them |

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use serde_json::{Map, Value, json};

use crate::{action::Action, fault::Fault, service::Service};

const FAULTS: &str = "/_lifeline/faults";
/// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
pub(crate) const CREDENTIALS: &str = "/_lifeline/credentials";

/// The answer, if the request is for one of the pages.
pub(crate) fn answer(service: &Service, request: &Request<Bytes>) -> Option<Response<Bytes>> {
    let (method, path) = (request.method(), request.uri().path());
    let get = matches!(*method, Method::GET | Method::HEAD);
    if path.starts_with(FAULTS) {
        return Some(faults(service, method, path, request.body()));
    }
    match path {
        CREDENTIALS if get => Some(page(StatusCode::OK, &service.keys.issue(service.clock.now()))),
        "/_lifeline/calls" if get => Some(page(StatusCode::OK, &calls(service))),
        "/health" | "/_localstack/health" if get => Some(page(StatusCode::OK, &health())),
        "/" if get && request.uri().query().is_none() => Some(page(StatusCode::OK, &health())),
        path if path.starts_with("/_lifeline")
            || path.starts_with("/_localstack")
            || path.starts_with("/_aws") =>
        {
            Some(page(StatusCode::NOT_FOUND, &json!({"error": "no such page; try /_localstack/health"})))
        }
        _ if !get && *method != Method::POST => {
            Some(page(StatusCode::METHOD_NOT_ALLOWED, &json!({"error": "SNS and SQS are called with POST"})))
        }
        _ => None,
    }
}

fn health() -> Value {
    json!({
        "services": {"sns": "running", "sqs": "running"},
        "edition": "lifeline",
        "version": env!("CARGO_PKG_VERSION"),
    })
}

fn calls(service: &Service) -> Value {
    let log = service.log();
    let called = Action::ALL.iter().filter_map(|action| {
        let calls = log.count(Some(*action));
        (calls > 0).then(|| (format!("{action:?}"), Value::from(calls)))
    });
    Value::Object(called.collect::<Map<String, Value>>())
}

fn faults(service: &Service, method: &Method, path: &str, body: &Bytes) -> Response<Bytes> {
    let id = path.strip_prefix(FAULTS).unwrap_or_default().trim_start_matches('/');
    let list = |service: &Service| {
        let list = service.script().list().into_iter();
        let list = list.map(|(id, fault, hits)| json!({"id": id, "fault": fault, "hits": hits}));
        page(StatusCode::OK, &Value::Array(list.collect()))
    };
    match (method, id) {
        (&Method::GET | &Method::HEAD, "") => list(service),
        (&Method::POST | &Method::PUT, "") => {
            let text = String::from_utf8_lossy(body);
            match Fault::parse_all(&text) {
                Ok(faults) => {
                    let mut script = service.script();
                    if method == Method::PUT {
                        script.clear();
                    }
                    for fault in faults {
                        script.add(fault);
                    }
                    drop(script);
                    list(service)
                }
                Err(error) => page(StatusCode::BAD_REQUEST, &json!({"error": error.to_string()})),
            }
        }
        (&Method::DELETE, "") => {
            service.script().clear();
            list(service)
        }
        (&Method::DELETE, id) if id.parse().is_ok_and(|id| service.script().remove(id)) => list(service),
        _ => {
            page(StatusCode::NOT_FOUND, &json!({"error": "no such fault; GET /_lifeline/faults lists them"}))
        }
    }
}

pub(crate) fn page(status: StatusCode, body: &Value) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from(body.to_string()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
