//! `wire`: a proxy in front of an SNS and SQS endpoint, with a round trip and a count. See `wire --help`.

use std::io::Write;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use wire::{Proxy, Wire};

/// Delays what passes between AWS clients and an endpoint, and counts the calls by action.
///
/// Prints its address as a URL; `GET /_counts` there reads the counts, `DELETE /_counts` reads and resets them; SIGTERM
/// prints them and ends.
#[derive(Parser)]
struct Asked {
    /// The endpoint: http://host:port.
    #[arg(long)]
    to: String,
    /// Where to listen; port 0 is a free one.
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Half of it on the way there, half on the way back: 20ms, 500us, 0ms.
    #[arg(long, default_value = "0ms", value_parser = duration)]
    round_trip: Duration,
    /// Round trips before a connection's first byte: 1 as TCP, 2 as TCP and TLS 1.3.
    #[arg(long, default_value_t = 1)]
    setup_trips: u32,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Asked { to, listen, round_trip, setup_trips } = Asked::parse();
    let endpoint = to.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let proxy = Proxy::start(listen, endpoint, Wire { round_trip, setup_trips })
        .await
        .with_context(|| format!("listening on {listen}"))?;
    say(&format!("http://{}", proxy.address()))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    say(&proxy.counts().to_json().to_string())
}

/// At once, for a pipe would keep it.
fn say(line: &str) -> Result<()> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}

fn duration(text: &str) -> Result<Duration, String> {
    let split = text.find(|c: char| c.is_ascii_alphabetic()).unwrap_or(text.len());
    let number: u64 =
        text[..split].parse().map_err(|_| "a number and a unit: 20ms, 500us or 1s".to_owned())?;
    match &text[split..] {
        "us" => Ok(Duration::from_micros(number)),
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        _ => Err("the units are us, ms and s".to_owned()),
    }
}
