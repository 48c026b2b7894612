//! What the SDK sends its requests by: [`lifeline_http`], behind the SDK's traits.

use std::borrow::Cow;
use std::error::Error;
use std::io;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use aws_sdk_sqs::config::SharedHttpClient;
use aws_smithy_runtime_api::client::connection::{CaptureSmithyConnection, ConnectionMetadata};
use aws_smithy_runtime_api::client::connector_metadata::ConnectorMetadata;
use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::result::ConnectorError;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_runtime_api::http::Response;
use aws_smithy_types::body::SdkBody;
use hyper_util::client::legacy::connect::{CaptureConnection, capture_connection};
use lifeline_http::{Addresses, ClientError};
use tokio::time::error::Elapsed;

use crate::call::arriving;

/// A client with connections of its own, which takes at most `connect` to make one.
pub(crate) fn client(connect: Duration) -> SharedHttpClient {
    let connector = Connector::within(connect, None);
    SharedHttpClient::new(Pooled { connect, connector, hurried: Mutex::default() })
}

/// Hands out one connector for all calls of SNS and SQS, whose bounds are the SDK's and [`crate::call`]'s. Callers with a
/// shorter timeout, such as the SDK's instance metadata client, get their own connector.
#[derive(Debug)]
struct Pooled {
    connect: Duration,
    connector: SharedHttpConnector,
    hurried: Mutex<Vec<(Bounds, SharedHttpConnector)>>,
}

/// How long connecting and an answer may take.
type Bounds = (Duration, Option<Duration>);

impl HttpClient for Pooled {
    fn http_connector(&self, asked: &HttpConnectorSettings, _: &RuntimeComponents) -> SharedHttpConnector {
        let connect = asked.connect_timeout().map_or(self.connect, |asked| asked.min(self.connect));
        let bounds = (connect, asked.read_timeout());
        if bounds == (self.connect, None) {
            return self.connector.clone();
        }
        let mut hurried = self.hurried.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, connector)) = hurried.iter().find(|(of, _)| *of == bounds) {
            return connector.clone();
        }
        let connector = Connector::within(bounds.0, bounds.1);
        hurried.push((bounds, connector.clone()));
        connector
    }

    fn connector_metadata(&self) -> Option<ConnectorMetadata> {
        Some(ConnectorMetadata::new("hyper", Some(Cow::Borrowed("1.x"))))
    }
}

#[derive(Debug)]
struct Connector {
    client: lifeline_http::Client<SdkBody>,
    read: Option<Duration>,
}

impl Connector {
    fn within(connect: Duration, read: Option<Duration>) -> SharedHttpConnector {
        SharedHttpConnector::new(Self { client: lifeline_http::Client::builder(connect).build(), read })
    }
}

impl HttpConnector for Connector {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let mut request = match request.try_into_http1x() {
            Ok(request) => request,
            Err(error) => return HttpConnectorFuture::ready(Err(ConnectorError::user(error.into()))),
        };
        let captured = capture_connection(&mut request);
        if let Some(asked) = request.extensions().get::<CaptureSmithyConnection>() {
            asked.set_connection_retriever(move || connection(&captured));
        }
        let (answer, read) = (self.client.request(request), self.read);
        let answer = async move {
            let answer = arriving(answer.await.map_err(understand)?);
            Response::try_from(answer).map_err(|error| ConnectorError::other(error.into(), None))
        };
        match read {
            None => HttpConnectorFuture::new(answer),
            Some(read) => HttpConnectorFuture::new(async move {
                let late = |error: Elapsed| Err(ConnectorError::timeout(error.into()));
                tokio::time::timeout(read, answer).await.unwrap_or_else(late)
            }),
        }
    }
}

/// The connection that a request took. The SDK has it closed after an error that another host might not have.
fn connection(captured: &CaptureConnection) -> Option<ConnectionMetadata> {
    let mut extensions = hyper::http::Extensions::new();
    captured.connection_metadata().as_ref()?.get_extras(&mut extensions);
    let ends = extensions.get::<Addresses>();
    let captured = captured.clone();
    let mut connection = ConnectionMetadata::builder().proxied(false).poison_fn(move || {
        if let Some(connection) = captured.connection_metadata().as_ref() {
            connection.poison();
        }
    });
    connection.set_local_addr(ends.map(|ends| ends.local)).set_remote_addr(ends.map(|ends| ends.remote));
    Some(connection.build())
}

/// Whatever ends a request without an answer lies between the endpoint and us; what matters is whether a clock ran out.
fn understand(error: ClientError) -> ConnectorError {
    let mut causes = std::iter::successors(error.source(), |&cause| cause.source());
    let timed_out = |cause: &(dyn Error + 'static)| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::TimedOut)
    };
    if causes.any(timed_out) {
        ConnectorError::timeout(error.into())
    } else {
        ConnectorError::io(error.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::call::{Fault, bounded};
    use crate::client::{Access, Clients};

    /// Listens, accepts, and says nothing.
    fn silent() -> (std::net::TcpListener, String) {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        (listener, url)
    }

    async fn fault(url: &str, timeouts: aws_config::timeout::TimeoutConfig) -> Fault {
        let clients = Clients::connect(&Access::local(url)).await.expect("a region");
        let config = aws_sdk_sqs::config::Builder::new().timeout_config(timeouts);
        let call = clients.polls.list_queues().customize().config_override(config).send();
        bounded("ListQueues", Duration::from_secs(20), call).await.expect_err("nobody answers").fault
    }

    #[tokio::test]
    async fn who_asks_for_less_time_has_less() {
        let (_listener, url) = silent();
        let read =
            aws_config::timeout::TimeoutConfig::builder().read_timeout(Duration::from_millis(50)).build();
        assert_eq!(fault(&url, read).await, Fault::TimedOut);
    }

    #[tokio::test]
    async fn nobody_there_is_told_from_a_clock_that_ran_out() {
        let (listener, url) = silent();
        drop(listener);
        assert_eq!(fault(&url, aws_config::timeout::TimeoutConfig::disabled()).await, Fault::Unreachable);
    }
}
