//! An order that is delivered twice is handled once: its key is claimed by a conditional write before its handler runs.
//!
//! The store is a folder, and the conditional write is the creation of a file that must not exist. Over a database it is an
//! `insert … on conflict`: see `lifeline::IdempotencyStore`.

use std::fs::{self, File, OpenOptions};
use std::io::{ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use lifeline::{
    BoxError, Claim, ClaimId, Failure, Host, IdempotencyStore, IntoHandler, Json, Message, Workers,
};

#[derive(clap::Args)]
struct Settings {
    /// Folder that keeps what was handled
    #[arg(long, env = "CLAIMS", default_value = "claims")]
    claims: PathBuf,
}

#[derive(serde::Deserialize)]
struct Order {
    id: u64,
}

async fn charge(Json(order): Json<Order>) -> Result<(), Failure> {
    println!("charged for order {}", order.id);
    Ok(())
}

/// `KEY.running` has the id of the claim; its time of change is that of the last extension. `KEY.done` is empty.
struct Folder(PathBuf);

impl Folder {
    fn file(&self, key: &str, state: &str) -> PathBuf {
        self.0.join(format!("{key}.{state}"))
    }

    fn is_of(&self, key: &str, id: ClaimId) -> bool {
        fs::read_to_string(self.file(key, "running")).is_ok_and(|owner| owner == format!("{:x}", id.0))
    }
}

impl IdempotencyStore for Folder {
    async fn claim(&self, key: &str, id: ClaimId, lasts: Duration) -> Result<Claim, BoxError> {
        loop {
            if self.file(key, "done").exists() {
                return Ok(Claim::Done);
            }
            // the conditional write: of two that do this at the same time, one finds the file there
            match OpenOptions::new().write(true).create_new(true).open(self.file(key, "running")) {
                Ok(mut file) => {
                    write!(file, "{:x}", id.0)?;
                    return Ok(Claim::New);
                }
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error.into()),
            }
            if self.is_of(key, id) {
                return Ok(Claim::New);
            }
            let Ok(changed) = fs::metadata(self.file(key, "running")).and_then(|file| file.modified()) else {
                continue; // it ended in this moment
            };
            let age = SystemTime::now().duration_since(changed).unwrap_or_default();
            if let Some(for_at_most) = lasts.checked_sub(age).filter(|left| !left.is_zero()) {
                return Ok(Claim::Running { for_at_most });
            }
            // its owner is gone; of two that see this, one can rename it
            fs::rename(self.file(key, "running"), self.file(key, &format!("expired-{:x}", id.0))).ok();
        }
    }

    async fn extend(&self, key: &str, id: ClaimId, _: Duration) -> Result<(), BoxError> {
        if self.is_of(key, id) {
            File::options().write(true).open(self.file(key, "running"))?.set_modified(SystemTime::now())?;
        }
        Ok(())
    }

    async fn complete(&self, key: &str, id: ClaimId) -> Result<(), BoxError> {
        if self.is_of(key, id) {
            fs::rename(self.file(key, "running"), self.file(key, "done"))?;
        }
        Ok(())
    }

    async fn release(&self, key: &str, id: ClaimId) -> Result<(), BoxError> {
        if self.is_of(key, id) {
            fs::remove_file(self.file(key, "running"))?;
        }
        Ok(())
    }
}

fn main() -> ExitCode {
    lifeline::run_with(async |settings: Settings, host: Host| {
        fs::create_dir_all(&settings.claims)?;
        // the order's id, not the message's: a producer that publishes it twice is covered too
        let key = |message: &Message| {
            let order: Order = serde_json::from_str(&message.body).ok()?;
            Some(order.id.to_string())
        };
        let handler = charge.boxed().idempotent(Folder(settings.claims), key);
        lifeline::Result::Ok(Workers::new().add(host.worker(), handler))
    })
}
