//! The service around the worker: settings, the built-in handlers, and how they run.

mod args;
mod descriptors;
mod handlers;
mod host;
mod run;

pub use args::{
    Args, Config, ConsumerArgs, ConsumerConfig, HandlerArgs, HandlerKind, Kind, Newlines, WorkerArgs,
    WorkerConfig,
};
pub use host::{Host, run_workers};
pub use run::{open_handler, run, run_handler};
