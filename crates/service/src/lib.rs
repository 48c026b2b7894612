//! What turns a program into a service: settings, logging, signals, the runtime and systemd. It knows nothing about AWS.

pub mod log;
pub mod runtime;
pub mod settings;
pub mod signals;
#[cfg(unix)]
pub mod systemd;
