//! An HTTP/1.1 client over sockets for the AWS SDK: hyper's, and nothing around it.

use aws_smithy_runtime_api::{
    client::{
        http::{HttpConnector, HttpConnectorFuture, SharedHttpClient, SharedHttpConnector, http_client_fn},
        orchestrator::HttpRequest,
        result::ConnectorError,
    },
    http::Response,
};
use aws_smithy_types::body::SdkBody;
use http_body_util::BodyExt;
use hyper_util::{
    client::legacy::{Client, connect},
    rt::TokioExecutor,
};

type Hyper = Client<connect::HttpConnector, SdkBody>;

#[derive(Debug, Clone)]
struct Sockets(Hyper);

impl HttpConnector for Sockets {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let client = self.0.clone();
        HttpConnectorFuture::new(async move {
            let request = request.try_into_http1x().map_err(|error| ConnectorError::user(error.into()))?;
            let response = client.request(request).await.map_err(|error| ConnectorError::io(error.into()))?;
            Response::try_from(response.map(SdkBody::from_body_1_x))
                .map_err(|error| ConnectorError::other(error.into(), None))
        })
    }
}

/// A client with connections of its own.
pub(crate) fn client() -> SharedHttpClient {
    let connector = SharedHttpConnector::new(Sockets(hyper()));
    http_client_fn(move |_, _| connector.clone())
}

/// hyper's client itself.
pub(crate) fn hyper() -> Hyper {
    Client::builder(TokioExecutor::new()).build_http()
}

/// The text of a response.
#[allow(dead_code, reason = "one of two test programs asks for pages")]
pub(crate) async fn text(client: &Hyper, request: http::Request<SdkBody>) -> String {
    let body = client.request(request).await.unwrap().into_body().collect().await.unwrap();
    String::from_utf8(body.to_bytes().to_vec()).unwrap()
}
