//! Clients of SNS and SQS that cannot hang and do not retry by themselves.

mod clients;
mod connector;

pub use clients::{Access, Clients};
