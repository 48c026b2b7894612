//! A publisher to SNS that loses nothing and knows every limit, and the service around it.
//!
//! As a library:
//!
//! ```no_run
//! use lifeline_messaging::{aws, topology::TopicRef};
//! use lifeline_producer::{Message, Publisher};
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let clients = aws::Clients::connect(&aws::Access::local("http://localhost:4566")).await?;
//! let publisher = Publisher::builder(clients, TopicRef::Name("events".to_owned())).provision(true).start();
//! let receipt = publisher.publish(Message::new(r#"{"id": 7}"#)).await?;
//! println!("{}", receipt.message_id);
//! publisher.close().await; // all that was taken is published or reported
//! # Ok(())
//! # }
//! ```
//!
//! # What it promises
//!
//! - *Every message has a fate, told once*: a [`Receipt`], or a [`PublishError`] that says whether the fate is known.
//!   Every entry of every answer is checked; one that fails for a while is sent again alone, one that SNS rejects fails
//!   alone, and a batch that is refused as a whole is halved until the offender is found.
//! - *Nothing is sent that SNS would refuse*, as far as that is known here: size (the topic's own maximum, which is
//!   asked for), attributes, characters. The refusal has the figure and the limit.
//! - *Bounded*: messages and bytes held, batches in the air, every call. Callers wait; nothing grows.
//! - *Order*: on a FIFO topic a group's messages go one after the other; other groups do not wait.
//! - *At least once*: a call that timed out may have taken effect and is sent again. On a FIFO topic it has the same
//!   deduplication id, so that nothing doubles within SNS's five minutes.
//!
//! As a service: [`Service`] reads input at a pace and accounts for every line.

mod batcher;
mod deduplication;
mod entry;
mod error;
mod limits;
mod message;
mod metrics;
mod publish_batch;
mod publisher;
mod send_queue;
pub mod service;
mod topic;
mod window;

pub use entry::{Outcome, Receipt};
pub use error::{PublishError, Refusal};
pub use limits::MAX_ATTRIBUTES;
pub use message::Message;
pub use publisher::{Builder, Pending, Places, Publisher, Sink};
pub use service::{Account, Generator, Group, Input, LONGEST_LINE, NoGroup, Progress, Service};
