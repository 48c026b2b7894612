//! Clients of SNS and SQS that cannot hang and do not retry by themselves.

mod access;
#[cfg(feature = "otlp")]
mod call_spans;
mod clients;
mod connector;
mod credentials;

pub use access::Access;
pub(crate) use access::domain;
pub use clients::{Clients, NoRegion};
#[cfg(feature = "service")]
pub(crate) use credentials::defect;
