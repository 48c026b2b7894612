//! Tells what a request asks for: protocol, service, action, account, region.

use bytes::Bytes;
use http::{HeaderMap, Method, Request, header};

use crate::{
    action::{Action, Service},
    call::Call,
    clock::Time,
    error::{AwsError, not_implemented},
    model::arn::Scope,
    protocol::{Form, Input, Protocol},
};

/// The account of access keys that are no account's number.
pub(crate) const ACCOUNT: &str = "000000000000";
/// The region of requests that name none.
pub(crate) const REGION: &str = "us-east-1";

/// A request, understood.
#[derive(Debug, Clone)]
pub(crate) struct Parsed {
    pub(crate) protocol: Protocol,
    pub(crate) action: Action,
    pub(crate) call: Call,
    pub(crate) input: Input,
}

/// A request that names no action that is built.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) protocol: Protocol,
    pub(crate) service: Service,
    pub(crate) error: AwsError,
}

/// What the signature says, which is not verified.
#[derive(Debug, Default)]
struct Credential {
    key: Option<String>,
    region: Option<String>,
    service: Option<String>,
}

impl Credential {
    /// `KEY/DATE/REGION/SERVICE/aws4_request`
    fn parse(text: &str) -> Self {
        let mut parts = text.split('/').map(String::from);
        let (key, _date) = (parts.next(), parts.next());
        Self { key, region: parts.next(), service: parts.next() }
    }

    fn of(headers: &HeaderMap, form: &Form) -> Self {
        let header = headers.get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
        let header = header.and_then(|text| text.split_once("Credential="));
        let header = header.map(|(_, rest)| rest.split(',').next().unwrap_or_default());
        header.or_else(|| form.get("X-Amz-Credential")).map(Self::parse).unwrap_or_default()
    }

    fn scope(&self) -> Scope {
        let is_account = |key: &&str| key.len() == 12 && key.bytes().all(|byte| byte.is_ascii_digit());
        let account = self.key.as_deref().filter(is_account).unwrap_or(ACCOUNT);
        Scope::new(account, self.region.as_deref().filter(|region| !region.is_empty()).unwrap_or(REGION))
    }
}

pub(crate) fn parse(request: Request<Bytes>, now: Time) -> Result<Parsed, Refused> {
    let (head, body) = request.into_parts();
    let text = |name: &str| head.headers.get(name).and_then(|value| value.to_str().ok());
    let host = text("host").map(String::from).or_else(|| head.uri.authority().map(ToString::to_string));
    let mut call = Call {
        scope: Scope::new(ACCOUNT, REGION),
        now,
        host: format!("http://{}", host.as_deref().unwrap_or("localhost")),
        path: head.uri.path().into(),
        access_key: String::new(),
        trace_header: text("x-amzn-trace-id").map(String::from),
    };
    if let Some(target) = text("x-amz-target") {
        let credential = Credential::of(&head.headers, &Form::default());
        call.scope = credential.scope();
        call.access_key = credential.key.unwrap_or_default();
        return json(target, call, body);
    }
    let accepts = text("accept").unwrap_or_default();
    let protocol =
        if accepts.starts_with("application/json") { Protocol::QueryJson } else { Protocol::Query };
    let malformed = || {
        let text = "The query string contains a syntax error: it is not UTF-8, or a name has too many parts.";
        let error = AwsError::new(404, "MalformedQueryString", text);
        Refused { protocol, service: Service::Sqs, error }
    };
    let query = Form::parse(head.uri.query().unwrap_or_default().as_bytes()).ok_or_else(malformed)?;
    let form = match head.method {
        Method::POST => Form::parse(&body).ok_or_else(malformed)?.or(query),
        _ => query,
    };
    let credential = Credential::of(&head.headers, &form);
    call.scope = credential.scope();
    call.access_key = credential.key.clone().unwrap_or_default();
    query_protocol(protocol, form, &credential, call)
}

fn json(target: &str, call: Call, body: Bytes) -> Result<Parsed, Refused> {
    let protocol = Protocol::Json;
    let refused = |error| Refused { protocol, service: Service::Sqs, error };
    let unknown = || {
        let text = format!("The operation {target} is not known.");
        refused(AwsError::new(400, "UnknownOperationException", text))
    };
    let Some(name) = target.strip_prefix("AmazonSQS.") else {
        return Err(refused(not_implemented(&format!("the service of {target}"))));
    };
    let action = Action::find(Service::Sqs, name).ok_or_else(unknown)?;
    Ok(Parsed { protocol, action, call, input: Input::Json(body) })
}

fn query_protocol(
    protocol: Protocol,
    form: Form,
    credential: &Credential,
    call: Call,
) -> Result<Parsed, Refused> {
    let refused = |service, error| Refused { protocol, service, error };
    let on_queue = call.path.trim_matches('/').contains('/');
    let named = match credential.service.as_deref() {
        Some(name) if name.starts_with("sqs") => Some(Service::Sqs),
        Some("sns") => Some(Service::Sns),
        Some("sts") => Some(Service::Sts),
        Some(other) => {
            return Err(refused(Service::Sns, not_implemented(&format!("the service {other}"))));
        }
        None if on_queue => Some(Service::Sqs),
        None => match form.get("Version") {
            Some("2012-11-05") => Some(Service::Sqs),
            Some("2010-03-31") => Some(Service::Sns),
            Some("2011-06-15") => Some(Service::Sts),
            _ => None,
        },
    };
    let Some(name) = form.get("Action").map(String::from) else {
        let service = named.unwrap_or(Service::Sqs);
        return Err(refused(service, AwsError::new(404, "UnknownOperationException", "")));
    };
    let service = named.unwrap_or_else(|| {
        if Action::find(Service::Sns, &name).is_some() { Service::Sns } else { Service::Sqs }
    });
    let invalid = || {
        let text = match service {
            Service::Sqs => format!("The action {name} is not valid for this endpoint."),
            Service::Sns => format!("Could not find operation {name} for version 2010-03-31"),
            Service::Sts => format!("Could not find operation {name} for version 2011-06-15"),
        };
        AwsError::new(400, "InvalidAction", text)
    };
    let not_here = on_queue && matches!(name.as_str(), "ListQueues" | "CreateQueue");
    let action = match Action::find(service, &name) {
        Some(action) if !not_here => action,
        None if service == Service::Sns && Action::is_unbuilt(&name) => {
            return Err(refused(service, not_implemented(&format!("SNS's {name}"))));
        }
        None if service == Service::Sts => {
            return Err(refused(service, not_implemented(&format!("STS's {name}"))));
        }
        _ => return Err(refused(service, invalid())),
    };
    Ok(Parsed { protocol, action, call, input: Input::Tree(form.tree(service)) })
}
