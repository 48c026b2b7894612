//! The measurement: real consumers and producers behind a wire of a chosen length.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use wire::{Counts, Proxy, Wire};

use crate::figures::{BODIES, Body, Figures, IN_FLIGHT};
use crate::http::Http;
use crate::programs::{self, Programs, Running, Spent};
use crate::sim::Course;
use crate::sim::consumer::Pod;
use crate::sim::producer::{Input, batch};

const QUEUE: &str = "scale";

/// How often the counter is read: a thousandth of a run.
const LOOK: Duration = Duration::from_millis(20);

/// A run that takes longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(90);

/// What a run showed.
#[derive(Debug, Clone)]
pub(crate) struct Measured {
    pub(crate) course: Course,
    pub(crate) counts: Counts,
    /// Between the looks at which the steady part begins and ends.
    pub(crate) cpu_us_per_message: f64,
    /// What a message costs the endpoint and this process, which is the wire.
    pub(crate) around_us_per_message: f64,
    pub(crate) peak_mib: f64,
}

/// The endpoint, and where the wire to it begins.
struct Bench {
    endpoint: Running,
    proxy: Proxy,
}

impl Bench {
    async fn start(programs: &Programs, wire: Wire) -> Result<Self> {
        let endpoint = programs.endpoint().await?;
        let proxy = Proxy::start(free(), endpoint.address.to_string(), wire).await?;
        Ok(Self { endpoint, proxy })
    }

    /// Fills the queue past the wire; its URL.
    async fn fill(&self, messages: u64, bytes: usize) -> Result<String> {
        let mut http = Http::connect(self.endpoint.address).await?;
        let made = http.sqs("CreateQueue", &json!({"QueueName": QUEUE})).await?;
        let url = made["QueueUrl"].as_str().context("no QueueUrl")?.to_owned();
        let body = "x".repeat(bytes);
        let batch = u64::try_from(batch(bytes))?;
        let entries: Vec<_> =
            (0..batch).map(|id| json!({"Id": id.to_string(), "MessageBody": body})).collect();
        for _ in 0..messages / batch {
            http.sqs("SendMessageBatch", &json!({"QueueUrl": url, "Entries": entries})).await?;
        }
        Ok(url)
    }
}

fn free() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

/// What a call takes beyond the wire, one after another, with nothing else going on: the median of receives and deletes.
pub(crate) async fn service(programs: &Programs, wire: Wire) -> Result<Duration> {
    let bench = Bench::start(programs, wire).await?;
    let calls = 40;
    let url = bench.fill(calls * 10, 200).await?;
    let mut http = Http::connect(bench.proxy.address()).await?;
    let mut took = Vec::new();
    for call in 0..calls {
        let begun = Instant::now();
        let received =
            http.sqs("ReceiveMessage", &json!({"QueueUrl": url, "MaxNumberOfMessages": 10})).await?;
        let receive = begun.elapsed();
        let receipts = received["Messages"].as_array().context("no messages")?.iter().enumerate();
        let entries: Vec<_> = receipts
            .map(|(id, message)| json!({"Id": id.to_string(), "ReceiptHandle": message["ReceiptHandle"]}))
            .collect();
        let begun = Instant::now();
        http.sqs("DeleteMessageBatch", &json!({"QueueUrl": url, "Entries": entries})).await?;
        // the first pays for the connection
        if call > 0 {
            took.push((receive + begun.elapsed()) / 2);
        }
    }
    took.sort_unstable();
    Ok(took[took.len() / 2].saturating_sub(wire.round_trip))
}

/// The same of a publish that carries so many bytes.
pub(crate) async fn publish_service(programs: &Programs, wire: Wire, bytes: usize) -> Result<Duration> {
    let bench = Bench::start(programs, wire).await?;
    let mut http = Http::connect(bench.proxy.address()).await?;
    http.sns(&format!("Action=CreateTopic&Version=2010-03-31&Name={QUEUE}")).await?;
    let message = "x".repeat(bytes.min(crate::rules::BATCH_BYTES));
    let topic = format!("arn%3Aaws%3Asns%3Aus-east-1%3A000000000000%3A{QUEUE}");
    let mut took = Vec::new();
    for _ in 0..20 {
        let begun = Instant::now();
        http.sns(&format!("Action=Publish&Version=2010-03-31&TopicArn={topic}&Message={message}")).await?;
        took.push(begun.elapsed());
    }
    took.sort_unstable();
    Ok(took[took.len() / 2].saturating_sub(wire.round_trip))
}

/// What a message costs, measured here: with [`IN_FLIGHT`] in flight and no wire.
pub(crate) async fn figures(programs: &Programs) -> Result<Figures> {
    let wire = Wire { round_trip: Duration::ZERO, setup_trips: 0 };
    let pod = Pod { pollers: 4, max_in_flight: IN_FLIGHT, handler: Duration::ZERO };
    let mut bodies = Vec::new();
    for bytes in BODIES {
        let messages = (400_000_000 / u64::try_from(bytes)?).clamp(1000, 60_000);
        let drained = drain(programs, wire, pod, messages, bytes).await?;
        let published = publish(programs, wire, Input { messages, bytes, rate: None }).await?;
        bodies.push(Body {
            bytes,
            consumer_cpu_us: rounded(drained.cpu_us_per_message),
            producer_cpu_us: rounded(published.cpu_us_per_message),
            consumer_peak_mib: rounded(drained.peak_mib),
            producer_peak_mib: rounded(published.peak_mib),
        });
    }
    // as many as are held for long: each waits 160 ms for its calls
    let far = Wire { round_trip: Duration::from_millis(80), setup_trips: 0 };
    let many = Pod { pollers: 200, max_in_flight: 2000, handler: Duration::ZERO };
    let held = drain(programs, far, many, 100_000, BODIES[0]).await?;
    let more = held.peak_mib - bodies.first().map_or(0.0, |body| body.consumer_peak_mib);
    Ok(Figures {
        source: "`scale figures`, on a shared machine with two cores".to_owned(),
        consumer_held_kib: rounded(more.max(0.0) * 1024.0 / (many.max_in_flight - IN_FLIGHT) as f64),
        bodies,
    })
}

fn rounded(value: f64) -> f64 {
    (value * 10.0).round() / 10.0
}

/// A consumer drains a queue of so many messages.
pub(crate) async fn drain(
    programs: &Programs,
    wire: Wire,
    pod: Pod,
    messages: u64,
    bytes: usize,
) -> Result<Measured> {
    let bench = Bench::start(programs, wire).await?;
    let url = bench.fill(messages, bytes).await?;
    let handler = SlowHandler::start(pod.handler).await?;
    let mut settings = vec![
        ("QUEUE_URL", url),
        ("PROVISION", "false".to_owned()),
        ("POLLERS", pod.pollers.to_string()),
        ("MAX_IN_FLIGHT", pod.max_in_flight.to_string()),
    ];
    if !pod.handler.is_zero() {
        settings.push(("HANDLER", "http".to_owned()));
        settings.push(("HANDLER_URL", format!("http://{}/", handler.address)));
    }
    let consumer = programs.service("consumer", bench.proxy.address(), &settings).await?;
    let measured =
        watch(&bench, &consumer, "consumer_messages_deleted_total", "ReceiveMessage", messages).await;
    consumer.end().await?;
    bench.endpoint.end().await?;
    measured
}

/// A producer publishes so many messages to a topic that nobody subscribes to.
pub(crate) async fn publish(programs: &Programs, wire: Wire, input: Input) -> Result<Measured> {
    let bench = Bench::start(programs, wire).await?;
    let file = std::env::temp_dir().join(format!("scale-{}-{}.txt", std::process::id(), input.bytes));
    let file = Lines(file);
    let line = "x".repeat(input.bytes) + "\n";
    std::fs::write(&file.0, line.repeat(usize::try_from(input.messages)?))?;
    let settings = [
        ("TOPIC_NAME", QUEUE.to_owned()),
        ("PROVISION", "true".to_owned()),
        ("INPUT", file.0.display().to_string()),
        ("PUBLISH_RATE", input.rate.unwrap_or(0.0).to_string()),
    ];
    let producer = programs.service("producer", bench.proxy.address(), &settings).await;
    let measured = match &producer {
        Ok(producer) => {
            let name = "producer_messages_published_total";
            watch(&bench, producer, name, "PublishBatch", input.messages).await
        }
        Err(_) => Err(anyhow::anyhow!("the producer was done before it was looked at")),
    };
    if let Ok(producer) = producer {
        producer.end().await?;
    }
    bench.endpoint.end().await?;
    measured
}

/// A file of input; it goes with this.
struct Lines(std::path::PathBuf);

impl Drop for Lines {
    fn drop(&mut self) {
        std::fs::remove_file(&self.0).ok();
    }
}

/// Reads the counter until it has come to the end. Time counts from the first call of `action`.
async fn watch(
    bench: &Bench,
    service: &Running,
    counter: &str,
    action: &str,
    messages: u64,
) -> Result<Measured> {
    let mut http = Http::connect(service.address).await?;
    let started = Instant::now();
    let mut begun = None;
    let (mut course, mut done) = (Course::default(), 0);
    let mut spent: Vec<(u64, Spent, Duration)> = Vec::new();
    let around = || Some(bench.endpoint.spent()?.cpu + programs::own_cpu()?);
    while done < messages {
        ensure!(started.elapsed() < PATIENCE, "{done} of {messages} after {PATIENCE:?}");
        if begun.is_none() && bench.proxy.counts().of(action) > 0 {
            begun = Some(Instant::now());
        }
        let at = Instant::now();
        let now = match service.counter(&mut http, counter).await {
            Ok(now) => now,
            // a producer ends with its input
            Err(_) if done * 10 >= messages * 9 => break,
            Err(error) => return Err(error),
        };
        if let Some(begun) = begun
            && now > done
        {
            course.note(u64::try_from((at - begun).as_nanos())?, now);
            spent.extend(service.spent().zip(around()).map(|(own, around)| (now, own, around)));
        }
        done = now;
        tokio::time::sleep(LOOK).await;
    }
    let (first, last) =
        (spent.first().copied().unwrap_or_default(), spent.last().copied().unwrap_or_default());
    let each = |cpu: Duration| cpu.as_secs_f64() * 1e6 / last.0.saturating_sub(first.0).max(1) as f64;
    Ok(Measured {
        course,
        counts: bench.proxy.counts(),
        cpu_us_per_message: each(last.1.cpu.saturating_sub(first.1.cpu)),
        around_us_per_message: each(last.2.saturating_sub(first.2)),
        peak_mib: last.1.peak_mib,
    })
}

/// A service that answers each post after a while: what `HANDLER=http` stands before.
struct SlowHandler {
    address: SocketAddr,
    accepting: tokio::task::JoinHandle<()>,
}

impl SlowHandler {
    async fn start(time: Duration) -> Result<Self> {
        let listener = TcpListener::bind(free()).await?;
        let address = listener.local_addr()?;
        let accepting = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(async move { answer_all(stream, time).await.ok() });
            }
        });
        Ok(Self { address, accepting })
    }
}

impl Drop for SlowHandler {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn answer_all(mut stream: tokio::net::TcpStream, time: Duration) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut request = Vec::new();
    loop {
        let end = request.windows(4).position(|bytes| bytes == b"\r\n\r\n");
        let whole = end.and_then(|end| {
            let head = String::from_utf8_lossy(&request[..end]).to_ascii_lowercase();
            let length =
                head.lines().find_map(|line| line.strip_prefix("content-length:")?.trim().parse().ok());
            Some(end + 4 + length.unwrap_or(0)).filter(|whole: &usize| request.len() >= *whole)
        });
        let Some(whole) = whole else {
            ensure!(stream.read_buf(&mut request).await? > 0, "the connection ended");
            continue;
        };
        request.drain(..whole);
        tokio::time::sleep(time).await;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await?;
    }
}
