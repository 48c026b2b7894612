//! The `lifeline` command as a library: the embedded SNS and SQS, the whole pipeline in one process, and the
//! operator's tools.

pub mod args;
pub mod aws;
pub mod doctor;
pub mod output;
pub mod screen;
pub mod send;
pub mod up;
