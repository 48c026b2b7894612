//! The summary: what a service did, in its last log line, and the exit code that follows from it.

/// Name of the log event that is a summary. The log shows it unless its target is switched off, so that `RUST_LOG=warn`
/// keeps the last line.
pub const SUMMARY: &str = "summary";

/// What a service did. [`crate::main`] logs it last and exits with its code.
///
/// The line is logged by the service, because a log in JSON needs the counts as fields:
///
/// ```
/// use lifeline_service::{SUMMARY, Summary};
///
/// struct Copied {
///     files: u64,
///     failed: u64,
/// }
///
/// impl Summary for Copied {
///     fn log(&self) {
///         tracing::info!(name: SUMMARY, target: "copy", files = self.files, failed = self.failed, "drained");
///     }
///
///     fn exit_code(&self) -> u8 {
///         u8::from(self.failed > 0)
///     }
/// }
/// ```
pub trait Summary {
    /// Logs one event named [`SUMMARY`], at `info`.
    fn log(&self);

    /// 0: finished, nothing lost. 1: something was left undone.
    fn exit_code(&self) -> u8;
}
