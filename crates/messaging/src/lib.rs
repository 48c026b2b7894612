//! SNS and SQS, without deciding when: AWS clients that cannot hang, calls whose failures are understood, the topology
//! (topic, queue, dead-letter queue, policy, subscription), the envelope that SNS puts around a message, and the trace
//! that travels with it.
//!
//! *When* a message is published, received or deleted is decided by `lifeline-producer` and `lifeline-consumer`.

#![cfg_attr(not(test), warn(clippy::disallowed_methods))]

#[cfg(feature = "service")]
pub mod args;
pub mod call;
pub mod client;
#[cfg(feature = "fast-codecs")]
mod codec;
pub mod envelope;
pub mod message;
pub mod span;
pub mod topology;
pub mod trace;
