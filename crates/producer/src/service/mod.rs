//! The service around the publisher: settings, input, rate, and an account of every line.

mod args;
mod input;
mod message_group;
mod progress;
mod rate_limit;
mod rejection_log;
mod run;

pub use args::{Args, Config, PublishArgs, PublishConfig};
pub use input::{Generator, Input, LONGEST_LINE};
pub use message_group::{Group, NoGroup};
pub use progress::{Account, Progress};
pub use run::{Service, run};
