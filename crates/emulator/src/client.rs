//! The in-process client: the AWS SDK's HTTP client, without a socket. Calls run in the task of their caller, so they
//! work under tokio's paused time.

use std::{io, sync::Arc};

use aws_smithy_runtime_api::{
    client::{
        http::{
            HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient,
            SharedHttpConnector,
        },
        orchestrator::{HttpRequest, HttpResponse},
        result::ConnectorError,
        runtime_components::RuntimeComponents,
    },
    http::Response,
};
use aws_smithy_types::body::SdkBody;
use bytes::Bytes;
use http_body_util::BodyExt;

use crate::{
    body::{Pace, PacedBody},
    service::Service,
};

/// A client of this emulator.
pub(crate) fn client(service: Arc<Service>) -> SharedHttpClient {
    SharedHttpClient::new(InProcess { service })
}

#[derive(Debug, Clone)]
struct InProcess {
    service: Arc<Service>,
}

impl HttpClient for InProcess {
    fn http_connector(&self, settings: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Connector {
            service: Arc::clone(&self.service),
            read_timeout: settings.read_timeout(),
        })
    }
}

#[derive(Debug)]
struct Connector {
    service: Arc<Service>,
    read_timeout: Option<std::time::Duration>,
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let (service, read_timeout) = (Arc::clone(&self.service), self.read_timeout);
        HttpConnectorFuture::new(async move {
            let answer = answer(&service, request);
            match read_timeout {
                None => answer.await,
                Some(limit) => tokio::time::timeout(limit, answer)
                    .await
                    .unwrap_or_else(|elapsed| Err(ConnectorError::timeout(elapsed.into()))),
            }
        })
    }
}

async fn answer(service: &Arc<Service>, request: HttpRequest) -> Result<HttpResponse, ConnectorError> {
    let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
    let (head, body) = request.into_parts();
    let body: Bytes = match body.bytes() {
        Some(bytes) => Bytes::copy_from_slice(bytes),
        None => body.collect().await.map_err(ConnectorError::user)?.to_bytes(),
    };
    let reply = service
        .answer(http::Request::from_parts(head, body))
        .await
        .map_err(|reset| ConnectorError::io(io::Error::new(io::ErrorKind::ConnectionReset, reset).into()))?;
    let response = match reply.pace {
        Pace::Whole => reply.response.map(SdkBody::from),
        pace => reply.response.map(|body| SdkBody::from_body_1_x(PacedBody::new(body, pace))),
    };
    Response::try_from(response).map_err(|error| ConnectorError::other(error.into(), None))
}
