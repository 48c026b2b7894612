//! The service around the worker: settings, the built-in handlers, and how they run.

pub mod args;
mod handlers;
mod run;

pub use run::*;
