//! The `lifeline` command as a library: the embedded SNS and SQS, the whole pipeline in one process, and the
//! operator's tools.

pub mod age;
pub mod args;
mod attributes;
pub mod aws;
pub mod dlq;
pub mod doctor;
pub mod output;
pub mod page;
pub mod permissions;
mod progress;
pub mod provision;
pub mod reference;
mod retry;
pub mod screen;
pub mod send;
pub mod tail;
mod temporary;
pub mod up;
