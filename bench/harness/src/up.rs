//! `lifeline up --input`: the whole pipeline in one process, from a file to a file.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};

use crate::lab::Lab;
use crate::results::Piped;

/// The values of `RUST_LOG`.
pub const LOGS: [&str; 2] = ["info", "warn"];

/// Bytes of a line.
const LINE: usize = 200;

/// Maximum time for a run.
const WITHIN: Duration = Duration::from_secs(300);

/// Sends `lines` lines through the pipeline, with the log in a file.
pub async fn up(lab: &Lab, log: &str, lines: u64) -> Result<Piped> {
    let input = lab.input(LINE, lines, false).await?;
    let output = lab.scratch.path().join("up");
    fs::remove_file(&output).ok();
    let mut command = Command::new(lab.programs.services.join("lifeline"));
    command.arg("up").arg("--input").arg(&input).arg("--output").arg(&output);
    command.args(["--publish-rate", "0"]).env("RUST_LOG", log);
    for address in ["PRODUCER_HEALTH_ADDR", "CONSUMER_HEALTH_ADDR", "LISTEN"] {
        command.env(address, "127.0.0.1:0");
    }
    let began = Instant::now();
    let mut running = lab.launch(command)?;
    let (mut peak_kb, mut cpu) = (0, 0.0_f64);
    let status = loop {
        cpu = cpu.max(running.cpu());
        peak_kb = peak_kb.max(running.memory("VmHWM"));
        if let Some(status) = running.ended()? {
            break status;
        }
        ensure!(began.elapsed() < WITHIN, "lifeline up did not end within {WITHIN:?}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    };
    let seconds = began.elapsed().as_secs_f64();
    ensure!(status.success(), "lifeline up exited with {status}");
    let written = BufReader::new(fs::File::open(&output)?).lines().count() as u64;
    ensure!(written == lines, "{written} of {lines} lines were written");
    Ok(Piped { log: log.to_owned(), lines, seconds, cpu, peak_kb })
}
