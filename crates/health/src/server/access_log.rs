//! The access log: one line a request, written by a thread of its own.
//!
//! A terminal that is stopped, or a pipe that nobody reads, blocks whoever writes to it. So the server hands each
//! line to a bounded queue and goes on; when the queue is full the line is dropped and counted.

use std::fmt::Write as _;
use std::io::{self, Write};
use std::net::IpAddr;
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, SystemTime};

use chrono::{DateTime, Local, SecondsFormat, Utc};

use crate::metrics::IntCounter;

/// Lines that wait for a blocked writer, at most; each is under 2 KiB.
const QUEUE: usize = 1024;

/// Bytes of a request line that are logged; the rest of a longer one is cut.
pub(crate) const LINE_MAX: usize = 512;

/// How a server keeps its access log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    /// What a line looks like.
    pub format: AccessFormat,
    /// Leave out `/health` answered with 200, which every probe brings. Everything else is still written.
    pub silence_healthy: bool,
}

/// What a line of the access log looks like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AccessFormat {
    /// `172.17.0.1 - - [30/Jan/2021 00:25:58] "GET /health HTTP/1.1" 200 -`, in local time: the zone in `TZ`, else
    /// the system's, else UTC.
    #[default]
    Text,
    /// One JSON object a line, in the shape that `tracing-subscriber` gives its own, in UTC.
    Json,
}

/// One answered request.
pub(crate) struct Access {
    pub(crate) at: SystemTime,
    pub(crate) peer: IpAddr,
    /// The request line as it came, at most [`LINE_MAX`] bytes of it.
    pub(crate) line: Vec<u8>,
    pub(crate) status: u16,
    pub(crate) on_health: bool,
}

/// The server's end of the queue.
pub(crate) struct AccessQueue {
    silence_healthy: bool,
    lines: SyncSender<Access>,
    dropped: IntCounter,
}

/// Tells when the writer has written what was queued.
pub(crate) struct Written(Receiver<()>);

impl AccessQueue {
    /// Starts the thread that writes to `out`; it ends when the queue is dropped.
    pub(crate) fn start(
        log: AccessLog,
        out: Box<dyn Write + Send>,
        dropped: IntCounter,
    ) -> io::Result<(AccessQueue, Written)> {
        let (lines, queue) = sync_channel(QUEUE);
        let (done, written) = sync_channel(0);
        thread::Builder::new().name("access-log".to_owned()).spawn(move || {
            write_all(log.format, &queue, out);
            drop(done);
        })?;
        let queue = AccessQueue { silence_healthy: log.silence_healthy, lines, dropped };
        Ok((queue, Written(written)))
    }

    /// Never blocks.
    pub(crate) fn push(&self, access: Access) {
        if self.silence_healthy && access.on_health && access.status == 200 {
            return;
        }
        if self.lines.try_send(access).is_err() {
            self.dropped.inc();
        }
    }
}

impl Written {
    /// Waits for the last line, but no longer than `timeout`: the writer may be blocked forever.
    pub(crate) fn wait(&self, timeout: Duration) -> bool {
        self.0.recv_timeout(timeout) == Err(RecvTimeoutError::Disconnected)
    }
}

fn write_all(format: AccessFormat, queue: &Receiver<Access>, mut out: Box<dyn Write + Send>) {
    for access in queue {
        let line = match format {
            AccessFormat::Text => text(&access),
            AccessFormat::Json => json(&access),
        };
        // One write a line, so that lines of other writers to the same output do not mix with it. An output that is
        // gone is no reason to stop answering.
        let _ = out.write_all(line.as_bytes()).and_then(|()| out.flush());
    }
}

fn text(access: &Access) -> String {
    let at = DateTime::<Local>::from(access.at).format("%d/%b/%Y %H:%M:%S");
    let line = escaped(&access.line, true);
    format!("{} - - [{at}] \"{line}\" {} -\n", access.peer, access.status)
}

fn json(access: &Access) -> String {
    let at = DateTime::<Utc>::from(access.at).to_rfc3339_opts(SecondsFormat::Micros, true);
    let line = serde_json::Value::from(escaped(&access.line, false));
    format!(
        "{{\"timestamp\":\"{at}\",\"level\":\"INFO\",\"fields\":{{\"message\":{line},\"peer\":\"{}\",\"status\":{}}},\
         \"target\":\"access\"}}\n",
        access.peer, access.status
    )
}

/// Printable ASCII, whatever came: no request can forge a line, end the quotes or steer a terminal.
fn escaped(line: &[u8], quotes: bool) -> String {
    let mut text = String::with_capacity(line.len());
    for &byte in line {
        match byte {
            b'"' | b'\\' if quotes => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            // Writing to a string cannot fail.
            _ => _ = write!(text, "\\x{byte:02x}"),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::UNIX_EPOCH;

    fn access(line: &[u8]) -> Access {
        Access {
            at: UNIX_EPOCH + Duration::from_secs(1_611_966_358),
            peer: [172, 17, 0, 1].into(),
            line: line.to_vec(),
            status: 200,
            on_health: true,
        }
    }

    #[test]
    fn json_lines_parse_and_keep_the_request_line() {
        let line = json(&access(b"GET /a\"b\\c\x1b[2J\xff HTTP/1.1"));
        let value: serde_json::Value = serde_json::from_str(&line).unwrap();
        assert_eq!(value["timestamp"], "2021-01-30T00:25:58.000000Z");
        assert_eq!(value["fields"]["message"], r#"GET /a"b\c\x1b[2J\xff HTTP/1.1"#);
        assert_eq!(value["fields"]["peer"], "172.17.0.1");
        assert_eq!(value["fields"]["status"], 200);
        assert!(line.ends_with("}\n") && line.is_ascii());
    }

    #[test]
    fn a_request_cannot_forge_a_line() {
        let line = text(&access(b"GET /\" 200 -\r\n1.1.1.1 - - \x1b]0;x\x07\xe2\x80\xae HTTP/1.1"));
        assert_eq!(line.matches('\n').count(), 1);
        assert!(line.ends_with(
            "\"GET /\\\" 200 -\\x0d\\x0a1.1.1.1 - - \\x1b]0;x\\x07\\xe2\\x80\\xae HTTP/1.1\" 200 -\n"
        ));
    }

    /// The zone is read from the environment, which only a process of its own may change.
    #[test]
    fn lines_are_in_local_time() {
        const CHILD: &str = "HEALTH_TEST_PRINT_LINE";
        if std::env::var_os(CHILD).is_some() {
            io::stdout().write_all(text(&access(b"GET /health HTTP/1.1")).as_bytes()).unwrap();
            return;
        }
        let installed = |zone: &str| std::path::Path::new("/usr/share/zoneinfo").join(zone).exists();
        for (tz, local) in [
            ("UTC0", "30/Jan/2021 00:25:58"),
            ("CET-1CEST,M3.5.0,M10.5.0/3", "30/Jan/2021 01:25:58"),
            ("Europe/Berlin", "30/Jan/2021 01:25:58"),
            ("America/New_York", "29/Jan/2021 19:25:58"),
        ] {
            if tz.starts_with(['E', 'A']) && !installed(tz) {
                continue; // a sandbox without zone files
            }
            let output = std::process::Command::new(std::env::current_exe().unwrap())
                .args(["--exact", "--nocapture"])
                .arg("server::access_log::tests::lines_are_in_local_time")
                .env(CHILD, "1")
                .env("TZ", tz)
                .output()
                .unwrap();
            let printed = String::from_utf8(output.stdout).unwrap();
            let expected = format!("172.17.0.1 - - [{local}] \"GET /health HTTP/1.1\" 200 -\n");
            assert!(printed.contains(&expected), "{tz}: {printed}");
        }
    }
}
