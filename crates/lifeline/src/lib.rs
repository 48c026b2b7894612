//! Lifeline on one machine: the parts behind the `lifeline` command.

pub mod aws;
