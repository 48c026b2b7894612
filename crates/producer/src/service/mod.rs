//! The service around the publisher: settings, input, rate, and an account of every line.

pub mod args;
mod input;
mod message_group;
mod progress;
mod rate_limit;
mod rejection_log;
mod run;

pub use args::Settings;
pub use input::{Generator, Input, LONGEST_LINE};
pub use message_group::{Group, NoGroup};
pub use progress::{Account, Progress};
pub use run::Service;
