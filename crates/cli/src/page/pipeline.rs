//! What the page needs of a pipeline: its state, and switches that break it.

use std::fmt;

use futures_util::future::BoxFuture;
use serde::Deserialize;
use serde_json::Value;

/// A way to break the pipeline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Switch {
    /// Every thread of the consumer blocks.
    Hang,
    /// The handler reports its dependency as unavailable.
    Unavailable,
    /// A message is published that the handler fails for; off, the handler succeeds for it too.
    Poison,
}

/// A pipeline that the page shows.
pub trait Pipeline: fmt::Debug + Send + Sync + 'static {
    /// What the page draws, as JSON. Called once a second; it must not block.
    fn state(&self) -> Value;

    /// Turns a switch. The error is for the person at the page.
    fn switch(&self, switch: Switch, on: bool) -> BoxFuture<'static, Result<(), String>>;
}
