//! Where spans go: OpenTelemetry's own variables, with the meaning that its specification gives them.
//! <https://opentelemetry.io/docs/specs/otel/protocol/exporter/>,
//! <https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/>.

use std::io;
use std::time::Duration;

use hyper::Uri;
use hyper::header::{HeaderMap, HeaderName, HeaderValue};

use super::encoding;
use super::exporter::{Exporter, Exporting, Plan};
use lifeline_service::settings::{self, Accept, Reader, Setting, choice, text};

/// The rows of the export's settings, for a program's table. `OTEL_EXPORTER_OTLP_HEADERS` is none of them: it may hold a
/// credential, and neither a command line nor a complaint of a bad setting may show that.
pub const SETTINGS: &[Setting] = &[
    Setting {
        name: "OTEL_EXPORTER_OTLP_ENDPOINT",
        default: None,
        help: "a collector like http://localhost:4318; spans are exported where it is set (its headers: OTEL_EXPORTER_OTLP_HEADERS)",
    },
    Setting {
        name: "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
        default: None,
        help: "the same for spans alone, taken as it is: no /v1/traces is added",
    },
    Setting {
        name: "OTEL_EXPORTER_OTLP_PROTOCOL",
        default: Some("http/protobuf"),
        help: "what the collector speaks; there is no other",
    },
    Setting {
        name: "OTEL_EXPORTER_OTLP_TIMEOUT",
        default: Some("10000"),
        help: "how long one request to the collector may take, in milliseconds",
    },
    Setting { name: "OTEL_SERVICE_NAME", default: None, help: "service.name; else the program's" },
    Setting { name: "OTEL_RESOURCE_ATTRIBUTES", default: None, help: "what all spans say: key=value,…" },
    Setting {
        name: "OTEL_TRACES_SAMPLER",
        default: Some("parentbased_always_on"),
        help: "of traces that begin here: parentbased_always_on, parentbased_always_off or parentbased_traceidratio",
    },
    Setting {
        name: "OTEL_TRACES_SAMPLER_ARG",
        default: Some("1"),
        help: "the share of traces that parentbased_traceidratio keeps, 0 to 1",
    },
    Setting { name: "OTEL_SDK_DISABLED", default: Some("false"), help: "true: nothing is exported" },
];

/// Where spans go.
#[derive(Debug, Clone)]
pub struct Export {
    endpoint: Option<Uri>,
    timeout: Duration,
    service: Option<String>,
    attributes: Vec<(String, String)>,
    ratio: f64,
}

#[derive(Clone)]
enum Sampler {
    All,
    None,
    Ratio,
}

impl Export {
    /// Reads the settings.
    pub fn read(reader: &mut Reader<'_>) -> Self {
        let base = reader.optional("OTEL_EXPORTER_OTLP_ENDPOINT", address("/v1/traces"));
        let whole = reader.optional("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", address(""));
        reader.read("OTEL_EXPORTER_OTLP_PROTOCOL", choice(&[("http/protobuf", ())]));
        let milliseconds = reader.read("OTEL_EXPORTER_OTLP_TIMEOUT", settings::integer(1..=600_000));
        let sampler = choice(&[
            ("parentbased_always_on", Sampler::All),
            ("parentbased_always_off", Sampler::None),
            ("parentbased_traceidratio", Sampler::Ratio),
        ]);
        let ratio = reader.read("OTEL_TRACES_SAMPLER_ARG", settings::number(0.0..=1.0));
        let ratio = match reader.read("OTEL_TRACES_SAMPLER", sampler) {
            Sampler::All => 1.0,
            Sampler::None => 0.0,
            Sampler::Ratio => ratio,
        };
        let disabled = reader.read("OTEL_SDK_DISABLED", settings::boolean());
        Self {
            endpoint: whole.or(base).filter(|_| !disabled),
            timeout: Duration::from_millis(milliseconds),
            service: reader.optional("OTEL_SERVICE_NAME", text()),
            attributes: reader.optional("OTEL_RESOURCE_ATTRIBUTES", list()).unwrap_or_default(),
            ratio,
        }
    }

    /// The collector's address; none where nothing is exported.
    pub fn endpoint(&self) -> Option<String> {
        self.endpoint.as_ref().map(Uri::to_string)
    }

    /// Begins to export this process's spans, if there is a collector to take them. `service` is its name where the
    /// settings have none. A second call changes nothing.
    ///
    /// # Errors
    /// `OTEL_EXPORTER_OTLP_HEADERS` is no list of headers, no TLS for an `https` endpoint, or no thread to be had.
    pub fn install(self, service: &'static str) -> io::Result<Exporting> {
        let Some(endpoint) = self.endpoint else { return Ok(Exporting::none()) };
        let listed = ["OTEL_EXPORTER_OTLP_TRACES_HEADERS", "OTEL_EXPORTER_OTLP_HEADERS"];
        let listed = listed.iter().find_map(|name| std::env::var(name).ok().filter(|v| !v.is_empty()));
        let headers = headers(&listed.unwrap_or_default()).ok_or_else(|| {
            let why = "OTEL_EXPORTER_OTLP_HEADERS: not accepted; it must be name=value,…";
            io::Error::new(io::ErrorKind::InvalidInput, why)
        })?;
        let own = [
            ("service.name", service),
            ("service.version", env!("CARGO_PKG_VERSION")),
            ("telemetry.sdk.language", "rust"),
        ];
        // the later ones stand over the earlier
        let mut attributes: Vec<(String, String)> = own.map(|(k, v)| (k.to_owned(), v.to_owned())).into();
        for (key, value) in
            self.attributes.into_iter().chain(self.service.map(|name| ("service.name".to_owned(), name)))
        {
            attributes.retain(|(known, _)| *known != key);
            attributes.push((key, value));
        }
        let plan =
            Plan { endpoint, headers, timeout: self.timeout, resource: encoding::resource(attributes) };
        Exporter::start(plan, self.ratio)
    }
}

fn address(path: &'static str) -> Accept<Uri> {
    Accept::new("an address that begins with http:// or https://", move |text| {
        let text = if path.is_empty() { text } else { text.trim_end_matches('/') };
        let uri: Uri = format!("{text}{path}").parse().ok()?;
        (matches!(uri.scheme_str(), Some("http" | "https")) && uri.host().is_some()).then_some(uri)
    })
}

fn list() -> Accept<Vec<(String, String)>> {
    Accept::new("key=value,… with other characters percent-encoded", pairs)
}

fn headers(list: &str) -> Option<HeaderMap> {
    let header = |(name, value): (String, String)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    };
    pairs(list)?.into_iter().map(header).collect()
}

/// `key=value,key=value` as in W3C Baggage: spaces around them do not count, values are percent-encoded.
fn pairs(list: &str) -> Option<Vec<(String, String)>> {
    let pair = |member: &str| {
        let (key, value) = member.split_once('=')?;
        let (key, value) = (key.trim(), decoded(value.trim())?);
        (!key.is_empty()).then(|| (key.to_owned(), value))
    };
    list.split(',').map(str::trim).filter(|member| !member.is_empty()).map(pair).collect()
}

fn decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut parts = text.split('%');
    bytes.extend_from_slice(parts.next().unwrap_or_default().as_bytes());
    for part in parts {
        bytes.push(u8::from_str_radix(part.get(..2)?, 16).ok()?);
        bytes.extend_from_slice(&part.as_bytes()[2..]);
    }
    String::from_utf8(bytes).ok()
}
