//! The binary's handlers, through the service that the binary runs: `log`, `file` and `http`.

use std::sync::Arc;
use std::time::Duration;

use clap::Parser as _;
use lifeline_consumer::Drained;
use lifeline_consumer::service;
use lifeline_consumer::service::Args;
use lifeline_emulator::Emulator;
use lifeline_health::Health;
use lifeline_messaging::client::Access;
use lifeline_service::{Host, Shutdown};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use crate::support::*;

/// The service in this process, with settings as a user gives them.
pub(crate) struct Service {
    stop: Shutdown,
    run: JoinHandle<anyhow::Result<Drained>>,
    health: Health,
}

impl Service {
    pub(crate) fn start(aws: &Emulator, settings: &[(&str, &str)]) -> Self {
        let flag =
            |(name, value): &(&str, &str)| format!("--{}={value}", name.to_lowercase().replace('_', "-"));
        let fixed = ["consumer", "--queue-name=events", "--provision=off"].map(str::to_owned);
        let args = Args::parse_from(fixed.into_iter().chain(settings.iter().map(flag)));
        let checked = lifeline_service::check(args).unwrap();
        let mut config = checked.config;
        config.consumer.access = Access::local(aws.url());
        let host = Host::detached(Health::new("test"), checked.common.process.grace);
        let (stop, health) = (host.shutdown.clone(), host.health.clone());
        let run = tokio::spawn(service::run(config, host));
        Self { stop, run, health }
    }

    pub(crate) async fn drain(self) -> Drained {
        self.stop.request();
        let drained = self.run.await.unwrap().unwrap();
        assert!(drained.account.balances());
        drained
    }
}

/// A service in any language: answers every request with what `answer` says, and keeps what it was sent.
struct Sidecar {
    url: String,
    requests: Seen<String>,
    connections: Count,
}

impl Sidecar {
    async fn start(answer: impl Fn(&str) -> Option<String> + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/in", listener.local_addr().unwrap());
        let (requests, connections, answer) = (Seen::default(), Count::default(), Arc::new(answer));
        let sidecar = Self { url, requests: requests.clone(), connections: connections.clone() };
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                connections.add();
                let (requests, answer) = (requests.clone(), Arc::clone(&answer));
                tokio::spawn(async move {
                    let mut text = String::new();
                    let mut bytes = [0; 4096];
                    while let Ok(read @ 1..) = stream.read(&mut bytes).await {
                        text.push_str(std::str::from_utf8(&bytes[..read]).unwrap());
                        let Some((head, body)) = text.split_once("\r\n\r\n") else { continue };
                        let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
                        if body.len() < length.map_or(0, |l| l.parse().unwrap()) {
                            continue;
                        }
                        let request = std::mem::take(&mut text);
                        requests.push(request.clone());
                        match answer(&request) {
                            Some(answer) => stream.write_all(answer.as_bytes()).await.unwrap(),
                            None => std::future::pending().await,
                        }
                    }
                });
            }
        });
        sidecar
    }
}

fn http(status: &str, more: &str, body: &str) -> Option<String> {
    Some(format!("HTTP/1.1 {status}\r\n{more}content-length: {}\r\n\r\n{body}", body.len()))
}

#[tokio::test]
async fn http_posts_each_message_with_its_headers_over_kept_connections() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let sidecar = Sidecar::start(|_| http("200 OK", "", "thanks")).await;
    let trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let id = queue.send(
        lifeline_emulator::Message::new("{\"order\":1}")
            .attribute("traceparent", trace)
            .attribute("kind", "größer\r\nx: y"),
    );
    let service =
        Service::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", &sidecar.url), ("WAIT_TIME", "1s")]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    let request = sidecar.requests.all().remove(0);
    let has = |line: &str| assert!(request.contains(&format!("{line}\r\n")), "{line} is not in\n{request}");
    has("POST /in HTTP/1.1");
    has("content-type: application/json");
    has(&format!("message-id: {id}"));
    has("receive-count: 1");
    has("attribute-kind: gr%C3%B6%C3%9Fer%0D%0Ax: y");
    assert!(request.contains("traceparent: 00-0af7651916cd43dd8448eb211c80319c-"), "the same trace");
    assert!(!request.contains("b7ad6b7169203331"), "as a child of it");
    assert!(request.ends_with("\r\n\r\n{\"order\":1}"));
    for n in 0..30 {
        queue.send(n.to_string());
        aws.wait_for(|_| queue.is_empty(), SOON).await;
    }
    assert_eq!(sidecar.connections.get(), 1, "though its answers have bodies");
    assert_eq!(service.drain().await.account, account(31, 31, 0, 0, 0));
}

#[tokio::test]
async fn http_opens_no_more_connections_than_messages_are_in_flight() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all((0..100).map(|n| n.to_string()));
    let sidecar = Sidecar::start(|_| http("204 No Content", "", "")).await;
    let url = sidecar.url.clone();
    let settings =
        [("HANDLER", "http"), ("HANDLER_URL", url.as_str()), ("MAX_IN_FLIGHT", "3"), ("WAIT_TIME", "1s")];
    let service = Service::start(&aws, &settings);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert!(sidecar.connections.get() <= 3, "{}", sidecar.connections.get());
    assert_eq!(service.drain().await.account, account(100, 100, 0, 0, 0));
}

#[tokio::test]
async fn http_answers_decide_what_becomes_of_the_message() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send_all(["ok", "busy", "gone", "broken", "silent"]);
    let sidecar = Sidecar::start(|request| {
        let body = request.rsplit("\r\n\r\n").next().unwrap_or_default();
        match body {
            "ok" => http("204 No Content", "", ""),
            "busy" => http("423 Locked", "retry-after: 77\r\n", "later"),
            "gone" => http("404 Not Found", "", ""),
            "broken" => http("500 Internal Server Error", "", "oops"),
            _ => None,
        }
    })
    .await;
    let url = sidecar.url.clone();
    let settings = [
        ("HANDLER", "http"),
        ("HANDLER_URL", url.as_str()),
        ("HANDLER_TIMEOUT", "300ms"),
        ("WAIT_TIME", "1s"),
    ];
    let service = Service::start(&aws, &settings);
    let delay = |body: &str| queue.history(body).visibility.first().map(|(_, delay)| delay.as_secs());
    let delayed = || ["busy", "gone", "broken", "silent"].into_iter().all(|body| delay(body).is_some());
    aws.wait_for(|_| delayed() && queue.deleted() == ["ok"], SOON).await;
    assert_eq!(["busy", "gone", "broken", "silent"].map(|body| delay(body).unwrap()), [77, 1, 1, 1]);
    let account = service.drain().await.account;
    assert_eq!((account.deleted, account.lost_lease), (1, 0));
    assert_eq!(queue.bodies().len(), 4);
}

#[tokio::test]
async fn http_with_nobody_there_deletes_nothing() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let url = format!("http://{nobody}/");
    let service = Service::start(&aws, &[("HANDLER", "http"), ("HANDLER_URL", &url), ("WAIT_TIME", "1s")]);
    let reason = || {
        let reasons = service.health.readiness.reasons();
        reasons.into_iter().find(|(name, _)| *name == "handler").map(|(_, why)| why.into_owned())
    };
    aws.wait_for(|_| reason().is_some_and(|why| why.contains("unavailable since")), SOON).await;
    assert!(service.health.pulses.stale().is_empty());
    let account = service.drain().await.account;
    assert!(account.deleted == 0 && account.retried == 0 && account.released == 1, "{account}");
    assert_eq!(queue.bodies(), ["one"]);
}

#[tokio::test]
async fn file_appends_each_body_as_a_line() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    let folder = std::env::temp_dir().join(format!("consumer-file-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let path = folder.join("out");
    std::fs::write(&path, "before\n").unwrap();
    queue.send_all((0..500).map(|n| format!("line {n}")));
    let file = path.to_str().unwrap();
    let service = Service::start(&aws, &[("HANDLER", "file"), ("HANDLER_FILE", file), ("WAIT_TIME", "1s")]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(service.drain().await.account, account(500, 500, 0, 0, 0));
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    let mut lines: Vec<_> = text.lines().collect();
    assert_eq!(lines.remove(0), "before");
    lines.sort_unstable();
    lines.dedup();
    assert_eq!(lines.len(), 500);
}

#[tokio::test]
async fn file_on_a_full_disk_keeps_its_messages_and_is_not_ready() {
    let aws = emulator().await;
    let queue = aws.queue("events");
    queue.send("one");
    let service =
        Service::start(&aws, &[("HANDLER", "file"), ("HANDLER_FILE", "/dev/full"), ("WAIT_TIME", "1s")]);
    let not_ready = || service.health.readiness.reasons().iter().any(|(name, _)| *name == "handler");
    aws.wait_for(|_| not_ready(), SOON).await;
    assert_eq!(service.drain().await.account.deleted, 0);
    assert_eq!(queue.bodies(), ["one"]);
}

#[tokio::test]
async fn a_file_that_cannot_be_opened_is_said_before_anything_is_received() {
    let aws = emulator().await;
    let _queue = aws.queue("events");
    let service = Service::start(&aws, &[("HANDLER", "file"), ("HANDLER_FILE", "/nowhere/at/all")]);
    let error = service.run.await.unwrap().unwrap_err().to_string();
    assert!(error.contains("HANDLER_FILE=/nowhere/at/all"), "{error}");
    assert_eq!(aws.calls(None), 0);
}

#[tokio::test]
async fn log_shows_the_whole_body_on_one_line_and_can_not_be_forged() {
    let log = Log::capture();
    let aws = emulator().await;
    let queue = aws.queue("events");
    let long = "x".repeat(5000);
    queue.send_all(["a\n2026-01-01T00:00:00Z INFO consumer: deleted\u{1b}[31m", long.as_str()]);
    let service = Service::start(&aws, &[("HANDLER", "log"), ("LOG_BODY", "all"), ("WAIT_TIME", "1s")]);
    aws.wait_for(|_| queue.is_empty(), SOON).await;
    assert_eq!(service.drain().await.account, account(2, 2, 0, 0, 0));
    let text = log.text();
    assert_eq!(log.lines_with("received message_id="), 2, "{text}");
    assert_eq!(log.lines_with("deleted message_id="), 2);
    assert!(text.contains(&long), "LOG_BODY=all shows all of it");
    assert!(!text.contains('\u{1b}') && text.contains("a\\n2026"), "{text}");
    tokio::time::sleep(Duration::ZERO).await;
}
