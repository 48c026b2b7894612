//! What a producer and a consumer of SNS and SQS share: AWS clients that cannot hang, settings that
//! explain themselves, the topology (topic, queue, dead-letter queue, policy, subscription), the envelope
//! that SNS puts around a message, and the trace that travels with it.
//!
//! Nothing here decides *when* a message is published, received or deleted: that is the business of the
//! `producer` and `consumer` crates.

mod answer;
pub mod aws;
pub mod backoff;
pub mod call;
mod connector;
pub mod envelope;
pub mod escape;
mod form;
pub mod http;
pub mod outage;
pub mod pulse;
pub mod runtime;
pub mod settings;
pub mod shutdown;
pub mod span;
pub mod telemetry;
pub mod topology;
pub mod trace;
