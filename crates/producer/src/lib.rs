//! A publisher to SNS that loses nothing and knows every limit, and the service around it.
//!
//! As a library:
//!
//! ```no_run
//! use lifeline_producer::{NewMessage, Publisher};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let publisher = Publisher::to("events").start().await?; // or by its ARN
//! let receipt = publisher.publish(NewMessage::new(r#"{"id": 7}"#).subject("order placed")).await?;
//! println!("{}", receipt.message_id);
//! publisher.close().await; // everything accepted has its result
//! # Ok(())
//! # }
//! ```
//!
//! # Guarantees
//!
//! - *Every message gets exactly one result*: a [`Receipt`], or a [`PublishError`] that says whether the message may have
//!   been published anyway, and returns it.
//! - *Rejected means the message*: SNS refused its content. Any other failure is the environment's; the message is kept and
//!   sent again until its deadline. An entire batch that is refused is halved until the failing message stands alone,
//!   while all others are published.
//! - *Nothing is sent that SNS would refuse*, as far as that is known here: size (the topic's own maximum), attributes,
//!   characters. The error has the figure and the limit.
//! - *Bounded*: messages and bytes in the buffer, concurrent calls, the duration of every call. Callers wait.
//! - *Order*: on a FIFO topic a group's messages are sent one after the other; other groups do not wait.
//! - *At least once*: a call that timed out may have taken effect and is sent again. On a FIFO topic it has the same
//!   deduplication id, so that nothing is delivered twice within SNS's five minutes.
//!
//! As a service: `Service` (feature `service`) publishes an input at its rate and counts what became of every line.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod batcher;
mod deduplication;
mod entry;
mod error;
mod invalid_message;
mod limits;
mod message;
mod metrics;
mod publish_batch;
mod publisher;
mod rate_limit;
mod send_queue;
#[cfg(feature = "service")]
pub mod service;
mod sink;
mod submit;
mod topic;
mod window;

pub use entry::{Outcome, Receipt};
pub use error::{PublishError, PublishErrorKind};
pub use invalid_message::InvalidMessage;
pub use limits::MAX_ATTRIBUTES;
pub use message::NewMessage;
pub use publisher::{ConfigError, ConfigErrorKind, Pending, Permit, Publisher, PublisherBuilder};
#[cfg(feature = "service")]
pub use service::{Generator, Input, LONGEST_LINE, Progress, Service, Summary};
pub use sink::{Reservation, Sink};
