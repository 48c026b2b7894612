//! Reports handled messages, as every contender does when latency is measured: appends the first 64 bytes of each message,
//! without SNS's envelope, to the file `HANDLED` as a line. Does nothing if that variable is not set.

use std::fs::File;
use std::io::Write;

/// The file for handled messages.
#[derive(Debug)]
pub struct Handled(Option<File>);

impl Handled {
    /// Opens the file named by the variable.
    pub fn from_env() -> std::io::Result<Self> {
        let path = std::env::var_os("HANDLED");
        Ok(Self(path.map(|path| File::options().append(true).open(path)).transpose()?))
    }

    /// Reports one message, by its SQS body in SNS's envelope.
    #[allow(dead_code, reason = "each contender is a program of its own")]
    pub fn tell(&self, body: &[u8]) -> std::io::Result<()> {
        if self.0.is_none() {
            return Ok(());
        }
        let envelope: serde_json::Value = serde_json::from_slice(body)?;
        self.tell_raw(envelope["Message"].as_str().unwrap_or_default().as_bytes())
    }

    /// Reports one message that was delivered raw.
    pub fn tell_raw(&self, message: &[u8]) -> std::io::Result<()> {
        let Some(mut file) = self.0.as_ref() else { return Ok(()) };
        let mut line = message[..message.len().min(64)].to_vec();
        line.push(b'\n');
        // One write per line, so that lines of concurrent writers do not mix.
        file.write_all(&line)
    }
}
