//! What turns a program into a service, written once: settings, log, signals, runtime, health server, systemd, trace
//! export, the summary and the exit code. It knows nothing about what the service does.
//!
//! ```no_run
//! use lifeline_service::settings::{Checked, Problems, integer};
//! use lifeline_service::{CommonArgs, Host, Program, SUMMARY, Summary};
//!
//! /// Counts down.
//! #[derive(clap::Parser)]
//! struct Args {
//!     /// Where to begin, 1 to 100
//!     #[arg(long, env = "START", default_value = "10", value_parser = integer::<u32>(1..=100))]
//!     start: Checked<u32>,
//!     #[command(flatten)]
//!     common: CommonArgs,
//! }
//!
//! impl Program for Args {
//!     type Config = u32;
//!
//!     fn common(&self) -> &CommonArgs {
//!         &self.common
//!     }
//!
//!     fn check(self, problems: &mut Problems) -> u32 {
//!         problems.value(self.start)
//!     }
//! }
//!
//! struct Left(u32);
//!
//! impl Summary for Left {
//!     fn log(&self) {
//!         tracing::info!(name: SUMMARY, left = self.0, "drained");
//!     }
//!
//!     fn exit_code(&self) -> u8 {
//!         u8::from(self.0 > 0)
//!     }
//! }
//!
//! async fn count(start: u32, host: Host) -> anyhow::Result<Left> {
//!     host.started();
//!     for left in (1..=start).rev() {
//!         tokio::select! {
//!             () = host.shutdown.requested() => return Ok(Left(left)),
//!             () = tokio::time::sleep(std::time::Duration::from_secs(1)) => {}
//!         }
//!     }
//!     Ok(Left(0))
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     lifeline_service::main::<Args, _, _>(count)
//! }
//! ```

mod args;
mod host;
mod log;
mod otel;
mod runtime;
pub mod settings;
mod signals;
mod summary;
#[cfg(unix)]
pub mod systemd;

pub use args::{Common, CommonArgs, LogArgs, Process, ProcessArgs};
pub use host::{
    Checked, Host, INVALID_SETTINGS, Program, Shell, check, failed, invalid_settings, main, unreadable,
};
pub use log::{Filter, Format, Log, flush_log};
pub use runtime::Threads;
pub use signals::{SECOND_SIGNAL, Shutdown};
pub use summary::{SUMMARY, Summary};
