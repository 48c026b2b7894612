//! A worker on an SQS queue that cannot get stuck, cannot lose a message and cannot lie about its health.
//!
//! ```no_run
//! use lifeline_consumer::{Failure, Message, Worker};
//! use lifeline_messaging::client::{Access, Clients};
//! use lifeline_messaging::topology::{QueueRef, QueueSpec, TopicRef};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let sqs = Clients::connect(&Access::local("http://127.0.0.1:4566")).await?;
//! let queue = QueueSpec {
//!     queue: QueueRef::Name("orders".to_owned()),
//!     topic: TopicRef::Name("events".to_owned()),
//!     provision: true,
//!     max_receives: 5,
//!     raw_delivery: false,
//! };
//! async fn handle(message: Message) -> Result<(), Failure> {
//!     println!("{}", message.body);
//!     Ok(())
//! }
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let drained = Worker::on(queue).clients(sqs).max_in_flight(100).run(handle, shutdown).await?;
//! println!("drained {}", drained.account);
//! # Ok(()) }
//! ```
//!
//! What it promises, and where that is kept:
//!
//! | promise | file |
//! | --- | --- |
//! | permits are taken before a receive; a receive that hangs costs one timeout | `poller`, `capacity` |
//! | one poller when idle, more when receives come back full | `poller_scale` |
//! | leases are extended in batches for all messages in flight; a lost one is reported to its handler | `lease` |
//! | a message is deleted only after its handler succeeded; every entry of a response is read | `attempt`, `batch` |
//! | a failed message is redelivered after a growing delay | `attempt` |
//! | an outage behind the handler costs no receives | `breaker` |
//! | order within a FIFO group | `fifo` |
//! | a queue that is deleted is found, or created, again | `queue_watch` |
//! | a task that dies is started again | `supervisor` |
//! | every message has one outcome, and the summary adds up | `delivery`, `summary` |

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod attempt;
mod batch;
mod batching;
mod breaker;
mod call_monitor;
mod capacity;
mod caution;
mod classify;
mod clock;
mod context;
mod control;
mod delivery;
mod dispatch;
mod failure;
mod fifo;
mod guarded;
mod handler;
mod idempotency;
mod input;
mod into_handler;
mod lease;
mod metrics;
mod options;
mod poller;
mod poller_scale;
mod provisioning;
mod queue_watch;
mod rate_limit;
mod rejection;
mod run;
#[cfg(feature = "service")]
pub mod service;
#[cfg(feature = "tower")]
mod stack;
mod summary;
mod supervisor;
mod worker;
mod workers;

pub use batching::{Batch, Settled};
pub use context::{Context, LeaseLost};
pub use control::{WorkerHandle, WorkerState};
pub use failure::{BoxError, Failure, FailureKind, OrFailure};
pub use handler::{BoxHandler, Handler, HandlerInput};
pub use idempotency::{Claim, ClaimId, IdempotencyStore, MemoryStore};
pub use input::{FromMessage, Json};
pub use into_handler::{IntoHandler, IntoOutcome};
pub use lease::view::Cancelled;
pub use lifeline_messaging::message::{Attribute, Message};
#[cfg(feature = "tower")]
pub use stack::{Attempt, HandlerService, Stack, handler};
pub use summary::{Account, Drained, Outcome};
pub use worker::{Builder, ConfigError, Worker};
pub use workers::Workers;
