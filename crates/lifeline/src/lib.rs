//! SNS producers and SQS consumers that do not get stuck, do not lose messages and report their health truthfully.
//!
//! A whole service, with settings, `/health`, signals, drain, summary and exit code:
//!
//! ```no_run
//! use lifeline::{Failure, Json};
//!
//! #[derive(serde::Deserialize)]
//! struct Order {
//!     id: u64,
//! }
//!
//! async fn handle(Json(order): Json<Order>) -> Result<(), Failure> {
//!     println!("order {}", order.id);
//!     Ok(())
//! }
//!
//! fn main() -> std::process::ExitCode {
//!     lifeline::run(handle)
//! }
//! ```
//!
//! `QUEUE_NAME`, `MAX_IN_FLIGHT`, `SHUTDOWN_GRACE` and the other settings are environment variables and flags; `--help`
//! lists them. To embed a worker or a publisher in your own application, use [`Worker`] and [`Publisher`]; with
//! `default-features = false, features = ["consumer"]` nothing of a service is built: no settings, allocator or server.

#[cfg(feature = "service")]
mod service;

#[cfg(feature = "consumer")]
pub use lifeline_consumer::{
    Account, Attribute, Batch, BoxError, BoxHandler, Builder, Cancelled, Claim, ClaimId, ConfigError,
    Context, Drained, Failure, FailureKind, FromMessage, Handler, HandlerInput, IdempotencyStore,
    IntoHandler, IntoOutcome, Json, LeaseLost, MemoryStore, Message, OrFailure, Settled, Worker,
    WorkerHandle, WorkerState, Workers,
};
#[cfg(feature = "tower")]
pub use lifeline_consumer::{Attempt, HandlerService, Stack, handler};
pub use lifeline_health::{Health, Report};
pub use lifeline_messaging::client::{Access, Clients};
pub use lifeline_messaging::envelope::Envelope;
pub use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
pub use lifeline_messaging::trace::TraceContext;
#[cfg(feature = "producer")]
pub use lifeline_producer::{
    NewMessage, Pending, Permit, PublishError, PublishErrorKind, Publisher, PublisherBuilder, Receipt,
};
#[cfg(feature = "service")]
pub use lifeline_service::Shutdown;
#[cfg(feature = "service")]
pub use service::{Host, run, run_with};

/// What a handler may return to use `?` on any error: what the error states counts, and one that states nothing has failed.
#[cfg(feature = "consumer")]
pub type Result<T = ()> = std::result::Result<T, BoxError>;
