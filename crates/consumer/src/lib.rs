//! A worker on an SQS queue that cannot get stuck, cannot lose a message and cannot lie about its health.
//!
//! ```no_run
//! use lifeline_consumer::{Context, Failure, Message, Worker};
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
//! let handler = |message: Message, _context: Context| async move {
//!     println!("{}", message.body);
//!     Ok::<(), Failure>(())
//! };
//! let shutdown = async { tokio::signal::ctrl_c().await.unwrap_or_default() };
//! let drained = Worker::builder(sqs, queue).max_in_flight(100).run(handler, shutdown).await;
//! println!("drained {}", drained.account);
//! # Ok(()) }
//! ```
//!
//! What it promises, and where that is kept:
//!
//! | promise | file |
//! | --- | --- |
//! | room is taken before a receive; a receive that hangs costs one timeout | `poller` |
//! | one poller when idle, more when receives come back full | `crew` |
//! | leases are extended in batches for all that is held, and a lost one is told | `lease`, `extender` |
//! | a message is deleted only after its handler succeeded; every entry's result is read | `job`, `deletes` |
//! | a failure comes back after a growing delay | `job`, `visibility` |
//! | order within a FIFO group | `intake` |
//! | a queue that vanished is found, or made, again | `keeper` |
//! | a task that dies is started again | `supervisor` |
//! | every message has one outcome, and the account balances | `held`, `account` |

mod attempt;
mod batch;
mod company;
mod deletes;
mod delivery;
mod dispatch;
mod extender;
mod handler;
mod lease;
mod metrics;
mod poller;
mod poller_scale;
mod queue_watch;
pub mod service;
mod shared;
mod summary;
mod supervisor;
mod visibility;
mod worker;

pub use handler::{Failure, Handler};
pub use lease::{Cancelled, Context};
pub use lifeline_messaging::message::{Attribute, Message};
pub use summary::{Account, Outcome};
pub use worker::{Builder, Drained, Worker};
