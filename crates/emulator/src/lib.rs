//! SNS and SQS in one process: for tests, laptops and clusters without AWS.
//!
//! One model of topics, subscriptions, queues and messages, held to answers that were recorded from AWS. In front of
//! it stand both wire protocols, over a socket ([`Emulator::start`]) or in process ([`Emulator::http_client`], which
//! works under tokio's paused time). [`Fault`]s make chosen calls hang, fail, lose their response or their lease.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread", start_paused = true)]
//! # async fn main() {
//! use lifeline_emulator::{Action, Emulator, Fault};
//!
//! let emulator = Emulator::new(); // one for each test
//! let queue = emulator.queue("orders").max_receives(5);
//! queue.send(r#"{"id": 7}"#);
//! let lost = emulator.inject(Fault::on(Action::DeleteMessage).nth(1).reset_after_effect());
//!
//! let sqs = aws_sdk_sqs::Client::new(&emulator.sdk_config());
//! let received = sqs.receive_message().queue_url(queue.url()).send().await.unwrap();
//! let receipt = received.messages()[0].receipt_handle().unwrap();
//! sqs.delete_message().queue_url(queue.url()).receipt_handle(receipt).send().await.unwrap(); // the SDK tries again
//!
//! queue.settled().await;
//! assert_eq!((lost.hits(), emulator.calls(Action::DeleteMessage)), (1, 2));
//! # }
//! ```
//!
//! # What is not built
//!
//! SNS delivers to SQS alone. Subscriptions by Lambda, Firehose and mobile push are refused with 501 and the name of
//! what is missing; those by HTTP and e-mail stay pending, as if nobody confirmed them; those by SMS get nothing, as a
//! number that is not verified in AWS's SMS sandbox. Signatures of requests are not verified, and messages are not
//! signed. Actions of other services are answered 501.
//!
//! # Layers
//!
//! [`Emulator`] and its handles; the doors (`gateway`, `client`); `service`, one call with its faults and its wait;
//! `store`, the file of [`Builder::data`]; `request` and `protocol`, the two wire protocols; `sqs`, `sns` and `sts`, the
//! actions; `model`, everything else, without I/O. Imports point down that list; `docs/architecture.md` has it whole.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

mod action;
mod body;
mod call;
mod client;
mod clock;
mod control;
mod dispatch;
mod emulator;
mod entries;
mod error;
mod fault;
mod gateway;
mod guard;
mod handle;
mod model;
mod pages;
mod protocol;
mod random;
mod record;
mod request;
mod service;
mod sns;
mod sqs;
mod store;
mod sts;
mod view;

pub use crate::{
    action::Action,
    emulator::{Builder, Emulator},
    fault::{Fault, FaultError, Injected, On},
    handle::{Counts, History, Message, Place, Published, Queue, StoredMessage, Topic},
    pages::{Answer, Pages},
    record::{Call, Entry, Outcome},
    view::{FaultView, MessageView, QueueView, Refused, SubscriptionView, TopicView},
};
