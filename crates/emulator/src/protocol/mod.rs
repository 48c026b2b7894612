//! The two wire protocols: AWS JSON 1.0 (SQS today) and query (SNS, and SQS for older SDKs), which answers in XML or, to
//! those who ask for it, in JSON of its own.

mod form;
mod json;
mod query_json;
mod xml;

use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;

use crate::{
    action::{Action, Service},
    error::{AwsError, Result},
};

pub(crate) use form::Form;

/// A wire protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Protocol {
    Json,
    Query,
    /// A form, answered in JSON because of `Accept: application/json`: API Gateway and scripts.
    QueryJson,
}

/// An action's parameters, not yet read.
#[derive(Debug, Clone)]
pub(crate) enum Input {
    Json(Bytes),
    Tree(Value),
}

impl Input {
    /// Reads the parameters.
    ///
    /// # Errors
    ///
    /// `SerializationException` for what does not fit; `MalformedInput` for a form that does not.
    pub(crate) fn read<T: DeserializeOwned>(self) -> Result<T> {
        match self {
            Self::Json(body) if body.is_empty() => json::read(b"{}"),
            Self::Json(body) => json::read(&body),
            Self::Tree(tree) => serde_json::from_value(tree)
                .map_err(|error| AwsError::new(400, "MalformedInput", error.to_string())),
        }
    }
}

impl Input {
    /// The parameters as a tree, for faults and the record of calls; null if they are malformed.
    pub(crate) fn tree(&self) -> Value {
        match self {
            Self::Json(body) => serde_json::from_slice(body).unwrap_or_default(),
            Self::Tree(tree) => tree.clone(),
        }
    }
}

/// An action's answer, in the form that is cheapest to send or easiest to change.
#[derive(Debug)]
pub(crate) enum Output {
    Json(Vec<u8>),
    Tree(Value),
}

impl Output {
    /// Writes an answer. `tree` keeps it changeable, for faults.
    pub(crate) fn write(protocol: Protocol, tree: bool, answer: &impl Serialize) -> Result<Self> {
        let failed = |error: serde_json::Error| AwsError::new(500, "InternalFailure", error.to_string());
        if protocol == Protocol::Json && !tree {
            return serde_json::to_vec(answer).map(Self::Json).map_err(failed);
        }
        serde_json::to_value(answer).map(Self::Tree).map_err(failed)
    }
}

/// What SQS says to the query protocol about a queue that is not there.
const NO_QUEUE_2012: &str = "The specified queue does not exist for this wsdl version.";

/// The response to a call.
pub(crate) fn respond(
    protocol: Protocol,
    action: Action,
    result: Result<Output>,
    request_id: &str,
) -> Response<Bytes> {
    let output = match result {
        Ok(output) => output,
        Err(error) => return refuse(protocol, action.service(), &error, request_id),
    };
    match (protocol, output) {
        (Protocol::Json, Output::Json(body)) => finish(200, json::CONTENT_TYPE, body, request_id),
        (Protocol::Json, Output::Tree(tree)) => finish(200, json::CONTENT_TYPE, tree.to_string(), request_id),
        (protocol, output) => {
            let tree = match output {
                Output::Tree(tree) => tree,
                Output::Json(body) => serde_json::from_slice(&body).unwrap_or_default(),
            };
            if protocol == Protocol::QueryJson {
                let body = query_json::answer(action, tree, request_id);
                return finish(200, query_json::CONTENT_TYPE, body, request_id);
            }
            finish(200, xml::CONTENT_TYPE, xml::answer(action, &tree, request_id), request_id)
        }
    }
}

/// The response to a call that failed.
pub(crate) fn refuse(
    protocol: Protocol,
    service: Service,
    error: &AwsError,
    request_id: &str,
) -> Response<Bytes> {
    match protocol {
        Protocol::Json => {
            let mut response = finish(error.status, json::CONTENT_TYPE, json::error(error), request_id);
            let fault = if error.sender { "Sender" } else { "Receiver" };
            if let Ok(value) = HeaderValue::from_str(&format!("{};{fault}", error.code)) {
                response.headers_mut().insert("x-amzn-query-error", value);
            }
            response
        }
        Protocol::Query | Protocol::QueryJson => {
            if error.code == "UnknownOperationException" {
                // Not even an error of a service: AWS answers with this element alone.
                return finish(error.status, xml::CONTENT_TYPE, "<UnknownOperationException/>", request_id);
            }
            let mut error = error.clone();
            if error.shape == Some("QueueDoesNotExist") {
                error.message = NO_QUEUE_2012.into();
            }
            if protocol == Protocol::QueryJson {
                let body = query_json::error(&error, request_id);
                return finish(error.status, query_json::CONTENT_TYPE, body, request_id);
            }
            finish(error.status, xml::CONTENT_TYPE, xml::error(service, &error, request_id), request_id)
        }
    }
}

fn finish(
    status: u16,
    content_type: &'static str,
    body: impl Into<Bytes>,
    request_id: &str,
) -> Response<Bytes> {
    let mut response = Response::new(body.into());
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers: &mut HeaderMap = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        headers.insert("x-amzn-requestid", id);
    }
    response
}
