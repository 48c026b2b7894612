//! The SDK's batch processor and OTLP exporter over our HTTP client, with every span accounted for.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full, Limited};
use opentelemetry::{Context, global};
use opentelemetry_http::{HttpClient, HttpError};
use opentelemetry_otlp::{WithExportConfig as _, WithHttpConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{
    BatchConfigBuilder, BatchSpanProcessor, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor,
};
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::variable;

/// Maximum number of spans that wait; each takes half a kilobyte.
const QUEUE: usize = 4096;

/// How long a span waits for its batch to fill.
const LINGER: Duration = Duration::from_secs(1);

/// Timeout of one request, unless the environment has another.
const TIMEOUT: Duration = Duration::from_secs(10);

/// Maximum length of a response that is read.
const RESPONSE_MAX: usize = 64 * 1024;

/// The provider, and what became of its spans.
#[derive(Debug)]
pub(super) struct Running {
    provider: SdkTracerProvider,
    counts: Arc<Counts>,
    /// Ends the client's thread when dropped.
    _stop: oneshot::Sender<()>,
}

#[derive(Debug, Default)]
struct Counts {
    ended: AtomicU64,
    exported: AtomicU64,
}

impl Running {
    pub(super) fn start(service: &'static str, endpoint: &str) -> io::Result<Self> {
        let uri = endpoint.parse::<http::Uri>().map_err(io::Error::other)?;
        let timeouts = ["OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT"];
        let timeout = timeouts.iter().find_map(|name| variable(name)?.parse().ok());
        let timeout = timeout.map_or(TIMEOUT, Duration::from_millis);
        let (client, stop) = Client::start(timeout)?;
        client.http.check_trust(&uri)?;
        let exporter = opentelemetry_otlp::SpanExporter::builder()
            .with_http()
            .with_http_client(client)
            .with_timeout(timeout)
            // whatever the variables say, this is what is supported
            .with_protocol(opentelemetry_otlp::Protocol::HttpBinary)
            .with_endpoint(endpoint)
            .build()
            .map_err(io::Error::other)?;
        let counts = Arc::<Counts>::default();
        let exporter = Counted { inner: exporter, counts: Arc::clone(&counts) };
        let batch = BatchSpanProcessor::builder(exporter).with_batch_config(batch()).build();
        let provider = SdkTracerProvider::builder()
            .with_resource(resource(service))
            .with_span_processor(Counted { inner: batch, counts: Arc::clone(&counts) })
            .build();
        global::set_tracer_provider(provider.clone());
        // the URL may contain a password
        let (host, port) = (uri.host().unwrap_or_default(), uri.port_u16());
        tracing::info!(target: "service", host, port, "exporting spans");
        Ok(Self { provider, counts, _stop: stop })
    }

    pub(super) fn finish(self, within: Duration) {
        self.provider.shutdown_with_timeout(within).ok();
        let (ended, exported) =
            (self.counts.ended.load(Ordering::Relaxed), self.counts.exported.load(Ordering::Relaxed));
        if ended > exported {
            let lost = ended - exported;
            tracing::warn!(target: "service", lost, exported, "some spans were not exported: the collector did not take them in time");
        }
    }
}

/// The SDK's own variables win over our figures.
fn batch() -> opentelemetry_sdk::trace::BatchConfig {
    let mut batch = BatchConfigBuilder::default();
    if variable("OTEL_BSP_MAX_QUEUE_SIZE").is_none() {
        batch = batch.with_max_queue_size(QUEUE);
    }
    if variable("OTEL_BSP_SCHEDULE_DELAY").is_none() {
        batch = batch.with_scheduled_delay(LINGER);
    }
    batch.build()
}

fn resource(service: &'static str) -> Resource {
    let listed = variable("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|listed| listed.contains("service.name="));
    let resource = Resource::builder();
    match variable("OTEL_SERVICE_NAME") {
        // the specification lets it win over the attributes; the SDK does not
        Some(name) => resource.with_service_name(name).build(),
        None if listed => resource.build(),
        None => resource.with_service_name(service).build(),
    }
}

/// Counts what passes through a processor or an exporter.
#[derive(Debug)]
struct Counted<T> {
    inner: T,
    counts: Arc<Counts>,
}

impl<T: SpanProcessor> SpanProcessor for Counted<T> {
    fn on_start(&self, span: &mut Span, context: &Context) {
        self.inner.on_start(span, context);
    }

    fn on_end(&self, span: SpanData) {
        self.counts.ended.fetch_add(1, Ordering::Relaxed);
        self.inner.on_end(span);
    }

    fn force_flush(&self) -> OTelSdkResult {
        self.inner.force_flush()
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

impl<T: SpanExporter> SpanExporter for Counted<T> {
    async fn export(&self, batch: Vec<SpanData>) -> OTelSdkResult {
        let spans = batch.len() as u64;
        let result = self.inner.export(batch).await;
        if result.is_ok() {
            self.counts.exported.fetch_add(spans, Ordering::Relaxed);
        }
        result
    }

    fn shutdown_with_timeout(&self, timeout: Duration) -> OTelSdkResult {
        self.inner.shutdown_with_timeout(timeout)
    }

    fn set_resource(&mut self, resource: &Resource) {
        self.inner.set_resource(resource);
    }
}

/// Our HTTP client for the exporter. The SDK exports from a thread without a reactor, so each request runs on a runtime of
/// its own, and is bounded here: the SDK's timeout bounds its retries, not one call.
#[derive(Debug)]
struct Client {
    http: lifeline_http::Client<Full<Bytes>>,
    runtime: Handle,
    timeout: Duration,
    failing: Arc<AtomicBool>,
}

impl Client {
    /// The client, and what ends its thread when it is dropped.
    fn start(timeout: Duration) -> io::Result<(Self, oneshot::Sender<()>)> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (stop, stopped) = oneshot::channel();
        let http = {
            let _entered = runtime.enter();
            lifeline_http::Client::builder(timeout).max_idle(1).build()
        };
        let client = Self { http, runtime: runtime.handle().clone(), timeout, failing: Arc::default() };
        thread::Builder::new().name("otlp".to_owned()).spawn(move || runtime.block_on(stopped).ok())?;
        Ok((client, stop))
    }

    /// Logs a lasting failure when it begins and when it ends.
    fn note(failing: &AtomicBool, result: &Result<Response<Bytes>, HttpError>) {
        let error = match result {
            Ok(response) if response.status().is_success() => None,
            Ok(response) => Some(response.status().to_string()),
            Err(error) => Some(error.to_string()),
        };
        match error {
            Some(error) if !failing.swap(true, Ordering::Relaxed) => {
                tracing::warn!(target: "service", error, "exporting spans failed; retrying");
            }
            None if failing.swap(false, Ordering::Relaxed) => {
                tracing::info!(target: "service", "exporting spans recovered");
            }
            _ => {}
        }
    }
}

#[async_trait]
impl HttpClient for Client {
    async fn send_bytes(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (http, timeout, failing) = (self.http.clone(), self.timeout, Arc::clone(&self.failing));
        let (done, response) = oneshot::channel();
        self.runtime.spawn(async move {
            let call = async {
                let response = http.request(request.map(Full::new)).await?;
                let (head, body) = response.into_parts();
                let body = Limited::new(body, RESPONSE_MAX).collect().await?.to_bytes();
                Ok::<_, HttpError>(Response::from_parts(head, body))
            };
            let result = tokio::time::timeout(timeout, call).await;
            let result = result.unwrap_or_else(|_| Err(format!("no response within {timeout:?}").into()));
            Self::note(&failing, &result);
            done.send(result).ok();
        });
        response.await.unwrap_or_else(|_| Err("the exporter's runtime has ended".into()))
    }
}
