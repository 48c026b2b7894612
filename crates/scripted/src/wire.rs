//! HTTP/1.1, byte by byte: reading requests, and answering them as well or as badly as the script says.
//!
//! No HTTP library is under this, since the faults are things that a library is built to prevent.

use std::{io, time::Duration};

use serde_json::Value;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::Instant,
};

use crate::{
    Mode, Shared,
    calls::{Call, Outcome},
    fault::{Decision, Fault, ServiceError},
    query, sns, sqs,
};

const STS: &str = "https://sts.amazonaws.com/doc/2011-06-15/";

struct Request {
    method: String,
    path: String,
    target: Option<String>,
    access_key: String,
    close: bool,
    body: Vec<u8>,
}

struct Response {
    status: u16,
    content_type: &'static str,
    query_error: Option<String>,
    body: Vec<u8>,
}

impl Response {
    fn json(status: u16, body: &Value) -> Self {
        let body = body.to_string().into_bytes();
        Self { status, content_type: "application/x-amz-json-1.0", query_error: None, body }
    }

    fn xml(status: u16, body: String) -> Self {
        Self { status, content_type: "text/xml", query_error: None, body: body.into_bytes() }
    }

    fn head(&self) -> Vec<u8> {
        let Self { status, content_type, .. } = self;
        let id = crate::uuid();
        let error =
            self.query_error.as_ref().map(|e| format!("x-amzn-query-error: {e}\r\n")).unwrap_or_default();
        format!(
            "HTTP/1.1 {status} Scripted\r\ncontent-type: {content_type}\r\nx-amzn-requestid: {id}\r\n{error}content-length: {}\r\n\r\n",
            self.body.len()
        )
        .into_bytes()
    }
}

#[derive(Clone, Copy, PartialEq)]
enum Service {
    Sqs,
    Sns,
    Sts,
}

/// Counts the call as unanswered until dropped, and writes down how it ended.
struct Ticket<'a> {
    shared: &'a Shared,
    id: usize,
    action: String,
    outcome: Outcome,
}

impl Drop for Ticket<'_> {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        if let Some(open) = state.open.get_mut(&self.action) {
            *open -= 1;
        }
        if let Some(call) = state.calls.get_mut(self.id) {
            call.outcome = self.outcome;
        }
        drop(state);
        self.shared.touch();
    }
}

/// Serves one connection until it ends. In a black hole, bytes are read and never answered.
pub(crate) async fn serve(shared: &Shared, stream: &mut TcpStream, connection: u64) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut buffer = Vec::new();
    while let Some(request) = read(stream, &mut buffer).await? {
        if *shared.mode.borrow() == Mode::BlackHole {
            return hold(stream).await;
        }
        let close = request.close;
        if request.method != "POST" {
            let response = aside(shared, &request);
            write(stream, &response.head(), &response.body).await?;
        } else if !call(shared, stream, request, connection).await? {
            return Ok(());
        }
        if close {
            return Ok(());
        }
    }
    Ok(())
}

async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<Option<Request>> {
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut head = httparse::Request::new(&mut headers);
        let parsed = head.parse(buffer).map_err(io::Error::other)?;
        if let httparse::Status::Complete(start) = parsed {
            let header = |name: &str| {
                let found = head.headers.iter().find(|h| h.name.eq_ignore_ascii_case(name));
                found.and_then(|h| std::str::from_utf8(h.value).ok())
            };
            let length: usize = header("content-length").and_then(|v| v.trim().parse().ok()).unwrap_or(0);
            let credential = header("authorization").and_then(|a| a.split("Credential=").nth(1));
            let mut request = Request {
                method: head.method.unwrap_or_default().into(),
                path: head.path.unwrap_or_default().into(),
                target: header("x-amz-target").map(Into::into),
                access_key: credential.and_then(|c| c.split('/').next()).unwrap_or_default().into(),
                close: header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close")),
                body: Vec::new(),
            };
            if header("expect").is_some() {
                stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").await?;
            }
            while buffer.len() < start + length {
                if stream.read_buf(buffer).await? == 0 {
                    return Ok(None);
                }
            }
            request.body = buffer[start..start + length].to_vec();
            buffer.drain(..start + length);
            return Ok(Some(request));
        }
        if stream.read_buf(buffer).await? == 0 {
            return Ok(None);
        }
    }
}

/// One AWS call, from record to last byte. `false` when the connection is over.
async fn call(
    shared: &Shared,
    stream: &mut TcpStream,
    request: Request,
    connection: u64,
) -> io::Result<bool> {
    let (service, action, parameters) = parse(&request);
    let (mut ticket, decision) =
        record(shared, service, &action, &parameters, &request.access_key, connection);
    let work = answer(shared, service, &action, &parameters, &decision);
    let mut response = if shared.notices_disconnects() {
        tokio::select! {
            response = work => response,
            () = closed(stream) => { ticket.outcome = Outcome::Broken; return Ok(false) }
        }
    } else {
        work.await
    };
    let fault = match decision.fault {
        // Its effect is had; what is left of the fault is the answer.
        Some(fault) => fault,
        None => Fault::Delay(Duration::ZERO),
    };
    let half = response.body.len() / 2;
    match fault {
        Fault::Hang => {
            ticket.outcome = Outcome::Broken;
            closed(stream).await;
            return Ok(false);
        }
        Fault::Reset => {
            ticket.outcome = Outcome::Broken;
            stream.set_zero_linger()?;
            return Ok(false);
        }
        Fault::StallBody => {
            ticket.outcome = Outcome::Broken;
            write(stream, &response.head(), &response.body[..half]).await?;
            closed(stream).await;
            return Ok(false);
        }
        Fault::CloseEarly => {
            ticket.outcome = Outcome::Broken;
            write(stream, &response.head(), &response.body[..half]).await?;
            stream.shutdown().await?;
            return Ok(false);
        }
        Fault::Drip(every) => {
            ticket.outcome = Outcome::Broken;
            stream.write_all(&response.head()).await?;
            for byte in &response.body {
                tokio::time::sleep(every).await;
                stream.write_all(std::slice::from_ref(byte)).await?;
            }
        }
        Fault::Page(status) => {
            let page = format!(
                "<html><head><title>{status}</title></head><body><center>nginx</center></body></html>"
            );
            response =
                Response { status, content_type: "text/html", query_error: None, body: page.into_bytes() };
            write(stream, &response.head(), &response.body).await?;
        }
        Fault::Slow(bytes_per_second) => {
            stream.write_all(&response.head()).await?;
            // a tenth of a second at a time
            let chunk = usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX).max(1);
            for part in response.body.chunks(chunk) {
                tokio::time::sleep(Duration::from_millis(100)).await;
                stream.write_all(part).await?;
            }
        }
        Fault::Garbage(body) => {
            response = Response { body: body.into_bytes(), status: 200, ..response };
            write(stream, &response.head(), &response.body).await?;
        }
        _ => write(stream, &response.head(), &response.body).await?,
    }
    ticket.outcome = Outcome::Answered(response.status);
    Ok(true)
}

fn parse(request: &Request) -> (Service, String, Value) {
    if let Some(target) = &request.target {
        let action = target.rsplit('.').next().unwrap_or_default();
        return (Service::Sqs, action.into(), serde_json::from_slice(&request.body).unwrap_or_default());
    }
    let parameters = query::fold(&request.body);
    let action = crate::text_of(&parameters, "Action");
    let is_sts = action.starts_with("AssumeRole") || action == "GetCallerIdentity";
    (if is_sts { Service::Sts } else { Service::Sns }, action, parameters)
}

fn record<'a>(
    shared: &'a Shared,
    service: Service,
    action: &str,
    parameters: &Value,
    access_key: &str,
    connection: u64,
) -> (Ticket<'a>, Decision) {
    let mut state = shared.state();
    let entries = match service {
        Service::Sqs => sqs::entries(&state, parameters),
        _ => sns::entries(parameters),
    };
    let open = state.open.entry(action.into()).or_default();
    *open += 1;
    let concurrent = *open;
    let count = state.counts.entry(action.into()).or_default();
    *count += 1;
    let call = Call {
        id: state.calls.len(),
        action: action.into(),
        at: Instant::now(),
        concurrent,
        request: parameters.clone(),
        entries,
        access_key: access_key.into(),
        connection,
        outcome: Outcome::Pending,
    };
    let decision = state.script.decide(&call);
    let mut id = call.id;
    if state.frugal {
        id = usize::MAX;
    } else {
        state.calls.push(call);
    }
    drop(state);
    shared.touch();
    (Ticket { shared, id, action: action.into(), outcome: Outcome::Broken }, decision)
}

/// The answer the fault leaves: honest for faults of the connection that come after the effect, an error for
/// scripted errors, and nothing done at all for a hang or reset before it.
async fn answer(
    shared: &Shared,
    service: Service,
    action: &str,
    parameters: &Value,
    decision: &Decision,
) -> Response {
    tokio::time::sleep(decision.delay).await;
    let fault = decision.fault.as_ref();
    let untouched = matches!(
        fault,
        Some(Fault::Hang | Fault::Reset | Fault::Garbage(_) | Fault::Page(_) | Fault::Status(_))
    );
    if untouched && !decision.after_effect {
        return match fault {
            Some(Fault::Status(error)) => failure(service, error),
            _ => Response::json(200, &Value::Null),
        };
    }
    let response = match service {
        Service::Sqs => match sqs::perform(shared, action, parameters, decision).await {
            Ok(body) => Response::json(200, &body),
            Err(error) => failure(service, &error),
        },
        Service::Sns => match sns::perform(shared, action, parameters, fault) {
            Ok(result) => Response::xml(200, query::answer(action, sns::NAMESPACE, &result)),
            Err(error) => failure(service, &error),
        },
        Service::Sts => Response::xml(200, query::answer(action, STS, &identity(shared, action))),
    };
    match fault {
        Some(Fault::Status(error)) => failure(service, error),
        _ => response,
    }
}

fn failure(service: Service, error: &ServiceError) -> Response {
    if service == Service::Sqs {
        let (body, query_error) = sqs::error(error);
        return Response { query_error: Some(query_error), ..Response::json(error.status, &body) };
    }
    Response::xml(error.status, query::error(error, sns::NAMESPACE))
}

/// STS: who am I, and fresh credentials for a role, each set with a key of its own.
fn identity(shared: &Shared, action: &str) -> String {
    let arn = format!("arn:aws:sts::{}:assumed-role/scripted/session", crate::ACCOUNT);
    if action == "GetCallerIdentity" {
        let fields = [
            query::text("Arn", &arn),
            query::text("UserId", "AIDASCRIPTED"),
            query::text("Account", crate::ACCOUNT),
        ];
        return fields.concat();
    }
    let (key, expiration) = shared.new_credentials();
    let credentials = [
        query::text("AccessKeyId", &key),
        query::text("SecretAccessKey", "scripted"),
        query::text("SessionToken", "scripted"),
        query::text("Expiration", &expiration),
    ];
    let user = [query::text("Arn", &arn), query::text("AssumedRoleId", "AROASCRIPTED:session")];
    query::element("Credentials", &credentials.concat()) + &query::element("AssumedRoleUser", &user.concat())
}

/// What is not an AWS call: `/credentials` as EKS Pod Identity serves them; the rest is a sign of life.
fn aside(shared: &Shared, request: &Request) -> Response {
    if request.path.starts_with("/credentials") {
        let (key, expiration) = shared.new_credentials();
        let body = serde_json::json!({
            "AccessKeyId": key, "SecretAccessKey": "scripted", "Token": "scripted", "Expiration": expiration,
            "RoleArn": format!("arn:aws:iam::{}:role/scripted", crate::ACCOUNT),
        });
        return Response { content_type: "application/json", ..Response::json(200, &body) };
    }
    Response::json(200, &serde_json::json!({"services": {"sns": "running", "sqs": "running"}}))
}

async fn write(stream: &mut TcpStream, head: &[u8], body: &[u8]) -> io::Result<()> {
    // One write, so that a fault in the middle of a body is where the script put it.
    stream.write_all(&[head, body].concat()).await?;
    stream.flush().await
}

async fn hold(stream: &mut TcpStream) -> io::Result<()> {
    let mut scratch = [0; 4096];
    while stream.read(&mut scratch).await? > 0 {}
    Ok(())
}

/// Completes when the client has closed its side. What it sends meanwhile is not read.
async fn closed(stream: &TcpStream) {
    let mut probe = [0; 1];
    while matches!(stream.peek(&mut probe).await, Ok(n) if n > 0) {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
