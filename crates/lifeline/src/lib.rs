//! The `lifeline` command as a library: the embedded SNS and SQS, the whole pipeline in one process, and the
//! operator's tools.

pub mod aws;
pub mod doctor;
pub mod progress;
pub mod settings;
pub mod up;
