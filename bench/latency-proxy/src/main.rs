//! The command `latency-proxy`; see its `--help`.

use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result};
use clap::Parser;
use latency_proxy::{Latency, Proxy, tls};
use tokio::signal::unix::{SignalKind, signal};

/// Adds latency between AWS clients and an endpoint, and counts the calls by action.
///
/// Prints its address as a URL. There, `GET /_counts` returns the counts, and `DELETE /_counts` returns and resets them.
/// SIGTERM prints them and exits.
#[derive(Parser)]
struct Args {
    /// Endpoint, as http://host:port
    #[arg(long)]
    to: String,
    /// Listen address; port 0 is any free port
    #[arg(long, default_value = "127.0.0.1:0")]
    listen: SocketAddr,
    /// Round trip to add, half in each direction: 20ms, 500us, 0ms
    #[arg(long, default_value = "0ms", value_parser = duration)]
    round_trip: Duration,
    /// Round trips before the first byte of a connection: 1 like TCP, 2 like TCP with TLS 1.3
    #[arg(long, default_value_t = 1)]
    setup_trips: u32,
    /// Terminate TLS; the certificate of its CA is written to ca.pem in this directory
    #[arg(long)]
    tls: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<()> {
    let Args { to, listen, round_trip, setup_trips, tls: directory } = Args::parse();
    let endpoint = to.trim_start_matches("http://").trim_end_matches('/').to_owned();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let tls =
        directory.map(|directory| tls::acceptor(&directory)).transpose().context("making a certificate")?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let tls = tls.map(|(acceptor, _)| acceptor);
    let proxy = Proxy::start(listen, endpoint, Latency { round_trip, setup_trips }, tls)
        .await
        .with_context(|| format!("listening on {listen}"))?;
    print(&format!("{scheme}://{}", proxy.address()))?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    print(&proxy.counts().to_json().to_string())
}

/// Prints a line and flushes it, since a pipe would buffer it.
fn print(line: &str) -> Result<()> {
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
